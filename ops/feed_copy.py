"""Reconciling a vendor's file with the inbox: what the inbox lacks goes onto the topic, as `ingest` puts it.

Unusable lines are named and not sent: a dead letter for each would come with every run. Thin events have no update to
compare, and are counted alone.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import FeedUpdateState
from ops import feed_files, kafka, terminal
from ops.feed_files import Summary
from ops.open_file import OpenFile
from ops.refused_lines import RefusedLines
from ops.settings import Settings
from producers.topic import stream
from producers.topic.stream import FeedLine
from reconciliation import feed_copy
from reconciliation.feed_copy import ComparedUpdate, FeedUpdate
from schemas.canonical import parse
from schemas.digit_ids import DigitIds
from schemas.feeds.feed import Edge, Feed
from schemas.intake import TopicMessage

# As many as an update's batch has.
_PAGE_LINES = 500
# Many long lines are more than memory should hold.
_PAGE_BYTES = 4_000_000


@dataclass(slots=True)
class FeedCopy:
    """A file that is reconciled: counts of its lines and updates. `on_difference` is called for each in file order."""

    source: OpenFile
    feed: Feed | None
    edge: Edge
    on_difference: Callable[[ComparedUpdate], None]
    read: Summary = field(default_factory=Summary)
    states: Counter[FeedUpdateState] = field(default_factory=Counter)
    thin: int = 0
    sent: int = 0
    unsent: int = 0


async def reconcile(
    engine: AsyncEngine, copy: FeedCopy, settings: Settings, servers: str | None, *, force: bool = False
) -> None:
    """Compare a file with the inbox, and send what is missing to the brokers; `servers` None: only compare."""
    with (
        RefusedLines(copy.source, written=False) as report,
        terminal.progress(copy.source.title, copy.source.size) as advance,
    ):
        lines = feed_files.read(copy.source, copy.feed, copy.edge, settings, copy.read, force=force)
        missing = _missing(engine, copy, _usable(lines, report, advance))
        if servers is None:
            async for _ in missing:
                pass
            return
        counts = await stream.send(
            missing,
            bootstrap_servers=servers,
            topic=settings.kafka_topic,
            thin_topic=settings.kafka_thin_topic,
            security=kafka.security(settings),
        )
        copy.sent, copy.unsent = counts.acknowledged, counts.refused


async def _usable(
    lines: AsyncIterator[FeedLine], report: RefusedLines, advance: terminal.Advance
) -> AsyncIterator[FeedLine]:
    """The lines that have messages and are not refused; those are reported."""
    passed = 0
    async for line in lines:
        if line.end:
            advance(line.end - passed)
            passed = line.end
        if line.refusal_text is not None:
            report.add(line)
        elif line.messages:
            yield line


async def _missing(engine: AsyncEngine, copy: FeedCopy, lines: AsyncIterator[FeedLine]) -> AsyncIterator[FeedLine]:
    """The lines with missing updates, each with the messages of those alone."""
    async for page in _pages(lines):
        messages = [(line, message) for line in page for message in line.messages]
        copy.thin += sum(message.thin for _, message in messages)
        whole = [(line, message) for line, message in messages if not message.thin]
        compared = await feed_copy.compare(
            engine, [_update(line, message, copy.edge.digit_ids) for line, message in whole]
        )
        copy.states.update(update.state for update in compared)
        for (line, message), update in zip(whole, compared, strict=True):
            if update.state is not FeedUpdateState.KNOWN:
                copy.on_difference(update)
            if update.state is FeedUpdateState.MISSING:
                yield line._replace(messages=(message,))


def _update(line: FeedLine, message: TopicMessage, digit_ids: DigitIds) -> FeedUpdate:
    canonical = parse(message.value, message.headers, digit_ids)
    stamp = canonical.update.stamp
    return FeedUpdate(line.number, stamp.vendor, stamp.update_id, canonical.digest)


async def _pages(lines: AsyncIterator[FeedLine]) -> AsyncIterator[Sequence[FeedLine]]:
    page: list[FeedLine] = []
    size = 0
    async for line in lines:
        page.append(line)
        size += sum(len(message.value) for message in line.messages)
        if len(page) == _PAGE_LINES or size > _PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page
