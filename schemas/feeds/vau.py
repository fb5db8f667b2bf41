"""Visa Account Updater: inquiry responses (Visa's own OpenAPI, `SuccessfulInquiryResponse`).

Dates are YYMM. A new number is filled in for V, and probably for E, so it is the code that says what happened. O is
also what a merchant sees under an issuer's stop advice. R and U were seen elsewhere; nobody says what they mean.

`previouslySentFlag` is Y where the same was sent to this acquirer within 40 days. Such a repetition is read like any
other response, for the first one may never have come: what it tells again is recognised by its meaning, and makes no
webhook. Where another vendor has told otherwise in between, it is Visa's answer of today that counts. With anything but
Y, N or a blank in the flag columns have slipped, so the response is refused.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import Said, by_number, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, Refused, optional, yymm

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
_MEANING = table(CODES)
_REJECTED = {
    "1": "the number does not start with 2 to 6",
    "3": "the number is blank or has other characters than digits",
    "4": "the number has not 13, 15, 16 or 19 digits",
    "5": "the expiration date is not YYMM",
}


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    rejected = optional(record.get("rejectReasonCode"))
    if rejected is not None:
        why = _REJECTED.get(rejected.lstrip("0"), "for a reason not known")
        raise Refused(f"rejectReasonCode: Visa rejected the inquiry, {why}")
    if optional(record.get("previouslySentFlag")) not in ("Y", "N", None):
        raise Refused("previouslySentFlag: expected Y, N or a blank")
    kind = type_of(_MEANING, record.get("serviceIdentifier"), "serviceIdentifier")
    yield by_number(
        kind,
        edge,
        old=Said(record.get("oldCardholderAccountNumber"), "oldCardholderAccountNumber"),
        new=Said(record.get("newCardholderAccountNumber"), "newCardholderAccountNumber"),
        expiry=lambda: yymm(record.get("newExpirationDate"), "newExpirationDate"),
        expires="newExpirationDate",
    )


FEED = Feed(
    name="vau",
    title="Visa Account Updater",
    adapt=adapt,
    recognises=lambda record: "serviceIdentifier" in record and "oldCardholderAccountNumber" in record,
    codes=CODES,
    carries_numbers=True,
)
