"""NMI: Automatic Card Updater summaries, each with the day's cards of the vault and of recurring payments in arrays.

The event is as in NMI's documentation, the names of all its arrays as in public clients of it. A card keeps its ids;
the number before is not told. The ids of a vault are often the merchant's own numbers, which another merchant has too,
so a token begins with the id of the merchant. It is `<merchant id>/<customer_vault_id>/<billing_id>`, for one customer
may have several cards, or without the last where no billing id comes with it; of a recurring payment it is
`<merchant id>/subscription/<subscription_id>`, which is assumed.

A summary has a date and no time. All that is told of one day was so at once, at midnight: were it put in the order of a
file, an event that comes again would be another one under the same id.
"""

from collections.abc import Iterable, Sequence

from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    inside,
    instant,
    last4,
    last4_required,
    mmyy,
    objects,
    one_by_one,
    optional,
    text,
    told,
)

CODES = (
    Code("acu.summary.automaticallyupdated", "its arrays say what changed", Type.NUMBER_REPLACED),
    Code("updated_cards", "an array of it: another number", Type.NUMBER_REPLACED),
    Code("updated_expiration_dates", "an array of it: another expiry", Type.EXPIRY_UPDATED),
    Code("acu.summary.closedaccount", "account closed", Type.CLOSED),
    Code("acu.summary.contactcustomer", "contact the cardholder", Type.CONTACT_CARDHOLDER),
)
_CODES = table(CODES)
_SUMMARIES = {said: code for said, code in _CODES.items() if said.startswith("acu.")}
_UPDATED = "acu.summary.automaticallyupdated"
_OF = ("vault_", "recurring_")
_ARRAYS = {
    _UPDATED: tuple(f"{of}{what}" for of in _OF for what in ("updated_cards", "updated_expiration_dates")),
    "acu.summary.closedaccount": tuple(f"{of}updates" for of in _OF),
    "acu.summary.contactcustomer": tuple(f"{of}updates" for of in _OF),
}


def split(event: Record) -> Sequence[Record]:
    """An event for each card, with its array of one."""
    body = inside(event, "event_body")
    arrays = {name: body[name] for names in _ARRAYS.values() for name in names if body.get(name) is not None}
    common = {name: value for name, value in body.items() if name not in arrays}
    single = [each for name, found in arrays.items() for each in one_by_one({**common, name: found}, name) if found]
    return [{**event, "event_body": each} for each in single] or [event]


def adapt(event: Record, _edge: Edge) -> Iterable[Message]:
    said = text(event.get("event_type"), "event_type")
    kind = None if said == _UPDATED else type_of(_SUMMARIES, said, "event_type")
    body = inside(event, "event_body")
    if not any(name in body for name in _ARRAYS[said]):
        raise Refused(f"event_body: expected cards in {' or '.join(_ARRAYS[said])}")
    event_id = text(event.get("event_id"), "event_id")
    merchant = text(inside(event, "event_body", "merchant").get("id"), "event_body.merchant.id")
    at = instant(body.get("updated_date"), "event_body.updated_date")
    for name in _ARRAYS[said]:
        for card in objects(body, name):
            meant = kind or type_of(_CODES, name.partition("_")[2], "event_body")
            token = {"token": f"{merchant}/{_of_merchant(card, f'event_body.{name}')}"}
            new: Message | None = None
            if meant in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
                expiry = mmyy(card.get("cc_exp"), f"event_body.{name}.cc_exp")
                if meant is Type.EXPIRY_UPDATED and not expiry:
                    raise Refused(f"event_body.{name}.cc_exp: required for a new expiry")
                new = {**token, "last4": last4(card.get("cc_number")), **expiry}
                if meant is Type.NUMBER_REPLACED:
                    new["last4"] = last4_required(card.get("cc_number"), f"event_body.{name}.cc_number")
            yield told(meant, token, new, id=f"{event_id}-{name}-{token['token']}", at=at)


def _of_merchant(card: Record, field: str) -> str:
    """What names a card among all of one merchant's."""
    subscription = optional(card.get("subscription_id"))
    if subscription is not None:
        return f"subscription/{subscription}"
    customer, billing = text(card.get("customer_vault_id"), f"{field}.customer_vault_id"), card.get("billing_id")
    return customer if optional(billing) is None else f"{customer}/{optional(billing)}"


FEED = Feed(
    name="nmi",
    title="NMI Automatic Card Updater",
    adapt=adapt,
    recognises=lambda record: {"event_id", "event_type", "event_body"} <= record.keys(),
    codes=CODES,
    split=split,
)
