"""Adyen: `recurring.token.…` webhooks, which say that a token changed but not what became of it.

Adyen keeps `storedPaymentMethodId` while the card behind it changes, and has no fingerprint to show, so what the stored
payment method looks like now is told of the token. It is fetched with Checkout's `GET /storedPaymentMethods`, whose
answer may be newer than the event. Events and answer are as in Adyen's own OpenAPI. Several events of one payment
share their `eventId`.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Fetch,
    Message,
    Record,
    Refused,
    brand,
    each_alone,
    expiry,
    inside,
    instant,
    last4,
    optional,
    path,
    text,
    told,
)

CODES = (
    Code("recurring.token.updated", "its details changed", Type.DETAILS_UPDATED),
    # whether the card lives is not said
    Code("recurring.token.disabled", "the token is gone, the card may live", Type.CONTACT_CARDHOLDER),
    Code("recurring.token.created", "a new token", Type.NO_CHANGE),
    Code("recurring.token.alreadyExisting", "the card was stored already", Type.NO_CHANGE),
)
_CODES = table(CODES)


def adapt(event: Record, _edge: Edge) -> Iterable[Message | Fetch]:
    kind = type_of(_CODES, event.get("type"), "type")
    data = inside(event, "data")
    token = text(data.get("storedPaymentMethodId"), "data.storedPaymentMethodId")
    at = instant(event.get("createdAt"), "createdAt")
    if kind is not Type.DETAILS_UPDATED:
        event_id = f"{text(event.get('eventId'), 'eventId')}-{event['type']}-{token}"
        yield told(kind, {"token": token}, id=event_id, at=at)
        return
    where = path(
        "storedPaymentMethods?merchantAccount={merchantAccount}&shopperReference={shopperReference}",
        merchantAccount=data.get("merchantAccount"),
        shopperReference=data.get("shopperReference"),
    )
    yield Fetch(where, {"token": token, "at": at})


def fetched(event: Record, answer: Record, _edge: Edge) -> Iterable[Message]:
    """How the one of the shopper's stored payment methods looks that the event is about.

    Two answers to one event may differ, so what they tell has no id of Adyen's.
    """
    token = text(event.get("token"), "token")
    stored = [each for each in each_alone(answer, "storedPaymentMethods") if optional(each.get("id")) == token]
    if len(stored) != 1:
        raise Refused("storedPaymentMethods: expected the one that the event is about")
    new = {
        "token": token,
        "last4": last4(stored[0].get("lastFour")),
        "brand": brand(stored[0].get("brand")),
        **expiry(stored[0].get("expiryMonth"), stored[0].get("expiryYear"), "storedPaymentMethods.expiryMonth"),
    }
    yield told(Type.DETAILS_UPDATED, {"token": token}, new, at=instant(event.get("at"), "at"))


FEED = Feed(
    name="adyen",
    title="Adyen token webhooks",
    adapt=adapt,
    recognises=lambda record: {"eventId", "environment", "data", "type"} <= record.keys(),
    codes=CODES,
    fetched=fetched,
)
