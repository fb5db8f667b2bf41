"""Checkout.com: `card_updated` and `card_closed`, each for all sources of a card, and the older `source_updated`.

Sources keep their ids while the card behind them changes. Fingerprints are Checkout.com's own, and identify the card.
`card_updated` and `source_updated` are as its documentation shows them. Two facts are assumed: a closed card comes as
`original_card` with its `sources`, and `reason_type` has the words that payments have for the same. Events about
payments, disputes and authentication, by Checkout.com's list of event types, are irrelevant.
"""

from collections.abc import Iterable, Sequence

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import brand_change, brand_of, table, type_of
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import brand, expiry, instant, last4, required, required_last4, vendor_fingerprint
from schemas.feeds.record import Record, UpdateFields, object_at, objects, optional_object, split_at, update

CODES = (
    Code("card_updated", "another number, another expiry, or both", Type.NUMBER_REPLACED),
    Code("card_expiry_updated", "another expiry", Type.EXPIRY_UPDATED),
    Code("card_closed", "account closed", Type.CLOSED),
    Code("contact_cardholder", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("source_updated", "what changed is in previous_attributes", Type.NUMBER_REPLACED),
)
_CODES = table(CODES)
IRRELEVANT = (
    "authentication_*",
    "card_verification_declined",
    "card_verified",
    "dispute_*",
    "payment_approved",
    "payment_authentication_failed",
    "payment_authorization_*",
    "payment_canceled",
    "payment_capture*",
    "payment_chargeback",
    "payment_compliance_review",
    "payment_declined",
    "payment_expired",
    "payment_flagged",
    "payment_paid",
    "payment_pending",
    "payment_refund*",
    "payment_retrieval",
    "payment_retry_scheduled",
    "payment_returned",
    "payment_void*",
)
_CHANGES = (Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED)


def split(event: Record) -> Sequence[Record]:
    """An event for each source."""
    return split_at(event, "data", "sources")


def adapt(event: Record, _edge: Edge) -> Iterable[UpdateFields]:
    type_of(_CODES, event.get("type"), "type")
    data = object_at(event, "data")
    event_id, at = required(event.get("id"), "id"), instant(event.get("created_on"), "created_on")
    if event["type"] == "source_updated":
        yield _source_update(data, event_id, at)
        return
    update_type = type_of(_CODES, data.get("reason_type", event["type"]), "data.reason_type")
    original, replacement = optional_object(data, "original_card"), optional_object(data, "replacement_card")
    old, new = _card(original), _card(replacement)
    is_same_card = old["fingerprint"] is not None and old["fingerprint"] == new["fingerprint"]
    if update_type is Type.NUMBER_REPLACED and is_same_card:
        update_type = Type.EXPIRY_UPDATED
    if update_type in _CHANGES and not replacement:
        raise Refused(RefusalCode.REQUIRED, "data.replacement_card", "required")
    if update_type is Type.NUMBER_REPLACED and new["fingerprint"] is None:
        new["last4"] = required_last4(replacement.get("last4"), "data.replacement_card.last4")
    if update_type in _CHANGES:
        new |= _expiry(replacement, "data.replacement_card")
    sources = objects(data, "sources")
    if not sources:
        raise Refused(RefusalCode.REQUIRED_HERE, "data.sources", "expected one at least")
    for source in sources:
        token = {"token": required(source.get("id"), "data.sources.id"), "methodType": "CARD"}
        source_id = f"{event_id}-{token['token']}"
        if update_type is Type.NUMBER_REPLACED:
            reason = brand_change(old["brand"], new["brand"])
            yield update(update_type, {**old, **token}, {**new, **token}, id=source_id, at=at, reason=reason)
        elif update_type is Type.EXPIRY_UPDATED:
            yield update(update_type, token, {**new, **token, "fingerprint": None}, id=source_id, at=at)
        else:
            yield update(update_type, token, id=source_id, at=at)


def _source_update(data: Record, event_id: str, at: str) -> UpdateFields:
    previous = optional_object(data, "previous_attributes")
    token = {"token": required(data.get("id"), "data.id"), "methodType": "CARD"}
    new = {**_card(data), **token}
    if {"fingerprint", "last4"} & previous.keys():
        old = {**token, "fingerprint": vendor_fingerprint("checkout", previous.get("fingerprint"))}
        if new["fingerprint"] is None:
            new["last4"] = required_last4(data.get("last4"), "data.last4")
        return update(Type.NUMBER_REPLACED, old, {**new, **_expiry(data, "data")}, id=event_id, at=at)
    if {"expiry_month", "expiry_year"} & previous.keys():
        new |= {"fingerprint": None, **_expiry(data, "data")}
        return update(Type.EXPIRY_UPDATED, token, new, id=event_id, at=at)
    return update(Type.NO_CHANGE, token, id=event_id, at=at)


def _card(card: Record) -> UpdateFields:
    return {
        "fingerprint": vendor_fingerprint("checkout", card.get("fingerprint")),
        "last4": last4(card.get("last4")),
        "brand": brand(card.get("scheme")) or brand_of(card.get("bin")),
    }


def _expiry(card: Record, field: str) -> UpdateFields:
    return expiry(card.get("expiry_month"), card.get("expiry_year"), f"{field}.expiry_month")


FEED = Feed(
    name="checkout",
    title="Checkout.com webhooks",
    adapt=adapt,
    recognises=lambda record: {"id", "type", "created_on", "data"} <= record.keys(),
    codes=CODES,
    split=split,
    irrelevant=IRRELEVANT,
    event_kind=lambda record: record.get("type"),
)
