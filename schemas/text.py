"""Types of untrusted texts and instants, with the bounds that all other rooms rely on."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence, Sized
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints, ValidationError

# pydantic would also read numbers such as "1732093653", whose unit is unknown
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


# longer than every known vendor's token
Text = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_no_nul)]

LONGEST_IDENTIFIER = 255
LONGEST_VENDOR = 64
LONGEST_SCOPE = 2000
"""Bytes in UTF-8 of a token, fingerprint or customer identifier, of a vendor's name, and of the identifiers of one
customer together, as JSON. PostgreSQL keeps 2,704 bytes in one row of an index; the longest holds two tokens, each with
its vendor, and a customer.
"""


def _at_most(limit: int) -> Callable[[str], str]:
    def is_short(value: str) -> str:
        if len(value.encode()) > limit:
            raise ValueError(_expected(limit))
        return value

    return is_short


def _expected(limit: int) -> str:
    return f"expected at most {limit} bytes in UTF-8"


# names a credential or a customer, as part of an index key
Identifier = Annotated[Text, AfterValidator(_at_most(LONGEST_IDENTIFIER))]

# No colon: it ends the vendor in a token's key, and begins a fingerprint's key. No @: it marks a customer.
Vendor = Annotated[Text, StringConstraints(pattern=r"^[^:@\s][^:\s]*$"), AfterValidator(_at_most(LONGEST_VENDOR))]

Last4 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z*]{1,4}$")]

# A key may be as long as its message, and the reason of a refusal, which repeats it, is stored and shown.
_LONGEST_NAME = 100

Instant = Annotated[AwareDatetime, BeforeValidator(_is_written_out), AfterValidator(_in_utc)]


def as_uuid(value: str) -> str:
    """The id as it is stored. Raises ValueError for an id that is no UUID."""
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("expected a UUID") from None


MOST_IDENTIFIERS = 32
"""Identifiers of one customer, metadata included: few enough to look up each of them."""


def check_identifiers(enterprise_id: str | None, hsid: str | None, metadata: Sized) -> None:
    """Raise ValueError if a customer has more than `MOST_IDENTIFIERS`."""
    if len(metadata) + (enterprise_id is not None) + (hsid is not None) > MOST_IDENTIFIERS:
        raise ValueError(f"expected at most {MOST_IDENTIFIERS} identifiers, metadata included")


def too_long(scope: Sequence[tuple[str, str]], field: str) -> Iterator[str]:
    """The faults of identifiers that are too long for an index; `field` is the customer's."""
    for name, value in scope:
        if max(len(name.encode()), len(value.encode())) > LONGEST_IDENTIFIER:
            yield f"{field}.{name[:_LONGEST_NAME]}: {_expected(LONGEST_IDENTIFIER)}"
    if len(json.dumps(scope, ensure_ascii=False).encode()) > LONGEST_SCOPE:
        yield f"{field}: {_expected(LONGEST_SCOPE)}, all identifiers together"


def listed(identifiers: Collection[str]) -> str:
    """The identifiers of a customer as errors list them: `enterpriseId, hsid or metadata.patientId`."""
    first, last = sorted(identifiers)[:-1], max(identifiers)
    return f"{', '.join(first)} or {last}"


def first_error(error: ValidationError) -> str:
    """The first error, as `field: what was expected`, without the value."""
    return all_errors(error)[0]


def all_errors(error: ValidationError) -> list[str]:
    """All errors, each in the form of `first_error`."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{_field(detail['loc'])}: {detail['msg'].removeprefix('Value error, ')}" for detail in errors]


def _field(path: Sequence[str | int]) -> str:
    return ".".join(str(name)[:_LONGEST_NAME] for name in path) or "message"
