"""What an account updater's answer about a card comes to: told by the card's number, or by a token that stays.

Processors pass on what the networks say, each under columns of its own; what follows from it is the same.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.feed import (
    Code,
    Edge,
    Message,
    Refused,
    brand,
    code_of,
    is_blank,
    text,
    told,
    ungrouped,
)

# ISO/IEC 7812 as the networks publish their ranges; what is in none of them has no brand
_ISSUED_BY = (
    ("VISA", re.compile(r"4")),
    ("MASTERCARD", re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720")),
    ("AMEX", re.compile(r"3[47]")),
    ("DISCOVER", re.compile(r"6011|64[4-9]|65")),
)


class Said(NamedTuple):
    """What a record says, and where: a refusal names the field."""

    value: object
    field: str


Expiry: TypeAlias = Callable[[], Message]
"""Reads an expiry: only where the code makes it count, so that a broken one refuses nothing else."""


def table(codes: tuple[Code, ...]) -> Mapping[str, Code]:
    return {code.said: code for code in codes}


def dialect(tables: Mapping[str, Mapping[str, Code]], value: object, field: str) -> Mapping[str, Code]:
    """The table of the network that `value` names: the same code may mean something else at another one."""
    codes = tables.get(brand(text(value, field)) or "")
    if codes is None:
        raise Refused(f"{field}: expected {' or '.join(tables)}")
    return codes


def type_of(codes: Mapping[str, Code], value: object, field: str) -> Type:
    """What a code comes to; one that comes to nothing is refused with its meaning, one in no table as unknown.

    A blank is a code only where the table has one, and only where it is said: a missing column says nothing.
    """
    said = "" if "" in codes and isinstance(value, str) and not value.strip() else text(value, field)
    code = codes.get(said)
    if code is None:
        return code_of({}, value, field)
    if code.becomes is None:
        raise Refused(f"{field}: {code.said} means {code.meaning}")
    return code.becomes


def by_number(
    type_: Type,
    edge: Edge,
    *,
    old: Said,
    new: Said,
    expiry: Expiry,
    expires: str,
    unchanged: Expiry | None = None,
    at: str | None = None,
) -> Message:
    """What is told of a card that goes by its number.

    `expiry` reads what stands in the field `expires`. `unchanged` is given where a feed leaves blank what has not
    changed: it reads the expiry from before, which then stays.
    """
    card = {**edge.card(old.value, old.field), "methodType": "CARD"}
    if type_ is Type.NUMBER_REPLACED and unchanged is not None and is_blank(new.value):
        if not expiry():
            raise Refused(f"{new.field}: required, or {expires}")
        type_ = Type.EXPIRY_UPDATED
    if type_ is Type.NUMBER_REPLACED:
        number = {**edge.card(new.value, new.field), "methodType": "CARD"}
        brands = brand_of(old.value), brand_of(new.value)
        other = None not in brands and brands[0] != brands[1]
        reason = Reason.BRAND_CHANGE if other else None
        until = expiry() or (unchanged() if unchanged is not None else {})
        return told(type_, card, {**number, **until, "brand": brands[1]}, at=at, reason=reason)
    must_stay(type_, old, new)
    return told(type_, card, _needed(type_, expiry, expires), at=at)


def by_token(
    type_: Type,
    token: str,
    *,
    last4: str | None,
    brand: str | None,
    expiry: Expiry,
    expires: str,
    id: str | None = None,  # noqa: A002  as it stands in the message
    at: str | None = None,
) -> Message:
    """What is told of a card that goes by a token which stays, whatever the card behind it: how it looks now."""
    card = {"token": token, "methodType": "CARD"}
    if type_ is Type.NUMBER_REPLACED:
        return told(type_, card, {**card, "last4": last4, "brand": brand, **expiry()}, id=id, at=at)
    return told(type_, card, _needed(type_, expiry, expires), id=id, at=at)


def must_stay(type_: Type, old: Said, new: Said) -> None:
    """Refuses another number, or token, beside a code that tells of none: nobody knows which of the two is true."""
    if not is_blank(new.value) and ungrouped(new.value) != ungrouped(old.value):
        raise Refused(f"{new.field}: expected none, or the same as {old.field}, for {type_.value}")


def brand_of(number: object) -> str | None:
    """Whose card it is, by the digits that a card number begins with."""
    digits = ungrouped(number)
    return next((name for name, range_ in _ISSUED_BY if range_.match(digits)), None)


def _needed(type_: Type, expiry: Expiry, field: str) -> Message | None:
    if type_ is not Type.EXPIRY_UPDATED:
        return None
    until = expiry()
    if not until:
        raise Refused(f"{field}: required for a new expiry")
    return until
