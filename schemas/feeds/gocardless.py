"""GoCardless: events about mandates, of a webhook (`events`) or one alone.

`links.new_mandate` comes with a mandate that was replaced, `links.previous_customer_bank_account` and
`links.new_customer_bank_account` with one that went over to another bank account and kept its id: then the ids of the
bank accounts, which are GoCardless's own, say what is behind it, as fingerprints do of a card. No event shows digits or
the name of a bank. The fields are those of GoCardless's own client, the meanings of the actions of its API reference.
Events about anything else, such as payments, tell nothing of a payment method.
"""

from collections.abc import Iterable, Sequence

from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    code_of,
    each_alone,
    inside,
    instant,
    scoped,
    text,
    told,
)

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
_ABOUT = dict.fromkeys(
    (
        _MANDATES,
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
    ),
    Type.NO_CHANGE,
)


def split(record: Record) -> Sequence[Record]:
    return each_alone(record, "events") if "events" in record else [record]


def adapt(event: Record, _edge: Edge) -> Iterable[Message]:
    code_of(_ABOUT, event.get("resource_type"), "resource_type")
    if event["resource_type"] != _MANDATES:
        return
    kind = type_of(_CODES, event.get("action"), "action")
    links = inside(event, "links")
    event_id, at = text(event.get("id"), "id"), instant(event.get("created_at"), "created_at")
    if kind is not Type.NUMBER_REPLACED:
        yield told(kind, _token(links, "mandate"), id=event_id, at=at)
    elif event["action"] == "replaced":
        yield told(kind, _token(links, "mandate"), _token(links, "new_mandate"), id=event_id, at=at)
    else:
        old, new = (_with_account(links, f"{which}_customer_bank_account") for which in ("previous", "new"))
        yield told(kind, old, new, id=event_id, at=at, reason=Reason.BANK_CHANGE)


def _token(links: Record, name: str) -> Message:
    return {"token": text(links.get(name), f"links.{name}"), "methodType": "BANK_ACCOUNT"}


def _with_account(links: Record, name: str) -> Message:
    return {**_token(links, "mandate"), "fingerprint": scoped("gocardless", text(links.get(name), f"links.{name}"))}


FEED = Feed(
    name="gocardless",
    title="GoCardless events",
    adapt=adapt,
    recognises=lambda record: "events" in record or {"resource_type", "action", "links"} <= record.keys(),
    codes=CODES,
    split=split,
)
