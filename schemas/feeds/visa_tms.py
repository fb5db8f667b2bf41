"""Visa tokens in CyberSource's Token Management Service: `tms.networktoken.updated`, which names only the token.

The change is fetched, and reported, by the payment instruments that the event names. The id of an instrument identifier
is written like a card's number, check digit and all, so it is never stored. The events are CyberSource's, the event's
body is that of a public client's tests, and the answer that of CyberSource's own client. There a payment instrument
embeds its instrument identifier. `tokenizedCard` has the token's number and expiry, and its `card` those of the card
behind the token. A deleted token reports nothing about the card.

Events of CyberSource's other products (payments, risk, recurring billing, …) are irrelevant. `tms.token.updated` and
`.pan_updated` are not: they are refused while their contents are not documented.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Fetch
from schemas.feeds.fields import brand, expiry, instant, last4, optional_text, required, text
from schemas.feeds.record import Record, UpdateFields, object_at, objects, optional_object, split_at, update

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
_UPDATED = EVENTS[0].code
IRRELEVANT = (
    "cns.*",
    "invoicing.*",
    "payByLink.*",
    "payments.*",
    "payouts.*",
    "rbs.*",
    "risk.*",
    "tms.token.created",
    "uc.*",
)
_LINK = re.compile(r"/?(tms/v\d/paymentinstruments/(\w{1,64}))", re.ASCII)
_LINKS = "payload.data._links.paymentInstruments"


def split(record: Record) -> Sequence[Record]:
    """A notification for each payment instrument that it links to; the body is called `payload` or `payloads`."""
    name = _body_name(record)
    body = record.get(name)
    if not isinstance(body, list):
        return [record]
    return [{**record, name: [part]} for payload in body for part in _split_payload(payload)] or [record]


def _split_payload(payload: object) -> Sequence[object]:
    return split_at(payload, "data", "_links", "paymentInstruments") if isinstance(payload, Mapping) else [payload]


def adapt(event: Record, _edge: Edge) -> Iterable[UpdateFields | Fetch]:
    event_type = text(event.get("eventType"), "eventType")
    update_type = None if event_type == _UPDATED else type_of(_EVENTS, event_type, "eventType")
    notification = required(event.get("notificationId"), "notificationId")
    at = instant(event.get("eventDate"), "eventDate")
    for payload in objects(event, _body_name(event)):
        links = objects(object_at(payload, "data", "_links"), "paymentInstruments")
        if not links:
            raise Refused(RefusalCode.REQUIRED_HERE, _LINKS, "expected one at least")
        for link in links:
            href = _LINK.fullmatch(required(link.get("href"), f"{_LINKS}.href"))
            if href is None:
                raise Refused(RefusalCode.UNEXPECTED_VALUE, f"{_LINKS}.href", "a path below /tms")
            if update_type is None:
                yield Fetch(href[1], {"token": href[2], "at": at})
            else:
                yield update(update_type, {"token": href[2]}, id=f"{notification}-{href[2]}", at=at)


def fetched(event: Record, answer: Record, _edge: Edge) -> Iterable[UpdateFields]:
    """The token and its card as they are now; the state of a closed account overrides that of its token."""
    identifier = object_at(answer, "_embedded", "instrumentIdentifier")
    tokenized = object_at(identifier, "tokenizedCard")
    closed = optional_text(identifier.get("state")) == CLOSED.code
    update_type = Type.CLOSED if closed else type_of(_STATES, tokenized.get("state"), "tokenizedCard.state")
    card = optional_object(tokenized, "card")
    token = {"token": required(event.get("token"), "token")}
    new: UpdateFields = {**token, "last4": last4(card.get("suffix")), "brand": brand(tokenized.get("type"))}
    if not closed:
        new |= expiry(card.get("expirationMonth"), card.get("expirationYear"), "tokenizedCard.card.expirationMonth")
    yield update(update_type, token, new, at=instant(event.get("at"), "at"))


def _body_name(record: Record) -> str:
    return "payload" if "payload" in record else "payloads"


FEED = Feed(
    name="visa-tms",
    title="Visa tokens in CyberSource Token Management Service",
    adapt=adapt,
    recognises=lambda record: {"notificationId", "eventType", "webhookId"} <= record.keys(),
    codes=CODES,
    fetched=fetched,
    split=split,
    irrelevant=IRRELEVANT,
    event_kind=lambda record: record.get("eventType"),
)
