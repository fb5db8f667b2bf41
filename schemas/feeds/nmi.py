"""NMI: Automatic Card Updater summaries, each with the day's cards of the vault and of recurring payments in arrays.

The event is as in NMI's documentation, the names of its arrays as in public clients. A card keeps its ids, and the
former number is not reported. The ids of a vault are often the merchant's own numbers, which another merchant has too,
so a token begins with the merchant's id. It is `<merchant id>/<customer_vault_id>/<billing_id>`, for one customer may
have several cards; without a billing id the last part is missing. The token of a recurring payment is
`<merchant id>/subscription/<subscription_id>`, which is assumed.

A summary has a date and no time. All its updates of one day are dated midnight. In the order of a file, an event that
comes again would be another event under the same id.

Events about transactions, settlement, chargebacks and subscriptions are irrelevant, by the list in NMI's control panel.
A network token that NMI makes or renews (`networktoken.token.…`) is another number for the same card: irrelevant, too.
"""

from collections.abc import Iterable, Sequence

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, match_irrelevant
from schemas.feeds.fields import instant, last4, merchant_id, mmyy, required, required_last4, required_merchant_id, text
from schemas.feeds.record import Record, UpdateFields, object_at, objects, split_at, update

CODES = (
    Code("acu.summary.automaticallyupdated", "its arrays say what changed", Type.NUMBER_REPLACED),
    Code("updated_cards", "an array of it: another number", Type.NUMBER_REPLACED),
    Code("updated_expiration_dates", "an array of it: another expiry", Type.EXPIRY_UPDATED),
    Code("acu.summary.closedaccount", "account closed", Type.CLOSED),
    Code("acu.summary.contactcustomer", "contact the cardholder", Type.CONTACT_CARDHOLDER),
)
_CODES = table(CODES)
_SUMMARIES = {name: code for name, code in _CODES.items() if name.startswith("acu.")}
_UPDATED = "acu.summary.automaticallyupdated"
_UPDATES = ("vault_updates", "recurring_updates")
_ARRAYS = {
    _UPDATED: (
        "vault_updated_cards",
        "vault_updated_expiration_dates",
        "recurring_updated_cards",
        "recurring_updated_expiration_dates",
    ),
    "acu.summary.closedaccount": _UPDATES,
    "acu.summary.contactcustomer": _UPDATES,
}
IRRELEVANT = (
    "chargeback.*",
    "networktoken.token.*",
    "recurring.plan.*",
    "recurring.subscription.*",
    "settlement.batch.*",
    "transaction.*",
)


def split(event: Record) -> Sequence[Record]:
    """An event for each card, with its array of one."""
    if match_irrelevant(IRRELEVANT, event.get("event_type")):
        return [event]
    body = object_at(event, "event_body")
    arrays = {name: body[name] for names in _ARRAYS.values() for name in names if body.get(name) is not None}
    common = {name: value for name, value in body.items() if name not in arrays}
    bodies = [part for name, array in arrays.items() for part in split_at({**common, name: array}, name) if array]
    return [{**event, "event_body": part} for part in bodies] or [event]


def adapt(event: Record, _edge: Edge) -> Iterable[UpdateFields]:
    summary = text(event.get("event_type"), "event_type")
    summary_type = None if summary == _UPDATED else type_of(_SUMMARIES, summary, "event_type")
    body = object_at(event, "event_body")
    if not any(name in body for name in _ARRAYS[summary]):
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "event_body", f"cards in {' or '.join(_ARRAYS[summary])}")
    event_id = required(event.get("event_id"), "event_id")
    merchant = required_merchant_id(object_at(event, "event_body", "merchant").get("id"), "event_body.merchant.id")
    at = instant(body.get("updated_date"), "event_body.updated_date")
    for name in _ARRAYS[summary]:
        for card in objects(body, name):
            update_type = summary_type or type_of(_CODES, name.partition("_")[2], "event_body")
            token = f"{merchant}/{_card_id(card, f'event_body.{name}')}"
            new = _new_card(update_type, card, f"event_body.{name}")
            new = None if new is None else {"token": token, **new}
            yield update(update_type, {"token": token}, new, id=f"{event_id}-{name}-{token}", at=at)


def _new_card(update_type: Type, card: Record, field: str) -> UpdateFields | None:
    """The card as it is now; None where the type of update reports none."""
    if update_type not in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
        return None
    expiry = mmyy(card.get("cc_exp"), f"{field}.cc_exp")
    if update_type is Type.EXPIRY_UPDATED and not expiry:
        raise Refused(RefusalCode.REQUIRED_HERE, f"{field}.cc_exp", "required for a new expiry")
    if update_type is Type.NUMBER_REPLACED:
        return {"last4": required_last4(card.get("cc_number"), f"{field}.cc_number"), **expiry}
    return {"last4": last4(card.get("cc_number")), **expiry}


def _card_id(card: Record, field: str) -> str:
    """The part of a token that identifies a card among all cards of one merchant."""
    subscription = merchant_id(card.get("subscription_id"))
    if subscription is not None:
        return f"subscription/{subscription}"
    customer = required_merchant_id(card.get("customer_vault_id"), f"{field}.customer_vault_id")
    billing = merchant_id(card.get("billing_id"))
    return customer if billing is None else f"{customer}/{billing}"


FEED = Feed(
    name="nmi",
    title="NMI Automatic Card Updater",
    adapt=adapt,
    recognises=lambda record: {"event_id", "event_type", "event_body"} <= record.keys(),
    codes=CODES,
    split=split,
    irrelevant=IRRELEVANT,
    event_kind=lambda record: record.get("event_type"),
)
