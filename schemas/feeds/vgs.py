"""VGS: card management notifications, `cmp_au_card.…` and the first version's `au_card.…`.

The card keeps its id. `old_account_number` and `new_account_number` are VGS's aliases of the numbers. They distinguish
a card from its predecessor, as a fingerprint of VGS's own. An event is as Cheqpay republishes it, the codes are those
of VGS's documentation. That `card_last4` and `card_bin` are the new number's is assumed. No event names a brand, so the
brand is that of the card's first digits. Expiries are MMYY.
"""

from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import brand_of, table, type_of
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import instant, last4, mmyy, optional_value, required, text, vendor_fingerprint
from schemas.feeds.record import Record, UpdateFields, object_at, update

CODES = (
    Code("updated", "account number changed", Type.NUMBER_REPLACED),
    Code("expired", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("closed", "account closed", Type.CLOSED),
    Code("contact_cardholder_advice", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("opt_out", "cardholder opted out", Type.OPTED_OUT),
    Code("non_participating", "issuer does not participate", Type.NO_MATCH),
    Code("unknown", "no match", Type.NO_MATCH),
    Code("enrolled", "it will be told when the card changes", Type.NO_CHANGE),
    Code("enrollment_failed", "it will not be told when the card changes", None),
    Code("enrollment.failed", "the same, as one page spells it", None),
)
_CODES = table(CODES)
_PREFIXES = ("cmp_au_card.", "au_card.")


def adapt(event: Record, _edge: Edge) -> Iterable[UpdateFields]:
    name = text(event.get("event"), "event")
    prefix = next((known for known in _PREFIXES if name.startswith(known)), None)
    if prefix is None:
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "event", "cmp_au_card. or au_card.")
    update_type = type_of(_CODES, name.removeprefix(prefix), "event")
    details = object_at(event, "details")
    token = {"token": required(details.get("card_id"), "details.card_id"), "methodType": "CARD"}
    old: UpdateFields = token
    new: UpdateFields | None = None
    if update_type in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
        expiry = mmyy(details.get("new_expiration_date"), "details.new_expiration_date")
        new = {**token, **expiry, "last4": last4(details.get("card_last4"))}
        if update_type is Type.EXPIRY_UPDATED and not expiry:
            raise Refused(RefusalCode.REQUIRED_HERE, "details.new_expiration_date", "required for a new expiry")
    if update_type is Type.NUMBER_REPLACED and new is not None:
        alias = required(details.get("new_account_number"), "details.new_account_number")
        old = {**token, "fingerprint": vendor_fingerprint("vgs", details.get("old_account_number"))}
        new["fingerprint"] = vendor_fingerprint("vgs", alias)
        new["brand"] = brand_of(details.get("card_bin")) or brand_of(details.get("card_first8"))
    at = instant(optional_value(details.get("occurred_at")) or event.get("timestamp"), "details.occurred_at")
    yield update(update_type, old, new, id=required(event.get("id"), "id"), at=at)


FEED = Feed(
    name="vgs",
    title="VGS card notifications",
    adapt=adapt,
    recognises=lambda record: {"id", "event", "details"} <= record.keys(),
    codes=CODES,
)
