"""Worldpay's account updater: cnpAPI's elements (Litle's and Vantiv's before), converted to JSON.

Two shapes: the batch file's `accountUpdateResponse` (`response`, `originalCard` and `updatedCard`, or `originalToken`
and `updatedToken`), and the `accountUpdater` in a real-time payment response (`extendedCardResponse`, and `…CardInfo`
or `…CardTokenInfo`). The second shape has no code where it has a new card: then the two numbers show the change. A new
number gets a new token (Access Worldpay: `tokenURL`); a new expiry keeps it. Dates are MMYY.

Access Worldpay's own webhooks (`eventDetails`) are about payments, payouts and chargebacks, and so irrelevant.

Assumed: `responseTime` has no zone and is read as UTC. Transaction ids are long digits, some of which pass for card
numbers, so an update gets an id from its content.
"""

from collections.abc import Iterable

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import Field, brand_change, require_same, table, type_of
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import brand, instant, mmyy, required, without_grouping
from schemas.feeds.record import Record, UpdateFields, is_blank, object_at, optional_object, update

CODES = (
    Code("500", "account number changed", Type.NUMBER_REPLACED),
    Code("501", "account closed", Type.CLOSED),
    Code("502", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("503", "issuer does not participate", Type.NO_MATCH),
    Code("504", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("505", "no match", Type.NO_MATCH),
    Code("506", "nothing changed", Type.NO_CHANGE),
    Code("507", "cardholder opted out", Type.OPTED_OUT),
)
_CODES = table(CODES)
_BATCH = (("originalCard", "updatedCard"), ("originalToken", "updatedToken"))
_REAL_TIME = (("originalCardInfo", "newCardInfo"), ("originalCardTokenInfo", "newCardTokenInfo"))
IRRELEVANT = ("chargeback", "payment", "payout")
_TOKENS = ("cnpToken", "litleToken", "tokenURL", "token")


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    outer = optional_object(record, "accountUpdateResponse") or record
    at = None if is_blank(outer.get("responseTime")) else instant(outer["responseTime"], "responseTime")
    is_real_time = "accountUpdater" in outer
    answer = object_at(outer, "accountUpdater") if is_real_time else outer
    shapes = _REAL_TIME if is_real_time else _BATCH
    original, updated = next((shape for shape in shapes if shape[0] in answer), shapes[0])
    old_id, new_id = _identifier(answer, original), _identifier(answer, updated)
    if is_real_time:
        update_type = _real_time_type(answer, old_id, new_id)
    else:
        update_type = type_of(_CODES, answer.get("response"), "response")
    old = _card(answer, original, edge)
    if update_type is Type.NUMBER_REPLACED:
        new = _card(answer, updated, edge)
        reason = brand_change(old["brand"], new["brand"])
        yield update(update_type, old, {**new, **_expiry(answer, updated)}, at=at, reason=reason)
        return
    require_same(update_type, old_id, new_id)
    expiry = _expiry(answer, updated) if update_type is Type.EXPIRY_UPDATED else None
    if expiry == {}:
        raise Refused(RefusalCode.REQUIRED_HERE, f"{updated}.expDate", "required for a new expiry")
    yield update(update_type, old, expiry, at=at)


def _real_time_type(answer: Record, old_id: Field, new_id: Field) -> Type:
    if "extendedCardResponse" in answer or is_blank(new_id.value):
        code = optional_object(answer, "extendedCardResponse").get("code")
        return type_of(_CODES, code, "accountUpdater.extendedCardResponse.code")
    is_same_card = without_grouping(new_id.value) == without_grouping(old_id.value)
    return Type.EXPIRY_UPDATED if is_same_card else Type.NUMBER_REPLACED


def _identifier(answer: Record, name: str) -> Field:
    """The field that identifies the card `name`: its token, or else its number."""
    card = optional_object(answer, name)
    field = next((token for token in _TOKENS if not is_blank(card.get(token))), "number")
    return Field(card.get(field), f"{name}.{field}")


def _card(answer: Record, name: str, edge: Edge) -> UpdateFields:
    card, id_ = object_at(answer, name), _identifier(answer, name)
    credential = edge.card(*id_) if id_.name == f"{name}.number" else {"token": required(*id_)}
    return {**credential, "methodType": "CARD", "brand": brand(card.get("type"))}


def _expiry(answer: Record, name: str) -> UpdateFields:
    return mmyy(object_at(answer, name).get("expDate"), f"{name}.expDate")


FEED = Feed(
    name="worldpay",
    title="Worldpay account updater (cnpAPI)",
    adapt=adapt,
    recognises=lambda record: (
        not {"accountUpdateResponse", "originalCard", "originalToken", "accountUpdater"}.isdisjoint(record)
    ),
    codes=CODES,
    irrelevant=IRRELEVANT,
    event_kind=lambda record: optional_object(record, "eventDetails").get("classification"),
    carries_numbers=True,
)
