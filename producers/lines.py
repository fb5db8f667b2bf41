"""A file as lines: split as its bytes arrive, in bounded memory.

Blank lines are counted and skipped, many at a time. Only the beginning of a line that is too long is in memory. A file
whose line never ends, or that is blank for too long, is `Damaged`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from io import BufferedReader
from typing import NamedTuple, TypeAlias

from schemas import mistakes
from schemas.intake import LONGEST

_CHUNK = 256 * 1024
# A document must fit into memory. More than a vendor's webhooks of a day.
LONGEST_DOCUMENT = 64 * 1024 * 1024
# A disk reads this much within a second. No vendor's file has a line this long, or as many blank lines.
_LONGEST_LINE = 2 * LONGEST_DOCUMENT
MOST_BLANK = 64 * 1024 * 1024
# Enough to tell text from binary data.
_BEGINNING = 4096

_BLANKS = b" \t\r"
_WHITE = re.compile(rb"[ \t\r\n]*")
_LAST_WHITE = ord(" ")


class Damaged(Exception):
    """The file cannot be read to its end; the text says why."""


class Chunks:
    """A file that arrives in pieces, and is read once from its beginning."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def read(self) -> bytes:
        """The next non-empty piece; empty bytes at the end."""
        async for piece in self._pieces:
            if piece:
                return piece
        return b""


Source: TypeAlias = BufferedReader | Chunks


async def read_piece(source: Source) -> bytes:
    """The next piece; empty bytes at the end."""
    if isinstance(source, Chunks):
        return await source.read()
    # In a thread: a pipe may be silent for hours, and earlier lines must be sent meanwhile.
    return await asyncio.to_thread(source.read1, _CHUNK)


class FilePosition(NamedTuple):
    """A position at which reading may begin: its byte, and the number of lines before it.

    `parts` counts the parts of split records before it, without the first part of each record.
    """

    offset: int = 0
    lines: int = 0
    parts: int = 0


class RawLine(NamedTuple):
    """A line without its end; only the beginning of a line that is too long, by one chunk more than the limit at most.

    `end` is the byte where the next line begins. It is 0 for a last line without an end, which may still grow.
    """

    number: int
    end: int
    text: bytes


async def read_lines(
    stream: Source,
    start: FilePosition = FilePosition(),  # noqa: B008  it is a value
    *,
    longest_first: int = LONGEST,
) -> AsyncIterator[RawLine]:
    """The lines that are not blank, as they arrive, from `start` on; `stream` must stand there.

    The first line may have `longest_first` bytes. If the file begins with binary data, its beginning is the only line.

    Raises:
        Damaged: a line, or a run of blank lines, is too long.
    """
    cutter = _Cutter(start, longest_first)
    while chunk := await read_piece(stream):
        for raw in cutter.add(chunk):
            yield raw
        if cutter.is_over:
            return
    if (last := cutter.last()) is not None:
        yield last


async def chain(first: Sequence[RawLine], following: AsyncIterator[RawLine]) -> AsyncIterator[RawLine]:
    """Yield the lines of `first`, then those of `following`."""
    for raw in first:
        yield raw
    async for raw in following:
        yield raw


def seek(source: Source, start: FilePosition) -> None:
    """Go to `start` in a file that can be read again."""
    assert not isinstance(source, Chunks), "a file that arrives in pieces is read from its beginning"
    source.seek(start.offset)


class _Cutter:
    """Splits pieces of a file into lines. It holds the beginning of the unfinished line."""

    def __init__(self, start: FilePosition, longest_first: int) -> None:
        self.is_over = False
        self._number, self._end = start.lines, start.offset
        self._longest = longest_first
        self._is_first = not start.offset
        self._pieces: list[bytes] = []
        self._size = 0  # of the pieces
        self._cut_size = 0  # bytes of the unfinished line that were dropped
        self._hides_content = False  # whether dropped bytes are not blank
        self._blank = self._content = 0

    def add(self, chunk: bytes) -> Iterator[RawLine]:
        """The lines that `chunk` completes."""
        buffer, position = chunk, 0
        if self._size:
            if b"\n" not in chunk:
                self._keep(chunk)
                yield from self._binary_beginning()
                return
            buffer = b"".join((*self._pieces, chunk))
        while True:
            if position < len(buffer) and buffer[position] <= _LAST_WHITE and not self._hides_content:
                position = self._skip_blank(buffer, position)
            line_end = buffer.find(b"\n", position)
            if line_end < 0:
                break
            yield self._finish_line(buffer[position:line_end])
            position = line_end + 1
        self._pieces, self._size = [], 0
        self._keep(buffer[position:])
        yield from self._binary_beginning()

    def last(self) -> RawLine | None:
        """The last line, if it has no end."""
        text = b"".join(self._pieces)
        return RawLine(self._number + 1, 0, text) if text.strip(_BLANKS) or self._hides_content else None

    def _skip_blank(self, buffer: bytes, position: int) -> int:
        """The position of the first line that is not blank."""
        white = _WHITE.match(buffer, position)
        assert white is not None
        next_line = buffer.rfind(b"\n", position, white.end()) + 1
        if not next_line:
            return position
        self._number += buffer.count(b"\n", position, next_line)
        self._end += next_line - position + self._cut_size
        self._blank += next_line - position
        self._cut_size = 0
        if self._blank > max(MOST_BLANK, self._content):
            raise Damaged(f"it has more than {MOST_BLANK // 1024**2} MiB of blank lines")
        return next_line

    def _finish_line(self, text: bytes) -> RawLine:
        size = len(text) + self._cut_size + 1
        self._number += 1
        self._end += size
        self._content += size
        self._cut_size, self._hides_content = 0, False
        self._longest, self._is_first = LONGEST, False
        return RawLine(self._number, self._end, text)

    def _keep(self, piece: bytes) -> None:
        kept = piece[: max(self._longest + 1 - self._size, 0)]
        self._cut_size += len(piece) - len(kept)
        self._hides_content = self._hides_content or bool(piece[len(kept) :].strip(_BLANKS))
        self._pieces.append(kept)
        self._size += len(kept)
        if self._size + self._cut_size > _LONGEST_LINE:
            raise Damaged(f"line {self._number + 1:,} is longer than {_LONGEST_LINE // 1024**2} MiB")

    def _binary_beginning(self) -> Iterator[RawLine]:
        """The beginning of the first line, if it is binary data: its end may be far away."""
        if not self._is_first or self._size < _BEGINNING:
            return
        beginning = b"".join(self._pieces)[:_BEGINNING] if len(self._pieces[0]) < _BEGINNING else self._pieces[0]
        self._is_first = False
        if mistakes.file_refusal(beginning):
            self.is_over = True
            yield RawLine(self._number + 1, 0, beginning[:_BEGINNING])
