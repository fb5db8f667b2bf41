"""Record batches as they lie in the log: what is read of them, where reading stops, and where it goes on."""

import struct
from collections.abc import Callable, Sequence

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consumers.records import Corrupt, ReadMessages, read
from tests.parts.records import sealed

COMPRESSED = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20
ATTRIBUTES, LAST_DELTA, LATEST_TIMESTAMP, COUNT = 21, 23, 35, 57
HEADER_BYTES = 61
WRONG = "the checksum of a record batch is wrong"


def batch(
    base: int,
    *values: bytes | None,
    deltas: Sequence[int] = (),
    compression: int = 0,
    attributes: int = 0,
    producer: int = -1,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> bytes:
    """A batch of a message for each value, at `base` and behind it or as `deltas` says, made 1 s after each other."""
    builder = DefaultRecordBatchBuilder(2, compression, False, producer, 0, 0, 1 << 20)  # noqa: FBT003
    for at, value in enumerate(values):
        builder.append(deltas[at] if deltas else at, 1_000_000 + 1000 * at, key, value, list(headers))
    written = bytearray(builder.build())
    written[:8] = struct.pack(">q", base)
    return changed(written, ATTRIBUTES, ">h", struct.unpack_from(">h", written, ATTRIBUTES)[0] | attributes)


def changed(written: bytes | bytearray, at: int, form: str, value: int) -> bytes:
    """The batch with another number in its header, under a right checksum."""
    changing = bytearray(written)
    struct.pack_into(form, changing, at, value)
    return sealed(changing)


def with_payload(payload: bytes, *, count: int = 1, compression: int = 0) -> bytes:
    """A batch at offset 0 that says of itself that it has `count` messages, whatever its payload is."""
    header = bytearray(batch(0, b"", compression=compression)[:HEADER_BYTES]) + payload
    header[8:12] = struct.pack(">i", len(header) - 12)
    return changed(header, COUNT, ">i", count)


def marker(base: int, kind: int, producer: int) -> bytes:
    """The end of a transaction: `kind` is 0 for an abort, 1 for a commit."""
    key = struct.pack(">hh", 0, kind)
    return batch(base, b"", key=key, attributes=CONTROL | TRANSACTIONAL, producer=producer)


def damaged(written: bytes) -> bytes:
    return written[:-1] + bytes([written[-1] ^ 1])


def reading(
    *batches: bytes, position: int = 0, aborted: Sequence[tuple[int, int]] = (), high_watermark: int = 100
) -> ReadMessages:
    return read("updates", 2, b"".join(batches), aborted=aborted, position=position, high_watermark=high_watermark)


def given(got: ReadMessages) -> list[tuple[int, bytes | None]]:
    return [(message.offset, message.value) for message in got.messages]


# --- messages -----------------------------------------------------------------------------------------------------


def test_a_message_has_all_that_lies_in_the_log() -> None:
    (message,) = reading(batch(7, b"{}", key=b"vau:A", headers=[("ce_id", b"1"), ("none", None)])).messages
    assert (message.topic, message.partition, message.offset) == ("updates", 2, 7)
    assert (message.timestamp, message.timestamp_type) == (1_000_000, 0)
    assert (message.key, message.value) == (b"vau:A", b"{}")
    assert (message.serialized_key_size, message.serialized_value_size) == (5, 2)
    assert message.headers == (("ce_id", b"1"), ("none", None))


def test_what_is_null_is_none_and_what_is_empty_is_not() -> None:
    tombstone, empty = reading(batch(0, None, b"")).messages
    assert (tombstone.key, tombstone.value, empty.value) == (None, None, b"")
    assert (tombstone.serialized_key_size, tombstone.serialized_value_size) == (-1, -1)
    assert empty.serialized_value_size == 0


def test_each_message_has_its_own_time_and_one_of_a_topic_with_append_time_the_batch_s_latest() -> None:
    assert [message.timestamp for message in reading(batch(0, b"1", b"2", b"3")).messages] == [
        1_000_000,
        1_001_000,
        1_002_000,
    ]
    appended = changed(batch(0, b"1", b"2", attributes=APPEND_TIME), LATEST_TIMESTAMP, ">q", 7_000_000)
    assert [(message.timestamp, message.timestamp_type) for message in reading(appended).messages] == [
        (7_000_000, 1),
        (7_000_000, 1),
    ]


@pytest.mark.parametrize("compression", COMPRESSED.values(), ids=COMPRESSED)
def test_every_compression_is_unpacked(compression: int) -> None:
    assert given(reading(batch(3, b"1" * 500, b"2", compression=compression))) == [(3, b"1" * 500), (4, b"2")]


def test_messages_before_the_position_are_left_out_and_reading_goes_on_behind_the_last_batch() -> None:
    got = reading(batch(5, b"5", b"6", b"7"), batch(8, b"8"), position=6)
    assert given(got) == [(6, b"6"), (7, b"7"), (8, b"8")]
    assert (got.next_offset, got.corrupt, got.has_escaped_names) == (9, None, False)


def test_offsets_that_compaction_removed_are_passed() -> None:
    got = reading(changed(batch(10, b"10", b"13", deltas=[0, 3]), LAST_DELTA, ">i", 9))
    assert given(got) == [(10, b"10"), (13, b"13")]
    assert got.next_offset == 20


def test_of_nothing_nothing_is_read_and_the_position_stays() -> None:
    assert reading(position=4) == ReadMessages([], 4, None, has_escaped_names=False)
    assert reading(batch(0, b"0", b"1"), position=4).next_offset == 4


@pytest.mark.parametrize("kept", [5, HEADER_BYTES, -1], ids=["frame", "header", "all but a byte"])
def test_a_batch_that_the_fetch_cut_short_is_left_for_the_next_one(kept: int) -> None:
    got = reading(batch(0, b"0"), batch(1, b"1")[:kept])
    assert (given(got), got.next_offset, got.corrupt) == ([(0, b"0")], 1, None)


def test_a_header_s_name_that_is_no_utf8_is_escaped_and_named() -> None:
    written = bytearray(batch(9, b"{}", headers=[("@@@@", b"1")]))
    at = written.index(b"@@@@")
    written[at : at + 4] = b"\xff\xfea\xfd"
    got = reading(batch(8, b"", headers=[("plain", b"")]), sealed(written))
    assert [message.headers for message in got.messages] == [(("plain", b""),), (("\udcff\udcfea\udcfd", b"1"),)]
    assert got.has_escaped_names
    assert not reading(batch(9, b"", headers=[("häder", b"")])).has_escaped_names


# --- what is corrupt ----------------------------------------------------------------------------------------------


def test_reading_stops_at_a_corrupt_batch_and_what_stands_before_it_is_given() -> None:
    got = reading(batch(0, b"0", b"1"), damaged(batch(2, b"2", b"3")), batch(4, b"4"))
    assert given(got) == [(0, b"0"), (1, b"1")]
    assert (got.next_offset, got.corrupt) == (2, Corrupt(2, 4, WRONG))


def test_a_name_that_is_no_utf8_before_a_corrupt_batch_is_named_too() -> None:
    written = bytearray(batch(0, b"{}", headers=[("@@@@", b"1")]))
    at = written.index(b"@@@@")
    written[at : at + 4] = b"\xff\xfe\xfd\xfc"
    got = reading(sealed(written), damaged(batch(1, b"1")))
    assert (got.has_escaped_names, got.corrupt) == (True, Corrupt(1, 2, WRONG))


def test_a_corrupt_batch_begins_where_reading_stands() -> None:
    got = reading(damaged(batch(0, b"0", b"1", b"2")), batch(3, b"3"), position=2)
    assert (given(got), got.next_offset, got.corrupt) == ([], 2, Corrupt(2, 3, WRONG))


CORRUPT = damaged(batch(2, b"2", b"3", b"4"))


@pytest.mark.parametrize(
    ("behind", "high_watermark", "end"),
    [
        pytest.param(batch(4, b"4"), 100, 4, id="the batch behind it is asked first"),
        pytest.param(batch(90, b"4"), 100, 90, id="also where offsets are missing in between"),
        pytest.param(batch(100, b"4"), 100, 100, id="a batch may stand at the high watermark"),
        pytest.param(batch(101, b"4"), 100, 5, id="none stands behind the high watermark"),
        pytest.param(batch(2, b"4"), 100, 5, id="none stands where this one does"),
        pytest.param(batch(4, b"4")[:12], 100, 4, id="where that is cut short, its beginning is enough"),
        pytest.param(batch(4, b"4")[:11], 100, 5, id="if it is there"),
        pytest.param(b"", 100, 5, id="without one behind it its own word counts"),
        pytest.param(b"", 5, 5, id="its last message may be the partition's last"),
        pytest.param(b"", 4, 4, id="and none is behind the partition's last"),
    ],
)
def test_a_corrupt_batch_ends_where_the_next_one_begins(behind: bytes, high_watermark: int, end: int) -> None:
    assert reading(CORRUPT, behind, position=2, high_watermark=high_watermark).corrupt == Corrupt(2, end, WRONG)


@pytest.mark.parametrize(
    ("header", "end"),
    [
        pytest.param(struct.pack(">i", 0), 9, id="it has no message"),
        pytest.param(struct.pack(">i", 4), 9, id="it has more messages than offsets"),
        pytest.param(struct.pack(">i", 3), 5, id="it has a message at each offset"),
        pytest.param(struct.pack(">i", 1), 5, id="compaction removed all but one"),
    ],
)
def test_what_a_corrupt_batch_says_of_its_end_is_not_believed_where_it_cannot_be(header: bytes, end: int) -> None:
    written = CORRUPT[:COUNT] + header + CORRUPT[COUNT + 4 :]
    assert reading(written, position=2, high_watermark=9).corrupt == Corrupt(2, end, WRONG)


def test_a_corrupt_batch_whose_end_is_before_the_position_ends_at_the_high_watermark() -> None:
    assert reading(CORRUPT, position=6, high_watermark=9).corrupt == Corrupt(6, 9, WRONG)
    assert reading(CORRUPT, position=4, high_watermark=9).corrupt == Corrupt(4, 5, WRONG)


def test_at_least_one_offset_is_passed() -> None:
    assert reading(CORRUPT, position=6, high_watermark=6).corrupt == Corrupt(6, 7, WRONG)


ENDLESS = b"\xff" * 10
RECORD = batch(0, b"{}", key=b"k", headers=[("name", b"content")])[HEADER_BYTES:]


def corrupted(change: Callable[[bytearray], None]) -> bytes:
    record = bytearray(RECORD)
    change(record)
    return with_payload(bytes(record))


# One byte each: length, attributes, timestamp, offset, length of the key, key, length of the value, value, the number
# of headers, and the lengths of a name and of its content.
LENGTH, KEY_LENGTH, HEADER_NUMBER = 0, 4, 9


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        pytest.param(changed(batch(0, b"0"), 16, ">b", 1), "a record batch is of format 1", id="format"),
        pytest.param(
            struct.pack(">qi", 0, 20) + bytes(20), "a record batch is shorter than its own header", id="short"
        ),
        pytest.param(struct.pack(">qi", 0, -1), "a record batch is shorter than its own header", id="empty"),
        pytest.param(
            changed(batch(0, b"0"), ATTRIBUTES, ">h", 6),
            "a record batch is compressed in an unknown way (6)",
            id="codec",
        ),
        pytest.param(
            with_payload(b"no gzip", compression=1), "a record batch cannot be decompressed (BadGzipFile)", id="gzip"
        ),
        pytest.param(with_payload(RECORD[:-1]), "a record is longer than its batch", id="record"),
        pytest.param(with_payload(b"\x01" + RECORD[1:]), "a record is longer than its batch", id="negative"),
        pytest.param(with_payload(ENDLESS), "a record is not as its format has it", id="varint"),
        pytest.param(with_payload(RECORD + b"\0"), "a record batch goes on behind its records", id="longer"),
        pytest.param(with_payload(RECORD, count=0), "a record batch goes on behind its records", id="no count"),
        pytest.param(
            corrupted(lambda record: record.__setitem__(KEY_LENGTH, 0x7E)),
            "a field is longer than its record",
            id="key",
        ),
        pytest.param(
            corrupted(lambda record: record.__setitem__(HEADER_NUMBER, 0)),
            "a record is not as its format has it",
            id="fewer headers",
        ),
        pytest.param(
            corrupted(lambda record: record.__setitem__(slice(HEADER_NUMBER, None), b"\x01")),
            "a record is longer than its batch",
            id="fewer bytes",
        ),
    ],
)
def test_a_batch_that_is_not_as_its_format_has_it_is_corrupt_and_says_how(written: bytes, reason: str) -> None:
    got = reading(written, batch(1, b"1"))
    assert (given(got), got.next_offset) == ([], 0)
    assert got.corrupt == Corrupt(0, 1, reason)


def test_an_empty_batch_at_the_end_is_corrupt_too() -> None:
    got = reading(struct.pack(">qi", 4, 0), position=4, high_watermark=9)
    assert got.corrupt == Corrupt(4, 9, "a record batch is shorter than its own header")


def test_no_record_has_fewer_headers_than_none() -> None:
    record = bytearray(RECORD[: HEADER_NUMBER + 1])
    record[LENGTH], record[HEADER_NUMBER] = 2 * HEADER_NUMBER, 1
    got = reading(with_payload(bytes(record)))
    assert got.corrupt is not None
    assert got.corrupt.reason == "a record is not as its format has it"


# --- transactions -------------------------------------------------------------------------------------------------


def test_messages_of_an_aborted_transaction_are_left_out_until_its_marker() -> None:
    got = reading(
        batch(0, b"0", attributes=TRANSACTIONAL, producer=7),
        marker(1, 1, 7),
        batch(2, b"2", b"3", attributes=TRANSACTIONAL, producer=7),
        batch(4, b"4", attributes=TRANSACTIONAL, producer=8),
        batch(5, b"5", producer=7),
        batch(6, b"6"),
        marker(7, 0, 7),
        batch(8, b"8", attributes=TRANSACTIONAL, producer=7),
        marker(9, 1, 7),
        aborted=[(7, 2)],
    )
    assert given(got) == [(0, b"0"), (4, b"4"), (5, b"5"), (6, b"6"), (8, b"8")]
    assert got.next_offset == 10


def test_aborted_transactions_come_in_any_order_and_each_is_of_its_producer() -> None:
    got = reading(
        batch(0, b"0", attributes=TRANSACTIONAL, producer=7),
        batch(1, b"1", attributes=TRANSACTIONAL, producer=8),
        marker(2, 0, 7),
        batch(3, b"3", attributes=TRANSACTIONAL, producer=8),
        batch(4, b"4", attributes=TRANSACTIONAL, producer=7),
        marker(5, 0, 8),
        batch(6, b"6", attributes=TRANSACTIONAL, producer=7),
        aborted=[(7, 6), (8, 1), (7, 0)],
    )
    assert given(got) == [(4, b"4")]


def test_a_transaction_that_was_aborted_before_what_was_fetched_begins_in_it() -> None:
    got = reading(batch(5, b"5", attributes=TRANSACTIONAL, producer=7), position=5, aborted=[(7, 2)])
    assert (given(got), got.next_offset) == ([], 6)


def test_a_marker_of_one_producer_ends_no_transaction_of_another() -> None:
    got = reading(
        batch(0, b"0", attributes=TRANSACTIONAL, producer=7),
        marker(1, 0, 8),
        batch(2, b"2", attributes=TRANSACTIONAL, producer=7),
        aborted=[(7, 0), (8, 0)],
    )
    assert given(got) == []


def test_a_marker_that_says_nothing_is_corrupt() -> None:
    broken = batch(0, b"", key=b"\0", attributes=CONTROL, producer=7)
    got = reading(broken, batch(1, b"1"), aborted=[(7, 0)])
    assert got.corrupt == Corrupt(0, 1, "the end of a transaction is not as its format has it")
