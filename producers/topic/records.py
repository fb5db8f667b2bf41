"""A feed's file, split into records as it is read: in bounded memory, and a bad row does not stop the rows after it.

A file has JSON objects, one a line, or one JSON document (an array's elements are its records), or CSV with a line of
names and one row a line. The first lines show the format. Files of banks have lines of 94 characters, several a record.
"""

from collections.abc import AsyncIterator, Callable

from producers.lines import LONGEST_DOCUMENT, Chunks, FilePosition, RawLine, Source, chain, read_lines, seek
from producers.topic.bank_files import read_entries
from producers.topic.documents import read_beginning, read_document, read_object
from producers.topic.file_record import FileRecord, is_ignored, refuse_file
from producers.topic.tables import read_rows
from schemas import mistakes
from schemas.feeds.feed import Feed, Layout, Rows
from schemas.feeds.record import Record
from schemas.intake import LONGEST


def read_records(feed: Feed, stream: Source, start: FilePosition = FilePosition()) -> AsyncIterator[FileRecord]:  # noqa: B008  it is a value
    """Yield the records of a feed's file."""
    if feed.layout is Layout.ACH:
        return read_entries(stream, start)
    return read_table_or_objects(stream, start, feed.rows, feed.recognises)


async def read_table_or_objects(
    stream: Source,
    start: FilePosition = FilePosition(),  # noqa: B008  it is a value
    rows: Rows = Rows(),  # noqa: B008  it is a value
    recognises: Callable[[Record], bool] = lambda _: True,
) -> AsyncIterator[FileRecord]:
    """Yield the records of a file of objects or rows, without blank lines.

    `start` is the end of an earlier `FileRecord`. `recognises` says whether the first line has the names of columns. A
    file may begin with a row instead, which must not be lost.
    """
    all_lines = read_lines(stream, longest_first=LONGEST if isinstance(stream, Chunks) else LONGEST_DOCUMENT)
    first = await first_line(all_lines, rows)
    if first is None:
        return
    if refusal := mistakes.file_refusal(first.text):
        yield refuse_file(first, refusal)
        return
    if first.text.lstrip()[:1] not in (b"{", b"["):
        async for record in read_rows(first, _lines_from(start, first, all_lines, stream), start, rows, recognises):
            yield record
    else:
        async for record in _read_objects(first, start, all_lines, stream):
            yield record


async def _read_objects(
    first: RawLine, start: FilePosition, all_lines: AsyncIterator[RawLine], stream: Source
) -> AsyncIterator[FileRecord]:
    if start.offset:
        following = _lines_from(start, first, all_lines, stream)
    else:
        beginning = await read_beginning(first, all_lines)
        if beginning.is_document:
            async for record in read_document(beginning, all_lines):
                yield record
            return
        yield read_object(first, longest=LONGEST_DOCUMENT)
        following = chain(beginning.lines[1:], all_lines)
    async for raw in following:
        if raw.text.strip():
            yield read_object(raw)


async def first_line(all_lines: AsyncIterator[RawLine], rows: Rows = Rows()) -> RawLine | None:  # noqa: B008  it is a value
    """The first line that is neither blank nor ignored (`Rows.ignored_lines`), without a byte order mark."""
    async for raw in all_lines:
        plain = _without_mark(raw)
        if plain.text.strip() and not is_ignored(plain, rows):
            return plain
    return None


def _without_mark(raw: RawLine) -> RawLine:
    return raw._replace(text=raw.text.removeprefix(b"\xef\xbb\xbf"))


def _lines_from(
    start: FilePosition, first: RawLine, all_lines: AsyncIterator[RawLine], stream: Source
) -> AsyncIterator[RawLine]:
    """The lines after `first`, or from `start` on."""
    if not first.end or start.offset <= first.end:
        return all_lines
    seek(stream, start)
    return read_lines(stream, start)
