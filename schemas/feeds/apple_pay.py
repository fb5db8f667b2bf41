"""Apple Pay: merchant token events, of which a notification carries only the id.

The event is fetched below `https://apple-pay-gateway.apple.com/paymentservices/v1/merchantId/<your merchant id>`. Types
and fields are those of Apple's documentation. It does not show how a card's `expirationDate` is written: the adapter
reads dates to the day and ISO months. That `mpanId`, the token's new id, is beside the card's metadata is assumed. The
number and expiry of the token are not the card's, and are not read.

An event has no date, so an update is dated by the event's arrival. An event that is delivered again arrives later, and
must not undo a later update. So its `eventId` is the update's id: the second one is quarantined, as a reused id.
"""

import calendar
import re
from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Fetch
from schemas.feeds.fields import expiry, last4, optional_value, required, url_path
from schemas.feeds.record import Record, UpdateFields, optional_object, update

CODES = (
    Code("UPDATED_METADATA", "the card's last four or expiry, or the token's id", Type.DETAILS_UPDATED),
    Code("UNLINK", "the token is gone, the card may live", Type.CONTACT_CARDHOLDER),
    Code("UPDATED_CARD_ART", "another picture", Type.NO_CHANGE),
    Code("UPDATED_MERCHANT_TOKEN_PUBLIC_KEY", "another key to encrypt with", Type.NO_CHANGE),
)
_CODES = table(CODES)
# of a notification today
_NAMES = frozenset(("eventId", "merchantId"))
_DATE = re.compile(r"(?:20)?(\d\d)(\d\d)(\d\d)|20(\d\d)-(\d\d)", re.ASCII)


def adapt(notification: Record, _edge: Edge) -> Iterable[UpdateFields | Fetch]:
    # a further field may be a later version's; what Apple tells stands in the answer, never in the notification
    if any(isinstance(value, dict | list) for value in notification.values()):
        raise Refused(RefusalCode.OTHER_FEED, "eventId", "no object and no list beside it: a notification has none")
    event_id = notification.get("eventId")
    yield Fetch(url_path("merchantToken/event/{eventId}", eventId=event_id), {"eventId": required(event_id, "eventId")})


def fetched(notification: Record, event: Record, _edge: Edge) -> Iterable[UpdateFields]:
    event_id = optional_value(notification.get("eventId"))  # fetches stored by older versions have none
    update_type = type_of(_CODES, event.get("eventType"), "eventType")
    old = {
        "token": required(event.get("merchantTokenIdentifier"), "merchantTokenIdentifier"),
        "methodType": "DIGITAL_WALLET",
    }
    if update_type is not Type.DETAILS_UPDATED:
        yield update(update_type, old, id=event_id)
        return
    metadata = optional_object(event, "merchantTokenMetadata")
    card, token = optional_object(metadata, "cardMetadata"), optional_object(metadata, "tokenMetadata")
    new = {**old, "last4": last4(card.get("fpanSuffix")), **_expiry(card.get("expirationDate"))}
    new_token = optional_value(token.get("mpanId"))
    if new_token is not None and new_token != old["token"]:
        yield update(Type.NUMBER_REPLACED, old, {**new, "token": new_token}, id=event_id)
    else:
        yield update(update_type, old, new, id=event_id)


def _expiry(value: object) -> UpdateFields:
    """The expiry of `YYMMDD`, as Apple writes a token's, or `YYYYMMDD`, on a month's last day; or of `YYYY-MM`."""
    date = optional_value(value)
    if date is None:
        return {}
    field = "merchantTokenMetadata.cardMetadata.expirationDate"
    match = _DATE.fullmatch(date)
    if match is None:
        raise Refused(RefusalCode.WRONG_FORMAT, field, "a date as YYMMDD or a month as YYYY-MM")
    year, month, day = match[1] or match[4], match[2] or match[5], match[3]
    month_and_year = expiry(month, year, field)
    if day is not None and int(day) != _last_day(month_and_year):
        raise Refused(RefusalCode.UNEXPECTED_VALUE, field, "the last day of a month")
    return month_and_year


def _last_day(month_and_year: UpdateFields) -> int:
    return calendar.monthrange(month_and_year["expiryYear"], month_and_year["expiryMonth"])[1]


FEED = Feed(
    name="apple-pay",
    title="Apple Pay merchant token events",
    adapt=adapt,
    recognises=lambda record: "eventId" in record and record.keys() <= _NAMES,
    codes=CODES,
    fetched=fetched,
)
