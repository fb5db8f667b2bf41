"""Whether the accounts come out: each offset that the group has passed has an outcome, and each delivery is somewhere.

The offsets are those of the topic's latest incarnation. The broker is asked about offsets without an outcome while it
still has them: an empty message (a tombstone), the end of a transaction and what a compaction removed need none.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind
from store import accounting
from store.reconciliation import offsets
from store.reconciliation.offsets import OffsetRange
from store.reconciliation.page import Page
from store.topics import Incarnation


class PartitionOffsets(NamedTuple):
    """The first offset that the broker has, and the one that the group reads next; None: it has read nothing."""

    first: int
    committed: int | None


class TopicOffsets(NamedTuple):
    """A topic's offsets by partition. `topic_id` is None if the broker has no ids for topics."""

    topic: str
    topic_id: UUID | None
    partitions: Mapping[int, PartitionOffsets]


class TopicLog(NamedTuple):
    """How the broker is asked: for all offsets (None: it cannot be asked), and for the messages of a range.

    `messages` gives the offsets of those that have a value, in order; of very many the first ones.
    """

    offsets: Callable[[], Awaitable[TopicOffsets | None]]
    messages: Callable[[int, OffsetRange], Awaitable[Sequence[int]]]


class OffsetAccounts:
    """Compares the offsets of a topic with what was recorded of them, partition after partition."""

    def __init__(self, log: TopicLog | None, since: datetime | None) -> None:
        self._log = log
        self._since = since
        self._offsets: TopicOffsets | None = None

    async def examine(self, connection: AsyncConnection, after: str, limit: int) -> Page:
        """The next offsets that have an outcome, after a place; an empty text is the beginning.

        The broker is asked first: what the group has passed then is recorded before the rows are read.
        """
        if self._log is None:
            return Page(0, (), None)
        self._offsets = self._offsets or await self._log.offsets()
        if self._offsets is None:
            return Page(0, (), None)
        of = await offsets.incarnation_of(connection, self._offsets.topic, self._offsets.topic_id)
        partitions = sorted(
            number for number, partition in self._offsets.partitions.items() if partition.committed is not None
        )
        if of is None or not partitions:
            return Page(0, (), None)
        number, start = json.loads(after) if after else (partitions[0], None)
        page, next_start = await self._examine(connection, of, number, start, limit)
        later = [partition for partition in partitions if partition > number]
        if next_start is None and not later:
            return page
        place = (number, next_start) if next_start is not None else (later[0], None)
        return Page(page.examined, page.findings, json.dumps(place))

    async def _examine(
        self, connection: AsyncConnection, of: Incarnation, number: int, start: int | None, limit: int
    ) -> tuple[Page, int | None]:
        """Examine the next offsets of a partition. Return where the next page of it starts, None after the last."""
        assert self._offsets is not None
        partition = self._offsets.partitions[number]
        committed = partition.committed or 0
        findings: list[Finding] = []
        if start is None:
            findings += await self._lost_unread(connection, of, number, partition)
            start = await offsets.first(connection, of, number, self._since)
            if start is None:
                start = partition.first if self._since is None else committed
        within = OffsetRange(start, max(start, committed))
        known = await offsets.taken_in(connection, of, number, within, limit)
        end = known[-1] + 1 if len(known) == limit else within.end
        passed = await offsets.passed(connection, of, number, OffsetRange(start, end))
        for gap in gaps(OffsetRange(start, end), [*(OffsetRange(offset, offset + 1) for offset in known), *passed]):
            findings += await self._unrecorded(of, number, partition, gap)
        return Page(len(known), findings, None), end if len(known) == limit else None

    async def _lost_unread(
        self, connection: AsyncConnection, of: Incarnation, number: int, partition: PartitionOffsets
    ) -> list[Finding]:
        """What the topic's retention has removed before the group read it, and no worker has noted yet."""
        unread = OffsetRange(partition.committed or 0, partition.first)
        if unread.start >= unread.end or await offsets.passed(connection, of, number, unread):
            return []
        expected = f"offset {unread.start} to be read next"
        return [Finding(FindingKind.LOST_BEFORE_READ, f"{of.topic}/{number}", expected, f"it begins at {unread.end}")]

    async def _unrecorded(
        self, of: Incarnation, number: int, partition: PartitionOffsets, gap: OffsetRange
    ) -> list[Finding]:
        """The messages of a gap that the broker still has: the group has passed them, and they have no outcome."""
        assert self._log is not None
        kept = OffsetRange(max(gap.start, partition.first), gap.end)
        messages = await self._log.messages(number, kept) if kept.start < kept.end else ()
        if not messages:
            return []
        where = f"at offset {messages[0]}" if len(messages) == 1 else f"at offsets {messages[0]} to {messages[-1]}"
        expected = f"an outcome of {len(messages):,} {'message' if len(messages) == 1 else 'messages'} {where}"
        return [Finding(FindingKind.MESSAGE_WITHOUT_OUTCOME, f"{of.topic}/{number}", expected, None)]


def gaps(whole: OffsetRange, covered: Iterable[OffsetRange]) -> Iterator[OffsetRange]:
    """The parts of `whole` that no range of `covered` covers, in order."""
    start = whole.start
    for part in sorted(covered):
        if part.start > start:
            yield OffsetRange(start, part.start)
        start = max(start, part.end)
    if start < whole.end:
        yield OffsetRange(start, whole.end)


async def examine_ledger(connection: AsyncConnection, _after: str, _limit: int) -> Page:
    """Compare the ledger of deliveries with the live ones: accepted less delivered, dead and cancelled."""
    ledger, live = await accounting.live_deliveries(connection)
    if ledger == live:
        return Page(1, (), None)
    finding = Finding(FindingKind.DELIVERIES_UNACCOUNTED, "deliveries", f"{ledger:,} live", f"{live:,} live")
    return Page(1, [finding], None)
