"""JSON in a feed's file: one document, or objects that have a line each."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

from domain.refusal import Refusal, RefusalCode
from producers.lines import LONGEST_DOCUMENT, RawLine, chain
from producers.topic.file_record import NOT_UTF_8, FileRecord, refuse_long_line
from schemas import once
from schemas.intake import LONGEST

# Ten bytes a value in a document of the greatest length. The smallest value takes 64 bytes of memory.
_MOST_VALUES = 6_500_000
_TOO_MANY = Refusal(RefusalCode.TOO_MANY, "document", f"{_MOST_VALUES:,} values at most; write its objects one a line")
_TOO_LONG = Refusal(
    RefusalCode.TOO_LONG,
    "document",
    f"{LONGEST_DOCUMENT // 1024**2} MiB and lines of {LONGEST:,} bytes at most; write its objects one a line",
)
_NOT_JSON = Refusal(RefusalCode.NOT_READABLE, "", "JSON")


class Beginning(NamedTuple):
    """The first lines, and whether they begin one document; if not, each line should be an object."""

    lines: tuple[RawLine, ...]
    is_document: bool


async def read_beginning(first: RawLine, following: AsyncIterator[RawLine]) -> Beginning:
    """Read at most two more lines to see whether a JSON file is one document or has one object a line.

    The first of many objects may be truncated. Then the next line is a whole object, which cannot continue a document.
    """
    if _has_too_many_values(first.text) or not await asyncio.to_thread(_is_unfinished, first.text):
        return Beginning((first,), first.text.lstrip().startswith(b"["))
    lines = [first]
    while await _append_next(following, lines) and _is_object(lines[-1].text):
        if len(lines) > 2 or not first.text.rstrip().endswith((b"[", b":")):  # noqa: PLR2004
            return Beginning(tuple(lines), is_document=False)
    return Beginning(tuple(lines), is_document=True)


async def _append_next(following: AsyncIterator[RawLine], lines: list[RawLine]) -> bool:
    """Append the next line that is not blank to `lines`; False at the end of the file."""
    async for raw in following:
        if raw.text.strip():
            lines.append(raw)
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


def _has_too_many_values(text: bytes | bytearray) -> bool:
    return len(text) > LONGEST and sum(map(text.count, (b",", b"[", b"{"))) > _MOST_VALUES


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def read_object(raw: RawLine, longest: int = LONGEST) -> FileRecord:
    """Read an object that has a line of its own, of `longest` bytes at most."""
    if len(raw.text) > longest:
        return refuse_long_line(raw)
    if _has_too_many_values(raw.text):
        return FileRecord(raw.number, raw.end, b"", None, _TOO_MANY)
    try:
        value = once.loads(raw.text)
    except (ValueError, RecursionError) as error:
        is_text = not isinstance(error, UnicodeDecodeError)
        return FileRecord(raw.number, raw.end, raw.text, None, (_NOT_JSON if is_text else NOT_UTF_8).inside("line"))
    return _element(raw.number, raw.end, raw.text, value)


def _element(number: int, end: int, body: bytes, value: object) -> FileRecord:
    if not isinstance(value, dict):
        return FileRecord(number, end, body, None, Refusal(RefusalCode.WRONG_TYPE, "record", "a JSON object"))
    return FileRecord(number, end, body, value)


async def read_document(beginning: Beginning, following: AsyncIterator[RawLine]) -> AsyncIterator[FileRecord]:
    """Yield the elements of an array, or the object. They have no `end`: reading cannot begin inside a document."""
    text, longest = bytearray(), LONGEST_DOCUMENT
    async for raw in chain(beginning.lines, following):
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
