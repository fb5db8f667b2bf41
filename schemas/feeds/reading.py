"""From a vendor's record to canonical updates: parse JSON, split records into parts, adapt each part, complete updates.

A file or a body gives records (`parse_json`). `parts` splits a record about many cards. `reports` gives the updates and
fetches of a record, or finds it irrelevant; `read_answer` does so for the answer to a fetch. Both call the feed's
adapter, and then `complete` adds the vendor, and a date and an id where the vendor has none.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from domain import pan
from domain.refusal import Refusal, RefusalCode, Refused
from schemas import once
from schemas.digit_ids import fetch_without_ids
from schemas.feeds.feed import Edge, Feed, Fetch, Irrelevant, match_irrelevant
from schemas.feeds.record import Record, UpdateFields

DEEPEST = 64
"""Levels of objects and arrays in a record; vendors need ten. Python reads and writes some 900, but fewer the deeper
its own stack is: without this bound a record that was read might not be written.
"""

MOST_VALUES = 100_000
"""Values in JSON from outside: 5,000 records of twenty fields. A value of two bytes takes 60 in memory."""

_TOO_DEEP = Refusal(RefusalCode.TOO_DEEP, "record", f"{DEEPEST} levels of JSON at most")
_TOO_MANY = Refusal(RefusalCode.TOO_MANY, "record", f"{MOST_VALUES:,} values at most")


def parse_json(body: str | bytes | bytearray) -> Any:
    """The value of JSON from outside: records, in an array or not, or a record in an envelope.

    `parts` and `read_answer` refuse a record with a repeated key later.

    Raises:
        ValueError: it is no JSON, or deeper than records are, or of more values.
    """
    if has_too_many_values(body):
        raise Refused.of(_TOO_MANY)
    try:
        value = once.loads(body)
    except RecursionError:
        raise Refused.of(_TOO_DEEP) from None
    if _is_deeper(value, DEEPEST + 2):  # the array and the envelope
        raise Refused.of(_TOO_DEEP)
    return value


def has_too_many_values(body: str | bytes | bytearray) -> bool:
    """Whether JSON may have more than `MOST_VALUES`, by its commas and opening brackets: no value is made for this.

    Such characters inside texts count, too.
    """
    if isinstance(body, str):
        return sum(map(body.count, (",", "[", "{"))) > MOST_VALUES
    return sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES


def parts(feed: Feed, record: Record) -> Sequence[Record]:
    """The parts of a record that are read separately, so that a part which is refused does not stop the others.

    Raises:
        Refused: the record is ambiguous, too deep, or cannot be split.
    """
    _refuse_unreadable(record)
    return [record] if feed.split is None else feed.split(record)


def reports(feed: Feed, record: Record, edge: Edge) -> list[UpdateFields | Fetch] | Irrelevant:
    """What a record reports, each update with an id and a date; `Irrelevant` if all of its parts are.

    Raises:
        Refused: no update can be made of the record, or of a part of it.
    """
    results: list[UpdateFields | Fetch | Irrelevant] = []
    for part in parts(feed, record):
        kind = None if feed.event_kind is None else feed.event_kind(part)
        irrelevant = None if kind is None else match_irrelevant(feed.irrelevant, kind)
        results += feed.adapt(part, edge) if irrelevant is None else (irrelevant,)
    reported = [result for result in results if not isinstance(result, Irrelevant)]
    if results and not reported:
        return next(result for result in results if isinstance(result, Irrelevant))
    return [
        _without_numbers(feed, report, edge) if isinstance(report, Fetch) else complete(feed, report, edge)
        for report in reported
    ]


def read(feed: Feed, record: Record, edge: Edge) -> list[UpdateFields | Fetch]:
    """The updates and fetches of `reports`; an empty list for an irrelevant record."""
    reported = reports(feed, record, edge)
    return [] if isinstance(reported, Irrelevant) else reported


def read_answer(feed: Feed, fetch: Fetch, answer: Record, edge: Edge) -> list[UpdateFields]:
    """The updates that the answer to `fetch` reports; none where the answer shows the event to be irrelevant.

    An update that neither the event nor the answer dates gets `edge.at`, when the event came.

    Raises:
        Refused: no update can be made of the answer.
    """
    assert feed.fetched is not None
    _refuse_unreadable(answer)
    results = feed.fetched(fetch.record, answer, edge)
    return [complete(feed, result, edge) for result in results if not isinstance(result, Irrelevant)]


def complete(feed: Feed, message: UpdateFields, edge: Edge) -> UpdateFields:
    """`message` with the feed's name as its vendor. A missing date or id is filled in, the same for the same record."""
    whole = {"vendor": feed.name, **{name: value for name, value in message.items() if value is not None}}
    if "occurredAt" not in whole:
        whole["occurredAt"] = edge.in_order(edge.at, "occurredAt")
    if "id" not in whole:
        whole["id"] = f"{feed.name}-{blake2b(encode(whole), digest_size=16).hexdigest()}"
    return whole


def encode(message: UpdateFields) -> bytes:
    """The message as JSON.

    Raises:
        Refused: it has half of a surrogate pair, which UTF-8 cannot write.
    """
    try:
        return to_json(message)
    except PydanticSerializationError:
        raise Refused(RefusalCode.NOT_TEXT, "record", "UTF-8") from None


def _refuse_unreadable(record: Record) -> None:
    """Refuse a record that is too deep to be written again, or that can be read in two ways."""
    if _is_deeper(record, DEEPEST):
        raise Refused.of(_TOO_DEEP)
    key = once.repeated_key(record)
    if key is not None:
        expected = "each key of an object once"
        raise Refused(RefusalCode.REPEATED, "record", expected, f"expected {expected}, and not {key} twice")


def _is_deeper(value: object, levels: int) -> bool:
    containers = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        containers = [
            inner
            for container in containers
            for inner in (container.values() if isinstance(container, dict) else container)
            if isinstance(inner, (dict, list))
        ]
        if not containers:
            return False
    return True


def _without_numbers(feed: Feed, fetch: Fetch, edge: Edge) -> Fetch:
    """`fetch`, if it has no card number: it is stored until the vendor answers, and its path is sent out."""
    path, record = fetch_without_ids(feed.name, fetch.path, fetch.record, edge.digit_ids)
    ours: UpdateFields = {"path": path, **{f"record.{name}": value for name, value in record.items()}}
    ours |= {f"body.{name}": value for name, value in (fetch.body or {}).items()}
    for name, value in ours.items():
        if pan.pan_in_json(value) is not None:  # names further inside are the vendor's: the reason must not show them
            raise Refused(RefusalCode.CARD_NUMBER_REFUSED, f"$.{name}", "no card number")
    return fetch
