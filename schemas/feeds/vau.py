"""Visa Account Updater: inquiry responses (Visa's own OpenAPI, `SuccessfulInquiryResponse`).

Dates are YYMM. A new number is filled in for V, and probably for E, so it is the code that says what happened. O is
also what a merchant sees under an issuer's stop advice. R and U were seen elsewhere; nobody says what they mean.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, Refused, code_of, optional, told, yymm

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
_MEANING = {code.said: code.becomes for code in CODES if code.becomes is not None}
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
    kind = code_of(_MEANING, record.get("serviceIdentifier"), "serviceIdentifier")
    old = {**edge.card(record.get("oldCardholderAccountNumber"), "oldCardholderAccountNumber"), "methodType": "CARD"}
    if kind is Type.NUMBER_REPLACED:
        number = edge.card(record.get("newCardholderAccountNumber"), "newCardholderAccountNumber")
        expiry = yymm(record.get("newExpirationDate"), "newExpirationDate")
        yield told(kind, old, {**number, "methodType": "CARD", **expiry, "brand": "VISA"})
    elif kind is Type.EXPIRY_UPDATED:
        expiry = yymm(record.get("newExpirationDate"), "newExpirationDate")
        if not expiry:
            raise Refused("newExpirationDate: required for E")
        yield told(kind, old, expiry)
    else:
        yield told(kind, old)


FEED = Feed(
    name="vau",
    title="Visa Account Updater",
    adapt=adapt,
    recognises=lambda record: "serviceIdentifier" in record and "oldCardholderAccountNumber" in record,
    codes=CODES,
    carries_numbers=True,
)
