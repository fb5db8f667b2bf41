"""Thin events on their topic: the request that a vendor's event asks for, as JSON.

`path`, `record`, `body` and `fileAt` are the fields of `schemas.feeds.feed.Fetch`; `at` is when the event arrived.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from domain.refusal import RefusalCode, Refused
from schemas.canonical import refuse_by_headers
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds, pan_in_thin_event
from schemas.feeds.feed import Fetch
from schemas.feeds.reading import parse_json
from schemas.text import Instant, Text
from schemas.validation import refusals_of


@dataclass(frozen=True, slots=True)
class ThinEvent:
    """A thin event. `digest` (16 bytes) covers the request, not `at`: repetitions have the same digest."""

    feed: str
    fetch: Fetch
    at: datetime
    digest: bytes


class _ThinEventJson(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)

    feed: Text
    path: str = Field(min_length=1, max_length=4096)
    record: dict[str, Any]
    body: dict[str, Any] | None = None
    file_at: Instant | None = None
    at: Instant


def written(feed: str, fetch: Fetch, at: datetime) -> bytes:
    """The message's value."""
    wire = {
        "feed": feed,
        "path": fetch.path,
        "record": fetch.record,
        "body": fetch.body,
        "fileAt": None if fetch.file_at is None else fetch.file_at.astimezone(UTC).isoformat(),
        "at": at.astimezone(UTC).isoformat(),
    }
    members = {name: value for name, value in wire.items() if value is not None}
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


def parse(
    value: bytes, headers: Sequence[tuple[str, bytes | None]] = (), digit_ids: DigitIds = NO_DIGIT_IDS
) -> ThinEvent:
    """Read one message of the topic. In fields that `digit_ids` names, digits are no card number.

    Raises:
        Refused: it is no thin event, it holds a card number, or a header marks it as unreadable.
    """
    refuse_by_headers(headers)
    try:
        text = value.decode()
        document = parse_json(text)
    except ValueError:
        raise Refused(RefusalCode.NOT_READABLE, "message", "JSON, no deeper than records are") from None
    if pan_in_thin_event(document, digit_ids) is not None:
        raise Refused(RefusalCode.CARD_NUMBER_REFUSED, "message", "no card number, however it is encoded")
    try:
        wire = _ThinEventJson.model_validate_json(value)
    except ValidationError as error:
        raise Refused.of(*refusals_of(error)) from None
    fetch = Fetch(wire.path, wire.record, wire.body, wire.file_at)
    asked = json.dumps([wire.feed, fetch.path, fetch.record, fetch.body, str(fetch.file_at)], sort_keys=True)
    return ThinEvent(wire.feed, fetch, wire.at, blake2b(asked.encode(), digest_size=16).digest())
