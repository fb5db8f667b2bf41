"""The body of a posted feed: its bytes within bounds, then its records, in any format that the vendor writes.

Each format has bounds that are checked before it is parsed: JSON a length, a depth and a number of values, CSV a number
of lines, rows and columns, a form a number of fields, Braintree's XML a length.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, ParamSpec, TypeAlias, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web

from api import authentication
from api.authentication import CSV, FORM, JSON, PostedRequest
from domain.refusal import Refusal, RefusalCode
from schemas import intake, mistakes
from schemas.feeds.feed import Feed
from schemas.feeds.reading import MOST_VALUES, has_too_many_values, parse_json
from schemas.feeds.record import Record
from schemas.intake import LONGEST, TopicMessage

# The longest body that a vendor sends is a summary of some hundred cards.
LONGEST_BODY = LONGEST
# Vendors wait 10 to 20 s for the answer: no vendor sends a body more slowly than this.
_BODY_SECONDS = 10
# Braintree's form has two fields.
_MOST_FIELDS = 10
# Ten times the cards of the longest summary. Without a bound, each `{}` of 1 MB would be a dead letter.
MOST_RECORDS = 5_000
# Lines of a table: its records, as many blank lines, and headings.
MOST_LINES = 20_000

_NOT_CSV = Refusal(RefusalCode.NOT_READABLE, "body", "CSV with a line of names")

# Bytes above which work goes to a thread: a thread costs as much as reading 50 kB, and less than this takes 0.1 s.
_LARGE = 64 * 1024

# Characters of a number, roughly.
_NUMBER = 8

P = ParamSpec("P")
T = TypeVar("T")


class Denied(Exception):
    """The body is refused with the HTTP `status`; the text says what was expected.

    `letters` are messages for the dead letters, and `refusal` is why. Without any, the body is not stored.
    """

    def __init__(
        self, status: int, expected: str, letters: Sequence[TopicMessage] = (), refusal: Refusal | None = None
    ) -> None:
        super().__init__(expected)
        self.status = status
        self.letters = letters
        self.refusal = refusal


class PostedRow(NamedTuple):
    """One row of a table: its bytes and its record; without a record, `refusal` says why."""

    body: bytes
    record: Record | None
    refusal: Refusal | None = None


RowReader: TypeAlias = Callable[[Feed, bytes], AsyncIterator[PostedRow]]
"""Reads the rows of a feed's CSV."""


def estimate_size(value: object) -> int:
    """The rough length of `value` as JSON, in characters; counting stops once the value is large."""
    total, uncounted = 0, [value]
    while uncounted and total < _LARGE:
        current = uncounted.pop()
        if isinstance(current, Mapping):
            uncounted += current.values()
            total += sum(len(key) for key in current) + len(current)
        elif isinstance(current, list):
            uncounted += current
            total += len(current)
        else:
            total += len(current) if isinstance(current, str) else _NUMBER
    return total


async def offload(size: int, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return the result of `work` on `size` bytes. Large work runs on a thread, so that other requests are answered.

    The search for card numbers in a hostile megabyte takes seconds.
    """
    if size < _LARGE:
        return work(*arguments, **named)
    return await asyncio.to_thread(work, *arguments, **named)


async def read(feed: Feed, request: web.Request) -> PostedRequest:
    """The request's body, and the headers and fields that authenticate it.

    Raises:
        Denied: the feed is not posted as this content type, or the body is too long, too slow or incomplete.
    """
    content_type = _content_type(feed, request)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Denied(415, "expected no Content-Encoding")
    if (request.content_length or 0) > LONGEST_BODY:
        raise Denied(413, f"expected {LONGEST_BODY:,} bytes at most")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > LONGEST_BODY:
                    raise Denied(413, f"expected {LONGEST_BODY:,} bytes at most")
    except (ConnectionError, web.RequestPayloadError):
        raise Denied(400, "expected the whole body, framed as its headers say") from None
    except TimeoutError:
        raise Denied(408, f"expected the whole body within {_BODY_SECONDS} s") from None
    form = _form(bytes(body)) if content_type == FORM else {}
    return PostedRequest(request.headers, request.query, form, bytes(body), content_type)


def _content_type(feed: Feed, request: web.Request) -> str:
    """The content type by the header; every `…+json` counts as JSON."""
    expected = authentication.content_types(feed)
    content_type = JSON if request.content_type.endswith("+json") else request.content_type
    if content_type not in expected:
        raise Denied(415, f"expected {' or '.join(expected)}")
    if content_type == CSV and (request.charset or "utf-8").lower() not in {"utf-8", "us-ascii"}:
        raise Denied(415, f"expected {CSV} in UTF-8")
    return content_type


def _form(body: bytes) -> dict[str, str]:
    """The fields of a form. A body that is no form has none, and so fails authentication."""
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


async def rows(feed: Feed, posted: PostedRequest, read_rows: RowReader) -> list[PostedRow]:
    """The records of the body, each with its own bytes if it is a row of a table.

    Raises:
        Denied: the body has no record. It becomes a dead letter, unless it is compressed or has too many values, lines
            or rows.
    """
    if posted.form:
        return [PostedRow(b"", {name: value for name, value in posted.form.items() if name != "bt_signature"})]
    if refusal := mistakes.packing_refusal(posted.body):
        raise _deny_unusable(feed, b"", refusal._replace(field="body"))
    if posted.content_type == CSV:
        return await _rows_of_table(feed, posted.body, read_rows)
    records = await offload(len(posted.body), _records_of_json, feed, posted.body)
    return [PostedRow(b"", record) for record in records]


def _records_of_json(feed: Feed, body: bytes) -> list[Record]:
    if has_too_many_values(body):
        raise Denied(413, f"expected {MOST_VALUES:,} values at most")
    try:
        document = parse_json(body)
    except ValueError:
        raise _deny_unusable(feed, body, Refusal(RefusalCode.NOT_READABLE, "body", "JSON")) from None
    records = document if isinstance(document, list) else [document]
    if not records or not all(isinstance(record, dict) for record in records):
        raise _deny_unusable(feed, body, Refusal(RefusalCode.WRONG_TYPE, "body", "a JSON object, or an array of them"))
    return records


async def _rows_of_table(feed: Feed, body: bytes, read_rows: RowReader) -> list[PostedRow]:
    if not body.strip() or body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        raise await offload(len(body), _deny_unusable, feed, body, _NOT_CSV)
    if body.count(b"\n") > MOST_LINES:
        raise Denied(413, f"expected {MOST_LINES:,} lines at most, blank ones among them")
    table_rows: list[PostedRow] = []
    async for row in read_rows(feed, body):
        table_rows.append(row)
        if len(table_rows) > MOST_RECORDS:
            raise deny_too_many_records()
    # without column names no row can be read: the whole body becomes one dead letter
    refusal = table_rows[0].refusal if len(table_rows) == 1 else None
    if refusal is not None:
        raise await offload(len(body), _deny_unusable, feed, body, _refusal_of_body(refusal))
    return table_rows


def deny_too_many_records() -> Denied:
    """The refusal of a body with more records than any vendor sends."""
    return Denied(413, f"expected {MOST_RECORDS:,} records at most, or parts of records")


def _refusal_of_body(refusal: Refusal) -> Refusal:
    """The refusal of a posted table, which is no file to its sender."""
    return refusal._replace(field="body") if refusal.field == "file" else refusal


def _deny_unusable(feed: Feed, body: bytes, refusal: Refusal) -> Denied:
    return Denied(422, str(refusal), [intake.refused(feed, body, refusal)], refusal)
