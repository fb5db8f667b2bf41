"""The consumer: poll → take a batch in → commit the offsets, until told to stop.

Offsets are committed after the database, so a crash in between brings messages again, and the inbox knows them.
Within one poll the partitions are shared out over *lanes*, each with a batch and a transaction of its own at a time:
while one waits for the database, another computes.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, KafkaError
from prometheus_client import Counter, Histogram
from sqlalchemy.ext.asyncio import AsyncEngine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from consumers.batch import Keeping, Message, Point, Taken, dead_letter, take
from domain.wallet import Key
from store import dead_letters
from store.failures import DATABASE_ERRORS, Failure, failure, refused_by
from store.knowledge import Contended

log = structlog.get_logger()

UPDATES = Counter("repoint_updates_total", "Vendor updates taken in, by outcome", ["outcome"])
UNREADABLE = Counter("repoint_dead_letters_total", "Messages that no update could be made of")
MET_BEFORE = Counter("repoint_messages_met_before_total", "Messages read again after a crash or a rebalance")
EVENTS = Counter("repoint_events_total", "Events made for merchants")
RETRIES = Counter("repoint_batch_retries_total", "Batches taken again, by why", ["failure"])
NOT_COMMITTED = Counter("repoint_offset_commits_failed_total", "Offsets not committed: a rebalance, or a broker away")
BATCH_SECONDS = Histogram("repoint_batch_seconds", "Time to take a batch in, retries included")

Consumer: TypeAlias = "AIOKafkaConsumer[bytes | None, bytes | None]"
Polled: TypeAlias = Mapping[TopicPartition, list[Message]]
Take: TypeAlias = Callable[..., Awaitable[Taken]]
"""As `consumers.batch.take`, with its arguments."""
Place: TypeAlias = Point | Literal["polled", "offsets committed"]

# How often a batch that others are in the way of is taken again as a whole, before it is halved.
_TRIES = 5
# No poll may take longer: this is how fast a stop is noticed.
_POLL_SECONDS = 0.25
_COMMIT_SECONDS = 10
# After so long without a message the broker is asked whether it is there, and so long it may take to answer.
_SILENT_SECONDS = 2
_NO_BROKER = "the broker cannot be reached"
_NO_SECURITY: Mapping[str, Any] = {}
# Half the rebalance timeout: after it the group goes on without this member.
_HANDOVER_SECONDS = 30
# No batch takes that long, nor any wait that is not announced; a loop that hangs is ended, and restarted by who runs
# it.
_STALLED_SECONDS = 180

# So many batches for each lane are polled at a time: it takes them in one after another, and waits for the other lanes
# after the last one only. A partition stays in one lane, so a lane may get those of all.
AHEAD = 8

# In one session timeout: some may be late before the group gives the member up.
_HEARTBEATS = 15

# aiokafka's defaults lose or repeat work (auto-commit, latest, uncommitted reads) or are too short for a batch.
_CONSUMER = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "isolation_level": "read_committed",
    "rebalance_timeout_ms": 60_000,
    "request_timeout_ms": 90_000,
    "max_poll_interval_ms": 300_000,
    "fetch_min_bytes": 64 * 1024,
    "fetch_max_wait_ms": 50,
    "fetch_max_bytes": 16 * 1024 * 1024,
    "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
}


class Stalled(Exception):
    """The loop has made no progress for too long; ending the process lets it begin again."""


class Stopped(Exception):
    """Told to stop while a batch could not be taken in; it will be taken in by whoever reads it next."""


class Worker:
    """One member of the consumer group.

    A batch has `batch_size` messages at most, and waits for `batch_wait` seconds at most from the first one on.
    After `session_timeout` seconds without a sign of life the group goes on without it.
    `security` are aiokafka's arguments for TLS and SASL.
    `take` is what takes a batch in, in one transaction.
    `told` is called after each commit that leaves something to be told to merchants.
    `at` is told each point that is passed; crash tests stop the process there.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        bootstrap_servers: str,
        topic: str,
        group: str,
        keeping: Keeping,
        batch_size: int = 500,
        batch_wait: float = 0.05,
        lanes: int = 2,
        drain_within: float = 25,
        session_timeout: float = 45,
        security: Mapping[str, Any] = _NO_SECURITY,
        take: Take = take,
        told: Callable[[], None] = lambda: None,
        at: Callable[[Place], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._group = group
        self._keeping = keeping
        self._batch_size = batch_size
        self._batch_wait = batch_wait
        self._lanes = lanes
        self._drain_within = drain_within
        self._session_timeout = session_timeout
        self._security = security
        self._take_in_batch = take
        self._told = told
        self._at = at
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._enough = asyncio.Event()
        self._idle_since = self._progress = time.monotonic()
        self._leaving_since: float | None = None
        self._waits_for: str | None = "the broker: not connected yet"

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set, then finish the batch at hand.

        Raises:
            Stalled: the loop hangs.
        """
        self._stopping = stopping
        self._made_progress()
        work = asyncio.create_task(self._work())
        told_at = float("inf")
        while not work.done():
            await asyncio.wait((work,), timeout=1)
            if stopping.is_set():
                told_at = min(told_at, time.monotonic())
                if time.monotonic() > self._drained_by(told_at):
                    break
            if reason := self.stalled():
                work.cancel()
                raise Stalled(reason)
        if not work.done():
            patience: float = _COMMIT_SECONDS + 1
            if not self._idle.is_set():
                log.warning("the batch at hand is given up: it will be taken in by whoever reads it next")
                patience = _POLL_SECONDS
            work.cancel()
            await asyncio.wait((work,), timeout=patience)
            return
        await work

    def _drained_by(self, told_at: float) -> float:
        """When to wait no longer for the end, having been told to stop at `told_at`."""
        if not self._idle.is_set():
            return told_at + self._drain_within
        if self._leaving_since is not None:
            return self._leaving_since + _COMMIT_SECONDS + 1
        # With nothing in hand it waits for its group, and that for a member that died, for up to a session.
        return max(told_at, self._idle_since) + _SILENT_SECONDS

    def ready(self) -> str | None:
        """Why no updates are taken in at present; None if they are."""
        return self._waits_for

    def stalled(self) -> str | None:
        """Why the process should be restarted; None if it is well."""
        idle = time.monotonic() - self._progress
        return f"no progress for {idle:.0f} s" if idle > _STALLED_SECONDS else None

    async def _work(self) -> None:
        try:
            async with self._connected() as consumer:
                heard = time.monotonic()
                while not self._stopping.is_set():
                    polled = await self._poll(consumer)
                    self._made_progress()
                    if polled:
                        self._at("polled")
                        await self._take_in_and_commit(consumer, polled)
                    elif time.monotonic() - heard > _SILENT_SECONDS:
                        await self._ask_whether_it_is_there(consumer)
                    else:
                        continue
                    heard = time.monotonic()
        except Stopped:
            log.info("stopped before the broker was there")

    async def _take_in_and_commit(self, consumer: Consumer, polled: Polled) -> None:
        self._idle.clear()
        self._enough.clear()
        try:
            if offsets := await self._take_in(polled):
                await self._commit(consumer, offsets)
        finally:
            self._idle_since = time.monotonic()
            self._idle.set()

    # --- the broker -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Consumer]:
        """A started consumer; waits for the broker as long as it takes, unless told to stop."""
        session_timeout_ms = int(self._session_timeout * 1000)
        consumer: Consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=self._group,
            client_id="repoint",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=session_timeout_ms // _HEARTBEATS,
            **self._security,
            **_CONSUMER,
        )
        consumer.subscribe([self._topic], listener=_Handover(self._enough, self._idle))
        try:
            async for attempt in self._until_it_passes(_is_no_broker, _NO_BROKER):
                with attempt:
                    await consumer.start()
            self._waits_for = None
            log.info("consuming", topic=self._topic, group=self._group)
            yield consumer
        finally:
            self._leaving_since = time.monotonic()
            try:
                async with asyncio.timeout(_COMMIT_SECONDS):
                    await consumer.stop()
            except TimeoutError:
                # leaving the group waits behind joining it, and that for a member that died
                await consumer._client.close()  # noqa: SLF001 - `stop` came no further

    async def _poll(self, consumer: Consumer) -> Polled:
        """Some batches for each lane at most: from the first message on as many as come within the batch's wait.

        What came while another batch was in hand, or lay with the broker for a while, has waited already.
        """
        polled: dict[TopicPartition, list[Message]] = {}
        wanted, patience = self._batch_size * self._lanes * AHEAD, _POLL_SECONDS
        until = time.monotonic() + patience
        while wanted and patience > 0 and not self._stopping.is_set():
            got = await consumer.getmany(timeout_ms=int(patience * 1000) + 1, max_records=wanted)
            if got and not polled:
                until = time.monotonic() + self._batch_wait - min(_age(got), self._batch_wait)
            for partition, messages in got.items():
                polled.setdefault(partition, []).extend(messages)
                wanted -= len(messages)
            patience = until - time.monotonic()
        return polled

    async def _ask_whether_it_is_there(self, consumer: Consumer) -> None:
        """A consumer without a broker looks like one without messages; it comes back by itself, but does not say so."""
        try:
            async with asyncio.timeout(_SILENT_SECONDS):
                await consumer.topics()
        except (KafkaError, TimeoutError):
            self._wait_for(_NO_BROKER)
        else:
            self._waits_for = None

    async def _commit(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit how far was taken in. Where that fails, it will come again and be known."""
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError, KafkaError, TimeoutError) as error:
            NOT_COMMITTED.inc()
            log.warning("offsets not committed", error=type(error).__name__)
        self._at("offsets committed")

    # --- the database ---------------------------------------------------------------------------------------------

    async def _take_in(self, polled: Polled) -> dict[TopicPartition, int]:
        """The offsets up to which it was: all of it, unless told to stop or to give partitions away meanwhile."""
        offsets: dict[TopicPartition, int] = {}
        async with asyncio.TaskGroup() as lanes:
            for messages in _share_out(polled, self._lanes):
                lanes.create_task(self._take_one_after_another(messages, offsets))
        return offsets

    async def _take_one_after_another(self, messages: Sequence[Message], offsets: dict[TopicPartition, int]) -> None:
        for first in range(0, len(messages), self._batch_size):
            batch = messages[first : first + self._batch_size]
            try:
                with BATCH_SECONDS.time():
                    await self._take(batch)
            except Stopped:
                log.info("stopped while waiting; what was polled will be taken in by whoever reads it next")
                return
            offsets.update((TopicPartition(each.topic, each.partition), each.offset + 1) for each in batch)
            if self._stopping.is_set() or self._enough.is_set():
                return

    async def _take(self, messages: Sequence[Message]) -> None:
        """Take one batch in: as a whole, or where it cannot be, in halves, down to the message that is at fault."""
        within_reach: frozenset[Key] = frozenset()
        kind, rule = None, ""
        # a single message cannot be halved: whoever is in its way will be gone some time
        for _ in range(_TRIES) if len(messages) > 1 else itertools.count():
            self._made_progress()
            try:
                taken = await self._when_database_is_there(messages, within_reach)
            except DATABASE_ERRORS as error:
                kind = failure(error)
                if kind is None:
                    raise
                RETRIES.labels(kind.name.lower()).inc()
                if isinstance(error, Contended):
                    within_reach |= error.keys
                if kind is Failure.REFUSED:
                    rule = refused_by(error)
                    break
                # apart by chance, so that two workers do not meet again in step
                await self._sleep_or_stop(random.uniform(0, 0.05))  # noqa: S311 - nothing to guess
            else:
                _count(taken)
                if taken.events:
                    self._told()
                return
        log.warning("batch not taken in as a whole", failure=kind and kind.value, messages=len(messages))
        if len(messages) > 1:
            await self._take(messages[: len(messages) // 2])
            await self._take(messages[len(messages) // 2 :])
        else:
            await self._set_aside(messages[0], f"{Failure.REFUSED.value}: {rule}")

    async def _when_database_is_there(self, messages: Sequence[Message], within_reach: frozenset[Key]) -> Taken:
        async for attempt in self._until_it_passes(_is_away, "the database cannot be reached"):
            with attempt:
                taken = await self._take_in_batch(
                    self._engine, messages, self._keeping, within_reach=within_reach, at=self._at
                )
                self._waits_for = None
                return taken
        raise Stopped

    async def _set_aside(self, message: Message, reason: str) -> None:
        async for attempt in self._until_it_passes(_is_away, "the database cannot be reached"):
            with attempt:
                async with self._engine.begin() as connection:
                    await dead_letters.keep(connection, [dead_letter(message, reason)])
        UNREADABLE.inc()

    # --- waiting --------------------------------------------------------------------------------------------------

    def _until_it_passes(self, passes: Callable[[BaseException], bool], missing: str) -> AsyncRetrying:
        """Attempts without end at what fails for a passing reason, further and further apart, 5 s at most.

        Raises:
            Stopped: told to stop meanwhile.
        """

        def announce(_: RetryCallState) -> None:
            self._made_progress()
            self._wait_for(missing)

        return AsyncRetrying(
            retry=retry_if_exception(passes),
            wait=wait_exponential_jitter(multiplier=0.1, max=5),
            sleep=self._sleep_or_stop,
            before_sleep=announce,
            reraise=True,
        )

    def _wait_for(self, missing: str) -> None:
        if self._waits_for != missing:
            log.warning("waiting", reason=missing)
        self._waits_for = missing

    async def _sleep_or_stop(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
                raise Stopped

    def _made_progress(self) -> None:
        self._progress = time.monotonic()


class _Handover(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Before partitions go to another member, the batches at hand are finished and their offsets are committed.

    What was polled behind them is read again: the next assignment begins at what is committed.
    """

    def __init__(self, enough: asyncio.Event, idle: asyncio.Event) -> None:
        self._enough = enough
        self._idle = idle

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._enough.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_HANDOVER_SECONDS):
                await self._idle.wait()
        if revoked:
            log.info("partitions revoked", partitions=sorted(partition.partition for partition in revoked))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        log.info("partitions assigned", partitions=sorted(partition.partition for partition in assigned))


def _age(polled: Mapping[TopicPartition, Sequence[Message]]) -> float:
    """How many seconds ago the oldest of the messages was made, by the clock of its producer or broker."""
    oldest: int = min(messages[0].timestamp for messages in polled.values())
    return max(0.0, time.time() - oldest / 1000)


def _share_out(polled: Polled, lanes: int) -> list[list[Message]]:
    """The messages of each lane: a partition is in one lane whole, and the lanes are about as long."""
    shared: list[list[Message]] = [[] for _ in range(lanes)]
    for messages in sorted(polled.values(), key=len, reverse=True):
        min(shared, key=len).extend(messages)
    return [lane for lane in shared if lane]


def _is_no_broker(error: BaseException) -> bool:
    return isinstance(error, KafkaConnectionError)


def _is_away(error: BaseException) -> bool:
    return failure(error) is Failure.AWAY


def _count(taken: Taken) -> None:
    for outcome, number in taken.outcomes.items():
        UPDATES.labels(outcome.value).inc(number)
    UNREADABLE.inc(taken.unreadable)
    MET_BEFORE.inc(taken.met_before)
    EVENTS.inc(taken.events)
