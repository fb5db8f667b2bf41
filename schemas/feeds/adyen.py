"""Adyen: `recurring.token.…` webhooks, which report that a token changed, but not how.

Adyen keeps `storedPaymentMethodId` while the card behind it changes, and shows no fingerprint. So an update reports the
stored payment method of that token as it is now. Checkout's `GET /storedPaymentMethods` answers it, and the answer may
be newer than the event. Events and answer are as in Adyen's own OpenAPI. Several events of one payment share their
`eventId`. Adyen signs the webhooks of its platforms and of its Management API alike: these are irrelevant.
"""

from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Fetch
from schemas.feeds.fields import brand, expiry, instant, last4, optional_value, required, url_path
from schemas.feeds.record import Record, UpdateFields, object_at, split_array, update

CODES = (
    Code("recurring.token.updated", "its details changed", Type.DETAILS_UPDATED),
    # the event does not report whether the card is closed
    Code("recurring.token.disabled", "the token is gone, the card may live", Type.CONTACT_CARDHOLDER),
    Code("recurring.token.created", "a new token", Type.NO_CHANGE),
    Code("recurring.token.alreadyExisting", "the card was stored already", Type.NO_CHANGE),
)
_CODES = table(CODES)
IRRELEVANT = (
    "balancePlatform.*",
    "capital.*",
    "merchant.*",
    "paymentMethod.*",
    "paymentMethodRequest.*",
    "terminalBoarding.*",
    "terminalSettings.*",
)


def adapt(event: Record, _edge: Edge) -> Iterable[UpdateFields | Fetch]:
    update_type = type_of(_CODES, event.get("type"), "type")
    data = object_at(event, "data")
    token = required(data.get("storedPaymentMethodId"), "data.storedPaymentMethodId")
    at = instant(event.get("createdAt"), "createdAt")
    if update_type is not Type.DETAILS_UPDATED:
        event_id = f"{required(event.get('eventId'), 'eventId')}-{event['type']}-{token}"
        yield update(update_type, {"token": token}, id=event_id, at=at)
        return
    path = url_path(
        "storedPaymentMethods?merchantAccount={merchantAccount}&shopperReference={shopperReference}",
        merchantAccount=data.get("merchantAccount"),
        shopperReference=data.get("shopperReference"),
    )
    yield Fetch(path, {"token": token, "at": at})


def fetched(event: Record, answer: Record, _edge: Edge) -> Iterable[UpdateFields]:
    """The stored payment method that the event is about, as it is now, among all methods of the shopper.

    Two answers to one event may differ, so the update does not get the event's id.
    """
    token = required(event.get("token"), "token")
    methods = [
        method for method in split_array(answer, "storedPaymentMethods") if optional_value(method.get("id")) == token
    ]
    if len(methods) != 1:
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "storedPaymentMethods", "the one that the event is about")
    (method,) = methods
    new = {
        "token": token,
        "last4": last4(method.get("lastFour")),
        "brand": brand(method.get("brand")),
        **expiry(method.get("expiryMonth"), method.get("expiryYear"), "storedPaymentMethods.expiryMonth"),
    }
    yield update(Type.DETAILS_UPDATED, {"token": token}, new, at=instant(event.get("at"), "at"))


FEED = Feed(
    name="adyen",
    title="Adyen token webhooks",
    adapt=adapt,
    recognises=lambda record: {"eventId", "environment", "data", "type"} <= record.keys(),
    codes=CODES,
    fetched=fetched,
    irrelevant=IRRELEVANT,
    event_kind=lambda record: record.get("type"),
)
