"""Apple Pay: merchant token events, of which a notification carries nothing but the id.

The event is asked for below `https://apple-pay-gateway.apple.com/paymentservices/v1/merchantId/<your merchant id>`. Its
types and fields are those of Apple's documentation, which does not say how a card's `expirationDate` is written: dates
to the day and ISO months are read. That `mpanId`, the token's new id, is beside the card's metadata is assumed. The
token's number and expiry are not the card's, and are not read.

An event has no date, so it is told as of its arrival. One that is delivered again arrives later, and must not undo what
was told between: its `eventId` is the update's id, so the second one is quarantined, as an id that was used before.
"""

import calendar
import re
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
    expiry,
    last4,
    optional,
    part,
    path,
    text,
    told,
)

CODES = (
    Code("UPDATED_METADATA", "the card's last four or expiry, or the token's id", Type.DETAILS_UPDATED),
    Code("UNLINK", "the token is gone, the card may live", Type.CONTACT_CARDHOLDER),
    Code("UPDATED_CARD_ART", "another picture", Type.NO_CHANGE),
    Code("UPDATED_MERCHANT_TOKEN_PUBLIC_KEY", "another key to encrypt with", Type.NO_CHANGE),
)
_CODES = table(CODES)
_DATE = re.compile(r"(?:20)?(\d\d)(\d\d)(\d\d)|20(\d\d)-(\d\d)", re.ASCII)


def adapt(notification: Record, _edge: Edge) -> Iterable[Message | Fetch]:
    event_id = notification.get("eventId")
    yield Fetch(path("merchantToken/event/{eventId}", eventId=event_id), {"eventId": text(event_id, "eventId")})


def fetched(notification: Record, event: Record, _edge: Edge) -> Iterable[Message]:
    event_id = optional(notification.get("eventId"))  # what waited since before it was kept has none
    kind = type_of(_CODES, event.get("eventType"), "eventType")
    old = {
        "token": text(event.get("merchantTokenIdentifier"), "merchantTokenIdentifier"),
        "methodType": "DIGITAL_WALLET",
    }
    if kind is not Type.DETAILS_UPDATED:
        yield told(kind, old, id=event_id)
        return
    metadata = part(event, "merchantTokenMetadata")
    card, token = part(metadata, "cardMetadata"), part(metadata, "tokenMetadata")
    new = {**old, "last4": last4(card.get("fpanSuffix")), **_expiry(card.get("expirationDate"))}
    moved = optional(token.get("mpanId"))
    if moved is not None and moved != old["token"]:
        yield told(Type.NUMBER_REPLACED, old, {**new, "token": moved}, id=event_id)
    else:
        yield told(kind, old, new, id=event_id)


def _expiry(value: object) -> Message:
    """Of `YYMMDD`, as Apple writes a token's, or `YYYYMMDD`, on the last day of the month; or of `YYYY-MM`."""
    said = optional(value)
    if said is None:
        return {}
    field = "merchantTokenMetadata.cardMetadata.expirationDate"
    found = _DATE.fullmatch(said)
    if found is None:
        raise Refused(f"{field}: expected a date as YYMMDD or a month as YYYY-MM")
    year, month, day = found[1] or found[4], found[2] or found[5], found[3]
    read = expiry(month, year, field)
    if day is not None and int(day) != calendar.monthrange(read["expiryYear"], read["expiryMonth"])[1]:
        raise Refused(f"{field}: expected the last day of a month")
    return read


FEED = Feed(
    name="apple-pay",
    title="Apple Pay merchant token events",
    adapt=adapt,
    recognises=lambda record: "eventId" in record and record.keys() <= {"eventId", "merchantId"},
    codes=CODES,
    fetched=fetched,
)
