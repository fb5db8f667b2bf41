"""Visa Account Updater: inquiry responses (Visa's own OpenAPI, `SuccessfulInquiryResponse`).

Dates are YYMM. A new number is filled in for V, and probably for E, so the code decides. O also stands for an issuer's
stop advice. R and U were seen elsewhere; their meaning is not documented.

`previouslySentFlag` is Y where the same response was sent to this acquirer within 40 days. It is read like any other
response, for the first one may never have arrived. A repeated update is recognised by its meaning, and makes no
webhook. Where another vendor reported a later change in between, Visa's answer of today counts. Any flag but Y, N or
a blank shows that columns have slipped, so the response is refused.
"""

from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import Field, table, type_of, update_by_number
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import optional_value, yymm
from schemas.feeds.record import Record, UpdateFields

CODES = (
    Code("A", "account number changed", Type.NUMBER_REPLACED),
    Code("E", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("C", "account closed", Type.CLOSED),
    Code("Q", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("O", "cardholder opted out, or the issuer's stop advice", Type.OPTED_OUT),
    Code("P", "issuer participates, no match", Type.NO_MATCH),
    Code("N", "issuer does not participate", Type.NO_MATCH),
    Code("V", "matches, nothing changed", Type.NO_CHANGE),
)
_CODES = table(CODES)
_REJECTED = {
    "1": "the number does not start with 2 to 6",
    "3": "the number is blank or has other characters than digits",
    "4": "the number has not 13, 15, 16 or 19 digits",
    "5": "the expiration date is not YYMM",
}


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    rejected = optional_value(record.get("rejectReasonCode"))
    if rejected is not None:
        meaning = _REJECTED.get(rejected.lstrip("0"), "for a reason not known")
        raise Refused(RefusalCode.NO_UPDATE, "rejectReasonCode", f"Visa rejected the inquiry, {meaning}")
    if optional_value(record.get("previouslySentFlag")) not in ("Y", "N", None):
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "previouslySentFlag", "Y, N or a blank")
    update_type = type_of(_CODES, record.get("serviceIdentifier"), "serviceIdentifier")
    yield update_by_number(
        update_type,
        edge,
        old=Field(record.get("oldCardholderAccountNumber"), "oldCardholderAccountNumber"),
        new=Field(record.get("newCardholderAccountNumber"), "newCardholderAccountNumber"),
        expiry=lambda: yymm(record.get("newExpirationDate"), "newExpirationDate"),
        expiry_field="newExpirationDate",
    )


FEED = Feed(
    name="vau",
    title="Visa Account Updater",
    adapt=adapt,
    recognises=lambda record: "serviceIdentifier" in record and "oldCardholderAccountNumber" in record,
    codes=CODES,
    is_table=True,
    carries_numbers=True,
)
