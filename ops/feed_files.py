"""One file of a feed onto the topic: progress, a checkpoint, the refused lines beside it, and the sum of it all."""

import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from ops import checkpoint, files, kafka, terminal
from ops.checkpoint import Checkpoint
from ops.settings import Settings
from producers import ingest, topic
from producers.records import Place
from producers.topic import Line
from schemas.feeds.feed import Edge, Feed

# More would scroll away what they begin with; the file beside the feed has them all.
_REPORTED = 20
_CHECKPOINT_SECONDS = 1.0
# Of a feed that is refused for as many reasons something else is wrong.
_MOST_REASONS = 100


@dataclass(slots=True)
class Summary:
    """What became of a file: lines read, updates sent, and how many lines were refused for which reason.

    What was `too_long` for the broker is among the refused; what was `unsent` may be taken when it is sent again. Of a
    file that `grew` while it was read more is to come.
    """

    lines: int = 0
    sent: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unsent: int = 0
    too_long: int = 0
    first_refusal: str | None = None
    grew: bool = False

    @property
    def refused(self) -> int:
        return self.reasons.total()

    def add(self, line: Line) -> None:
        self.lines += 1
        if line.unusable is None:
            self.sent += len(line.messages)
        else:
            many = line.unusable not in self.reasons and len(self.reasons) >= _MOST_REASONS
            self.reasons["for other reasons" if many else line.unusable] += 1


async def send(
    file: Path,
    feed: Feed | None,
    edge: Edge,
    settings: Settings,
    servers: str,
    *,
    anew: bool = False,
    growing: bool = False,
) -> Summary:
    """Send `file`; `feed` None is the canonical form. It goes on where it was interrupted, unless `anew`.

    One that is `growing` may be written to meanwhile; it goes on where it ended then, so its checkpoint stays.
    """
    with files.opened(file) as stream, _progress(file, feed, edge, anew=anew, growing=growing) as progress:
        edge = Edge(progress.begun.dated, edge.fingerprints, edge.traces)
        place = progress.begun.place
        sent = await topic.send(
            _lines(feed, stream, edge, place),
            bootstrap_servers=servers,
            topic=settings.kafka_topic,
            thin_topic=settings.kafka_thin_topic,
            security=kafka.security(settings),
            each=progress.passed,
        )
        progress.done = sent.refused == sent.too_long
    summary = progress.summary
    summary.unsent, summary.too_long = sent.refused - sent.too_long, sent.too_long
    summary.first_refusal = sent.first_refusal
    summary.grew = growing and progress.is_another()
    return summary


async def check(file: Path, feed: Feed | None, edge: Edge) -> Summary:
    """Read `file` and send nothing."""
    summary = Summary()
    with files.opened(file) as stream, ExitStack() as stack:
        report = _Refused(file, None, stack)
        async for line in _lines(feed, stream, edge, Place()):
            summary.add(line)
            if line.unusable is not None:
                report.add(line)
        report.conclude()
    return summary


def tell(file: Path, summary: Summary, *, dry_run: bool = False) -> None:
    """The sum on stdout, the reasons below it, what follows from them on stderr."""
    updates = terminal.counted(summary.sent, "update")
    accepted = f"{summary.lines - summary.refused:,} of {terminal.counted(summary.lines, 'line')} accepted"
    terminal.write_line(f"{files.name(file)}: {accepted}, {updates} {'found; nothing was sent' if dry_run else 'sent'}")
    for reason, count in summary.reasons.most_common():
        terminal.write_line(f"  {count:,} refused: {reason}")
    letters = summary.refused - summary.too_long
    if letters > 0 and not dry_run:
        terminal.remark(f"{terminal.counted(letters, 'unusable line')} will be among the dead letters:"
                        " `repoint dead-letters list`")  # fmt: skip
    if summary.too_long:
        terminal.remark(f"{terminal.counted(summary.too_long, 'line')} too long to be sent, not even there")
    if summary.first_refusal:
        terminal.remark(f"the broker refuses with {summary.first_refusal}")


def dated(file: Path) -> datetime:
    """When what a file says was so, if its records do not say: when it was last written to."""
    moment = time.time() if file == files.STDIN else file.stat().st_mtime
    return datetime.fromtimestamp(int(moment), UTC)


def _lines(feed: Feed | None, stream: BufferedReader, edge: Edge, begin: Place) -> AsyncIterator[Line]:
    return ingest.canonical(stream, begin) if feed is None else ingest.vendors(feed, stream, edge, begin)


@dataclass(slots=True)
class _Progress:
    """Of one file: what was passed, all of it acknowledged, and the checkpoint that says so."""

    file: Path
    begun: Checkpoint
    report: "_Refused"
    advance: terminal.Advance
    summary: Summary
    done: bool = False
    kept: bool = True
    _written: float = field(default_factory=time.monotonic)

    def passed(self, line: Line) -> None:
        summary, here = self.summary, self.begun
        summary.add(line)
        if line.unusable is not None:
            self.report.add(line)
        if line.end:
            self.advance(line.end - here.offset)
            here.offset, here.lines, here.parts = line.end, line.last or line.number, line.parts
            here.records, here.sent = summary.lines, summary.sent
            if here.refused_size != self.report.size:
                here.refused_size, here.reasons = self.report.size, dict(summary.reasons)
        # a clock costs more than a line
        if not summary.lines % 1000 and time.monotonic() - self._written > _CHECKPOINT_SECONDS:
            self.write()

    def write(self) -> None:
        if self.file == files.STDIN or not self.kept:
            return
        try:
            checkpoint.write(self.file, self.begun)
        except OSError as error:
            self.kept = False
            terminal.remark(f"{files.name(self.file)}: interrupted, it would begin anew: no checkpoint beside it"
                            f" ({error.strerror})")  # fmt: skip
        self._written = time.monotonic()

    def is_another(self) -> bool:
        """Whether the file has been written to since it was begun with."""
        state = self.file.stat()
        return (state.st_size, state.st_mtime_ns) != (self.begun.size, self.begun.modified)


@contextmanager
def _progress(file: Path, feed: Feed | None, edge: Edge, *, anew: bool, growing: bool) -> Iterator[_Progress]:
    with ExitStack() as stack:
        begun = _begun(file, "canonical" if feed is None else feed.name, edge, anew=anew, growing=growing)
        report = _Refused(file, _beside(file), stack, keep=begun.refused_size)
        advance = stack.enter_context(terminal.progress(files.name(file), files.size(file), begun.offset))
        summary = Summary(begun.records, begun.sent, Counter(begun.reasons))
        progress = _Progress(file, begun, report, advance, summary)
        if growing:
            progress.write()  # whatever becomes of it, its date stays
        try:
            yield progress
        finally:
            if growing or not progress.done:
                progress.write()
        if progress.done and not growing and progress.kept:
            checkpoint.remove(file)
        report.conclude()


def _begun(file: Path, feed: str, edge: Edge, *, anew: bool, growing: bool) -> Checkpoint:
    if file == files.STDIN:
        return Checkpoint(feed, 0, 0, edge.at.isoformat())
    beginning = checkpoint.of(file, feed, edge.at)
    found = None if anew else checkpoint.read(file, beginning, growing=growing)
    if found is None:
        return beginning
    if found.offset:
        terminal.remark(f"{files.name(file)}: going on after line {found.lines:,}, where it was interrupted")
    return found


def _beside(file: Path) -> Path | None:
    if file == files.STDIN:
        return None
    if not os.access(file.parent, os.W_OK):
        terminal.remark(f"{file.parent} cannot be written to, so unusable lines are only named here")
        return None
    return file.with_name(file.name + ".refused")


class _Refused:
    """Lines that are unusable are named on stderr, and written to `beside`, card numbers masked.

    `size` is how much there is of it, in bytes.
    """

    def __init__(self, file: Path, beside: Path | None, stack: ExitStack, *, keep: int = 0) -> None:
        self.file = file
        self.beside = beside
        self.stack = stack
        self.size = keep
        self.count = 0
        self.stream: BinaryIO | None = None
        if beside is not None and not keep:
            with suppress(OSError):  # what can be made can be removed; add() says what cannot
                beside.unlink()  # of a former version of the file

    def add(self, line: Line) -> None:
        self.count += 1
        if self.count <= _REPORTED:
            terminal.remark(f"{files.name(self.file)}:{line.number}: {line.unusable}")
        row = (json.dumps(_written(line), ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        if self.beside is not None:
            try:
                self._opened(self.beside).write(row)
            except OSError as error:
                self._give_up(error)
        self.size += len(row)

    def _opened(self, beside: Path) -> BinaryIO:
        if self.stream is None:
            # unbuffered: what a full disk did not take is not tried again when it is closed
            self.stream = self.stack.enter_context(beside.open("ab", buffering=0))
            self.stream.truncate(self.size)
        return self.stream

    def _give_up(self, error: OSError) -> None:
        terminal.remark(f"{self.beside} cannot be written, so unusable lines are only named here ({error.strerror})")
        self.beside = None

    def conclude(self) -> None:
        if self.count > _REPORTED:
            where = f", all in {self.beside}" if self.beside else ""
            terminal.remark(f"… and {self.count - _REPORTED} lines more{where}")


def _written(line: Line) -> dict[str, object]:
    body = line.messages[0].value.decode(errors="backslashreplace") if line.messages else None
    return {"line": line.number, "problem": line.unusable, "body": body}
