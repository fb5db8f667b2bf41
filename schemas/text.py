"""Texts and instants as they come from outside, with what every room behind may rely on."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence, Sized
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

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


# long enough for every vendor's token seen
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


# what names a credential or a customer, in the key of an index
Identifier = Annotated[Text, AfterValidator(_at_most(LONGEST_IDENTIFIER))]

# no colon: it ends the vendor in a credential's key, which a fingerprint's key starts with; no @: that is a customer's
Vendor = Annotated[Text, StringConstraints(pattern=r"^[^:@\s][^:\s]*$"), AfterValidator(_at_most(LONGEST_VENDOR))]

Last4 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z*]{1,4}$")]

# A key of a message may be as long as the message; the reason why it is refused is kept, and shown.
_LONGEST_NAME = 100

Instant = Annotated[AwareDatetime, BeforeValidator(_is_written_out), AfterValidator(_in_utc)]


def as_uuid(value: str) -> str:
    """The id as it is stored. Raises ValueError for one that is none."""
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("expected a UUID") from None


MOST_IDENTIFIERS = 32
"""Of a customer, with all metadata: enough for every system that knows one, and few enough to look each of them up."""


def check_identifiers(enterprise_id: str | None, hsid: str | None, metadata: Sized) -> None:
    """Raise ValueError if a customer has more identifiers than are looked up."""
    if len(metadata) + (enterprise_id is not None) + (hsid is not None) > MOST_IDENTIFIERS:
        raise ValueError(f"expected at most {MOST_IDENTIFIERS} identifiers, metadata included")


def too_long(scope: Sequence[tuple[str, str]], field: str) -> Iterator[str]:
    """The faults of identifiers that are longer than an index holds; `field` is the customer's."""
    for name, value in scope:
        if max(len(name.encode()), len(value.encode())) > LONGEST_IDENTIFIER:
            yield f"{field}.{name[:_LONGEST_NAME]}: {_expected(LONGEST_IDENTIFIER)}"
    if len(json.dumps(scope, ensure_ascii=False).encode()) > LONGEST_SCOPE:
        yield f"{field}: {_expected(LONGEST_SCOPE)}, all identifiers together"


def listed(identifiers: Collection[str]) -> str:
    """What may name a customer, as errors say it: `enterpriseId, hsid or metadata.patientId`."""
    first, last = sorted(identifiers)[:-1], max(identifiers)
    return f"{', '.join(first)} or {last}"


def what_is_wrong(error: ValidationError) -> str:
    """The first thing wrong, as `field: what was expected`; the value stays out of it."""
    return all_that_is_wrong(error)[0]


def all_that_is_wrong(error: ValidationError) -> list[str]:
    """Everything that is wrong, each as `what_is_wrong` says it."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{_field(detail['loc'])}: {detail['msg'].removeprefix('Value error, ')}" for detail in errors]


def _field(path: Sequence[str | int]) -> str:
    return ".".join(str(name)[:_LONGEST_NAME] for name in path) or "message"
