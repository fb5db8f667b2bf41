"""The lines of 94 characters in a Nacha file.

Banks, mail and editors change what separates and pads the lines. `LineSplitter` restores them.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

LENGTH = 94
"""Characters of a record."""

_END = re.compile(rb"\r\n|\n|\r")
# A line or a file may be filled up with blanks, NULs, and the end-of-file mark of DOS.
_PADDING = " \x00\x1a"
# The only records that end with blanks: an editor that strips lines makes them shorter.
_BLANK_AT_END = ("1", "9")
_RECORD_TYPES = frozenset("156789")
# A longer line is a whole file without line ends, or no file of this kind.
_LONGEST = 64 * 1024
_MARK = b"\xef\xbb\xbf"


class SplitLine(NamedTuple):
    """A line without its end; `size` counts the bytes of the file that it takes, with its end and its padding."""

    size: int
    text: bytes


class LineSplitter:
    """Splits a file's bytes into lines, added chunk after chunk; it holds the unfinished line of the last chunk.

    A line ends with CR, LF or both. Many records may stand in one line, or all of them. Padding behind 94 characters is
    removed, and a record that lost its last blanks gets them back. A byte order mark is no part of a line.
    """

    def __init__(self, *, at_start: bool = True) -> None:
        self._unfinished = b""
        self._at_start = at_start
        self._skipped = 0  # bytes that count for the next line's size, but not for its text

    def add(self, chunk: bytes) -> Iterator[SplitLine]:
        """The lines that `chunk` completes."""
        buffer, begin = self._without_mark(self._unfinished + chunk), 0
        for end in _END.finditer(buffer):
            if end[0] == b"\r" and end.end() == len(buffer):
                break  # its LF may be in the next chunk
            yield from self._split(buffer[begin : end.start()], len(end[0]))
            begin = end.end()
        self._unfinished = buffer[begin:]
        if len(self._unfinished) > _LONGEST:
            yield from self._split_unfinished()

    def end(self) -> Iterator[SplitLine]:
        """The last line of a file that does not end with a line end, after the last chunk."""
        buffer, self._unfinished = self._without_mark(self._unfinished, last=True), b""
        if buffer:
            plain = buffer.removesuffix(b"\r")
            yield from self._split(plain, len(buffer) - len(plain))

    def _without_mark(self, buffer: bytes, *, last: bool = False) -> bytes:
        if self._at_start and (last or len(buffer) >= len(_MARK)):
            self._at_start = False
            if buffer.startswith(_MARK):
                self._skipped += len(_MARK)
                return buffer[len(_MARK) :]
        return buffer

    def _split(self, line: bytes, end: int) -> Iterator[SplitLine]:
        *before, last = _records_in(line)
        for record in before:
            yield self._sized(len(record), record)
        yield self._sized(len(line) - sum(map(len, before)) + end, last)

    def _split_unfinished(self) -> Iterator[SplitLine]:
        """The records of a line that has not ended yet; if it has none, only its beginning is held."""
        count = (len(self._unfinished) - 1) // LENGTH
        blocks = [self._unfinished[at : at + LENGTH] for at in range(0, count * LENGTH, LENGTH)]
        if all(chr(block[0]) in _RECORD_TYPES for block in blocks):
            for block in blocks:
                yield self._sized(LENGTH, block)
            self._unfinished = self._unfinished[count * LENGTH :]
        else:
            self._skipped += len(self._unfinished) - _LONGEST
            self._unfinished = self._unfinished[:_LONGEST]

    def _sized(self, size: int, text: bytes) -> SplitLine:
        skipped, self._skipped = self._skipped, 0
        return SplitLine(size + skipped, text)


def _records_in(line: bytes) -> list[bytes]:
    """The records of 94 characters in a line; a line without any as it is."""
    if len(line) == LENGTH and line[-1:].isalnum() and line.isascii():
        return [line]  # nearly every line
    text, encoding = characters(line)
    if len(text) <= LENGTH or not text[LENGTH:].strip(_PADDING):
        return [_restored(text).encode(encoding)]
    records = [text[at : at + LENGTH] for at in range(0, len(text.rstrip(_PADDING)), LENGTH)]
    records[-1] = _restored(records[-1])
    if all(len(record) == LENGTH and record[0] in _RECORD_TYPES for record in records):
        return [record.encode(encoding) for record in records]
    return [line]


def _restored(text: str) -> str:
    """A record without its padding, and with the blanks that it lost; an empty text for padding alone."""
    plain = text.rstrip(_PADDING)
    complete = len(text) >= LENGTH or plain.startswith(_BLANK_AT_END)
    return plain.ljust(LENGTH) if plain and complete else plain


def characters(line: bytes) -> tuple[str, str]:
    """A line as text, and its encoding. Latin-1 where it is no UTF-8: a byte is a character at the same position."""
    try:
        return line.decode(), "utf-8"
    except UnicodeDecodeError:
        return line.decode("latin-1"), "latin-1"
