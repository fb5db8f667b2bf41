"""Worldpay's account updater: cnpAPI's elements (Litle's and Vantiv's before), converted to JSON.

Two shapes: the batch file's `accountUpdateResponse` (`response`, `originalCard` and `updatedCard`, or `originalToken`
and `updatedToken`), and the `accountUpdater` in a real-time payment response (`extendedCardResponse`, and `…CardInfo`
or `…CardTokenInfo`). The second has no code where it has a new card: then the numbers say whether it is another one.
A new number gets a new token (Access Worldpay: `tokenURL`); a new expiry keeps it. Dates are MMYY.

Assumed: `responseTime` has no zone and is read as UTC. Transaction ids are long digits, some of which pass for card
numbers, so an update is known by its content.
"""

from collections.abc import Iterable

from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import Said, must_stay, table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    brand,
    inside,
    instant,
    is_blank,
    mmyy,
    part,
    text,
    told,
    ungrouped,
)

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
_MEANING = table(CODES)
_BATCH = (("originalCard", "updatedCard"), ("originalToken", "updatedToken"))
_REAL_TIME = (("originalCardInfo", "newCardInfo"), ("originalCardTokenInfo", "newCardTokenInfo"))
_TOKENS = ("cnpToken", "litleToken", "tokenURL", "token")


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    outer = part(record, "accountUpdateResponse") or record
    at = None if outer.get("responseTime") is None else instant(outer["responseTime"], "responseTime")
    real_time = "accountUpdater" in outer
    answer = inside(outer, "accountUpdater") if real_time else outer
    names = _REAL_TIME if real_time else _BATCH
    original, updated = next((pair for pair in names if pair[0] in answer), names[0])
    before, now = _named(answer, original), _named(answer, updated)
    kind = _in_real_time(answer, before, now) if real_time else type_of(_MEANING, answer.get("response"), "response")
    old = _card(answer, original, edge)
    if kind is not Type.NUMBER_REPLACED:
        must_stay(kind, before, now)
        until = _until(answer, updated) if kind is Type.EXPIRY_UPDATED else None
        if until == {}:
            raise Refused(f"{updated}.expDate: required for a new expiry")
        yield told(kind, old, until, at=at)
        return
    new = _card(answer, updated, edge)
    other_brand = None not in (old["brand"], new["brand"]) and old["brand"] != new["brand"]
    reason = Reason.BRAND_CHANGE if other_brand else None
    yield told(kind, old, {**new, **_until(answer, updated)}, at=at, reason=reason)


def _in_real_time(answer: Record, before: Said, now: Said) -> Type:
    if "extendedCardResponse" in answer or is_blank(now.value):
        code = part(answer, "extendedCardResponse").get("code")
        return type_of(_MEANING, code, "accountUpdater.extendedCardResponse.code")
    return Type.EXPIRY_UPDATED if ungrouped(now.value) == ungrouped(before.value) else Type.NUMBER_REPLACED


def _named(answer: Record, name: str) -> Said:
    """What a card goes by: its token, or else its number."""
    card = part(answer, name)
    field = next((token for token in _TOKENS if not is_blank(card.get(token))), "number")
    return Said(card.get(field), f"{name}.{field}")


def _card(answer: Record, name: str, edge: Edge) -> Message:
    card, said = inside(answer, name), _named(answer, name)
    named = edge.card(*said) if said.field == f"{name}.number" else {"token": text(*said)}
    return {
        **named,
        "methodType": "CARD",
        "brand": brand(card.get("type")),
    }


def _until(answer: Record, name: str) -> Message:
    return mmyy(inside(answer, name).get("expDate"), f"{name}.expDate")


FEED = Feed(
    name="worldpay",
    title="Worldpay account updater (cnpAPI)",
    adapt=adapt,
    recognises=lambda record: (
        not {"accountUpdateResponse", "originalCard", "originalToken", "accountUpdater"}.isdisjoint(record)
    ),
    codes=CODES,
    carries_numbers=True,
)
