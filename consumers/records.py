"""Record batches (Kafka's format 2), decoded where aiokafka gives up.

aiokafka decodes the batches of a fetch one after another. It raises at the first header name that is no UTF-8, and at
the first batch whose checksum is wrong, and never reaches the messages after it. Here such a name is read with its
bytes escaped (`surrogateescape`). A corrupt batch has a beginning and an end, so that it can be skipped.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import ConsumerRecord, codec
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.util import calc_crc32c, decode_varint

from schemas.canonical import was_utf8

if TYPE_CHECKING:
    from consumers.letters import Message

# base offset, length of what follows, leader epoch, magic, checksum, attributes, last offset delta, first and latest
# timestamp, producer id and epoch, base sequence, number of records
_HEADER = struct.Struct(">qiibIhiqqqhii")
_FRAME = struct.Struct(">qi")
# The checksum covers everything from the attributes on.
_CHECKED_FROM = struct.calcsize(">qiibI")
_MAGIC = 2

_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_DECOMPRESS = {1: codec.gzip_decode, 2: codec.snappy_decode, 3: codec.lz4_decode, 4: codec.zstd_decode}


@dataclass(frozen=True, slots=True)
class Corrupt:
    """A batch that cannot be read: `first` is the offset at which reading stops, `end` the offset after its last."""

    first: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReadMessages:
    """Messages up to `next_offset`, where the batches end or a `corrupt` batch begins.

    `has_escaped_names` says whether a header's name among them is no UTF-8.
    """

    messages: "list[Message]"
    next_offset: int
    corrupt: Corrupt | None
    has_escaped_names: bool


class _RecordBatch(NamedTuple):
    base: int
    end: int
    attributes: int
    first_timestamp: int
    latest_timestamp: int
    producer: int
    records: int
    payload: bytearray


class _UnreadableBatch(ValueError):
    """A batch does not follow the format; the text says how."""


def read(
    topic: str,
    partition: int,
    records: bytes,
    *,
    aborted: Sequence[tuple[int, int]],
    position: int,
    high_watermark: int,
) -> ReadMessages:
    """Decode the messages of committed transactions from `position` on, up to the first batch that cannot be read."""
    messages: list[Message] = []
    transactions = _AbortedTransactions(aborted)
    for frame, next_base in _frames(records):
        try:
            batch = _batch(frame)
            batch_messages = list(_messages(topic, partition, batch)) if transactions.passes(batch) else []
        except _UnreadableBatch as error:
            base = _FRAME.unpack_from(frame)[0]
            first = max(position, base)
            corrupt = Corrupt(first, _end(frame, first, next_base, high_watermark), str(error))
            return ReadMessages(messages, first, corrupt, _has_escaped_names(messages))
        messages += [message for message in batch_messages if message.offset >= position]
        position = max(position, batch.end)
    return ReadMessages(messages, position, None, _has_escaped_names(messages))


def _has_escaped_names(messages: "Sequence[Message]") -> bool:
    return any(not was_utf8(name) for message in messages for name, _ in message.headers)


def _frames(records: bytes) -> Iterator[tuple[bytes, int | None]]:
    """Yield each batch, and the base offset of the next batch; without the last batch if the fetch cut it short."""
    position, view = 0, memoryview(records)
    while position + _FRAME.size <= len(view):
        end = position + _FRAME.size + max(_FRAME.unpack_from(view, position)[1], 0)
        if end > len(view):
            return
        next_base = _FRAME.unpack_from(view, end)[0] if end + _FRAME.size <= len(view) else None
        yield bytes(view[position:end]), next_base
        position = end


def _end(frame: bytes, first: int, next_base: int | None, high_watermark: int) -> int:
    """The offset after a corrupt batch: by the next batch, as the corrupt batch's own header may be wrong."""
    if next_base is not None and first < next_base <= high_watermark:
        return next_base
    if len(frame) >= _HEADER.size:
        base, _, _, _, _, _, last, *_, count = _HEADER.unpack_from(frame)
        if 0 < count <= last + 1 and first <= base + last < high_watermark:
            return int(base + last + 1)
    return max(high_watermark, first + 1)


def _batch(frame: bytes) -> _RecordBatch:
    if len(frame) < _HEADER.size:
        raise _UnreadableBatch("a record batch is shorter than its own header")
    base, _, _, magic, checksum, attributes, last, first_timestamp, latest_timestamp, producer, _, _, count = (
        _HEADER.unpack_from(frame)
    )
    if magic != _MAGIC:
        raise _UnreadableBatch(f"a record batch is of format {magic}")
    if calc_crc32c(frame[_CHECKED_FROM:]) != checksum:
        raise _UnreadableBatch("the checksum of a record batch is wrong")
    return _RecordBatch(
        base,
        base + last + 1,
        attributes,
        first_timestamp,
        latest_timestamp,
        producer,
        count,
        _decompress(attributes & _CODEC, frame[_HEADER.size :]),
    )


def _decompress(compression: int, payload: bytes) -> bytearray:
    if not compression:
        return bytearray(payload)
    decompress = _DECOMPRESS.get(compression)
    if decompress is None:
        raise _UnreadableBatch(f"a record batch is compressed in an unknown way ({compression})")
    try:
        return bytearray(decompress(payload))
    except Exception as error:  # noqa: BLE001 - four libraries, each with exceptions of its own
        raise _UnreadableBatch(f"a record batch cannot be decompressed ({type(error).__name__})") from None


def _messages(topic: str, partition: int, batch: _RecordBatch) -> "Iterator[Message]":
    buffer, position = batch.payload, 0
    try:
        for _ in range(batch.records):
            length, start = decode_varint(buffer, position)
            position = start + length
            if length < 0 or position > len(buffer):
                raise _UnreadableBatch("a record is longer than its batch")
            yield _message(topic, partition, batch, buffer[start:position])
    except (ValueError, IndexError) as error:
        if isinstance(error, _UnreadableBatch):
            raise
        raise _UnreadableBatch("a record is not as its format has it") from None
    if position != len(buffer):
        raise _UnreadableBatch("a record batch goes on behind its records")


def _message(topic: str, partition: int, batch: _RecordBatch, record: bytearray) -> "Message":
    # the first byte are attributes, which are unused
    since, position = decode_varint(record, 1)
    delta, position = decode_varint(record, position)
    key, position = _bytes(record, position)
    value, position = _bytes(record, position)
    count, position = decode_varint(record, position)
    headers = []
    for _ in range(count):
        name, position = _bytes(record, position)
        content, position = _bytes(record, position)
        headers.append(((name or b"").decode(errors="surrogateescape"), content))
    if position != len(record) or count < 0:
        raise _UnreadableBatch("a record is not as its format has it")
    appended = bool(batch.attributes & _APPEND_TIME)
    return ConsumerRecord(
        topic,
        partition,
        batch.base + delta,
        batch.latest_timestamp if appended else batch.first_timestamp + since,
        int(appended),
        key,
        value,
        None,
        -1 if key is None else len(key),
        -1 if value is None else len(value),
        tuple(headers),
    )


def _bytes(record: bytearray, position: int) -> tuple[bytes | None, int]:
    length, position = decode_varint(record, position)
    if length < 0:
        return None, position
    if position + length > len(record):
        raise _UnreadableBatch("a field is longer than its record")
    return bytes(record[position : position + length]), position + length


class _AbortedTransactions:
    """The producers whose transaction is under way and will be aborted, while the batches pass in order."""

    def __init__(self, aborted: Sequence[tuple[int, int]]) -> None:
        self._upcoming = sorted(aborted, key=lambda transaction: transaction[1])
        self._producers: set[int] = set()

    def passes(self, batch: _RecordBatch) -> bool:
        """Whether the batch has committed messages."""
        while self._upcoming and self._upcoming[0][1] <= batch.base:
            self._producers.add(self._upcoming.pop(0)[0])
        if batch.attributes & _CONTROL:
            if _is_abort(batch):
                self._producers.discard(batch.producer)
            return False
        return not (batch.attributes & _TRANSACTIONAL and batch.producer in self._producers)


def _is_abort(batch: _RecordBatch) -> bool:
    try:
        (marker,) = _messages("", 0, batch)
        return bool(ControlRecord.parse(marker.key) == ABORT_MARKER)
    except (ValueError, TypeError, struct.error):
        raise _UnreadableBatch("the end of a transaction is not as its format has it") from None
