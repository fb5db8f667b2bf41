"""GoCardless: events about mandates, in a webhook (`events`) or alone.

A mandate that was replaced comes with `links.new_mandate`. A mandate that moved to another bank account keeps its id,
and comes with `links.previous_customer_bank_account` and `links.new_customer_bank_account`. These are GoCardless's own
ids of bank accounts: they identify the account behind a mandate as a fingerprint does a card. No event shows digits or
the name of a bank. The fields are those of GoCardless's own client, the meanings of the actions of its API reference.

Events about any other resource, such as payments, are irrelevant, also about a resource that GoCardless adds later. An
unknown resource with a mandate or a bank account in its name is refused.
"""

import re
from collections.abc import Iterable, Sequence

from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, match_irrelevant
from schemas.feeds.fields import instant, refuse_code, required, vendor_fingerprint
from schemas.feeds.record import Record, UpdateFields, object_at, split_array, update

CODES = (
    Code("replaced", "another mandate took its place", Type.NUMBER_REPLACED),
    Code("transferred", "it went over to another bank account, and keeps its id", Type.NUMBER_REPLACED),
    Code("cancelled", "cancelled by the customer, their bank or the creditor", Type.CLOSED),
    Code("failed", "it could not be set up: the bank account takes no direct debits, or is closed", Type.CLOSED),
    Code("expired", "it was not used for too long", Type.CLOSED),
    Code("consumed", "it was for one payment, which was made", Type.CLOSED),
    Code("blocked", "payments cannot be made on it for now", Type.SUSPENDED),
    Code("suspended_by_payer", "the customer suspended it", Type.SUSPENDED),
    Code("active", "payments can be made on it", Type.RESUMED),
    Code("reinstated", "active again", Type.RESUMED),
    Code("created", "set up", Type.NO_CHANGE),
    Code("submitted", "sent to the bank", Type.NO_CHANGE),
    Code("resubmission_requested", "to be sent to the bank again", Type.NO_CHANGE),
    Code("customer_approval_granted", "the customer's other signatory agreed", Type.NO_CHANGE),
    Code("customer_approval_skipped", "nobody else need agree", Type.NO_CHANGE),
)
_CODES = table(CODES)
_MANDATES = "mandates"
_OTHER_RESOURCE = "another resource_type"
IRRELEVANT = (
    "bank_authorisations",
    "billing_request_flows",
    "billing_requests",
    "creditors",
    "customers",
    "exports",
    "instalment_schedules",
    "organisations",
    "outbound_payments",
    "payer_authorisations",
    "payment_account_transactions",
    "payments",
    "payouts",
    "refunds",
    "scheme_identifiers",
    "subscriptions",
    _OTHER_RESOURCE,
)
_LIKE_A_MANDATE = re.compile(r"mandate|bank_account", re.IGNORECASE)


def split(record: Record) -> Sequence[Record]:
    """The events of a webhook."""
    return split_array(record, "events") if "events" in record else [record]


def adapt(event: Record, _edge: Edge) -> Iterable[UpdateFields]:
    update_type = type_of(_CODES, event.get("action"), "action")
    links = object_at(event, "links")
    event_id, at = required(event.get("id"), "id"), instant(event.get("created_at"), "created_at")
    if update_type is not Type.NUMBER_REPLACED:
        yield update(update_type, _token(links, "mandate"), id=event_id, at=at)
    elif event["action"] == "replaced":
        yield update(update_type, _token(links, "mandate"), _token(links, "new_mandate"), id=event_id, at=at)
    else:
        old = _account_token(links, "previous_customer_bank_account")
        new = _account_token(links, "new_customer_bank_account")
        yield update(update_type, old, new, id=event_id, at=at, reason=Reason.BANK_CHANGE)


def _event_kind(event: Record) -> str | None:
    """The resource that the event is about; None for mandates."""
    resource = required(event.get("resource_type"), "resource_type")
    if resource == _MANDATES:
        return None
    if match_irrelevant(IRRELEVANT, resource) is not None:
        return resource
    if _LIKE_A_MANDATE.search(resource):
        refuse_code(resource, "resource_type")
    return _OTHER_RESOURCE


def _token(links: Record, name: str) -> UpdateFields:
    return {"token": required(links.get(name), f"links.{name}"), "methodType": "BANK_ACCOUNT"}


def _account_token(links: Record, name: str) -> UpdateFields:
    """The mandate, with the id of the bank account in the link `name` as its fingerprint."""
    token, account = _token(links, "mandate"), required(links.get(name), f"links.{name}")
    return {**token, "fingerprint": vendor_fingerprint("gocardless", account)}


FEED = Feed(
    name="gocardless",
    title="GoCardless events",
    adapt=adapt,
    recognises=lambda record: "events" in record or {"resource_type", "action", "links"} <= record.keys(),
    codes=CODES,
    split=split,
    irrelevant=IRRELEVANT,
    event_kind=_event_kind,
)
