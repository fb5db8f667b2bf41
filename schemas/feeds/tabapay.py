"""TabaPay's report "Updated Accounts" (its documentation has the columns and the codes).

`Account ID` is a persistent token for the stored card, so it stays while the card changes. `Network Code` is Visa's
letter or Mastercard's word, by the brand that the card had; `Reason Code` says the same in TabaPay's own words.
Mastercard's UPDATE tells a new number or a new expiry: the reason says which, or else whether the digits that are shown
are others. None of the three may contradict another.

Assumed: expiration dates as MMYY (`12/28` too) or, as in TabaPay's API, YYYYMM; which of the two it is can be seen.
"""

import re
from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds import abu_batch, vau
from schemas.feeds.card import by_token, dialect, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, Refused, brand, expiry, is_blank, mmyy, optional, text

_NUMBER_OR_EXPIRY = "UPDATE"
_VISA = (
    *vau.CODES,
    Code("101", "rejected: the number has other characters than digits", None),
    Code("103", "rejected: the expiration date is not valid", None),
    Code("104", "rejected: the merchant is not registered", None),
    Code("122", "rejected: the sub-merchant is not registered", None),
)
_MASTERCARD = (
    Code(_NUMBER_OR_EXPIRY, "new number or new expiration date", Type.NUMBER_REPLACED),
    Code("EXPIRY", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("CONTAC", "account closed", Type.CLOSED),
    Code("CONTACH", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("VALID", "matches, nothing changed", Type.NO_CHANGE),
    Code("", "nothing changed", Type.NO_CHANGE),
    Code("UNKNWN", "not known to Mastercard", Type.NO_MATCH),
    Code("NOMATH", "no match", Type.NO_MATCH),
    Code("MC_P", "issuer participates, no match", Type.NO_MATCH),
    Code("MC_N", "issuer does not participate", Type.NO_MATCH),
    Code("34", "stop all recurring payments of this merchant", Type.OPTED_OUT),
    Code("43", "card not of the United Kingdom", Type.NO_MATCH),
    *abu_batch.REJECTED,
    Code("000122", "rejected: the sub-merchant is not registered", None),
)
CODES = _VISA + _MASTERCARD
_TABLES = {"VISA": table(_VISA), "MASTERCARD": table(_MASTERCARD)}
_REASONS = {"account": Type.NUMBER_REPLACED, "expiry": Type.EXPIRY_UPDATED}


def adapt(record: Record, _edge: Edge) -> Iterable[Message]:
    codes = dialect(_TABLES, record.get("Original Brand"), "Original Brand")
    kind = type_of(codes, record.get("Network Code"), "Network Code")
    reason = optional(record.get("Reason Code"))
    meant = None if reason is None else _REASONS.get(reason.lower())
    if optional(record.get("Network Code")) == _NUMBER_OR_EXPIRY:
        kind = meant or (Type.EXPIRY_UPDATED if _shows_the_same(record) else Type.NUMBER_REPLACED)
    if reason is not None and meant is not kind:
        raise Refused("Reason Code: expected what Network Code says (Account for a new number, Expiry for a new date)")
    if kind is Type.NUMBER_REPLACED and _shows_none(record):
        raise Refused("New Last 4: required")
    if kind is not Type.NUMBER_REPLACED and not _shows_the_same(record):
        raise Refused(f"New Last 4: expected none, or what there was, for {kind.value}")
    yield by_token(
        kind,
        text(record.get("Account ID"), "Account ID"),
        last4=_last4(record, "New Last 4") if kind is Type.NUMBER_REPLACED else None,
        brand=brand(record.get("New Brand")),
        expiry=lambda: _expiry(record.get("New Expiration Date"), "New Expiration Date"),
        expires="New Expiration Date",
    )


def _shows_the_same(record: Record) -> bool:
    """Whether no other digits of the number are told than there were."""
    if _shows_none(record):
        return True
    bins = optional(record.get("Original BIN")), optional(record.get("New BIN"))
    other = None not in bins and bins[0] != bins[1]
    return not other and _last4(record, "New Last 4") == _last4(record, "Original Last 4")


def _shows_none(record: Record) -> bool:
    """Whether no digits of a new number are told: four zeros may be its last, but then it begins with others."""
    last = record.get("New Last 4")
    return optional(last) is None or (is_blank(last) and is_blank(record.get("New BIN")))


def _last4(record: Record, field: str) -> str:
    """Four digits, of which a spreadsheet may have taken the zeros in front."""
    digits = text(record.get(field), field)
    if not re.fullmatch(r"\d{1,4}", digits, re.ASCII):
        raise Refused(f"{field}: expected up to four digits")
    return digits.zfill(4)


def _expiry(value: object, field: str) -> Message:
    """No month begins with 2, and no year of a card with 0 or 1."""
    written = re.fullmatch(r"(2\d{3})-?(\d{2})", optional(value) or "", re.ASCII)
    return expiry(written[2], written[1], field) if written else mmyy(value, field)


FEED = Feed(
    name="tabapay",
    title="TabaPay account updater",
    adapt=adapt,
    recognises=lambda record: {"Account ID", "Network Code", "New Last 4"} <= record.keys(),
    codes=CODES,
)
