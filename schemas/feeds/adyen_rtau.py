"""Adyen's Real Time Account Updater: its result in the `additionalData` of a payment response.

The status is that of Adyen's own OpenAPI. `cardSummary` and `expiryDate` are those of the card as it is now, for Adyen
retries the payment with it. The token stays, and is the same as in the feed `adyen`; a response may carry it under an
older name, too. A response has no date.
"""

from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import brand, last4, mmyy, optional_value, required_last4
from schemas.feeds.record import Record, UpdateFields, object_at, update

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


def adapt(response: Record, _edge: Edge) -> Iterable[UpdateFields]:
    data = object_at(response, "additionalData")
    update_type = type_of(_CODES, data.get(_STATUS), f"additionalData.{_STATUS}")
    token = next(filter(None, (optional_value(data.get(name)) for name in _TOKENS)), None)
    if token is None:
        raise Refused(RefusalCode.REQUIRED_HERE, f"additionalData.{_TOKENS[0]}", f"required, or {_TOKENS[1]}")
    new: UpdateFields | None = None
    if update_type in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
        expiry = mmyy(data.get("expiryDate"), "additionalData.expiryDate")
        new = {"token": token, "last4": last4(data.get("cardSummary")), **expiry}
        new["brand"] = brand(data.get("paymentMethod"))
        if update_type is Type.NUMBER_REPLACED:
            new["last4"] = required_last4(data.get("cardSummary"), "additionalData.cardSummary")
        if update_type is Type.EXPIRY_UPDATED and not expiry:
            raise Refused(RefusalCode.REQUIRED_HERE, "additionalData.expiryDate", "required for CardExpiryChanged")
    yield update(update_type, {"token": token}, new) | {"vendor": "adyen"}


FEED = Feed(
    name="adyen-rtau",
    title="Adyen Real Time Account Updater",
    adapt=adapt,
    recognises=lambda record: isinstance(data := record.get("additionalData"), dict) and _STATUS in data,
    codes=CODES,
)
