"""BlueSnap's account updater: a batch's `account-update` resources, under their documented names, whole or each alone.

The codes are Worldpay's. `merchant-updater-id` is the merchant's own reference for one request, and names no card.

Assumed: a card has `card-number`, `expiration-month` and `expiration-year`, as in BlueSnap's other resources, with
full numbers (the service is for merchants that keep cards themselves); 507 as at Worldpay.
"""

from collections.abc import Iterable, Sequence

from schemas.feeds import worldpay
from schemas.feeds.card import Said, by_number, table, type_of
from schemas.feeds.feed import Edge, Feed, Message, Record, each_alone, expiry, inside, part

CODES = worldpay.CODES
_MEANING = table(CODES)


def split(record: Record) -> Sequence[Record]:
    """The resources of a whole batch."""
    batch = part(record, "batch-account-update") or record
    return each_alone(batch, "account-update") if "account-update" in batch else [record]


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    kind = type_of(_MEANING, record.get("update-response-code"), "update-response-code")
    original, updated = inside(record, "original-card"), part(record, "updated-card")
    expires = "updated-card.expiration-month"
    yield by_number(
        kind,
        edge,
        old=Said(original.get("card-number"), "original-card.card-number"),
        new=Said(updated.get("card-number"), "updated-card.card-number"),
        expiry=lambda: expiry(updated.get("expiration-month"), updated.get("expiration-year"), expires),
        expires=expires,
    )


FEED = Feed(
    name="bluesnap",
    title="BlueSnap account updater",
    adapt=adapt,
    recognises=lambda record: not {"update-response-code", "account-update", "batch-account-update"}.isdisjoint(record),
    codes=CODES,
    carries_numbers=True,
    split=split,
)
