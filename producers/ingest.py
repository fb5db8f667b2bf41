"""A feed's lines onto the topic: in order for each credential, and acknowledged by every in-sync replica.

A line that no update can be made of is sent too, so that it is kept as a dead letter, in the one place where people
look. One that holds a card number goes out with its digits masked, and marked, for masked it might pass for an update.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from domain import pan
from domain.wallet import token_key
from schemas.canonical import UNREADABLE_HEADER, Unreadable, parse

# What a broker takes in one message unless it is told otherwise is 1 MiB, the key and the headers included.
LONGEST_LINE = 1_000_000

_CHUNK = 64 * 1024

_PRODUCER = {
    "client_id": "repoint-ingest",
    "acks": "all",
    # without it, a retry may put a line behind its followers, or twice
    "enable_idempotence": True,
    "compression_type": "lz4",
    # lines come fast: waiting a moment makes batches of hundreds
    "linger_ms": 20,
    "max_batch_size": 128 * 1024,
    "request_timeout_ms": 30_000,
}


_NO_SECURITY: Mapping[str, Any] = {}

# A broker that makes topics when they are asked for has made it by then.
_TOPIC_SECONDS = 10
# A broker that has gone away is not waited for a second time.
_STOP_SECONDS = 5


class Unreachable(Exception):
    """The broker does not answer; the text says which."""


Headers: TypeAlias = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a feed, as it goes onto the topic; `unusable` is why no update can be made of it.

    `number` counts from 1; `size` is in bytes, as read; `value` is None where it is too long to be sent.
    """

    number: int
    size: int
    key: bytes | None
    value: bytes | None
    unusable: str | None = None
    headers: Headers = ()


async def canonical(stream: BufferedReader) -> AsyncIterator[Line]:
    """The lines of a feed in canonical form (design.md §4), empty ones left out; never the whole feed in memory."""
    number = 0
    async for text in _lines(stream):
        number += 1
        if text.strip():
            yield read(number, text)


def read(number: int, text: bytes, headers: Headers = ()) -> Line:
    """One line, of at most `LONGEST_LINE` bytes, without its end; or a message that has `headers` too."""
    size = len(text) + 1
    if len(text) > LONGEST_LINE:
        return Line(number, size, None, None, f"line: expected {LONGEST_LINE:,} bytes at most")
    try:
        update = parse(text, headers).update
    except Unreadable as error:
        return _unusable(number, text, str(error))
    return Line(number, size, None if update.old is None else update.old.key.encode(), text, headers=headers)


def _unusable(number: int, text: bytes, reason: str) -> Line:
    plain = text.decode(errors="backslashreplace")
    masked = pan.mask(plain)
    if masked == plain and not _still_shows_a_card_number(text):
        return Line(number, len(text) + 1, _key(text), text, reason)
    if _still_shows_a_card_number(masked.encode()):
        # encoded in a way that masking cannot reach
        masked = ""
    value = masked.encode()
    reason = pan.mask(reason)
    return Line(number, len(text) + 1, _key(value), value, reason, [(UNREADABLE_HEADER, reason.encode())])


def _still_shows_a_card_number(text: bytes) -> bool:
    try:
        parse(text)
    except Unreadable as error:
        return str(error).endswith("expected no card number")
    return False


def _key(text: bytes) -> bytes | None:
    """The old credential, if it can be made out, so that the line stays in order with its kind."""
    try:
        message: Any = json.loads(text)
        vendor, token = message["vendor"], message["old"]["token"]
    except (ValueError, KeyError, TypeError):
        return None
    return token_key(vendor, token).encode() if isinstance(vendor, str) and isinstance(token, str) else None


async def _lines(stream: BufferedReader) -> AsyncIterator[bytes]:
    """Lines without their ends, as soon as they are there; of one that is too long, a little more than is allowed."""
    rest = b""
    # In a thread: a pipe may have nothing to read for hours, and what was read before must go out meanwhile.
    while chunk := await asyncio.to_thread(stream.read1, _CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        rest = rest[: LONGEST_LINE + 1]
    if rest:
        yield rest


@dataclass(slots=True)
class Sent:
    """How the lines of a feed fared. Those refused were too long, or the broker would not take them."""

    lines: int = 0
    unusable: int = 0
    acknowledged: int = 0
    refused: int = 0
    first_refusal: str | None = None


async def send(
    lines: AsyncIterable[Line],
    *,
    bootstrap_servers: str,
    topic: str,
    security: Mapping[str, Any] = _NO_SECURITY,
    each: Callable[[Line], None] = lambda _: None,
    patience: float = 60.0,
) -> Sent:
    """Send all lines, and wait until each is acknowledged or refused; `each` is told every line as it is sent.

    `patience` is in seconds: so long a broker that went away, or is busy, is waited for. `security` are aiokafka's
    arguments for TLS and SASL.

    Raises:
        Unreachable: there is no broker, or it has not answered for too long; some lines may have been taken.
    """
    sent = Sent()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, **security, **_PRODUCER)
    try:
        await producer.start()
    except KafkaConnectionError:
        await producer.stop()
        if security:  # one that does not let us in looks like one that is not there
            settings = "REPOINT_KAFKA_BOOTSTRAP_SERVERS, REPOINT_KAFKA_SECURITY_PROTOCOL"
            raise Unreachable(f"no broker at {bootstrap_servers} lets us in ({settings})") from None
        raise Unreachable(f"no broker at {bootstrap_servers} (REPOINT_KAFKA_BOOTSTRAP_SERVERS)") from None
    await _check_topic(producer, bootstrap_servers, topic)
    sending = asyncio.create_task(_send_all(producer, topic, lines, each, sent))
    try:
        await _watch(sending, sent, patience)
    finally:
        sending.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await producer.stop()
    return sent


async def _check_topic(producer: AIOKafkaProducer, bootstrap_servers: str, topic: str) -> None:
    """Once, for otherwise every single line is tried for half a minute."""
    try:
        async with asyncio.timeout(_TOPIC_SECONDS):
            await producer.partitions_for(topic)
    except (TimeoutError, KafkaError) as error:
        await producer.stop()
        why = "not known there" if isinstance(error, TimeoutError) else f"refused: {type(error).__name__}"
        raise Unreachable(f"topic {topic} at {bootstrap_servers} is {why} (REPOINT_KAFKA_TOPIC)") from None


async def _send_all(
    producer: AIOKafkaProducer, topic: str, lines: AsyncIterable[Line], each: Callable[[Line], None], sent: Sent
) -> None:
    async for line in lines:
        sent.lines += 1
        sent.unusable += line.unusable is not None
        await _send(producer, topic, line, sent)
        each(line)
    await producer.flush()


async def _watch(sending: "asyncio.Task[None]", sent: Sent, patience: float) -> None:
    """Until all is sent. An idempotent producer tries for ever; a person wants to know."""
    answered, since = 0, time.monotonic()
    while not sending.done():
        await asyncio.wait((sending,), timeout=0.5)
        now_answered = sent.acknowledged + sent.refused
        # nothing outstanding: it is the feed that is slow
        if now_answered != answered or now_answered == sent.lines:
            answered, since = now_answered, time.monotonic()
        if time.monotonic() - since > patience:
            raise Unreachable(
                f"the broker took {sent.acknowledged} of {sent.lines} lines, and then nothing for {patience:.0f} s;"
                " send the whole again, for what is there already will be recognised"
            )
    await sending


async def _send(producer: AIOKafkaProducer, topic: str, line: Line, sent: Sent) -> None:
    def done(acknowledged: "asyncio.Future[object]") -> None:
        if not acknowledged.cancelled():
            _count(sent, acknowledged.exception())

    if line.value is None:
        sent.refused += 1
        return
    try:
        on_its_way = await producer.send(topic, line.value, key=line.key, headers=list(line.headers))
    except KafkaError as error:
        _count(sent, error)
    else:
        on_its_way.add_done_callback(done)


def _count(sent: Sent, error: BaseException | None) -> None:
    if error is None:
        sent.acknowledged += 1
    else:
        sent.refused += 1
        sent.first_refusal = sent.first_refusal or type(error).__name__
