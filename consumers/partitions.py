"""The offset at which each partition is read on: after a beginning, a reset, a loss, or a batch that cannot be read."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from consumers import records
from consumers.cluster import Cluster, Topic, Trouble
from consumers.halts import Halts
from consumers.ledger import Ledger
from consumers.records import ReadMessages
from store.topics import Incarnation, Loss

if TYPE_CHECKING:
    from consumers.letters import Message

log = structlog.get_logger()

Consumer: TypeAlias = "AIOKafkaConsumer[bytes | None, bytes | None]"
Polled: TypeAlias = "Mapping[TopicPartition, list[Message]]"
Commit: TypeAlias = Callable[[Mapping[TopicPartition, int]], Awaitable[None]]

# The consumer asks the group's coordinator without a limit of its own.
_ANSWER_SECONDS = 10
# Exceptions of aiokafka in a row without a batch that cannot be read.
_UNEXPLAINED = 3


class Partitions:
    """The partitions of one incarnation of a topic that this member of the group has.

    `positions` are the next offsets of partitions that gave messages in this assignment. `unread` has, for each
    partition, the messages that were not read at the latest look, as (first offset, offset after the last).
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        ledger: Ledger,
        cluster: Cluster,
        halts: Halts,
        topic: Topic,
        incarnation: Incarnation,
        commit: Commit,
    ) -> None:
        self._consumer = consumer
        self._ledger = ledger
        self._cluster = cluster
        self._halts = halts
        self.topic = topic
        self._incarnation = incarnation
        self._commit = commit
        self._begun: set[int] = set()
        self._unexplained = 0
        self.unread: dict[int, tuple[int, int]] = {}
        self.positions: dict[TopicPartition, int] = {}

    def note_positions(self, polled: Polled, *, is_current: bool) -> None:
        """Note the positions after `polled`; forget them if it was polled in a former assignment."""
        self._unexplained = 0
        for place, messages in polled.items():
            if is_current:
                self.positions[place] = messages[-1].offset + 1
            else:
                self.positions.pop(place, None)

    # --- where to begin -------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Begin partitions that were never read. If the topic was made anew, begin them at their first offset.

        The group's offset of such a topic is wrong if a worker that read the former incarnation committed it later. The
        first offset replaces it before the ledger notes the partition as begun: the next owner trusts the group's
        offset of a partition that has begun.

        Raises:
            KafkaError, TimeoutError: the first offset cannot be committed.
        """
        assigned = self._consumer.assignment()
        new = {place.partition for place in assigned} - self._begun
        if not new:
            return
        unread = new - await self._ledger.begun(self._incarnation, new)
        if self._incarnation.number:
            first = {
                self._place(partition): (await self._cluster.ends(self.topic, partition))[0] for partition in unread
            }
            if not self._seek(first):
                return  # there is a new assignment
            if not await self._is_committed(first):
                return  # there will be a new assignment, and the next owner begins the partitions
        if unread:
            await self._ledger.begin(self._incarnation, unread)
        self._begun |= new

    async def _is_committed(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Commit `offsets`. Return False if the group refuses them because a rebalance has begun."""
        if not offsets:
            return True
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError):
            return False
        return True

    async def reset(self, place: TopicPartition, offset: int | None) -> int | None:
        """Go to an offset that exists, and return it: `offset` does not exist, or the group has none (None).

        Raises:
            Trouble: the topic was made anew, the likeliest reason for an offset that does not exist.
        """
        self.topic = await self._cluster.describe_again(self.topic)
        first, end = await self._cluster.ends(self.topic, place.partition)
        taken_to = await self._ledger.taken_to(self._incarnation, place.partition)
        unread_from = max(taken_to, offset or 0)
        if unread_from < first:
            await self._ledger.lose(
                self._incarnation, place.partition, start=unread_from, end=first, reason=Loss.RETENTION
            )
        elif offset is not None and offset > end:
            log.warning("partition is shorter than before", partition=place.partition, offset=offset, end=end)
        position = first if offset is None or not first <= offset <= end else offset
        if not self._seek({place: position}):
            return None  # another member has it now
        if unread_from < first:
            await self._commit({place: position})
        return position

    def note_unread(self) -> None:
        """Note the messages that are not read yet, in case the topic is deleted; this replaces the former note."""
        self.unread = {}
        for place in self._consumer.assignment():
            high, position = self._consumer.highwater(place), self.positions.get(place)
            if high is not None and position is not None:
                self.unread[place.partition] = (position, max(high, position))

    # --- messages that cannot be read -----------------------------------------------------------------------------

    async def read_past(self, error: BaseException) -> Polled:
        """Read the messages at which aiokafka raised `error`. A corrupt batch halts its partition.

        aiokafka raised while it decoded records. It does not name the partition, and loses the records of other
        partitions that it decoded in the same call. So every partition goes back to its position, and is checked.

        Raises:
            Trouble: no partition has a batch that cannot be read, several times in a row.
        """
        readable: dict[TopicPartition, list[Message]] = {}
        is_explained = False
        for place in self._consumer.assignment():
            if place.partition in self._halts:
                continue
            position = await self._go_back(place)
            if position is None:
                continue
            read = await self._read(place, position)
            if read.corrupt is None and not read.has_escaped_names:
                continue
            is_explained = True
            if read.messages or read.next_offset > position:
                if self._seek({place: read.next_offset}):
                    self.positions[place] = read.next_offset
                    readable[place] = read.messages
            elif read.corrupt is not None:
                self._halts.halt(place.partition, read.corrupt)
                self._pause(place)
        self._unexplained = 0 if is_explained else self._unexplained + 1
        if self._unexplained >= _UNEXPLAINED:
            raise Trouble(f"records cannot be read: {type(error).__name__}")
        return {place: messages for place, messages in readable.items() if messages}

    async def _read(self, place: TopicPartition, position: int) -> ReadMessages:
        fetched = await self._cluster.read(self.topic, place.partition, position)
        # in a thread: a batch may hold more than the loop should stand still for
        return await asyncio.to_thread(
            records.read,
            place.topic,
            place.partition,
            fetched.records,
            aborted=fetched.aborted,
            position=position,
            high_watermark=fetched.high_watermark,
        )

    async def _go_back(self, place: TopicPartition) -> int | None:
        """Go back to the first message that was not given. Return its offset; None without the partition."""
        position = self.positions.get(place)
        if position is None:
            async with asyncio.timeout(_ANSWER_SECONDS):
                position = await self._consumer.committed(place)
        if position is None:
            return await self.reset(place, None)
        return position if self._seek({place: position}) else None

    async def obey_skips(self) -> None:
        """Skip the corrupt batches that an operator ordered to skip."""
        for partition, corrupt in self._halts.items():
            end = await self._ledger.obey_skip(self._incarnation, partition, corrupt)
            if end is None:
                continue
            self._halts.release([partition])
            place = self._place(partition)
            if self._seek({place: end}):
                self.positions[place] = end
                self._consumer.resume(place)
                await self._commit({place: end})

    # --- the consumer --------------------------------------------------------------------------------------------

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic.name, partition)

    def _seek(self, positions: Mapping[TopicPartition, int]) -> bool:
        """Go to `positions`. Return False if another member has one of the partitions now."""
        try:
            for place, position in positions.items():
                self._consumer.seek(place, position)
        except IllegalStateError:
            return False
        return True

    def _pause(self, place: TopicPartition) -> None:
        try:
            self._consumer.pause(place)
        except IllegalStateError:
            self._halts.release([place.partition])
