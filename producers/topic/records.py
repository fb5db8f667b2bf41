"""A feed's file, split into records as it is read: in bounded memory, and a bad row does not stop the rows after it.

A file has JSON objects, one a line, or one JSON document (an array's elements are its records), or CSV with a line of
names and one row a line. The first lines show the format. Files of banks have lines of 94 characters, several a record.
"""

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from domain.refusal import Refusal, RefusalCode, Refused
from producers.lines import LONGEST_DOCUMENT, Chunks, Damaged, FilePosition, RawLine, Source, lines, read
from schemas import mistakes, once
from schemas.feeds import nacha_file, nacha_lines
from schemas.feeds.feed import Feed, Layout, Rows
from schemas.feeds.record import Record
from schemas.intake import LONGEST

# Ten bytes a value in a document of the greatest length. The smallest value takes 64 bytes of memory.
_MOST_VALUES = 6_500_000
_TOO_MANY = Refusal(RefusalCode.TOO_MANY, "document", f"{_MOST_VALUES:,} values at most; write its objects one a line")
_TOO_LONG = Refusal(
    RefusalCode.TOO_LONG,
    "document",
    f"{LONGEST_DOCUMENT // 1024**2} MiB and lines of {LONGEST:,} bytes at most; write its objects one a line",
)
LINE_TOO_LONG = Refusal(RefusalCode.TOO_LONG, "line", f"{LONGEST:,} bytes at most")
_NOT_JSON = Refusal(RefusalCode.NOT_READABLE, "", "JSON")
_NOT_UTF_8 = Refusal(RefusalCode.NOT_TEXT, "", "UTF-8")
# No vendor's file has fifty columns. Every record of the file repeats their names.
_MOST_COLUMNS = 1_000
# A spreadsheet's rows have 16,384 cells at most.
_MOST_CELLS = 20_000
# In a bank's file: its last block is filled up by nine lines at most.
_MOST_BLANK_LINES = 100_000
_DELIMITERS = ",;\t|"


class FileRecord(NamedTuple):
    """A record, the number of its line (from 1) or of its element in the document, and the `end` where the next begins.

    Without a `record`, `refusal` says why. `body` has the record's bytes. `last` is the number of the line before
    `end`, if that is not the record's first line.
    """

    number: int
    end: int
    body: bytes
    record: Record | None
    refusal: Refusal | None = None
    last: int = 0


def file_records(feed: Feed, stream: Source, begin: FilePosition = FilePosition()) -> AsyncIterator[FileRecord]:  # noqa: B008  it is a value
    """The records of a feed's file."""
    if feed.layout is Layout.ACH:
        return _entries(stream, begin)
    return records(stream, begin, feed.rows, feed.recognises)


async def records(
    stream: Source,
    begin: FilePosition = FilePosition(),  # noqa: B008  it is a value
    rows: Rows = Rows(),  # noqa: B008  it is a value
    recognises: Callable[[Record], bool] = lambda _: True,
) -> AsyncIterator[FileRecord]:
    """The records of a file of objects or rows, without blank lines; `begin` is the end of an earlier `FileRecord`.

    `recognises` says whether the first line has the names of columns. A file may begin with a row instead, which must
    not be lost.
    """
    whole = lines(stream, longest_first=LONGEST if isinstance(stream, Chunks) else LONGEST_DOCUMENT)
    first = await first_line(whole, rows)
    if first is None:
        return
    if refusal := mistakes.file_refusal(first.text):
        yield unreadable_file(first, refusal)
        return
    if first.text.lstrip()[:1] not in (b"{", b"["):
        async for cut in _rows(first, _lines_from(begin, first, whole, stream), begin, rows, recognises):
            yield cut
    else:
        async for cut in _objects(first, begin, whole, stream):
            yield cut


async def _objects(
    first: RawLine, begin: FilePosition, whole: AsyncIterator[RawLine], stream: Source
) -> AsyncIterator[FileRecord]:
    if begin.offset:
        following = _lines_from(begin, first, whole, stream)
    else:
        beginning = await read_beginning(first, whole)
        if beginning.of_document:
            async for cut in document(beginning, whole):
                yield cut
            return
        yield _object(first, longest=LONGEST_DOCUMENT)
        following = after(beginning.lines[1:], whole)
    async for raw in following:
        if raw.text.strip():
            yield _object(raw)


class Beginning(NamedTuple):
    """The first lines, and whether they begin one document; if not, each line should be an object."""

    lines: tuple[RawLine, ...]
    of_document: bool


async def read_beginning(first: RawLine, following: AsyncIterator[RawLine]) -> Beginning:
    """Read at most two more lines to see whether a JSON file is one document or has one object a line.

    The first of many objects may be truncated. Then the next line is a whole object, which cannot continue a document.
    """
    if _has_too_many_values(first.text) or not await asyncio.to_thread(_is_unfinished, first.text):
        return Beginning((first,), first.text.lstrip().startswith(b"["))
    read = [first]
    while await _append_next(following, read) and _is_object(read[-1].text):
        if len(read) > 2 or not first.text.rstrip().endswith((b"[", b":")):  # noqa: PLR2004
            return Beginning(tuple(read), of_document=False)
    return Beginning(tuple(read), of_document=True)


async def _append_next(following: AsyncIterator[RawLine], read: list[RawLine]) -> bool:
    """Append the next line that is not blank to `read`; False at the end of the file."""
    async for raw in following:
        if raw.text.strip():
            read.append(raw)
            return True
    return False


def _is_unfinished(line: bytes) -> bool:
    """Whether the line is a valid beginning of JSON that ends too early."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(error.doc.rstrip())
    except (ValueError, RecursionError):
        return False
    return False


def _has_too_many_values(written: bytes | bytearray) -> bool:
    return len(written) > LONGEST and sum(map(written.count, (b",", b"[", b"{"))) > _MOST_VALUES


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


async def first_line(whole: AsyncIterator[RawLine], rows: Rows = Rows()) -> RawLine | None:  # noqa: B008  it is a value
    """The first line that is neither blank nor ignored (`Rows.ignored_lines`), without a byte order mark."""
    async for raw in whole:
        plain = _without_mark(raw)
        if plain.text.strip() and not _is_ignored(plain, rows):
            return plain
    return None


def _without_mark(raw: RawLine) -> RawLine:
    return raw._replace(text=raw.text.removeprefix(b"\xef\xbb\xbf"))


def unreadable_file(first: RawLine, refusal: Refusal) -> FileRecord:
    """The one record of a file of which no line can be read: its refusal, without a body."""
    return FileRecord(first.number, 0, b"", None, refusal.inside("file"))


def _is_ignored(raw: RawLine, rows: Rows) -> bool:
    return rows.ignored_lines is not None and rows.ignored_lines.match(raw.text) is not None


def _lines_from(
    begin: FilePosition, first: RawLine, whole: AsyncIterator[RawLine], stream: Source
) -> AsyncIterator[RawLine]:
    """The lines after the first one, or from `begin` on."""
    if not first.end or begin.offset <= first.end:
        return whole
    _seek(stream, begin)
    return lines(stream, begin)


def _seek(stream: Source, begin: FilePosition) -> None:
    assert not isinstance(stream, Chunks), "a file that arrives in pieces is read from its beginning"
    stream.seek(begin.offset)


def _object(raw: RawLine, longest: int = LONGEST) -> FileRecord:
    if len(raw.text) > longest:
        return _too_long(raw)
    if _has_too_many_values(raw.text):
        return FileRecord(raw.number, raw.end, b"", None, _TOO_MANY)
    try:
        value = once.loads(raw.text)
    except (ValueError, RecursionError) as error:
        is_text = not isinstance(error, UnicodeDecodeError)
        return FileRecord(raw.number, raw.end, raw.text, None, (_NOT_JSON if is_text else _NOT_UTF_8).inside("line"))
    return _element(raw.number, raw.end, raw.text, value)


def _element(number: int, end: int, body: bytes, value: object) -> FileRecord:
    if not isinstance(value, dict):
        return FileRecord(number, end, body, None, Refusal(RefusalCode.WRONG_TYPE, "record", "a JSON object"))
    return FileRecord(number, end, body, value)


async def document(beginning: Beginning, following: AsyncIterator[RawLine]) -> AsyncIterator[FileRecord]:
    """The elements of an array, or the one object. They have no `end`: reading cannot begin inside a document."""
    text, longest = bytearray(), LONGEST_DOCUMENT
    async for raw in after(beginning.lines, following):
        if len(raw.text) > longest or len(text) > LONGEST_DOCUMENT:
            yield FileRecord(1, 0, b"", None, _TOO_LONG)
            return
        text += raw.text + b"\n"
        longest = LONGEST
    if _has_too_many_values(text):
        yield FileRecord(1, 0, b"", None, _TOO_MANY)
        return
    try:
        value = await asyncio.to_thread(once.loads, text)
    except (ValueError, RecursionError):
        yield FileRecord(1, 0, bytes(text[: LONGEST + 1]), None, _NOT_JSON.inside("document"))
        return
    elements = value if isinstance(value, list) else [value]
    for number, element in enumerate(elements, 1):
        yield _element(number, 0, json.dumps(element).encode(), element)


async def _rows(
    first: RawLine,
    following: AsyncIterator[RawLine],
    begin: FilePosition,
    rows: Rows,
    recognises: Callable[[Record], bool],
) -> AsyncIterator[FileRecord]:
    if len(first.text) > LONGEST:
        yield _too_long(first._replace(end=0))
        return
    try:
        names, unnamed, delimiter = _names(first.text)
        if rows.names and names[:1] != rows.names[:1]:
            names, unnamed = rows.names, 0
            if not begin.offset:
                following = after((first,), following)
        _check(names, recognises)
    except Refused as refused:
        yield FileRecord(first.number, 0, first.text, None, refused.refusal.inside("line of names"))
        return
    table = _Table(names, delimiter, rows.optional_columns, unnamed)
    async for raw in following:
        if raw.text.strip(b"\r \t") and not _is_ignored(raw, rows):
            yield _row(raw, table)


def _names(line: bytes) -> tuple[tuple[str, ...], int, str]:
    """The names of the columns, the number of unnamed columns after them, and the delimiter.

    A spreadsheet ends every line with delimiters if a cell further to the right was once used.
    """
    text = _characters_of(line)
    delimiter = max(_DELIMITERS, key=text.count)
    cells = [name.strip() for name in _cells(text, delimiter)]
    names = list(cells)
    while names and not names[-1]:
        names.pop()
    return tuple(names), len(cells) - len(names), delimiter


def _check(names: Sequence[str], recognises: Callable[[Record], bool]) -> None:
    if len(names) > _MOST_COLUMNS:
        raise Refused(RefusalCode.TOO_MANY, "", f"{_MOST_COLUMNS:,} columns at most")
    if not names or len(set(names)) < len(names) or not all(names):
        raise Refused(RefusalCode.REPEATED, "", "a name for each column, and each one once")
    if not recognises(dict.fromkeys(names, "")):
        raise Refused(RefusalCode.OTHER_FEED, "", "the names of this feed's columns")


async def after(before: Sequence[RawLine], following: AsyncIterator[RawLine]) -> AsyncIterator[RawLine]:
    """The lines of `before`, then those of `following`."""
    for raw in before:
        yield raw
    async for raw in following:
        yield raw


class _Table(NamedTuple):
    """The columns of a file. `unnamed` columns follow the named ones, and are blank in every row."""

    names: tuple[str, ...]
    delimiter: str
    may_lack: int
    unnamed: int


def _row(raw: RawLine, table: _Table) -> FileRecord:
    number, end, body = raw
    if len(body) > LONGEST:
        return _too_long(raw)
    try:
        cells = _cells(_characters_of(body), table.delimiter)
    except Refused as refused:
        return FileRecord(number, end, body, None, refused.refusal.inside("line"))
    names = table.names
    if table.unnamed and not any(cell.strip() for cell in cells[len(names) :]):
        del cells[len(names) :]
    if not len(names) - table.may_lack <= len(cells) <= len(names):
        width = f"{len(names)} columns, not {len(cells)}"
        return FileRecord(number, end, body, None, Refusal(RefusalCode.WRONG_FORMAT, "line", width))
    return FileRecord(number, end, body, dict(zip(names, cells, strict=False)))


def _characters_of(line: bytes) -> str:
    try:
        return line.decode().rstrip("\r")
    except UnicodeDecodeError:
        raise Refused.of(_NOT_UTF_8) from None


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one row. A row ends with its line: an unclosed quote must not swallow the rows after it."""
    if "\r" in line:
        raise Refused(RefusalCode.NOT_READABLE, "", "lines that all end alike, not a carriage return inside one")
    if line.count(delimiter) >= _MOST_CELLS:
        raise Refused(RefusalCode.TOO_MANY, "", f"{_MOST_CELLS:,} cells at most")
    if '"' not in line:
        return line.split(delimiter)
    if line.count('"') % 2:
        raise Refused(RefusalCode.NOT_READABLE, "", "a closing quote on the same line")
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
    except csv.Error:
        raise Refused(RefusalCode.NOT_READABLE, "", "CSV") from None
    return cells


def _too_long(raw: RawLine) -> FileRecord:
    return FileRecord(raw.number, raw.end, b"", None, LINE_TOO_LONG)


async def _entries(stream: Source, begin: FilePosition) -> AsyncIterator[FileRecord]:
    """Entries with their addenda. Reading can begin only between batches: the last record of a batch has an `end`."""
    if begin.offset:
        _seek(stream, begin)
    cutter, entry = nacha_file.RecordReader(), RawLine(0, 0, b"")
    held: FileRecord | None = None
    async for raw in _ach_lines(stream, begin):
        if raw.number == 1 and (refusal := mistakes.file_refusal(raw.text)):
            yield unreadable_file(raw, refusal)
            return
        if raw.text[:1] == b"6":
            entry = raw
        for piece in cutter.add(raw.number, nacha_lines.characters(raw.text)[0]):
            if held is not None:
                yield held
            at = raw if piece.number == raw.number else entry
            body = at.text if piece.record is None else at.text + b"\n" + raw.text
            held = FileRecord(piece.number, 0, body[: LONGEST + 1], piece.record, piece.refusal)
        if held is not None and cutter.between_batches:
            yield held._replace(end=raw.end, last=raw.number)
            held = None
    if held is not None:
        yield held
    for piece in cutter.end():
        yield FileRecord(
            piece.number, 0, entry.text if piece.number == entry.number else b"", piece.record, piece.refusal
        )


async def _ach_lines(stream: Source, begin: FilePosition) -> AsyncIterator[RawLine]:
    """The lines of a bank's file, for every line end, also where many records stand in one line."""
    cutter, number, end = nacha_lines.LineSplitter(at_start=not begin.offset), begin.lines, begin.offset
    arrived, blank = begin.offset, 0
    while chunk := await read(stream):
        if not arrived and mistakes.file_refusal(chunk[: nacha_lines.LENGTH]):
            yield RawLine(1, 0, chunk[: nacha_lines.LENGTH])
            return
        arrived += len(chunk)
        for line in cutter.add(chunk):
            number, end = number + 1, end + line.size
            blank += not line.text
            yield RawLine(number, end, line.text)
        if arrived - end > LONGEST_DOCUMENT:
            raise Damaged(f"line {number + 1:,} is longer than {LONGEST_DOCUMENT // 1024**2} MiB")
        if blank > max(_MOST_BLANK_LINES, number - blank):
            raise Damaged(f"it has more than {_MOST_BLANK_LINES:,} blank lines")
    last_lines = list(cutter.end())
    for at, line in enumerate(last_lines, 1):
        number, end = number + 1, end + line.size
        yield RawLine(number, end if at < len(last_lines) else 0, line.text)
