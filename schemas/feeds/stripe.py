"""Stripe: `payment_method.automatically_updated` (a network's update) and `payment_method.updated` (a bank's NOC).

Stripe keeps `pm_…` while the card behind it changes; the card's fingerprint says whether it became another one, and
`previous_attributes` what it was. Stripe promises those only of events `*.updated`: a network's update without them
tells of the card as it is now, for that it changed is what the event says. Fingerprints are Stripe's own, so they are
told apart by its name. A name or postal code is told where it changed, the name of the bank with every other bank
account.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    brand,
    code_of,
    epoch,
    expiry,
    inside,
    last4,
    last4_required,
    optional,
    part,
    scoped,
    text,
    told,
)

CODES = (
    Code("payment_method.automatically_updated", "a card network's update", Type.NUMBER_REPLACED),
    Code("payment_method.card_automatically_updated", "the same, before API 2020-08-27", Type.NUMBER_REPLACED),
    Code("payment_method.updated", "a bank's notification of change, or an edit", Type.NUMBER_REPLACED),
)
_EVENTS = {code.said: Type.NUMBER_REPLACED for code in CODES}
_EDITS = "payment_method.updated"
_TYPES = {"card": "CARD", "us_bank_account": "BANK_ACCOUNT"}


def adapt(record: Record, _edge: Edge) -> Iterable[Message]:
    code_of(_EVENTS, record.get("type"), "type")
    method = inside(record, "data", "object")
    kind = text(method.get("type"), "data.object.type")
    if kind not in _TYPES:
        raise Refused("data.object.type: expected card or us_bank_account")
    now, previous = inside(method, kind), part(inside(record, "data"), "previous_attributes")
    was = part(previous, kind)
    token = {"token": text(method.get("id"), "data.object.id"), "methodType": _TYPES[kind]}
    event, at = text(record.get("id"), "id"), epoch(record.get("created"), "created")
    date = bool({"exp_month", "exp_year"} & was.keys())
    number = bool({"fingerprint", "last4"} & was.keys()) or (not date and record["type"] != _EDITS)
    if number:
        old = {**token, "fingerprint": scoped("stripe", was.get("fingerprint"))}
        new = {**token, **_shown(now, kind), "fingerprint": scoped("stripe", now.get("fingerprint"))}
        if new["fingerprint"] is None:
            new["last4"] = last4_required(now.get("last4"), f"data.object.{kind}.last4")
        yield told(Type.NUMBER_REPLACED, old, new, id=event, at=at)
    elif date:
        yield told(Type.EXPIRY_UPDATED, token, {**token, **_shown(now, kind)}, id=event, at=at)
    details = _of_bank(now, was, another=number) | _of_holder(method, part(previous, "billing_details"), kind)
    if details:
        # a replacement tells of a method only what it is blank about
        update = event if not number and not date else f"{event}-details"
        yield told(Type.DETAILS_UPDATED, token, {**token, **details}, id=update, at=at)
    elif not number and not date:
        yield told(Type.NO_CHANGE, token, id=event, at=at)


def _shown(now: Record, kind: str) -> Message:
    return {
        "last4": last4(now.get("last4")),
        "brand": brand(now.get("brand")),
        **expiry(now.get("exp_month"), now.get("exp_year"), f"data.object.{kind}.exp_month"),
    }


def _of_bank(now: Record, was: Record, *, another: bool) -> Message:
    """What changed of a bank account; of another one all that is known."""
    names = {"bank_name": "bankName", "account_type": "accountType"}
    found = {ours: optional(now.get(name)) for name, ours in names.items() if another or name in was}
    return {name: value for name, value in found.items() if value is not None}


def _of_holder(method: Record, was: Record, kind: str) -> Message:
    """The name and postal code that changed; that one is gone cannot be told."""
    now, found = part(method, "billing_details"), {}
    if "name" in was:
        found["nameOnCard" if kind == "card" else "nameOnAccount"] = optional(now.get("name"))
    if "address" in was and (was["address"] is None or "postal_code" in part(was, "address")):
        found["zipCode"] = optional(part(now, "address").get("postal_code"))
    return {name: value for name, value in found.items() if value is not None}


FEED = Feed(
    name="stripe",
    title="Stripe webhooks",
    adapt=adapt,
    recognises=lambda record: record.get("object") == "event" and "api_version" in record,
    codes=CODES,
)
