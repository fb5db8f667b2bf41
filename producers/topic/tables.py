"""CSV in a feed's file: a line with the names of columns, and a row in each line after it."""

import csv
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from domain.refusal import Refusal, RefusalCode, Refused
from producers.lines import FilePosition, RawLine, chain
from producers.topic.file_record import NOT_UTF_8, FileRecord, is_ignored, refuse_long_line
from schemas.feeds.feed import Rows
from schemas.feeds.record import Record
from schemas.intake import LONGEST

# No vendor's file has fifty columns. Every record of the file repeats their names.
_MOST_COLUMNS = 1_000
# A spreadsheet's rows have 16,384 cells at most.
_MOST_CELLS = 20_000
_DELIMITERS = ",;\t|"


async def read_rows(
    first: RawLine,
    following: AsyncIterator[RawLine],
    start: FilePosition,
    rows: Rows,
    recognises: Callable[[Record], bool],
) -> AsyncIterator[FileRecord]:
    """Yield the rows; `first` has the names of the columns, or is a row if `rows` knows the names."""
    if len(first.text) > LONGEST:
        yield refuse_long_line(first._replace(end=0))
        return
    try:
        names, unnamed, delimiter = _read_names(first.text)
        if rows.names and names[:1] != rows.names[:1]:
            names, unnamed = rows.names, 0
            if not start.offset:
                following = chain((first,), following)
        _check_names(names, recognises)
    except Refused as refused:
        yield FileRecord(first.number, 0, first.text, None, refused.refusal.inside("line of names"))
        return
    table = _Table(names, delimiter, rows.optional_columns, unnamed)
    async for raw in following:
        if raw.text.strip(b"\r \t") and not is_ignored(raw, rows):
            yield _read_row(raw, table)


def _read_names(line: bytes) -> tuple[tuple[str, ...], int, str]:
    """The names of the columns, the number of unnamed columns after them, and the delimiter.

    A spreadsheet ends every line with delimiters if a cell further to the right was once used.
    """
    text = _decode(line)
    delimiter = max(_DELIMITERS, key=text.count)
    cells = [name.strip() for name in _split_cells(text, delimiter)]
    names = list(cells)
    while names and not names[-1]:
        names.pop()
    return tuple(names), len(cells) - len(names), delimiter


def _check_names(names: Sequence[str], recognises: Callable[[Record], bool]) -> None:
    if len(names) > _MOST_COLUMNS:
        raise Refused(RefusalCode.TOO_MANY, "", f"{_MOST_COLUMNS:,} columns at most")
    if not names or len(set(names)) < len(names) or not all(names):
        raise Refused(RefusalCode.REPEATED, "", "a name for each column, and each one once")
    if not recognises(dict.fromkeys(names, "")):
        raise Refused(RefusalCode.OTHER_FEED, "", "the names of this feed's columns")


class _Table(NamedTuple):
    """The columns of a file. `unnamed` columns follow the named ones, and are blank in every row."""

    names: tuple[str, ...]
    delimiter: str
    optional_columns: int
    unnamed_columns: int


def _read_row(raw: RawLine, table: _Table) -> FileRecord:
    number, end, body = raw
    if len(body) > LONGEST:
        return refuse_long_line(raw)
    try:
        cells = _split_cells(_decode(body), table.delimiter)
    except Refused as refused:
        return FileRecord(number, end, body, None, refused.refusal.inside("line"))
    names = table.names
    if table.unnamed_columns and not any(cell.strip() for cell in cells[len(names) :]):
        del cells[len(names) :]
    if not len(names) - table.optional_columns <= len(cells) <= len(names):
        width = f"{len(names)} columns, not {len(cells)}"
        return FileRecord(number, end, body, None, Refusal(RefusalCode.WRONG_FORMAT, "line", width))
    return FileRecord(number, end, body, dict(zip(names, cells, strict=False)))


def _decode(line: bytes) -> str:
    try:
        return line.decode().rstrip("\r")
    except UnicodeDecodeError:
        raise Refused.of(NOT_UTF_8) from None


def _split_cells(line: str, delimiter: str) -> list[str]:
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
