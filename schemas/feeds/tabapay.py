"""TabaPay's report "Updated Accounts" (its documentation has the columns and the codes).

`Account ID` is a persistent token for the stored card, so it stays while the card changes. `Network Code` is Visa's
letter or Mastercard's word, by the card's former brand. `Reason Code` has the same meaning in TabaPay's own words.
Mastercard's UPDATE reports a new number or a new expiry. `Reason Code` distinguishes the two; without it, the digits of
both numbers do. None of the three may contradict another.

Assumed: expiration dates as MMYY (`12/28` too) or, as in TabaPay's API, YYYYMM. The digits of a date show its form.
"""

import re
from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds import abu_batch, vau
from schemas.feeds.card import dialect, table, type_of, update_by_token
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import brand, expiry, mmyy, optional_text, optional_value, required_merchant_id, text
from schemas.feeds.record import Record, UpdateFields, is_blank

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


def adapt(record: Record, _edge: Edge) -> Iterable[UpdateFields]:
    codes = dialect(_TABLES, record.get("Original Brand"), "Original Brand")
    update_type = type_of(codes, record.get("Network Code"), "Network Code")
    reason = optional_value(record.get("Reason Code"))
    reason_type = None if reason is None else _REASONS.get(reason.lower())
    if optional_text(record.get("Network Code")) == _NUMBER_OR_EXPIRY:
        update_type = reason_type or (Type.EXPIRY_UPDATED if _has_same_digits(record) else Type.NUMBER_REPLACED)
    if reason is not None and reason_type is not update_type:
        raise Refused(
            RefusalCode.CONTRADICTION,
            "Reason Code",
            "what Network Code says (Account for a new number, Expiry for a new date)",
        )
    if update_type is Type.NUMBER_REPLACED and _has_no_new_digits(record):
        raise Refused(RefusalCode.REQUIRED, "New Last 4", "required")
    if update_type is not Type.NUMBER_REPLACED and not _has_same_digits(record):
        raise Refused(RefusalCode.CONTRADICTION, "New Last 4", f"none, or what there was, for {update_type.value}")
    yield update_by_token(
        update_type,
        required_merchant_id(record.get("Account ID"), "Account ID"),
        last4=_last4(record, "New Last 4") if update_type is Type.NUMBER_REPLACED else None,
        brand=brand(record.get("New Brand")),
        expiry=lambda: _expiry(record.get("New Expiration Date"), "New Expiration Date"),
        expiry_field="New Expiration Date",
    )


def _has_same_digits(record: Record) -> bool:
    """Whether the digits of the new number are those of the original, or missing."""
    if _has_no_new_digits(record):
        return True
    original, new = optional_value(record.get("Original BIN")), optional_value(record.get("New BIN"))
    if None not in (original, new) and original != new:
        return False
    return _last4(record, "New Last 4") == _last4(record, "Original Last 4")


def _has_no_new_digits(record: Record) -> bool:
    """Whether the digits of a new number are missing. Four zeros may be the last of a number with a filled BIN."""
    last = record.get("New Last 4")
    may_be_last = re.fullmatch(r"0{1,4}", optional_text(last) or "") is not None and not is_blank(record.get("New BIN"))
    return is_blank(last) and not may_be_last


def _last4(record: Record, field: str) -> str:
    """Four digits; a spreadsheet may have dropped leading zeros."""
    digits = text(record.get(field), field)
    if not re.fullmatch(r"\d{1,4}", digits, re.ASCII):
        raise Refused(RefusalCode.WRONG_FORMAT, field, "up to four digits")
    return digits.zfill(4)


def _expiry(value: object, field: str) -> UpdateFields:
    """The expiry of a date as YYYYMM or MMYY: no month begins with 2, and no card's year with 0 or 1."""
    date = re.fullmatch(r"(2\d{3})-?(\d{2})", optional_text(value) or "", re.ASCII)
    return expiry(date[2], date[1], field) if date else mmyy(value, field)


FEED = Feed(
    name="tabapay",
    title="TabaPay account updater",
    adapt=adapt,
    recognises=lambda record: {"Account ID", "Network Code", "New Last 4"} <= record.keys(),
    codes=CODES,
    is_table=True,
)
