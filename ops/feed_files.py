"""Sending one file of a feed: its progress, its checkpoint, the refused lines beside it, and the summary."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from consumers import batch
from ops import checkpoint, edge, files, kafka, terminal
from ops.checkpoint import Checkpoint, Digest
from ops.open_file import OpenFile
from ops.refused_lines import RefusedLines
from ops.settings import Settings
from ops.unpacked import Unpacked
from producers.lines import Damaged, FilePosition
from producers.topic import ingest, stream
from producers.topic.stream import FeedLine
from schemas.feeds.feed import Edge, Feed

CANONICAL = "canonical"

_CHECKPOINT_SECONDS = 1.0
# None of so many lines fits a wrong format. A file of the right one may begin with some bad lines.
_HEAD_LINES = 20
# A file with more reasons has another problem than its lines.
_MOST_REASONS = 100


@dataclass(slots=True)
class Summary:
    """Counts of a file: lines read, updates sent, lines refused by reason, lines irrelevant by kind.

    Lines `too_long` for the broker are among the refused. Messages that were `unsent` may be taken when they are sent
    again. A file that `is_blank` holds only white space. A `damaged` file (the reason) was not read to its end. A file
    that `grew` while it was read has more to come. `looks_like` is the feed that a useless file seems to be of. A file
    that is `held_back` was not sent, because none of its first `lines` fits the format.
    """

    lines: int = 0
    sent: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    irrelevant: Counter[str] = field(default_factory=Counter)
    unsent: int = 0
    too_long: int = 0
    first_refusal: str | None = None
    is_blank: bool = False
    damaged: str | None = None
    grew: bool = False
    looks_like: str | None = None
    held_back: bool = False

    @property
    def refused(self) -> int:
        return self.reasons.total()

    @property
    def problem(self) -> str | None:
        """Why the file as a whole is refused. A table without rows and an empty array are no problem."""
        if self.damaged is not None:
            return self.damaged
        if self.is_blank:
            return "it is empty"
        if not self.lines or self.refused < self.lines:
            return None
        part = f"its first {self.lines} lines" if self.held_back and self.lines >= _HEAD_LINES else "it"
        reason = f" ({next(iter(self.reasons))})" if len(self.reasons) == 1 else ""
        hint = f"; it looks like {self.looks_like}: --format {self.looks_like}" if self.looks_like else ""
        unsent = "; nothing was sent (--force sends it all the same)" if self.held_back else ""
        return f"nothing in {part} can be used{reason}{hint}{unsent}"

    def add(self, line: FeedLine) -> None:
        self.lines += 1
        if line.refusal_text is None:
            self.sent += len(line.messages)
            if line.irrelevant is not None:
                self.irrelevant[line.irrelevant] += 1
        else:
            many = line.refusal_text not in self.reasons and len(self.reasons) >= _MOST_REASONS
            self.reasons["for other reasons" if many else line.refusal_text] += 1


async def send(
    source: OpenFile,
    feed: Feed | None,
    at: Edge,
    settings: Settings,
    servers: str,
    *,
    anew: bool = False,
    growing: bool = False,
    force: bool = False,
) -> Summary:
    """Send a file; `feed` None is the canonical form. It continues where it was interrupted, unless `anew`.

    A `growing` file may be written to meanwhile. It continues where it ended then, so its checkpoint stays. A file of
    another format is held back, unless `force`: its lines would flood the dead letters.
    """
    digest = Digest(source)
    begun = await _begun(source, feed, at, digest, anew=anew, growing=growing)
    with _progress(source, begun, digest, growing=growing) as progress:
        summary, dated = progress.summary, replace(at, at=progress.begun.dated)
        lines = _lines(feed, source, dated, progress.begun.place, summary, identifiers=settings.identifiers)
        head = [] if force or progress.begun.offset else await _head(lines)
        if await _is_of_another_format(head, source, feed, summary):
            await lines.aclose()
            progress.done = True
        else:
            await _send_lines(_after(head, lines), progress, settings, servers)
    summary.grew = growing and progress.is_another()
    if not summary.held_back:
        await _compare(summary, source, feed)
    return summary


async def _send_lines(
    lines: AsyncIterator[FeedLine], progress: "_FileProgress", settings: Settings, servers: str
) -> None:
    sent = await stream.send(
        lines,
        bootstrap_servers=servers,
        topic=settings.kafka_topic,
        thin_topic=settings.kafka_thin_topic,
        security=kafka.security(settings),
        on_acknowledged=progress.passed,
    )
    summary = progress.summary
    progress.done = sent.refused == sent.too_long and summary.damaged is None
    summary.unsent, summary.too_long = sent.refused - sent.too_long, sent.too_long
    summary.first_refusal = sent.first_refusal


async def check(source: OpenFile, feed: Feed | None, at: Edge, settings: Settings, *, force: bool = False) -> Summary:
    """Read a file as `send` does, and send nothing."""
    summary = Summary()
    lines = _lines(feed, source, at, FilePosition(), summary, identifiers=settings.identifiers)
    head = [] if force else await _head(lines)
    with RefusedLines(source, written=False) as report:
        if await _is_of_another_format(head, source, feed, summary):
            for line in head:
                report.add(line)
            await lines.aclose()
            return summary
        async for line in _after(head, lines):
            summary.add(line)
            if line.refusal_text is not None:
                report.add(line)
    await _compare(summary, source, feed)
    return summary


async def read(
    source: OpenFile, feed: Feed | None, at: Edge, settings: Settings, summary: Summary, *, force: bool = False
) -> AsyncGenerator[FeedLine]:
    """The lines of a file, counted in `summary`; none of a file that `send` would hold back."""
    lines = _lines(feed, source, at, FilePosition(), summary, identifiers=settings.identifiers)
    head = [] if force else await _head(lines)
    if await _is_of_another_format(head, source, feed, summary):
        await lines.aclose()
        return
    async for line in _after(head, lines):
        summary.add(line)
        yield line
    await _compare(summary, source, feed)


def _as_the_worker_reads(line: FeedLine, now: datetime, identifiers: AbstractSet[str]) -> FeedLine:
    """The line, refused if a worker would make a dead letter of a message of it."""
    if line.refusal_text is None:
        for message in line.messages:
            if message.update is not None:
                refusal = batch.refusal(message.update, now=now, identifiers=identifiers)
                if refusal is not None:
                    return line._replace(refusal_text=str(refusal))
    return line


def report(title: str, summary: Summary, *, dry_run: bool = False) -> None:
    """Write the summary and its reasons to stdout, and what follows from them to stderr."""
    updates = terminal.counted(summary.sent, "update")
    accepted = f"{summary.lines - summary.refused:,} of {terminal.counted(summary.lines, 'line')} accepted"
    terminal.write_line(f"{title}: {accepted}, {updates} {'found; nothing was sent' if dry_run else 'sent'}")
    for reason, count in summary.reasons.most_common():
        terminal.write_line(f"  {count:,} refused: {reason}")
    for kind, count in summary.irrelevant.most_common():
        terminal.write_line(f"  {count:,} irrelevant, and not kept: {kind}")
    letters = 0 if dry_run or summary.held_back else summary.refused - summary.too_long
    if letters > 0:
        terminal.remark(f"{terminal.counted(letters, 'unusable line')} will be among the dead letters:"
                        " `repoint dead-letters list`")  # fmt: skip
    if summary.too_long:
        terminal.remark(f"{terminal.counted(summary.too_long, 'line')} too long to be sent, not even there")
    if summary.first_refusal:
        terminal.remark(f"the broker refuses with {summary.first_refusal}")


def dated(file: Path) -> datetime:
    """The date of records without a date of their own: when the file was last written to."""
    return moment(time.time() if file == files.STDIN else file.stat().st_mtime)


def moment(seconds: float) -> datetime:
    """A time of the file system, in whole seconds; now for a time in the future."""
    return datetime.fromtimestamp(int(min(seconds, time.time())), UTC)


async def _lines(
    feed: Feed | None,
    source: OpenFile,
    at: Edge,
    begin: FilePosition,
    summary: Summary,
    *,
    identifiers: AbstractSet[str],
) -> AsyncGenerator[FeedLine]:
    """The lines from `begin` to the end, or to the place where the file is damaged: `summary` says so.

    Lines are refused for the reasons of the worker, too. They are sent all the same, and become dead letters there.
    """
    stream, now = source.stream(), datetime.now(UTC)
    try:
        lines = (
            ingest.read_updates(stream, begin, at.digit_ids)
            if feed is None
            else ingest.read_feed(feed, stream, at, begin)
        )
        async for line in lines:
            yield _as_the_worker_reads(line, now, identifiers)
    except Damaged as damage:
        summary.damaged = str(damage)
    except OSError as error:
        summary.damaged = f"it cannot be read to its end ({error.strerror})"
    stored = stream.raw
    summary.is_blank = isinstance(stored, Unpacked) and stored.is_blank and not begin.offset


async def _head(lines: AsyncIterator[FeedLine]) -> list[FeedLine]:
    """The first lines, up to one that can be used."""
    head = []
    async for line in lines:
        head.append(line)
        if line.refusal_text is None or len(head) >= _HEAD_LINES:
            break
    return head


async def _after(head: list[FeedLine], lines: AsyncIterator[FeedLine]) -> AsyncIterator[FeedLine]:
    for line in head:
        yield line
    async for line in lines:
        yield line


async def _is_of_another_format(head: list[FeedLine], source: OpenFile, feed: Feed | None, summary: Summary) -> bool:
    """Whether no line of `head` can be used, and it is long enough, or the file looks like another feed's.

    The `summary` of such a file gets the counts of `head`.
    """
    if not head or any(line.refusal_text is None for line in head):
        return False
    of_head = Summary()
    for line in head:
        of_head.add(line)
    await _compare(of_head, source, feed)
    if len(head) < _HEAD_LINES and of_head.looks_like is None:
        return False
    summary.lines, summary.reasons, summary.looks_like = of_head.lines, of_head.reasons, of_head.looks_like
    summary.held_back = True
    return True


async def _compare(summary: Summary, source: OpenFile, feed: Feed | None) -> None:
    """Detect the feed of a file that is of no use."""
    if summary.problem is None or summary.damaged is not None or source.stdin is not None:
        return
    seems = await edge.detect(source)
    summary.looks_like = None if seems == (CANONICAL if feed is None else feed.name) else seems


@dataclass(slots=True)
class _FileProgress:
    """How far one file is acknowledged, and the checkpoint that records it."""

    source: OpenFile
    begun: Checkpoint
    digest: Digest
    report: RefusedLines
    advance: terminal.Advance
    summary: Summary
    done: bool = False
    kept: bool = True
    _refused: int = 0
    _written: float = field(default_factory=time.monotonic)

    def passed(self, line: FeedLine) -> None:
        summary, here = self.summary, self.begun
        summary.add(line)
        if line.refusal_text is not None:
            self.report.add(line)
        if line.end:
            self.advance(line.end - here.offset)
            here.offset, here.lines, here.parts = line.end, line.last_line or line.number, line.parts
            here.records, here.sent = summary.lines, summary.sent
            if summary.irrelevant:
                here.irrelevant = dict(summary.irrelevant)
            if self._refused != self.report.count:
                self._refused, here.refused_size = self.report.count, self.report.size
                here.reasons = dict(summary.reasons)
        # reading the clock costs more than a line
        if not summary.lines % 1000 and time.monotonic() - self._written > _CHECKPOINT_SECONDS:
            self.write()

    def write(self) -> None:
        if self.source.folder is None or not self.kept:
            return
        try:
            checkpoint.write(self.source, self.begun, self.digest)
        except OSError as error:
            self.kept = False
            terminal.remark(f"{self.source.title}: interrupted, it would begin anew: no checkpoint beside it"
                            f" ({error.strerror})")  # fmt: skip
        self._written = time.monotonic()

    def end(self, *, growing: bool) -> None:
        """Keep the checkpoint if the file can continue after it; else remove it."""
        if growing or (self.summary.lines and not self.done):
            self.write()
        elif self.source.folder is not None and self.kept:
            checkpoint.remove(self.source.folder, self.source.name)

    def is_another(self) -> bool:
        """Whether the file has been written to since sending began."""
        state = self.source.state()
        return (state.st_size, state.st_mtime_ns) != (self.begun.size, self.begun.modified)

    def explain(self) -> None:
        """Write what an interruption left, and how to continue."""
        lines, title = terminal.counted(self.summary.lines, "line"), self.source.title
        if not self.summary.lines:
            terminal.remark(f"{title}: interrupted before anything was acknowledged")
        elif self.begun.offset and self.source.folder is not None and self.kept:
            terminal.remark(f"{title}: interrupted; {lines} acknowledged, and the same command goes on after them")
        else:
            terminal.remark(
                f"{title}: interrupted; {lines} acknowledged. The same command begins anew: what was sent is recognised"
            )


@contextmanager
def _progress(source: OpenFile, begun: Checkpoint, digest: Digest, *, growing: bool) -> Iterator[_FileProgress]:
    with (
        RefusedLines(source, kept=begun.refused_size) as report,
        terminal.progress(source.title, source.size, begun.offset) as advance,
    ):
        summary = Summary(begun.records, begun.sent, Counter(begun.reasons), Counter(begun.irrelevant))
        progress = _FileProgress(source, begun, digest, report, advance, summary)
        if growing:
            progress.write()  # whatever becomes of it, its date stays
        try:
            yield progress
        except asyncio.CancelledError:
            progress.explain()
            raise
        finally:
            progress.end(growing=growing)


async def _begun(
    source: OpenFile, feed: Feed | None, at: Edge, digest: Digest, *, anew: bool, growing: bool
) -> Checkpoint:
    """The checkpoint where the file was interrupted, or its beginning."""
    beginning = checkpoint.of(source, CANONICAL if feed is None else feed.name, at.at)
    if anew:
        return beginning
    try:
        # in a thread: the digest of some hundred gigabytes takes minutes, and a signal must be answered meanwhile
        former = await asyncio.to_thread(checkpoint.read, source, beginning, digest, growing=growing)
    except asyncio.CancelledError:
        digest.interrupt()
        raise
    if former is None:
        return beginning
    if former.offset:
        terminal.remark(f"{source.title}: going on after line {former.lines:,}, where it was interrupted")
    return former
