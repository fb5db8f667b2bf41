"""The consumer: poll → take in batches → commit the offsets, until it is stopped.

Offsets are committed after the database's transaction. After a crash in between, messages come again, and the inbox
recognises them. The partitions of a poll are distributed over *lanes*. Each lane has a batch and a transaction of its
own at a time: while one lane waits for the database, another lane computes.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import structlog
from aiokafka import TopicPartition
from prometheus_client import Gauge, Histogram
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchPoint, take_in
from consumers.cluster import Cluster, TopicMissing, TopicRemade, Trouble
from consumers.halts import Halts
from consumers.halving import BatchIntake, OnReplaced, TakeIn, batches
from consumers.handover import Handover
from consumers.ledger import Ledger
from consumers.letters import Message
from consumers.partitions import Polled
from consumers.reader import COMMIT_SECONDS, Reader
from loops.progress import Stalled
from loops.waiting import Reminder, Stopped, Waiting
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from store.topics import Incarnation, Loss
from wallets.announcements import OnDue
from wallets.change import Retention

log = structlog.get_logger()

BATCH_SECONDS = Histogram("repoint_batch_seconds", "Time to take a batch in, retries included")
WAITING = Gauge("repoint_consumer_waiting", "1 while a topic, or a partition of it, is not read", ["topic"])

WorkerPoint: TypeAlias = BatchPoint | Literal["polled", "offsets committed"]

# The longest poll, after which a stop is noticed.
_POLL_SECONDS = 0.25
# Interval of asking the broker whether the topic exists: aiokafka's consumer of a deleted topic only looks idle.
_LOOK_SECONDS = 2
# Delay after a trouble; it doubles with each further trouble, up to the longest.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.1, 5.0
_NO_SECURITY: Mapping[str, Any] = {}

# After a poll of this many messages, the next poll waits for more. With fewer, larger batches would save little.
_MANY = 50

# Batches of each lane in one poll. A lane takes them in one after another, and waits for the other lanes only after the
# last. A partition stays in one lane, so one lane may get all batches.
AHEAD = 8


class Worker:
    """One member of the consumer group.

    A batch has `batch_size` messages at most: those that came while the batch before was taken in. After a large batch
    the next batch waits for `batch_wait` seconds at most from its first message on; a single update does not wait.
    After `session_timeout` seconds without a heartbeat the group goes on without this member.
    `security` are aiokafka's arguments for TLS and SASL.
    `take_in` takes in a batch, in one transaction. In fields that `digit_ids` names, digits are no card number.
    If an `optional` topic is missing, `ready` returns None nevertheless.
    `on_due` is called after each commit that made deliveries, with the ids of their endpoints, `on_replaced` after each
    that replaced payment methods by vendors' facts, with the number of wallets by vendor.
    `on_point` is called with each point that is passed; crash tests stop the process there.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        bootstrap_servers: str,
        topic: str,
        group: str,
        retention: Retention,
        batch_size: int = 500,
        batch_wait: float = 0.02,
        lanes: int = 2,
        drain_within: float = 25,
        session_timeout: float = 20,
        security: Mapping[str, Any] = _NO_SECURITY,
        optional: bool = False,
        digit_ids: DigitIds = NO_DIGIT_IDS,
        take_in: TakeIn = take_in,
        on_due: OnDue = lambda _: None,
        on_replaced: OnReplaced = lambda _: None,
        on_point: Callable[[WorkerPoint], None] = lambda _: None,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._group = group
        self._batch_size = batch_size
        self._batch_wait = batch_wait
        self._lanes = lanes
        self._drain_within = drain_within
        self._session_timeout = session_timeout
        self._security = security
        self._optional = optional
        self._on_point = on_point
        self._waiting = Waiting(f"the consumer of {topic}", "the broker: not connected yet")
        self._intake = BatchIntake(
            engine,
            retention,
            take_in,
            self._waiting,
            on_due=on_due,
            on_replaced=on_replaced,
            on_point=on_point,
            digit_ids=digit_ids,
        )
        self._idle = asyncio.Event()
        self._idle.set()
        self._handing_over = asyncio.Event()
        self._idle_since = time.monotonic()
        self._leaving_since: float | None = None
        self._halts = Halts(topic)
        self._handover = Handover(self._handing_over, self._idle)
        self._ledger = Ledger(engine, self._waiting)
        self._unread: tuple[Incarnation | None, Mapping[int, tuple[int, int]]] = (None, {})
        self._troubles = 0
        self._latest_size = 0
        self._missing = Reminder()
        WAITING.labels(topic).set_function(lambda: float(self.ready() is not None))

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set, then finish the batch in hand.

        Raises:
            Stalled: the loop hangs.
        """
        try:
            await self._run(stopping)
        finally:
            self._intake.close()

    async def _run(self, stopping: asyncio.Event) -> None:
        self._waiting.stopping = stopping
        self._waiting.progress.advance()
        work = asyncio.create_task(self._work())
        stop_at = float("inf")
        while not work.done():
            await asyncio.wait((work,), timeout=1)
            if stopping.is_set():
                stop_at = min(stop_at, time.monotonic())
                if time.monotonic() > self._drained_by(stop_at):
                    break
            if reason := self.stalled():
                work.cancel()
                raise Stalled(reason)
        if not work.done():
            patience: float = COMMIT_SECONDS + 1
            if not self._idle.is_set():
                log.warning("the batch in hand is given up: the next member that reads it will take it in")
                patience = _POLL_SECONDS
            work.cancel()
            await asyncio.wait((work,), timeout=patience)
            return
        await work

    def _drained_by(self, stop_at: float) -> float:
        """Until when to wait for the end after a stop at `stop_at`, in monotonic seconds."""
        if not self._idle.is_set():
            return stop_at + self._drain_within
        if self._leaving_since is not None:
            return self._leaving_since + COMMIT_SECONDS + 1
        # With nothing in hand it waits for the group, which waits for a dead member for up to a session.
        return max(stop_at, self._idle_since) + _LOOK_SECONDS

    def ready(self) -> str | None:
        """Why no updates, or not all updates, are taken in at present; None if all are."""
        return self._waiting.missing or self._halts.reason()

    def stalled(self) -> str | None:
        """Why the process should be restarted; None while the consumer makes progress."""
        return self._waiting.progress.stalled()

    async def _work(self) -> None:
        try:
            async with Cluster(bootstrap_servers=self._bootstrap_servers, security=self._security) as cluster:
                while not self._waiting.stopping.is_set():
                    try:
                        await self._read(cluster)
                    except Trouble as trouble:
                        await self._wait_out(trouble)
        except Stopped:
            log.info("stopped while nothing could be read", topic=self._topic)

    async def _read(self, cluster: Cluster) -> None:
        """Read the topic as one member of the group, until it is stopped.

        Raises:
            Trouble: the topic cannot be read any more, or not by this member.
        """
        self._waiting.progress.advance()
        topic = await cluster.describe(self._topic)
        incarnation = await self._ledger.meet(self._topic, topic.id)
        await self._lose_unread(incarnation)
        self._intake.incarnation = incarnation.number
        reader = Reader(
            bootstrap_servers=self._bootstrap_servers,
            group=self._group,
            session_timeout=self._session_timeout,
            security=self._security,
            ledger=self._ledger,
            cluster=cluster,
            waiting=self._waiting,
            halts=self._halts,
            handover=self._handover,
            topic=topic,
            incarnation=incarnation,
        )
        self._leaving_since = None
        async with reader:
            try:
                await reader.start()
                await self._consume(reader)
            finally:
                self._leaving_since = time.monotonic()
                self._unread = (incarnation, reader.unread)

    async def _consume(self, reader: Reader) -> None:
        polled = await self._poll(reader)
        self._waiting.missing = None
        looked_at = time.monotonic()
        while not self._waiting.stopping.is_set():
            self._waiting.progress.advance()
            if polled:
                self._on_point("polled")
                await self._take_in_and_commit(reader, polled)
            if time.monotonic() - looked_at > _LOOK_SECONDS:
                await reader.look()
                looked_at, self._troubles = time.monotonic(), 0
            polled = await self._poll(reader)

    async def _lose_unread(self, incarnation: Incarnation) -> None:
        """Note the lost messages of the former incarnation, if this is a later one.

        Messages that any member read after the latest look are in the database.
        """
        before, unread = self._unread
        if before is None or before.number >= incarnation.number:
            return
        for partition, (position, end) in unread.items():
            start = max(position, await self._ledger.taken_to(before, partition))
            if start < end:
                await self._ledger.lose(before, partition, start=start, end=end, reason=Loss.TOPIC_MADE_ANEW)

    async def _wait_out(self, trouble: Trouble) -> None:
        """Log why nothing is read, and wait before the next try."""
        self._waiting.progress.advance()
        if isinstance(trouble, TopicRemade):
            log.warning("waiting", reason=str(trouble))
            return
        if self._optional and isinstance(trouble, TopicMissing):
            self._waiting.missing = None
            if self._missing.is_due(str(trouble)):
                log.info("nothing is read while the topic is not there", topic=self._topic)
        else:
            self._waiting.report_missing(str(trouble))
        seconds = min(_SHORTEST_SECONDS * 2**self._troubles, _LONGEST_SECONDS)
        self._troubles += 1
        # spread, so that not all workers come back at once
        await self._waiting.sleep_or_stop(seconds * random.uniform(0.5, 1))  # noqa: S311 - nothing to guess

    async def _take_in_and_commit(self, reader: Reader, polled: Polled) -> None:
        self._idle.clear()
        self._handing_over.clear()
        try:
            if offsets := await self._take_in(polled):
                await reader.commit(offsets)
                self._on_point("offsets committed")
        finally:
            self._idle_since = time.monotonic()
            self._idle.set()

    async def _poll(self, reader: Reader) -> Polled:
        """Return the messages that have come, AHEAD batches for each lane at most.

        After a large poll, further messages have until the batch's wait is over. It counts from the oldest message on:
        a message that came while another batch was in hand, or lay with the broker, has waited already.
        """
        wait = self._batch_wait if self._latest_size >= _MANY else 0.0
        polled: dict[TopicPartition, list[Message]] = {}
        remaining, patience = self._batch_size * self._lanes * AHEAD, _POLL_SECONDS
        until = time.monotonic() + patience
        while remaining > 0 and patience > 0 and not self._waiting.stopping.is_set():
            received = await reader.get(patience, remaining)
            if received and not polled:
                until = time.monotonic() + wait - min(_age(received), wait)
            for partition, messages in received.items():
                polled.setdefault(partition, []).extend(messages)
                remaining -= len(messages)
            patience = until - time.monotonic()
        self._latest_size = sum(map(len, polled.values()))
        return polled

    # --- the database ---------------------------------------------------------------------------------------------

    async def _take_in(self, polled: Polled) -> dict[TopicPartition, int]:
        """Take in `polled`. Return the offsets to commit: not all, if it is stopped or gives partitions away."""
        offsets: dict[TopicPartition, int] = {}
        async with asyncio.TaskGroup() as lanes:
            for messages in _share_out(polled, self._lanes):
                lanes.create_task(self._take_in_batches(messages, offsets))
        return offsets

    async def _take_in_batches(self, messages: Sequence[Message], offsets: dict[TopicPartition, int]) -> None:
        for batch in batches(messages, self._batch_size):
            try:
                with BATCH_SECONDS.time():
                    await self._intake.take_in(batch)
            except Stopped:
                log.info("stopped while waiting: the next member that reads the polled messages will take them in")
                return
            offsets.update((TopicPartition(message.topic, message.partition), message.offset + 1) for message in batch)
            if self._waiting.stopping.is_set() or self._handing_over.is_set():
                return


def _age(polled: Mapping[TopicPartition, Sequence[Message]]) -> float:
    """The age of the oldest message in seconds, by the clock of its producer or broker."""
    oldest: int = min(messages[0].timestamp for messages in polled.values())
    return max(0.0, time.time() - oldest / 1000)


def _share_out(polled: Polled, lanes: int) -> list[list[Message]]:
    """The messages of each lane: a partition is whole in one lane, and the lanes are about equally long."""
    shares: list[list[Message]] = [[] for _ in range(lanes)]
    for messages in sorted(polled.values(), key=len, reverse=True):
        min(shares, key=len).extend(messages)
    return [lane for lane in shares if lane]
