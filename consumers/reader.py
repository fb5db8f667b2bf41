"""A member of the consumer group that reads one incarnation of a topic: aiokafka's consumer, and what it can raise.

What becomes of an exception of `start` and `getmany`:

    OffsetOutOfRange, NoOffsetForPartition    the partition goes on at an offset that is there; what is lost is counted
    corrupt records, undecodable headers,     the batch is read more leniently; a corrupt one halts its partition
    what a codec raises
    any other                                 `Trouble`: the worker says why, waits, and begins with a new member

`commit` raises nothing: what is not committed is read again, and the inbox knows it.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from prometheus_client import Counter

from consumers.cluster import NO_BROKER, Cluster, Topic, TopicMissing, Trouble, trouble
from consumers.halts import Halts, OpenTransactions
from consumers.handover import Handover
from consumers.ledger import Ledger
from consumers.partitions import Partitions, Polled
from loops.waiting import Stopped, Waiting
from store.topics import Incarnation

log = structlog.get_logger()

NOT_COMMITTED = Counter("repoint_offset_commits_failed_total", "Offsets not committed: a rebalance, or a broker away")

COMMIT_SECONDS = 10
# How fast a stop is noticed while the group is joined.
_STEP_SECONDS = 0.25
# A group waits for a member that died for up to a session; then it is worth saying so.
_JOINING_SECONDS = 10
# No group takes that long: aiokafka hangs, and a new member is tried.
_JOINED_SECONDS = 300
# `getmany` waits beyond its timeout while partitions are shared out anew.
_GRACE_SECONDS = 1

# In one session timeout: some may be late before the group gives the member up.
_HEARTBEATS = 15

# aiokafka's defaults lose or repeat work (auto-commit, latest, uncommitted reads) or are too short for a batch.
_CONSUMER = {
    "enable_auto_commit": False,
    # an offset that is gone is an error, so that what was lost with it can be counted
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
    "rebalance_timeout_ms": 60_000,
    "request_timeout_ms": 90_000,
    "max_poll_interval_ms": 300_000,
    # partitions that were added are read within this time
    "metadata_max_age_ms": 30_000,
    # the broker answers with the first message: a lone update waits for no others
    "fetch_min_bytes": 1,
    # aiokafka has one fetch under way for each broker: a partition whose messages are all given waits for its end
    "fetch_max_wait_ms": 50,
    "fetch_max_bytes": 16 * 1024 * 1024,
    "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
}

T = TypeVar("T")

_DECODING = (CorruptRecordException, UnsupportedCodecError)


class Reader:
    """An async context manager over one membership of the group.

    Every method but `commit` raises `Trouble` where nothing can be read.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        group: str,
        session_timeout: float,
        security: Mapping[str, Any],
        ledger: Ledger,
        cluster: Cluster,
        waiting: Waiting,
        halts: Halts,
        handover: Handover,
        topic: Topic,
        incarnation: Incarnation,
    ) -> None:
        session_timeout_ms = int(session_timeout * 1000)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            group_id=group,
            client_id="repoint",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=session_timeout_ms // _HEARTBEATS,
            **security,
            **_CONSUMER,
        )
        self._consumer.subscribe([topic.name], listener=handover)
        self._group = group
        self._cluster = cluster
        self._waiting = waiting
        self._halts = halts
        self._handover = handover
        self._topic = topic
        self._transactions = OpenTransactions(topic.name)
        self._partitions = Partitions(
            self._consumer,
            ledger=ledger,
            cluster=cluster,
            halts=halts,
            topic=topic,
            incarnation=incarnation,
            commit=self.commit,
        )
        self._assignments = handover.assignments
        # a `getmany` under way outlives a poll: one that is cancelled leaves aiokafka's count of its users wrong
        self._getting: asyncio.Task[Polled] | None = None
        self._getting_since = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halts.release_all()
        self._transactions.look(())
        if self._getting is not None:
            self._getting.cancel()
            await asyncio.wait((self._getting,))
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.stop()
        except Exception as failed:  # noqa: BLE001 - it may raise again what ended its tasks, which was said before
            # leaving the group waits behind joining it, and that for a member that died
            log.info("left the group unannounced", error=type(failed).__name__)
            await self._consumer._client.close()  # noqa: SLF001 - `stop` came no further

    async def start(self) -> None:
        """Join the group, however long that takes."""
        joining = asyncio.create_task(self._consumer.start())
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            while not (await asyncio.wait((joining,), timeout=_STEP_SECONDS))[0]:
                self._waiting.progress.advance()
                if self._waiting.stopping.is_set():
                    raise Stopped
                if loop.time() - begun > _JOINED_SECONDS:
                    raise Trouble(f"the group {self._group} cannot be joined")
                if loop.time() - begun > _JOINING_SECONDS:
                    self._waiting.report_missing(f"the group {self._group} is not joined yet")
        finally:
            if not joining.done():
                joining.cancel()
                await asyncio.wait((joining,))
        if error := joining.exception():
            raise trouble(error, self._topic.name, self._group) from error
        log.info("consuming", topic=self._topic.name, group=self._group)

    async def get(self, patience: float, wanted: int) -> Polled:
        """Messages, `wanted` at most, by partition; none if none came within `patience` seconds."""
        await self._notice_assignment()
        await self._asked(self._partitions.begin())
        if self._getting is None:
            self._getting_since = self._assignments
            timeout_ms = int(patience * 1000) + 1
            self._getting = asyncio.create_task(self._consumer.getmany(timeout_ms=timeout_ms, max_records=wanted))
        if not (await asyncio.wait((self._getting,), timeout=patience + _GRACE_SECONDS))[0]:
            return {}
        getting, self._getting = self._getting, None
        error = getting.exception()
        await self._notice_assignment()
        if error:
            return await self._asked(self._mend(error))
        polled = getting.result()
        if polled:
            self._partitions.note_positions(polled, is_current=self._getting_since == self._assignments)
        return polled

    async def _asked(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except TopicMissing:
            # it may have been made anew by now, with fewer partitions: then this raises
            await self._cluster.describe_again(self._topic)
            raise
        except (KafkaError, TimeoutError) as error:
            raise trouble(error, self._topic.name, self._group) from error

    async def _mend(self, error: BaseException) -> Polled:
        if isinstance(error, OffsetOutOfRangeError):
            for place, offset in error.args[0].items():
                await self._partitions.reset(place, offset)
            return {}
        if isinstance(error, NoOffsetForPartitionError):
            await self._partitions.reset(error.args[0], None)
            return {}
        if isinstance(error, KafkaError) and not isinstance(error, _DECODING):
            raise trouble(error, self._topic.name, self._group) from error
        return await self._partitions.read_past(error)

    async def _notice_assignment(self) -> None:
        """What is known of partitions holds for one assignment: the next one begins at what is committed.

        The group shares partitions out anew also when the topic is deleted. What was unread of it is kept then.

        Raises:
            Trouble: the topic is missing, forbidden, or was made anew.
        """
        if self._assignments == self._handover.assignments:
            return
        self._assignments = self._handover.assignments
        self._partitions.positions.clear()
        self._halts.release_all()
        if await self._is_there():
            self._partitions.unread = {}

    async def look(self) -> None:
        """See whether the topic is still there and the same, and what its partitions wait for.

        Raises:
            Trouble: the topic is missing, forbidden, or was made anew. A broker that is away is waited for here.
        """
        if not await self._is_there():
            return
        self._waiting.missing = None
        self._partitions.note_unread()
        self._transactions.look(self._stable_ends())
        await self._asked(self._partitions.obey_skips())
        self._halts.remind()

    async def _is_there(self) -> bool:
        """Describe the topic anew; False where no broker answers."""
        try:
            topic = await self._cluster.describe_again(self._topic)
        except Trouble as error:
            if str(error) != NO_BROKER:
                raise
            # the consumer comes back by itself, but does not say so
            self._waiting.report_missing(NO_BROKER)
            return False
        self._topic = self._partitions.topic = topic
        return True

    @property
    def unread(self) -> Mapping[int, tuple[int, int]]:
        """What was there and not read at the latest look, as (first offset, offset behind the last) by partition."""
        return self._partitions.unread

    def _stable_ends(self) -> list[tuple[int, int, int]]:
        ends = []
        for place in self._consumer.assignment():
            stable, high = self._consumer.last_stable_offset(place), self._consumer.highwater(place)
            if stable is not None and high is not None:
                ends.append((place.partition, stable, high))
        return ends

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit how far was taken in. Where that fails, it will come again and be known."""
        if not offsets:
            return
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.commit(dict(offsets))
        except Exception as error:  # noqa: BLE001 - whatever aiokafka raises, the same follows from it
            NOT_COMMITTED.inc()
            log.warning("offsets not committed", error=type(error).__name__)
