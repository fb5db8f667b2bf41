"""A file as lines: split as its bytes arrive, in bounded memory.

Blank lines are counted and skipped, many at a time. Of a line that is too long only the beginning is held. A file whose
line never ends, or that is blank for too long, is `Damaged`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
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


async def read(source: Source) -> bytes:
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
    """A line without its end. Of a line that is too long there is the beginning: more than the limit, by one chunk
    at most.

    `end` is the byte where the next line begins. It is 0 for a last line without an end, which may still grow.
    """

    number: int
    end: int
    text: bytes


async def lines(
    stream: Source,
    begin: FilePosition = FilePosition(),  # noqa: B008  it is a value
    *,
    longest_first: int = LONGEST,
) -> AsyncIterator[RawLine]:
    """The lines that are not blank, as they arrive, from `begin` on; `stream` must stand there.

    The first line may have `longest_first` bytes. Of a file that begins with binary data, the beginning is the only
    line.

    Raises:
        Damaged: a line, or a run of blank lines, is too long.
    """
    cutter = _Cutter(begin, longest_first)
    while chunk := await read(stream):
        for raw in cutter.add(chunk):
            yield raw
        if cutter.is_over:
            return
    if (last := cutter.last()) is not None:
        yield last


class _Cutter:
    """Splits pieces of a file into lines. It holds the beginning of the unfinished line."""

    def __init__(self, begin: FilePosition, longest_first: int) -> None:
        self.is_over = False
        self._number, self._end = begin.lines, begin.offset
        self._longest = longest_first
        self._is_first = not begin.offset
        self._pieces: list[bytes] = []
        self._size = 0  # of the pieces
        self._cut_off = 0  # bytes of that line that are not held
        self._hides_content = False  # whether some of those are not blank
        self._blank = self._content = 0

    def add(self, chunk: bytes) -> Iterator[RawLine]:
        """The lines that `chunk` completes."""
        buffer, at = chunk, 0
        if self._size:
            if b"\n" not in chunk:
                self._keep(chunk)
                yield from self._binary_beginning()
                return
            buffer = b"".join((*self._pieces, chunk))
        while True:
            if at < len(buffer) and buffer[at] <= _LAST_WHITE and not self._hides_content:
                at = self._behind_blank(buffer, at)
            stop = buffer.find(b"\n", at)
            if stop < 0:
                break
            yield self._ended(buffer[at:stop])
            at = stop + 1
        self._pieces, self._size = [], 0
        self._keep(buffer[at:])
        yield from self._binary_beginning()

    def last(self) -> RawLine | None:
        """The last line, if it has no end."""
        text = b"".join(self._pieces)
        return RawLine(self._number + 1, 0, text) if text.strip(_BLANKS) or self._hides_content else None

    def _behind_blank(self, buffer: bytes, at: int) -> int:
        """The position of the first line that is not blank."""
        white = _WHITE.match(buffer, at)
        assert white is not None
        behind = buffer.rfind(b"\n", at, white.end()) + 1
        if not behind:
            return at
        self._number += buffer.count(b"\n", at, behind)
        self._end += behind - at + self._cut_off
        self._blank += behind - at
        self._cut_off = 0
        if self._blank > max(MOST_BLANK, self._content):
            raise Damaged(f"it has more than {MOST_BLANK // 1024**2} MiB of blank lines")
        return behind

    def _ended(self, text: bytes) -> RawLine:
        size = len(text) + self._cut_off + 1
        self._number += 1
        self._end += size
        self._content += size
        self._cut_off, self._hides_content = 0, False
        self._longest, self._is_first = LONGEST, False
        return RawLine(self._number, self._end, text)

    def _keep(self, piece: bytes) -> None:
        kept = piece[: max(self._longest + 1 - self._size, 0)]
        self._cut_off += len(piece) - len(kept)
        self._hides_content = self._hides_content or bool(piece[len(kept) :].strip(_BLANKS))
        self._pieces.append(kept)
        self._size += len(kept)
        if self._size + self._cut_off > _LONGEST_LINE:
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
