"""A file as lines: cut as they arrive, in bounded memory, and no longer than a file of a vendor goes on.

Blank lines are counted and passed over where they are found, many at a time. A line that is too long is not kept
whole. A file that never ends a line, or is blank for longer than any file is, is given up (`Damaged`).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from io import BufferedReader
from typing import NamedTuple, TypeAlias

from schemas import mistakes
from schemas.intake import LONGEST

_CHUNK = 256 * 1024
# A document is read at once, so it must fit; more than any vendor's day of webhooks.
LONGEST_DOCUMENT = 64 * 1024 * 1024
# A disk is read so far within a second; no vendor's file has as long a line, or as many blank ones.
_LONGEST_LINE = 2 * LONGEST_DOCUMENT
MOST_BLANK = 64 * 1024 * 1024
# Enough to tell text from what is none.
_BEGINNING = 4096

_BLANKS = b" \t\r"
_WHITE = re.compile(rb"[ \t\r\n]*")
_LAST_WHITE = ord(" ")


class Damaged(Exception):
    """The file cannot be read to its end; the text says why."""


class Chunks:
    """What arrives in pieces and is read once, as a file from its beginning."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def read(self) -> bytes:
        """The next piece that is not empty; empty bytes at the end."""
        async for piece in self._pieces:
            if piece:
                return piece
        return b""


Source: TypeAlias = BufferedReader | Chunks


async def read(source: Source) -> bytes:
    """The next piece; empty bytes at the end."""
    if isinstance(source, Chunks):
        return await source.read()
    # In a thread: a pipe may have nothing to read for hours, and what was read before must go out meanwhile.
    return await asyncio.to_thread(source.read1, _CHUNK)


class FilePosition(NamedTuple):
    """Where in a file reading may begin: in bytes, and how many lines are before it.

    Of records there that were cut, `parts` came after the first one of each.
    """

    offset: int = 0
    lines: int = 0
    parts: int = 0


class Raw(NamedTuple):
    """A line without its end; of one that is too long, a little more than is allowed.

    `end` is where the next one begins; 0 of the last one where it has no end: more of it may come.
    """

    number: int
    end: int
    text: bytes


async def lines(
    stream: Source,
    begin: FilePosition = FilePosition(),  # noqa: B008  it is a value
    *,
    longest_first: int = LONGEST,
) -> AsyncIterator[Raw]:
    """The lines that are not blank, as soon as they are there, from `begin` on, where `stream` must stand.

    The first one may be so much longer. A file that begins with what is no text ends with its beginning as the only
    line.

    Raises:
        Damaged: a line, or blank lines, go on for longer than any file's do.
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
    """Cuts pieces of a file into lines. It holds the line whose end is not there yet, as far as it is kept."""

    def __init__(self, begin: FilePosition, longest_first: int) -> None:
        self.is_over = False
        self._number, self._end = begin.lines, begin.offset
        self._longest = longest_first
        self._is_first = not begin.offset
        self._pieces: list[bytes] = []
        self._size = 0  # of the pieces
        self._cut_off = 0  # bytes of that line that are not kept
        self._blank = self._content = 0

    def add(self, chunk: bytes) -> Iterator[Raw]:
        """The lines that `chunk` completes."""
        buffer, at = chunk, 0
        if self._size:
            if b"\n" not in chunk:
                self._keep(chunk)
                yield from self._judged()
                return
            buffer = b"".join((*self._pieces, chunk))
        while True:
            if at < len(buffer) and buffer[at] <= _LAST_WHITE:
                at = self._behind_blank(buffer, at)
            stop = buffer.find(b"\n", at)
            if stop < 0:
                break
            yield self._ended(buffer[at:stop])
            at = stop + 1
        self._pieces, self._size = [], 0
        self._keep(buffer[at:])
        yield from self._judged()

    def last(self) -> Raw | None:
        """The line without an end that is left."""
        text = b"".join(self._pieces)
        return Raw(self._number + 1, 0, text) if text.strip(_BLANKS) else None

    def _behind_blank(self, buffer: bytes, at: int) -> int:
        """Where the first line that is not blank begins."""
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

    def _ended(self, text: bytes) -> Raw:
        size = len(text) + self._cut_off + 1
        self._number += 1
        self._end += size
        self._content += size
        self._cut_off = 0
        self._longest, self._is_first = LONGEST, False
        return Raw(self._number, self._end, text)

    def _keep(self, piece: bytes) -> None:
        kept = piece[: max(self._longest + 1 - self._size, 0)]
        self._cut_off += len(piece) - len(kept)
        self._pieces.append(kept)
        self._size += len(kept)
        if self._size + self._cut_off > _LONGEST_LINE:
            raise Damaged(f"line {self._number + 1:,} is longer than {_LONGEST_LINE // 1024**2} MiB")

    def _judged(self) -> Iterator[Raw]:
        """The beginning of a first line that is no text: its end may be far away."""
        if not self._is_first or self._size < _BEGINNING:
            return
        beginning = b"".join(self._pieces)[:_BEGINNING] if len(self._pieces[0]) < _BEGINNING else self._pieces[0]
        self._is_first = False
        if mistakes.file_problem(beginning):
            self.is_over = True
            yield Raw(self._number + 1, 0, beginning[:_BEGINNING])
