"""Lines of files that nobody would write: passed over or given up, in bounded memory, while others have their turn."""

import asyncio
import gzip
import io
import time
import tracemalloc
from collections.abc import AsyncIterator
from io import BufferedReader, BytesIO
from typing import TYPE_CHECKING, cast

import pytest

from ops import edge
from ops.unpacked import Unpacked
from producers.lines import LONGEST_DOCUMENT, MOST_BLANK, Chunks, Damaged, FilePosition, read_lines
from producers.topic.records import read_records
from schemas.feeds import FEEDS
from schemas.intake import LONGEST

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
from tests.parts.refusals import refusal_text


class Endless(io.RawIOBase):
    """`begin`, then `unit` again and again, for as long as a sparse file of 300 GB goes on."""

    def __init__(self, unit: bytes, begin: bytes = b"") -> None:
        super().__init__()
        self.position = 0
        self._begin = begin
        self._unit = unit * (64 * 1024 // len(unit))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        piece = (self._begin or self._unit)[: len(view)]
        self._begin = self._begin[len(piece) :]
        view[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)


def opened(content: bytes) -> BufferedReader:
    return cast(BufferedReader, BytesIO(content))


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t\n"])
async def test_blank_lines_are_passed_over_many_at_a_time_and_still_counted(blank: bytes) -> None:
    content = b"a" + blank * 300_000 + b"  b\n" + blank * 300_000 + b"c"
    found = [raw async for raw in read_lines(opened(content))]
    assert [raw.text.strip() for raw in found] == [b"a", b"b", b"c"]
    assert [raw.number for raw in found] == [1, 300_001, 600_002]
    assert content[: found[1].end].endswith(b"  b\n")
    again = opened(content)
    again.seek(found[1].end)
    rest = [raw async for raw in read_lines(again, FilePosition(found[1].end, found[1].number))]
    assert rest == [found[2]]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_lines_are_the_same_however_their_bytes_arrive(size: int) -> None:
    content = b"\n\na\r\n \n\n  \n b c \n\n\n" + b"d" * 20 + b"\n\n \ne"

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), size):
            yield content[at : at + size]

    whole = [raw async for raw in read_lines(opened(content))]
    assert [raw async for raw in read_lines(Chunks(pieces()))] == whole
    assert [(raw.number, raw.text.strip()) for raw in whole] == [(3, b"a"), (7, b"b c"), (10, b"d" * 20), (13, b"e")]
    assert [content[: raw.end].count(b"\n") for raw in whole[:-1]] == [3, 7, 10]


@pytest.mark.parametrize(
    ("unit", "begin", "problem"),
    [
        (b"\n", b"", "it has more than 64 MiB of blank lines"),
        (b"\n", b"a,b\n1,2\n", "it has more than 64 MiB of blank lines"),
        (b" \r\n", b"{}\n", "it has more than 64 MiB of blank lines"),
        (b" ", b"", "line 1 is longer than 128 MiB"),
        (b"x", b"", "line 1 is longer than 128 MiB"),
        (b"\0", b"a,b\n1,2\n", "line 3 is longer than 128 MiB"),
    ],
)
async def test_a_file_without_an_end_is_given_up(unit: bytes, begin: bytes, problem: str) -> None:
    stream = Endless(unit, begin)
    with pytest.raises(Damaged, match=problem):
        async for _ in read_lines(cast(BufferedReader, BufferedReader(stream))):
            pass
    assert stream.position < 3 * LONGEST_DOCUMENT


@pytest.mark.parametrize("unit", [b"\0", b"\xff\xfe\x01", b"P\0"])
@pytest.mark.parametrize("feed", ["vau", "nacha"])
async def test_what_is_no_text_is_seen_in_its_beginning(feed: str, unit: bytes) -> None:
    stream = Endless(unit)
    (cut,) = [cut async for cut in read_records(FEEDS[feed], cast(BufferedReader, BufferedReader(stream)))]
    assert (refusal_text(cut) or "").startswith("file: expected ")
    assert stream.position <= 1024**2


@pytest.mark.parametrize(
    ("unit", "problem"),
    [(b"\n", "blank lines"), (b"\r", "blank lines"), (b"x", "line 1 is longer than 64 MiB")],
)
async def test_a_file_of_a_bank_without_an_end_is_given_up_too(unit: bytes, problem: str) -> None:
    with pytest.raises(Damaged, match=problem):
        async for _ in read_records(FEEDS["nacha"], cast(BufferedReader, BufferedReader(Endless(unit)))):
            pass


async def test_a_long_line_is_given_up_in_constant_memory() -> None:
    stream = cast(BufferedReader, BufferedReader(Endless(b"x", b"a,b\n")))
    tracemalloc.start()
    try:
        with pytest.raises(Damaged):
            async for _ in read_lines(stream):
                pass
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * LONGEST


async def test_a_packed_file_of_blank_lines_is_given_up_early() -> None:
    packed = gzip.compress(b"\n" * (2 * MOST_BLANK), compresslevel=1)
    stream = cast(BufferedReader, BufferedReader(Unpacked(BufferedReader(BytesIO(packed)))))
    with pytest.raises(Damaged):
        async for _ in read_lines(stream):
            pass


HEADER = b"Old Number,New Number,Old Expiry,New Expiry,Code,Date\n"


@pytest.mark.parametrize("unit", [b"H\n", b",\n", b'"\n', b"\n", b"x\n"])
async def test_other_tasks_have_their_turn_while_a_table_is_cut(unit: bytes) -> None:
    body = HEADER + unit * (300_000 // len(unit))
    turns, over = 0, False

    async def other() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    begun = time.monotonic()
    async for _ in edge.rows(FEEDS["cybersource"], body):
        pass
    took = time.monotonic() - begun
    over = True
    await waiting
    assert turns >= min(10, int(took / 0.1))
