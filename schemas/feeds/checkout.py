"""Checkout.com: `card_updated` and `card_closed`, each for all sources of a card, and the older `source_updated`.

Sources keep their ids while the card behind them changes; fingerprints are Checkout.com's own and say which card it
is. `card_updated` and `source_updated` are as its documentation shows them. That a closed card comes as `original_card`
with its `sources`, and that `reason_type` has the words which payments have for the same, is assumed.
"""

from collections.abc import Iterable, Sequence

from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import brand_of, table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    brand,
    expiry,
    inside,
    instant,
    last4,
    last4_required,
    objects,
    one_by_one,
    part,
    scoped,
    text,
    told,
)

CODES = (
    Code("card_updated", "another number, another expiry, or both", Type.NUMBER_REPLACED),
    Code("card_expiry_updated", "another expiry", Type.EXPIRY_UPDATED),
    Code("card_closed", "account closed", Type.CLOSED),
    Code("contact_cardholder", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("source_updated", "what changed is in previous_attributes", Type.NUMBER_REPLACED),
)
_CODES = table(CODES)
_CHANGES = (Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED)


def split(event: Record) -> Sequence[Record]:
    """An event for each source."""
    return one_by_one(event, "data", "sources")


def adapt(event: Record, _edge: Edge) -> Iterable[Message]:
    type_of(_CODES, event.get("type"), "type")
    data = inside(event, "data")
    event_id, at = text(event.get("id"), "id"), instant(event.get("created_on"), "created_on")
    if event["type"] == "source_updated":
        yield _source(data, event_id, at)
        return
    kind = type_of(_CODES, data.get("reason_type", event["type"]), "data.reason_type")
    original, replacement = part(data, "original_card"), part(data, "replacement_card")
    old, new = _card(original), _card(replacement)
    if kind is Type.NUMBER_REPLACED and old["fingerprint"] is not None and old["fingerprint"] == new["fingerprint"]:
        kind = Type.EXPIRY_UPDATED
    if kind in _CHANGES and not replacement:
        raise Refused("data.replacement_card: required")
    if kind is Type.NUMBER_REPLACED and new["fingerprint"] is None:
        new["last4"] = last4_required(replacement.get("last4"), "data.replacement_card.last4")
    if kind in _CHANGES:
        new |= _until(replacement, "data.replacement_card")
    sources = objects(data, "sources")
    if not sources:
        raise Refused("data.sources: expected one at least")
    for source in sources:
        token = {"token": text(source.get("id"), "data.sources.id"), "methodType": "CARD"}
        one = f"{event_id}-{token['token']}"
        if kind is Type.NUMBER_REPLACED:
            other = None not in (old["brand"], new["brand"]) and old["brand"] != new["brand"]
            reason = Reason.BRAND_CHANGE if other else None
            yield told(kind, {**old, **token}, {**new, **token}, id=one, at=at, reason=reason)
        elif kind is Type.EXPIRY_UPDATED:
            yield told(kind, token, {**new, **token, "fingerprint": None}, id=one, at=at)
        else:
            yield told(kind, token, id=one, at=at)


def _source(data: Record, event_id: str, at: str) -> Message:
    was = part(data, "previous_attributes")
    token = {"token": text(data.get("id"), "data.id"), "methodType": "CARD"}
    new = {**_card(data), **token}
    if {"fingerprint", "last4"} & was.keys():
        old = {**token, "fingerprint": scoped("checkout", was.get("fingerprint"))}
        if new["fingerprint"] is None:
            new["last4"] = last4_required(data.get("last4"), "data.last4")
        return told(Type.NUMBER_REPLACED, old, {**new, **_until(data, "data")}, id=event_id, at=at)
    if {"expiry_month", "expiry_year"} & was.keys():
        new |= {"fingerprint": None, **_until(data, "data")}
        return told(Type.EXPIRY_UPDATED, token, new, id=event_id, at=at)
    return told(Type.NO_CHANGE, token, id=event_id, at=at)


def _card(card: Record) -> Message:
    return {
        "fingerprint": scoped("checkout", card.get("fingerprint")),
        "last4": last4(card.get("last4")),
        "brand": brand(card.get("scheme")) or brand_of(card.get("bin")),
    }


def _until(card: Record, field: str) -> Message:
    return expiry(card.get("expiry_month"), card.get("expiry_year"), f"{field}.expiry_month")


FEED = Feed(
    name="checkout",
    title="Checkout.com webhooks",
    adapt=adapt,
    recognises=lambda record: {"id", "type", "created_on", "data"} <= record.keys(),
    codes=CODES,
    split=split,
)
