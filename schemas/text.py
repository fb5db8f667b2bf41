"""Texts and instants as they come from outside, with what every room behind may rely on."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints, ValidationError

# what else a datetime may be read from, such as "1732093653": nobody knows whether its unit is meant
_DATE = re.compile(r"\d{4}-")


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("expected no NUL character")
    return value


def _is_written_out(value: object) -> object:
    if not isinstance(value, str) or not _DATE.match(value):
        raise ValueError("expected an ISO 8601 timestamp with a time zone")
    return value


# the bounds keep a broken clock's year 0001 or 9999 from overflowing a timestamp column
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _in_utc(value: datetime) -> datetime:
    if not _FIRST <= value < _LAST:
        raise ValueError("expected a time between 1970 and 2199")
    return value.astimezone(UTC)


# long enough for every vendor's token seen, and short enough for an index row
Text = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_no_nul)]

# no colon: it ends the vendor in a credential's key, which a fingerprint's key starts with; no @: that is a customer's
Vendor = Annotated[Text, StringConstraints(pattern=r"^[^:@\s][^:\s]*$", max_length=64)]

Last4 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z*]{1,4}$")]

Instant = Annotated[AwareDatetime, BeforeValidator(_is_written_out), AfterValidator(_in_utc)]


def what_is_wrong(error: ValidationError) -> str:
    """The first thing wrong, as `field: what was expected`; the value stays out of it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "message"
    return f"{field}: {first['msg'].removeprefix('Value error, ')}"
