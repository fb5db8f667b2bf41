"""Types of untrusted texts and instants, with the bounds that all other rooms rely on."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence, Sized
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints

from domain.refusal import Refusal, RefusalCode, Refused

# pydantic would also read numbers such as "1732093653", whose unit is unknown
_DATE = re.compile(r"\d{4}-")


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise Refused(RefusalCode.WRONG_FORMAT, "", "no NUL character")
    return value


def _is_written_out(value: object) -> object:
    if not isinstance(value, str) or not _DATE.match(value):
        raise Refused(RefusalCode.WRONG_FORMAT, "", "an ISO 8601 timestamp with a time zone")
    return value


# the bounds keep a broken clock's year 0001 or 9999 from overflowing a timestamp column
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _in_utc(value: datetime) -> datetime:
    if not FIRST <= value < LAST:
        raise Refused(RefusalCode.OUT_OF_RANGE, "", "a time between 1970 and 2199")
    return value.astimezone(UTC)


# longer than every known vendor's token
_LENGTH = StringConstraints(min_length=1, max_length=255)
Text = Annotated[str, _LENGTH, AfterValidator(_no_nul)]

LONGEST_IDENTIFIER = 255
LONGEST_VENDOR = 64
LONGEST_SCOPE = 2000
"""Bytes in UTF-8 of a token, fingerprint or customer identifier, of a vendor's name, and of the identifiers of one
customer together, as JSON. PostgreSQL keeps 2,704 bytes in one row of an index; the longest holds two tokens, each with
its vendor, and a customer.
"""


def _at_most(limit: int) -> Callable[[str], str]:
    def fits_an_index(value: str) -> str:
        if "\x00" in value or len(value.encode()) > limit:
            _no_nul(value)
            raise Refused(RefusalCode.TOO_LONG, "", _bytes(limit))
        return value

    return fits_an_index


def _bytes(limit: int) -> str:
    return f"at most {limit} bytes in UTF-8"


# names a credential or a customer, as part of an index key
Identifier = Annotated[str, _LENGTH, AfterValidator(_at_most(LONGEST_IDENTIFIER))]

# No colon: it ends the vendor in a token's key, and begins a fingerprint's key. No @: it marks a customer.
VENDOR = r"^[^:@\s][^:\s]*$"
Vendor = Annotated[Text, StringConstraints(pattern=VENDOR), AfterValidator(_at_most(LONGEST_VENDOR))]

LAST4 = r"^[0-9A-Za-z*]{1,4}$"
Last4 = Annotated[str, StringConstraints(pattern=LAST4)]

LONGEST_NAME = 100
"""Of a key in the field of a refusal: a key may be as long as its message, and the refusal is stored and shown."""

Instant = Annotated[AwareDatetime, BeforeValidator(_is_written_out), AfterValidator(_in_utc)]


def as_uuid(value: str) -> str:
    """The id as it is stored. Raises Refused for an id that is no UUID."""
    try:
        return str(UUID(value))
    except ValueError:
        raise Refused(RefusalCode.WRONG_FORMAT, "", "a UUID") from None


MOST_IDENTIFIERS = 32
"""Identifiers of one customer, metadata included: few enough to look up each of them."""


def check_identifiers(enterprise_id: str | None, hsid: str | None, metadata: Sized) -> None:
    """Raise Refused if a customer has more than `MOST_IDENTIFIERS`."""
    if len(metadata) + (enterprise_id is not None) + (hsid is not None) > MOST_IDENTIFIERS:
        raise Refused(RefusalCode.TOO_MANY, "", f"at most {MOST_IDENTIFIERS} identifiers, metadata included")


def too_long(scope: Sequence[tuple[str, str]], field: str) -> Iterator[Refusal]:
    """The refusals of identifiers that are too long for an index; `field` is the customer's."""
    for name, value in scope:
        if max(len(name.encode()), len(value.encode())) > LONGEST_IDENTIFIER:
            yield Refusal(RefusalCode.TOO_LONG, f"{field}.{name[:LONGEST_NAME]}", _bytes(LONGEST_IDENTIFIER))
    if len(json.dumps(scope, ensure_ascii=False).encode()) > LONGEST_SCOPE:
        yield Refusal(RefusalCode.TOO_LONG, field, f"{_bytes(LONGEST_SCOPE)}, all identifiers together")


def listed(identifiers: Collection[str]) -> str:
    """The identifiers of a customer as errors list them: `enterpriseId, hsid or metadata.patientId`."""
    first, last = sorted(identifiers)[:-1], max(identifiers)
    return f"{', '.join(first)} or {last}"
