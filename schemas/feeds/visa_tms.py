"""Visa tokens in CyberSource's Token Management Service: `tms.networktoken.updated`, which says only that one changed.

What changed is asked for, and told, by the payment instruments which the event names: the id of an instrument
identifier is written like a card's number, check digit and all, so it is kept nowhere. The events are CyberSource's,
the event's body is that of a public client's tests, the answer that of CyberSource's own client, in which a payment
instrument embeds its instrument identifier. There `tokenizedCard` has the token's number and expiry, and its `card`
those of the card behind it. That a token was deleted says nothing about the card.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

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
    expiry,
    inside,
    instant,
    last4,
    objects,
    one_by_one,
    optional,
    part,
    text,
    told,
)

STATES = (
    Code("ACTIVE", "the token can be used", Type.RESUMED),
    Code("SUSPENDED", "the token cannot be used for now", Type.SUSPENDED),
    Code("DELETED", "the token is gone, the card may live", Type.CONTACT_CARDHOLDER),
    Code("UNPROVISIONED", "a token from before", None),
)
CLOSED = Code("CLOSED", "the instrument identifier's state: account closed", Type.CLOSED)
EVENTS = (
    Code("tms.networktoken.updated", "what changed is in the answer", Type.DETAILS_UPDATED),
    Code("tms.networktoken.provisioned", "a new token", Type.NO_CHANGE),
    Code("tms.networktoken.binding", "bound to a device", Type.NO_CHANGE),
)
CODES = (*EVENTS, *STATES, CLOSED)
_STATES, _EVENTS = table(STATES), table(EVENTS)
_UPDATED = EVENTS[0].said
_LINK = re.compile(r"/?(tms/v\d/paymentinstruments/(\w{1,64}))", re.ASCII)
_LINKS = "payload.data._links.paymentInstruments"


def split(record: Record) -> Sequence[Record]:
    """A notification for each payment instrument that it links to; the body is called `payload` or `payloads`."""
    name = _body(record)
    found = record.get(name)
    if not isinstance(found, list):
        return [record]
    return [{**record, name: [each]} for payload in found for each in _by_link(payload)] or [record]


def _by_link(payload: object) -> Sequence[object]:
    return one_by_one(payload, "data", "_links", "paymentInstruments") if isinstance(payload, Mapping) else [payload]


def adapt(event: Record, _edge: Edge) -> Iterable[Message | Fetch]:
    said = text(event.get("eventType"), "eventType")
    kind = None if said == _UPDATED else type_of(_EVENTS, said, "eventType")
    notification = text(event.get("notificationId"), "notificationId")
    at = instant(event.get("eventDate"), "eventDate")
    for payload in _payload(event):
        links = objects(inside(payload, "data", "_links"), "paymentInstruments")
        if not links:
            raise Refused(f"{_LINKS}: expected one at least")
        for link in links:
            href = _LINK.fullmatch(text(link.get("href"), f"{_LINKS}.href"))
            if href is None:
                raise Refused(f"{_LINKS}.href: expected a path below /tms")
            if kind is None:
                yield Fetch(href[1], {"token": href[2], "at": at})
            else:
                yield told(kind, {"token": href[2]}, id=f"{notification}-{href[2]}", at=at)


def fetched(event: Record, answer: Record, _edge: Edge) -> Iterable[Message]:
    """How the token and its card are now; a closed account counts for more than its token."""
    identifier = inside(answer, "_embedded", "instrumentIdentifier")
    tokenized = inside(identifier, "tokenizedCard")
    closed = optional(identifier.get("state")) == CLOSED.said
    kind = Type.CLOSED if closed else type_of(_STATES, tokenized.get("state"), "tokenizedCard.state")
    card = part(tokenized, "card")
    token = {"token": text(event.get("token"), "token")}
    new: Message = {
        **token,
        "last4": last4(card.get("suffix")),
        "brand": brand(tokenized.get("type")),
    }
    if not closed:
        new |= expiry(card.get("expirationMonth"), card.get("expirationYear"), "tokenizedCard.card.expirationMonth")
    yield told(kind, token, new, at=instant(event.get("at"), "at"))


def _payload(record: Record) -> list[Record]:
    return objects(record, _body(record))


def _body(record: Record) -> str:
    return "payload" if "payload" in record else "payloads"


FEED = Feed(
    name="visa-tms",
    title="Visa tokens in CyberSource Token Management Service",
    adapt=adapt,
    recognises=lambda record: {"notificationId", "eventType", "webhookId"} <= record.keys(),
    codes=CODES,
    fetched=fetched,
    split=split,
)
