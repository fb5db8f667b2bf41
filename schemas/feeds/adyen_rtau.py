"""Adyen's Real Time Account Updater: what a payment response says of it in `additionalData`.

The status is one of Adyen's own OpenAPI; `cardSummary` and `expiryDate` are the card's as it is now, for Adyen retries
the payment with it. The token stays, and is the one that `adyen` speaks of; responses carry it under an older name too.
A response has no date.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    brand,
    inside,
    last4,
    last4_required,
    mmyy,
    optional,
    told,
)

CODES = (
    Code("CardChanged", "another number", Type.NUMBER_REPLACED),
    Code("CardExpiryChanged", "another expiry", Type.EXPIRY_UPDATED),
    Code("CloseAccount", "account closed", Type.CLOSED),
    Code("ContactCardAccountHolder", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("NoChange", "nothing changed", Type.NO_CHANGE),
    Code("Error", "the updater could not be asked", None),
)
_CODES = table(CODES)
_STATUS = "realtimeAccountUpdaterStatus"
_TOKENS = ("tokenization.storedPaymentMethodId", "recurring.recurringDetailReference")


def adapt(response: Record, _edge: Edge) -> Iterable[Message]:
    said = inside(response, "additionalData")
    kind = type_of(_CODES, said.get(_STATUS), f"additionalData.{_STATUS}")
    token = next(filter(None, (optional(said.get(name)) for name in _TOKENS)), None)
    if token is None:
        raise Refused(f"additionalData.{_TOKENS[0]}: required, or {_TOKENS[1]}")
    new: Message | None = None
    if kind in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
        expiry = mmyy(said.get("expiryDate"), "additionalData.expiryDate")
        new = {"token": token, "last4": last4(said.get("cardSummary")), **expiry}
        new["brand"] = brand(said.get("paymentMethod"))
        if kind is Type.NUMBER_REPLACED:
            new["last4"] = last4_required(said.get("cardSummary"), "additionalData.cardSummary")
        if kind is Type.EXPIRY_UPDATED and not expiry:
            raise Refused("additionalData.expiryDate: required for CardExpiryChanged")
    yield told(kind, {"token": token}, new) | {"vendor": "adyen"}


FEED = Feed(
    name="adyen-rtau",
    title="Adyen Real Time Account Updater",
    adapt=adapt,
    recognises=lambda record: isinstance(found := record.get("additionalData"), dict) and _STATUS in found,
    codes=CODES,
)
