"""Stripe: `payment_method.automatically_updated` (a network's update) and `payment_method.updated` (a bank's NOC).

Stripe keeps `pm_…` while the card behind it changes; the card's fingerprint says whether it became another one, and
`previous_attributes` what it was. Fingerprints are Stripe's own, so they are told apart by its name.
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
_TYPES = {"card": "CARD", "us_bank_account": "BANK_ACCOUNT"}


def adapt(record: Record, _edge: Edge) -> Iterable[Message]:
    code_of(_EVENTS, record.get("type"), "type")
    method = inside(record, "data", "object")
    kind = text(method.get("type"), "data.object.type")
    if kind not in _TYPES:
        raise Refused("data.object.type: expected card or us_bank_account")
    now = inside(method, kind)
    was = part(part(inside(record, "data"), "previous_attributes"), kind)
    token = {"token": text(method.get("id"), "data.object.id"), "methodType": _TYPES[kind]}
    new = {
        **token,
        "last4": last4(now.get("last4")),
        "brand": brand(now.get("brand")),
        **expiry(now.get("exp_month"), now.get("exp_year"), f"data.object.{kind}.exp_month"),
        **({"accountType": optional(now.get("account_type"))} if kind == "us_bank_account" else {}),
    }
    event, at = text(record.get("id"), "id"), epoch(record.get("created"), "created")
    if {"fingerprint", "last4"} & was.keys():
        old = {**token, "fingerprint": scoped("stripe", was.get("fingerprint"))}
        new |= {"fingerprint": scoped("stripe", now.get("fingerprint"))}
        yield told(Type.NUMBER_REPLACED, old, new, id=event, at=at)
    elif {"exp_month", "exp_year"} & was.keys():
        yield told(Type.EXPIRY_UPDATED, token, new, id=event, at=at)
    elif "account_type" in was:
        yield told(Type.DETAILS_UPDATED, token, new, id=event, at=at)
    else:
        yield told(Type.NO_CHANGE, token, id=event, at=at)


FEED = Feed(
    name="stripe",
    title="Stripe webhooks",
    adapt=adapt,
    recognises=lambda record: record.get("object") == "event" and "api_version" in record,
    codes=CODES,
)
