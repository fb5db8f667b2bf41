"""From an account updater's code about a card to a canonical update, for cards named by number or by a lasting token.

Processors pass on the networks' answers, each under columns of its own. The consequences of a code are the same.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from domain import brands
from domain.refusal import RefusalCode, Refused
from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.feed import Code, Edge
from schemas.feeds.fields import brand, refuse_code, text, without_grouping
from schemas.feeds.record import UpdateFields, is_blank, update

_UPDATER_BRANDS = ("VISA", "MASTERCARD", "AMEX", "DISCOVER")


class Field(NamedTuple):
    """A record's value, and the name that a refusal gives to its field."""

    value: object
    name: str


ReadExpiry: TypeAlias = Callable[[], UpdateFields]
"""Reads an expiry. It is called only where the code makes the expiry count: a broken one refuses nothing else."""


def table(codes: tuple[Code, ...]) -> Mapping[str, Code]:
    """The entries of a vocabulary by their codes."""
    return {code.code: code for code in codes}


def dialect(tables: Mapping[str, Mapping[str, Code]], value: object, field: str) -> Mapping[str, Code]:
    """The table of the network that `value` names: one code may have different meanings at two networks."""
    codes = tables.get(brand(text(value, field)) or "")
    if codes is None:
        raise Refused(RefusalCode.UNEXPECTED_VALUE, field, f"{' or '.join(tables)}")
    return codes


def type_of(codes: Mapping[str, Code], value: object, field: str) -> Type:
    """The type of update that the code `value` reports.

    A blank is a code only where the table has it and the column is there: a missing column reports nothing.

    Raises:
        Refused: the code reports no update, and the reason names its meaning; or it is in no table.
    """
    known = "" if "" in codes and isinstance(value, str) and not value.strip() else text(value, field)
    code = codes.get(known)
    if code is None:
        refuse_code(value, field)
    if code.update_type is None:
        raise Refused(RefusalCode.NO_UPDATE, field, f"{code.code} means {code.meaning}")
    return code.update_type


def update_by_number(
    type_: Type,
    edge: Edge,
    *,
    old: Field,
    new: Field,
    expiry: ReadExpiry,
    expiry_field: str,
    former_expiry: ReadExpiry | None = None,
    at: str | None = None,
) -> UpdateFields:
    """An update about a card that is named by its number; `expiry` reads the field `expiry_field`.

    `former_expiry` is given for a feed that leaves blank what has not changed: it reads the expiry that then stays.
    """
    card = {**edge.card(old.value, old.name), "methodType": "CARD"}
    if type_ is Type.NUMBER_REPLACED and former_expiry is not None and is_blank(new.value):
        if not expiry():
            raise Refused(RefusalCode.REQUIRED_HERE, new.name, f"required, or {expiry_field}")
        type_ = Type.EXPIRY_UPDATED
    if type_ is Type.NUMBER_REPLACED:
        number = {**edge.card(new.value, new.name), "methodType": "CARD"}
        old_brand, new_brand = brand_of(old.value), brand_of(new.value)
        dates = expiry() or (former_expiry() if former_expiry is not None else {})
        reason = brand_change(old_brand, new_brand)
        return update(type_, card, {**number, **dates, "brand": new_brand}, at=at, reason=reason)
    require_same(type_, old, new)
    return update(type_, card, _new_expiry(type_, expiry, expiry_field), at=at)


def update_by_token(
    type_: Type,
    token: str,
    *,
    last4: str | None,
    brand: str | None,
    expiry: ReadExpiry,
    expiry_field: str,
    id: str | None = None,  # noqa: A002  the key of the message
    at: str | None = None,
) -> UpdateFields:
    """An update about a card that is named by a token which stays: the card behind the token as it is now."""
    card = {"token": token, "methodType": "CARD"}
    if type_ is Type.NUMBER_REPLACED:
        return update(type_, card, {**card, "last4": last4, "brand": brand, **expiry()}, id=id, at=at)
    return update(type_, card, _new_expiry(type_, expiry, expiry_field), id=id, at=at)


def require_same(type_: Type, old: Field, new: Field) -> None:
    """Refuse another number, or token, beside a code that reports none: one of the two is wrong, and it is not known
    which.
    """
    if not is_blank(new.value) and without_grouping(new.value) != without_grouping(old.value):
        raise Refused(RefusalCode.CONTRADICTION, new.name, f"none, or the same as {old.name}, for {type_.value}")


def brand_change(old_brand: str | None, new_brand: str | None) -> Reason | None:
    """The reason for a replacement by a card of another brand; None where both are the same, or one is not known."""
    return Reason.BRAND_CHANGE if None not in (old_brand, new_brand) and old_brand != new_brand else None


def brand_of(number: object) -> str | None:
    """The brand of a card number, by its first digits; None for a brand that has no account updater."""
    name = brands.brand_of(without_grouping(number))
    return name if name in _UPDATER_BRANDS else None


def _new_expiry(type_: Type, expiry: ReadExpiry, field: str) -> UpdateFields | None:
    """The expiry that EXPIRY_UPDATED must report; None for every other type."""
    if type_ is not Type.EXPIRY_UPDATED:
        return None
    dates = expiry()
    if not dates:
        raise Refused(RefusalCode.REQUIRED_HERE, field, "required for a new expiry")
    return dates
