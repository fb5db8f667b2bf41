"""A member of the consumer group that reads one incarnation of a topic: aiokafka's consumer and its exceptions.

    exception of `start` or `getmany`         then
    ──────────────────────────────────────    ────────────────────────────────────────────────────────────────────────
    OffsetOutOfRange, NoOffsetForPartition    the partition goes on at an offset that exists; lost messages are counted
    corrupt records, undecodable headers,     the batch is read more leniently; a corrupt batch halts its partition
    a codec's exception
    any other                                 `Trouble`: the worker logs it, waits, and begins with a new member

`commit` raises nothing: messages that were not committed are read again, and the inbox recognises them.
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
from prometheus_client import Counter, Gauge

from consumers.cluster import NO_BROKER, Cluster, Topic, TopicMissing, Trouble, trouble_of
from consumers.halts import Halts, OpenTransactions
from consumers.handover import Handover
from consumers.ledger import Ledger
from consumers.partitions import Partitions, Polled
from loops.waiting import Stopped, Waiting
from store.topics import Incarnation

log = structlog.get_logger()

LAG = Gauge(
    "repoint_consumer_lag_messages",
    "Messages not read yet, as far as the last answer of the broker says",
    ["topic", "partition"],
)
NOT_COMMITTED = Counter("repoint_offset_commits_failed_total", "Offsets not committed: a rebalance, or a broker away")

COMMIT_SECONDS = 10
# Interval of looking for a stop while the group is joined.
_STEP_SECONDS = 0.25
# A group waits for a dead member for up to a session. After this time the wait is logged.
_JOINING_SECONDS = 10
# No group takes this long: aiokafka hangs, and a new member begins.
_JOINED_SECONDS = 300
# `getmany` waits beyond its timeout while partitions are shared out anew.
_GRACE_SECONDS = 1

# Heartbeats in one session timeout: some may be late before the group gives up the member.
_HEARTBEATS = 15

# aiokafka's defaults lose or repeat work (auto-commit, latest, uncommitted reads) or are too short for a batch.
_CONSUMER = {
    "enable_auto_commit": False,
    # an offset that is gone is an error, so that the lost messages are counted
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
    "rebalance_timeout_ms": 60_000,
    "request_timeout_ms": 90_000,
    "max_poll_interval_ms": 300_000,
    # partitions that were added are read within this time
    "metadata_max_age_ms": 30_000,
    # the broker answers with the first message: a single update does not wait for more
    "fetch_min_bytes": 1,
    # aiokafka has one fetch under way for each broker: a partition without messages waits for its end
    "fetch_max_wait_ms": 50,
    "fetch_max_bytes": 16 * 1024 * 1024,
    "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
}

T = TypeVar("T")

_DECODING = (CorruptRecordException, UnsupportedCodecError)


class Reader:
    """An async context manager over one membership of the group.

    Every method but `commit` raises `Trouble` if nothing can be read.
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
        # the partitions with a gauge
        self._shown: set[int] = set()
        # a `getmany` under way outlives a poll: cancelling it would leave aiokafka's count of its users wrong
        self._polling: asyncio.Task[Polled] | None = None
        self._polling_assignment = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halts.release_all()
        self._transactions.look(())
        self._show_lag({})
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait((self._polling,))
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.stop()
        except Exception as stop_error:  # noqa: BLE001 - `stop` may raise again what ended its tasks, already logged
            # leaving the group waits for joining it, which waits for a dead member
            log.info("left the group unannounced", error=type(stop_error).__name__)
            await self._consumer._client.close()  # noqa: SLF001 - `stop` did not reach it

    async def start(self) -> None:
        """Join the group; this may take as long as the session of a dead member."""
        joining = asyncio.create_task(self._consumer.start())
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        try:
            while not (await asyncio.wait((joining,), timeout=_STEP_SECONDS))[0]:
                self._waiting.progress.advance()
                if self._waiting.stopping.is_set():
                    raise Stopped
                if loop.time() - started_at > _JOINED_SECONDS:
                    raise Trouble(f"the group {self._group} cannot be joined")
                if loop.time() - started_at > _JOINING_SECONDS:
                    self._waiting.report_missing(f"the group {self._group} is not joined yet")
        finally:
            if not joining.done():
                joining.cancel()
                await asyncio.wait((joining,))
        if error := joining.exception():
            raise trouble_of(error, self._topic.name, self._group) from error
        log.info("consuming", topic=self._topic.name, group=self._group)

    async def get(self, patience: float, max_records: int) -> Polled:
        """Return at most `max_records` messages by partition, at once if there are some, within `patience` seconds."""
        await self._notice_assignment()
        await self._naming_trouble(self._partitions.begin())
        if self._polling is None:
            self._polling_assignment = self._assignments
            timeout_ms = int(patience * 1000) + 1
            self._polling = asyncio.create_task(self._consumer.getmany(timeout_ms=timeout_ms, max_records=max_records))
        if not (await asyncio.wait((self._polling,), timeout=patience + _GRACE_SECONDS))[0]:
            return {}
        polling, self._polling = self._polling, None
        error = polling.exception()
        await self._notice_assignment()
        if error:
            return await self._naming_trouble(self._mend(error))
        polled = polling.result()
        if polled:
            self._partitions.note_positions(polled, is_current=self._polling_assignment == self._assignments)
        return polled

    async def _naming_trouble(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except TopicMissing:
            # this raises if the topic was made anew meanwhile, with fewer partitions
            await self._cluster.describe_again(self._topic)
            raise
        except (KafkaError, TimeoutError) as error:
            raise trouble_of(error, self._topic.name, self._group) from error

    async def _mend(self, error: BaseException) -> Polled:
        if isinstance(error, OffsetOutOfRangeError):
            for place, offset in error.args[0].items():
                await self._partitions.reset(place, offset)
            return {}
        if isinstance(error, NoOffsetForPartitionError):
            await self._partitions.reset(error.args[0], None)
            return {}
        if isinstance(error, KafkaError) and not isinstance(error, _DECODING):
            raise trouble_of(error, self._topic.name, self._group) from error
        return await self._partitions.read_past(error)

    async def _notice_assignment(self) -> None:
        """Forget positions and halts of a former assignment: the new one begins at the committed offsets.

        The group also makes a new assignment when the topic is deleted. The note of its unread messages is kept then.

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
        """Check that the topic still exists and is the same, and note what its partitions wait for.

        Raises:
            Trouble: the topic is missing, forbidden, or was made anew. While the broker is away, nothing is raised.
        """
        if not await self._is_there():
            return
        self._waiting.missing = None
        self._partitions.note_unread()
        self._show_lag(self._partitions.unread)
        self._transactions.look(self._stable_ends())
        await self._naming_trouble(self._partitions.obey_skips())
        self._halts.remind()

    async def _is_there(self) -> bool:
        """Describe the topic anew. Return False if no broker answers."""
        try:
            topic = await self._cluster.describe_again(self._topic)
        except Trouble as error:
            if str(error) != NO_BROKER:
                raise
            # the consumer reconnects by itself, but does not report it
            self._waiting.report_missing(NO_BROKER)
            return False
        self._topic = self._partitions.topic = topic
        return True

    @property
    def unread(self) -> Mapping[int, tuple[int, int]]:
        """The messages that were not read at the latest look, as (first offset, offset after the last) by partition."""
        return self._partitions.unread

    def _show_lag(self, unread: Mapping[int, tuple[int, int]]) -> None:
        for partition in self._shown.difference(unread):
            LAG.remove(self._topic.name, str(partition))
        for partition, (first, end) in unread.items():
            LAG.labels(self._topic.name, partition).set(end - first)
        self._shown = set(unread)

    def _stable_ends(self) -> list[tuple[int, int, int]]:
        ends = []
        for place in self._consumer.assignment():
            stable, high = self._consumer.last_stable_offset(place), self._consumer.highwater(place)
            if stable is not None and high is not None:
                ends.append((place.partition, stable, high))
        return ends

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit `offsets`. If that fails, their messages come again, and the inbox recognises them."""
        if not offsets:
            return
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.commit(dict(offsets))
        except Exception as error:  # noqa: BLE001 - the same follows from every exception of aiokafka
            NOT_COMMITTED.inc()
            log.warning("offsets not committed", error=type(error).__name__)
