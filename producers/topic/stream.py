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
    """One record of a feed with its messages; `unusable` is the reason why no update can be made of it.

    `number` counts lines from 1. `end` is the byte where the next line begins, 0 where reading cannot begin. `last` is
    the number of the line before `end`, if that is another line. `parts` counts the parts of split records up to `end`,
    without the first part of each record.

    An unusable line has one message, for the dead letters. It has none if it is too long to be sent, or if it
    `is_kept` in the message of another part of its record. `irrelevant` is the kind of a record that updates no
    payment method (`schemas.feeds.feed.Irrelevant`); it has no message.
    """

    number: int
    end: int
    messages: Sequence[TopicMessage]
    unusable: str | None = None
    last: int = 0
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
    sent = SendCounts()
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
    of_long = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, **security, **_PRODUCER_OF_LONG)
    sender = _LineSender(
        producer,
        topic,
        partitions,
        thin_topic=thin_topic,
        partitions_of_thin=thin,
        of_long=of_long,
        on_acknowledged=on_acknowledged,
        sent=sent,
    )
    sending = asyncio.create_task(sender.send_all(lines))
    try:
        await _watch(sending, sent, patience)
    finally:
        sending.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.gather(producer.stop(), of_long.stop())
    return sent


async def _partitions(producer: AIOKafkaProducer, bootstrap_servers: str, topic: str, setting: str) -> list[int]:
    """The topic's partitions. Looked up once: a missing topic would cost half a minute for each line."""
    try:
        async with asyncio.timeout(_TOPIC_SECONDS):
            return sorted(await producer.partitions_for(topic))
    except (TimeoutError, KafkaError) as error:
        why = "not known there" if isinstance(error, TimeoutError) else f"refused: {type(error).__name__}"
        raise Unreachable(f"topic {topic} at {bootstrap_servers} is {why} ({setting})") from None


async def _watch(sending: "asyncio.Task[None]", sent: SendCounts, patience: float) -> None:
    """Wait until all is sent, or raise Unreachable: an idempotent producer by itself would try for ever."""
    answered, since = 0, time.monotonic()
    while not sending.done():
        await asyncio.wait((sending,), timeout=0.5)
        now_answered = sent.acknowledged + sent.refused
        # nothing is outstanding: the feed is slow, not the broker
        if now_answered != answered or now_answered == sent.messages:
            answered, since = now_answered, time.monotonic()
        if time.monotonic() - since > patience:
            raise Unreachable(
                f"messages that the broker took: {sent.acknowledged} of {sent.messages}, and then none for"
                f" {patience:.0f} s; send the whole again, for what is there already will be recognised"
            )
    await sending


@dataclass(slots=True, eq=False, repr=False)
class _UnacknowledgedLine:
    """A line with `outstanding` messages that are not acknowledged yet."""

    line: FeedLine
    outstanding: int


@dataclass(slots=True)
class _OutgoingBatch:
    """The next batch of one partition; `of` has the line of each message in it."""

    builder: Any = None
    of: list[_UnacknowledgedLine] = field(default_factory=list)
    # a batch must not overtake the one before it while both wait for room
    one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)


class _LineSender:
    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partitions: list[int],
        *,
        thin_topic: str,
        partitions_of_thin: Callable[[], Awaitable[list[int]]],
        of_long: AIOKafkaProducer,
        on_acknowledged: Callable[[FeedLine], None],
        sent: SendCounts,
    ) -> None:
        self.producer = producer
        self.topic = topic
        self.thin_topic = thin_topic
        self.partitions = {topic: partitions}
        self.partitions_of_thin = partitions_of_thin
        self.of_long = of_long
        self.of_long_started = False
        self.on_acknowledged = on_acknowledged
        self.sent = sent
        self.batches = {(topic, partition): _OutgoingBatch() for partition in partitions}
        self.open: deque[_UnacknowledgedLine] = deque()
        self.on_their_way: set[asyncio.Future[object]] = set()
        self.over = asyncio.Event()

    async def send_all(self, lines: AsyncIterable[FeedLine]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._linger())
                async for line in lines:
                    if self.sent.first_refusal is not None:
                        break  # no later line can be reported, so all of them would stay in memory
                    await self._put(line)
                self.over.set()
        except ExceptionGroup as several:
            if unreachable := several.subgroup(Unreachable):
                raise unreachable.exceptions[0] from None
            raise
        await self._send_all()
        if self.on_their_way:
            await asyncio.wait(self.on_their_way)
        self._report_acknowledged()
        assert self.sent.acknowledged + self.sent.refused == self.sent.messages

    async def _put(self, line: FeedLine) -> None:
        sent = self.sent
        sent.lines += 1
        sent.unusable += line.unusable is not None
        unsent = line.unusable is not None and not line.messages and not line.is_kept
        sent.messages += 1 if unsent else len(line.messages)
        sent.refused += unsent
        sent.too_long += unsent
        opened = _UnacknowledgedLine(line, len(line.messages))
        self.open.append(opened)
        self._report_acknowledged()
        for message in line.messages:
            await self._append(message, opened)

    async def _append(self, message: TopicMessage, opened: _UnacknowledgedLine) -> None:
        key, value, headers, thin = message
        topic = self.thin_topic if thin else self.topic
        if topic not in self.partitions:
            self.partitions[topic] = await self.partitions_of_thin()
            self.batches |= {(topic, partition): _OutgoingBatch() for partition in self.partitions[topic]}
        partition = partition_of(key, self.partitions[topic])
        if len(value) > _LONGEST_BATCH:
            await self._send_alone(topic, partition, message, opened)
            return
        batch = self.batches[topic, partition]
        while batch.builder is None or not batch.builder.append(
            timestamp=None, key=key, value=value, headers=list(headers)
        ):
            if batch.of:
                await self._send(topic, partition)
            else:
                batch.builder = self.producer.create_batch()
        batch.of.append(opened)

    async def _send(self, topic: str, partition: int) -> None:
        batch = self.batches[topic, partition]
        async with batch.one_by_one:
            if not batch.of:
                return
            builder, of = batch.builder, batch.of
            batch.builder, batch.of = None, []
            try:
                on_its_way = await self.producer.send_batch(builder, topic, partition=partition)
            except KafkaError as error:
                self._count(of, error)
            else:
                self.on_their_way.add(on_its_way)
                on_its_way.add_done_callback(partial(self._answered, of))

    async def _send_alone(self, topic: str, partition: int, message: TopicMessage, opened: _UnacknowledgedLine) -> None:
        """Send a long message after all messages before it."""
        await self._send(topic, partition)
        if self.on_their_way:
            await asyncio.wait(self.on_their_way)
        key, value, headers, _ = message
        try:
            if not self.of_long_started:
                await self.of_long.start()
                self.of_long_started = True
            await self.of_long.send_and_wait(topic, value, key, partition, headers=list(headers))
        except KafkaError as error:
            self._count([opened], error)
        else:
            self._count([opened], None)

    async def _send_all(self) -> None:
        for topic, partition in list(self.batches):
            await self._send(topic, partition)

    async def _linger(self) -> None:
        """Send unfinished batches at intervals: a feed may be silent for hours after its latest line."""
        # ended by `over`, never cancelled: a cancelled send could lose its batch
        while not self.over.is_set():
            await event_or_timeout(self.over, _LINGER_SECONDS)
            await self._send_all()
            self._report_acknowledged()

    def _answered(self, of: list[_UnacknowledgedLine], answer: "asyncio.Future[object]") -> None:
        self.on_their_way.discard(answer)
        if not answer.cancelled():
            self._count(of, answer.exception())

    def _count(self, of: list[_UnacknowledgedLine], error: BaseException | None) -> None:
        if isinstance(error, MessageSizeTooLargeError) and len(of) == 1:
            (opened,) = of
            self.sent.refused += 1
            self.sent.too_long += 1
            opened.line = opened.line._replace(unusable="message: too long for the broker")
            opened.outstanding -= 1
            return
        if error is not None:
            self.sent.refused += len(of)
            self.sent.first_refusal = self.sent.first_refusal or type(error).__name__
            return
        self.sent.acknowledged += len(of)
        for opened in of:
            opened.outstanding -= 1

    def _report_acknowledged(self) -> None:
        while self.open and not self.open[0].outstanding:
            self.on_acknowledged(self.open.popleft().line)
