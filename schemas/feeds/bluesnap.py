"""BlueSnap's account updater: the `account-update` resources of a batch, in their batch or each alone.

The names are BlueSnap's documented ones, the codes are Worldpay's. `merchant-updater-id` is the merchant's own
reference for one request, and names no card.

Assumed: a card has `card-number`, `expiration-month` and `expiration-year`, as in BlueSnap's other resources. Numbers
are full (the service is for merchants that store cards themselves). 507 is as at Worldpay.
"""

from collections.abc import Iterable, Sequence

from schemas.feeds import worldpay
from schemas.feeds.card import Field, table, type_of, update_by_number
from schemas.feeds.feed import Edge, Feed
from schemas.feeds.fields import expiry
from schemas.feeds.record import Record, UpdateFields, object_at, optional_object, split_array

CODES = worldpay.CODES
_CODES = table(CODES)


def split(record: Record) -> Sequence[Record]:
    """The resources of a batch."""
    batch = optional_object(record, "batch-account-update") or record
    return split_array(batch, "account-update") if "account-update" in batch else [record]


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    update_type = type_of(_CODES, record.get("update-response-code"), "update-response-code")
    original, updated = object_at(record, "original-card"), optional_object(record, "updated-card")
    expires = "updated-card.expiration-month"
    yield update_by_number(
        update_type,
        edge,
        old=Field(original.get("card-number"), "original-card.card-number"),
        new=Field(updated.get("card-number"), "updated-card.card-number"),
        expiry=lambda: expiry(updated.get("expiration-month"), updated.get("expiration-year"), expires),
        expiry_field=expires,
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
