"""A feed's file, cut into records as it is read: never the whole of it in memory, and no bad row in the way of others.

A file has JSON objects, one a line, or one JSON document (an array's elements are its records), or CSV with a line of
names. Its first line shows which.
"""

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Sequence
from io import BufferedReader
from typing import NamedTuple

from schemas.feeds.feed import Record
from schemas.intake import LONGEST

_CHUNK = 256 * 1024
# A document is read at once, so it must fit; more than any vendor's day of webhooks.
LONGEST_DOCUMENT = 64 * 1024 * 1024
_DELIMITERS = ",;\t|"
# A quoted field may go over lines; one that never ends must not swallow the file.
_MOST_LINES_OF_A_ROW = 100


class Place(NamedTuple):
    """Where in a file reading may begin: in bytes, and how many lines are before it."""

    offset: int = 0
    lines: int = 0


class Cut(NamedTuple):
    """A record, the number of its line (from 1) or of the document's element, and where the next one begins.

    `record` is None where there is none, and `problem` says why; `body` are its bytes.
    """

    number: int
    end: int
    body: bytes
    record: Record | None
    problem: str | None = None


class Raw(NamedTuple):
    """A line without its end; of one that is too long, a little more than is allowed."""

    number: int
    end: int
    text: bytes


async def lines(stream: BufferedReader, begin: Place = Place()) -> AsyncIterator[Raw]:  # noqa: B008  it is a value
    """Lines as soon as they are there, from `begin` on, where `stream` must stand."""
    number, end, rest, cut_off = begin.lines, begin.offset, b"", 0
    # In a thread: a pipe may have nothing to read for hours, and what was read before must go out meanwhile.
    while chunk := await asyncio.to_thread(stream.read1, _CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for text in whole:
            number += 1
            end += len(text) + cut_off + 1
            cut_off = 0
            yield Raw(number, end, text)
        if len(rest) > LONGEST + 1:
            cut_off += len(rest) - (LONGEST + 1)
            rest = rest[: LONGEST + 1]
    if rest:
        yield Raw(number + 1, end + len(rest) + cut_off, rest)


async def records(stream: BufferedReader, begin: Place = Place()) -> AsyncIterator[Cut]:  # noqa: B008  it is a value
    """The records of a file, empty lines left out; `begin` is a place that a `Cut` ended at."""
    whole = lines(stream)
    first = await _first(whole)
    if first is None:
        return
    text = first.text.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip()[:1] not in (b"{", b"["):
        async for cut in _rows(text, _from(begin, first, whole, stream)):
            yield cut
    elif text.strip() in (b"{", b"[{") or text.lstrip().startswith(b"["):
        async for cut in _document(first._replace(text=text), whole):
            yield cut
    else:
        if not begin.offset:
            yield _object(first._replace(text=text))
        async for raw in _from(begin, first, whole, stream):
            if raw.text.strip():
                yield _object(raw)


async def _first(whole: AsyncIterator[Raw]) -> Raw | None:
    """The first line that is not empty."""
    async for raw in whole:
        if raw.text.strip():
            return raw
    return None


def _from(begin: Place, first: Raw, whole: AsyncIterator[Raw], stream: BufferedReader) -> AsyncIterator[Raw]:
    """The lines after the first one, or from `begin` on."""
    if begin.offset <= first.end:
        return whole
    stream.seek(begin.offset)
    return lines(stream, begin)


def _object(raw: Raw) -> Cut:
    if len(raw.text) > LONGEST:
        return _too_long(raw)
    try:
        found = json.loads(raw.text)
    except (ValueError, RecursionError) as error:
        expected = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
        return Cut(raw.number, raw.end, raw.text, None, f"line: expected {expected}")
    return _element(raw.number, raw.end, raw.text, found)


def _element(number: int, end: int, body: bytes, found: object) -> Cut:
    if not isinstance(found, dict):
        return Cut(number, end, body, None, "record: expected a JSON object")
    return Cut(number, end, body, found)


async def _document(first: Raw, whole: AsyncIterator[Raw]) -> AsyncIterator[Cut]:
    """Elements all end where the document begins, but for the last: a part of one cannot be begun with."""
    text, end = bytearray(first.text + b"\n"), first.end
    async for raw in whole:
        text += raw.text + b"\n"
        end = raw.end
        if len(text) > LONGEST_DOCUMENT:
            limit = f"{LONGEST_DOCUMENT // 1024**2} MiB"
            yield Cut(1, 0, b"", None, f"document: expected {limit} at most; write its objects one a line")
            return
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        yield Cut(1, end, bytes(text[: LONGEST + 1]), None, "document: expected JSON")
        return
    elements = found if isinstance(found, list) else [found]
    for number, element in enumerate(elements, 1):
        yield _element(number, end if number == len(elements) else 0, json.dumps(element).encode(), element)


async def _rows(header: bytes, following: AsyncIterator[Raw]) -> AsyncIterator[Cut]:
    try:
        text = header.decode().rstrip("\r")
    except UnicodeDecodeError:
        yield Cut(1, 0, header, None, "line of names: expected UTF-8")
        return
    delimiter = max(_DELIMITERS, key=text.count)
    names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
    if len(set(names)) < len(names) or not all(names):
        yield Cut(1, 0, header, None, "line of names: expected a name for each column, and each one once")
        return
    waiting: list[Raw] = []
    async for raw in following:
        if not waiting and not raw.text.strip(b"\r \t"):
            continue
        waiting.append(raw)
        if sum(each.text.count(b'"') for each in waiting) % 2 and len(waiting) < _MOST_LINES_OF_A_ROW:
            continue  # a quoted field goes on in the next line
        for cut in _rows_of(waiting, names, delimiter):
            yield cut
        waiting = []
    for cut in _rows_of(waiting, names, delimiter):
        yield cut


def _rows_of(waiting: Sequence[Raw], names: list[str], delimiter: str) -> list[Cut]:
    """Lines that are one row; or, where a quote never ends, a bad row and others."""
    if len(waiting) > 1 and sum(raw.text.count(b'"') for raw in waiting) % 2:
        return [cut for raw in waiting for cut in _rows_of([raw], names, delimiter)]
    return [_row(waiting, names, delimiter)] if waiting else []


def _row(waiting: Sequence[Raw], names: list[str], delimiter: str) -> Cut:
    number, end = waiting[0].number, waiting[-1].end
    body = waiting[0].text if len(waiting) == 1 else b"\n".join(raw.text for raw in waiting)
    if len(body) > LONGEST:
        return _too_long(Raw(number, end, body))
    try:
        text = body.decode().rstrip("\r")
    except UnicodeDecodeError:
        return Cut(number, end, body, None, "line: expected UTF-8")
    if '"' not in text:
        cells = text.split(delimiter)
    elif text.count('"') % 2:
        return Cut(number, end, body, None, "line: expected a closing quote")
    else:
        try:
            cells = next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter))
        except csv.Error:
            return Cut(number, end, body, None, "line: expected CSV")
    if len(cells) != len(names):
        return Cut(number, end, body, None, f"line: expected {len(names)} columns, not {len(cells)}")
    return Cut(number, end, body, dict(zip(names, cells, strict=True)))


def _too_long(raw: Raw) -> Cut:
    return Cut(raw.number, raw.end, b"", None, f"line: expected {LONGEST:,} bytes at most")
