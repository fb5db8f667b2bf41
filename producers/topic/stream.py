"""Sends lines to the topic: in order for each credential, acknowledged by every in-sync replica.

Messages go out in batches that are built here, one at a time for each partition: a future for each message would cost
more than all other work together.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError

from loops.waiting import event_or_timeout
from producers.topic.partition import partition_of
from schemas.intake import LONGEST, TopicMessage

# A longer message goes alone.
_LONGEST_BATCH = 128 * 1024
_PRODUCER = {
    "client_id": "repoint-ingest",
    "acks": "all",
    # without it, a retry may put a line behind its followers, or put it twice
    "enable_idempotence": True,
    "compression_type": "lz4",
    "max_batch_size": _LONGEST_BATCH,
    "request_timeout_ms": 30_000,
}
# A refused message leaves a gap in the numbers of an idempotent producer: the broker then refuses all that follow.
_PRODUCER_OF_LONG = _PRODUCER | {"enable_idempotence": False, "max_request_size": 2 * LONGEST}
# How long a batch waits for more messages.
_LINGER_SECONDS = 0.02
# A broker that creates topics on demand has created it by then.
_TOPIC_SECONDS = 10
# `send` has waited for a lost broker already.
_STOP_SECONDS = 5

_NO_SECURITY: Mapping[str, Any] = {}


class Unreachable(Exception):
    """The broker does not answer; the text names it."""


class FeedLine(NamedTuple):
    """A record of a feed with its messages; `refusal_text` says why no update can be made of it.

    `number` counts lines from 1. `end` is the byte where the next line begins, 0 where reading cannot begin.
    `last_line` is the number of the line before `end`, if that is another line. `parts` counts the parts of split
    records up to `end`, without the first part of each record.

    A refused line has one message, for the dead letters. It has none if it is too long to be sent, or if it `is_kept`
    in the message of another part of its record. `irrelevant` is the kind of a record that updates no
    payment method (`schemas.feeds.feed.Irrelevant`); it has no message.
    """

    number: int
    end: int
    messages: Sequence[TopicMessage]
    refusal_text: str | None = None
    last_line: int = 0
    parts: int = 0
    is_kept: bool = False
    irrelevant: str | None = None


@dataclass(slots=True)
class SendCounts:
    """Counts of a feed's lines and messages. `refused` messages were too long, or the broker refused them.

    Of the refused messages, the broker will never take those that are `too_long`. At any other refusal reading stops.
    """

    lines: int = 0
    unusable: int = 0
    messages: int = 0
    acknowledged: int = 0
    refused: int = 0
    too_long: int = 0
    first_refusal: str | None = None


async def send(
    lines: AsyncIterable[FeedLine],
    *,
    bootstrap_servers: str,
    topic: str,
    thin_topic: str = "",
    security: Mapping[str, Any] = _NO_SECURITY,
    on_acknowledged: Callable[[FeedLine], None] = lambda _: None,
    patience: float = 60.0,
) -> SendCounts:
    """Send all lines, and wait until each is acknowledged or refused; thin events go onto `thin_topic`.

    `on_acknowledged` is called for each line, in the order of the lines, once the broker has acknowledged all messages
    of it and of every line before it. A line that is too long for the broker is passed as unusable. `patience` is how
    many seconds a lost or busy broker is waited for. `security` are aiokafka's arguments for TLS and SASL.

    Raises:
        Unreachable: there is no broker, or it has not answered for too long; some lines may be on the topic.
    """
    counts = SendCounts()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, **security, **_PRODUCER)
    try:
        await producer.start()
    except KafkaConnectionError:
        await producer.stop()
        if security:  # a broker that refuses the login looks like a missing one
            settings = "REPOINT_KAFKA_BOOTSTRAP_SERVERS, REPOINT_KAFKA_SECURITY_PROTOCOL"
            raise Unreachable(f"no broker at {bootstrap_servers} lets us in ({settings})") from None
        raise Unreachable(f"no broker at {bootstrap_servers} (REPOINT_KAFKA_BOOTSTRAP_SERVERS)") from None
    try:
        partitions = await _partitions(producer, bootstrap_servers, topic, "REPOINT_KAFKA_TOPIC")
    except Unreachable:
        await producer.stop()
        raise
    # most feeds have no thin events, so the topic of thin events may be missing
    thin = partial(_partitions, producer, bootstrap_servers, thin_topic, "REPOINT_KAFKA_THIN_TOPIC")
    long_producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, **security, **_PRODUCER_OF_LONG)
    sender = _LineSender(
        producer,
        topic,
        partitions,
        thin_topic=thin_topic,
        partitions_of_thin=thin,
        long_producer=long_producer,
        on_acknowledged=on_acknowledged,
        counts=counts,
    )
    sending = asyncio.create_task(sender.send_all(lines))
    try:
        await _watch(sending, counts, patience)
    finally:
        sending.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.gather(producer.stop(), long_producer.stop())
    return counts


async def _partitions(producer: AIOKafkaProducer, bootstrap_servers: str, topic: str, setting: str) -> list[int]:
    """The topic's partitions. Looked up once: a missing topic would cost half a minute for each line."""
    try:
        async with asyncio.timeout(_TOPIC_SECONDS):
            return sorted(await producer.partitions_for(topic))
    except (TimeoutError, KafkaError) as error:
        why = "not known there" if isinstance(error, TimeoutError) else f"refused: {type(error).__name__}"
        raise Unreachable(f"topic {topic} at {bootstrap_servers} is {why} ({setting})") from None


async def _watch(sending: "asyncio.Task[None]", counts: SendCounts, patience: float) -> None:
    """Wait until all is sent, or raise Unreachable: an idempotent producer by itself would try for ever."""
    answered, since = 0, time.monotonic()
    while not sending.done():
        await asyncio.wait((sending,), timeout=0.5)
        answered_now = counts.acknowledged + counts.refused
        # nothing is outstanding: the feed is slow, not the broker
        if answered_now != answered or answered_now == counts.messages:
            answered, since = answered_now, time.monotonic()
        if time.monotonic() - since > patience:
            raise Unreachable(
                f"messages that the broker took: {counts.acknowledged} of {counts.messages}, and then none for"
                f" {patience:.0f} s; send the whole again, for what is there already will be recognised"
            )
    await sending


@dataclass(slots=True, eq=False, repr=False)
class _UnacknowledgedLine:
    """A line, and the number of its messages that are not acknowledged yet."""

    line: FeedLine
    unacknowledged: int


@dataclass(slots=True)
class _OutgoingBatch:
    """The next batch of one partition; `lines` has the line of each message in it."""

    builder: Any = None
    lines: list[_UnacknowledgedLine] = field(default_factory=list)
    # a batch must not overtake the one before it while both wait for room
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class _LineSender:
    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partitions: list[int],
        *,
        thin_topic: str,
        partitions_of_thin: Callable[[], Awaitable[list[int]]],
        long_producer: AIOKafkaProducer,
        on_acknowledged: Callable[[FeedLine], None],
        counts: SendCounts,
    ) -> None:
        self.producer = producer
        self.topic = topic
        self.thin_topic = thin_topic
        self.partitions = {topic: partitions}
        self.partitions_of_thin = partitions_of_thin
        self.long_producer = long_producer
        self.long_producer_started = False
        self.on_acknowledged = on_acknowledged
        self.counts = counts
        self.batches = {(topic, partition): _OutgoingBatch() for partition in partitions}
        self.open_lines: deque[_UnacknowledgedLine] = deque()
        self.in_flight: set[asyncio.Future[object]] = set()
        self.is_over = asyncio.Event()

    async def send_all(self, lines: AsyncIterable[FeedLine]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._linger())
                async for line in lines:
                    if self.counts.first_refusal is not None:
                        break  # no later line can be reported, so all of them would stay in memory
                    await self._put(line)
                self.is_over.set()
        except ExceptionGroup as several:
            if unreachable := several.subgroup(Unreachable):
                raise unreachable.exceptions[0] from None
            raise
        await self._send_all()
        if self.in_flight:
            await asyncio.wait(self.in_flight)
        self._report_acknowledged()
        assert self.counts.acknowledged + self.counts.refused == self.counts.messages

    async def _put(self, line: FeedLine) -> None:
        counts = self.counts
        counts.lines += 1
        counts.unusable += line.refusal_text is not None
        unsent = line.refusal_text is not None and not line.messages and not line.is_kept
        counts.messages += 1 if unsent else len(line.messages)
        counts.refused += unsent
        counts.too_long += unsent
        open_line = _UnacknowledgedLine(line, len(line.messages))
        self.open_lines.append(open_line)
        self._report_acknowledged()
        for message in line.messages:
            await self._append(message, open_line)

    async def _append(self, message: TopicMessage, open_line: _UnacknowledgedLine) -> None:
        key, value, headers, thin, _ = message
        topic = self.thin_topic if thin else self.topic
        if topic not in self.partitions:
            self.partitions[topic] = await self.partitions_of_thin()
            self.batches |= {(topic, partition): _OutgoingBatch() for partition in self.partitions[topic]}
        partition = partition_of(key, self.partitions[topic])
        if len(value) > _LONGEST_BATCH:
            await self._send_alone(topic, partition, message, open_line)
            return
        batch = self.batches[topic, partition]
        while batch.builder is None or not batch.builder.append(
            timestamp=None, key=key, value=value, headers=list(headers)
        ):
            if batch.lines:
                await self._send(topic, partition)
            else:
                batch.builder = self.producer.create_batch()
        batch.lines.append(open_line)

    async def _send(self, topic: str, partition: int) -> None:
        batch = self.batches[topic, partition]
        async with batch.lock:
            if not batch.lines:
                return
            builder, lines = batch.builder, batch.lines
            batch.builder, batch.lines = None, []
            try:
                future = await self.producer.send_batch(builder, topic, partition=partition)
            except KafkaError as error:
                self._count(lines, error)
            else:
                self.in_flight.add(future)
                future.add_done_callback(partial(self._on_answer, lines))

    async def _send_alone(
        self, topic: str, partition: int, message: TopicMessage, open_line: _UnacknowledgedLine
    ) -> None:
        """Send a long message after all messages before it."""
        await self._send(topic, partition)
        if self.in_flight:
            await asyncio.wait(self.in_flight)
        key, value, headers, *_ = message
        try:
            if not self.long_producer_started:
                await self.long_producer.start()
                self.long_producer_started = True
            await self.long_producer.send_and_wait(topic, value, key, partition, headers=list(headers))
        except KafkaError as error:
            self._count([open_line], error)
        else:
            self._count([open_line], None)

    async def _send_all(self) -> None:
        for topic, partition in list(self.batches):
            await self._send(topic, partition)

    async def _linger(self) -> None:
        """Send unfinished batches at intervals: a feed may be silent for hours after its latest line."""
        # ended by `is_over`, never cancelled: a cancelled send could lose its batch
        while not self.is_over.is_set():
            await event_or_timeout(self.is_over, _LINGER_SECONDS)
            await self._send_all()
            self._report_acknowledged()

    def _on_answer(self, lines: list[_UnacknowledgedLine], answer: "asyncio.Future[object]") -> None:
        self.in_flight.discard(answer)
        if not answer.cancelled():
            self._count(lines, answer.exception())

    def _count(self, lines: list[_UnacknowledgedLine], error: BaseException | None) -> None:
        if isinstance(error, MessageSizeTooLargeError) and len(lines) == 1:
            (open_line,) = lines
            self.counts.refused += 1
            self.counts.too_long += 1
            open_line.line = open_line.line._replace(refusal_text="message: too long for the broker")
            open_line.unacknowledged -= 1
            return
        if error is not None:
            self.counts.refused += len(lines)
            self.counts.first_refusal = self.counts.first_refusal or type(error).__name__
            return
        self.counts.acknowledged += len(lines)
        for open_line in lines:
            open_line.unacknowledged -= 1

    def _report_acknowledged(self) -> None:
        while self.open_lines and not self.open_lines[0].unacknowledged:
            self.on_acknowledged(self.open_lines.popleft().line)
