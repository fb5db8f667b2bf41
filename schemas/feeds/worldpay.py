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
from schemas.feeds.card import Said, must_check, table, type_of
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
    mmyy,
    optional,
    part,
    text,
    told,
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
_CHANGES = (Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED)
_TOKENS = ("cnpToken", "litleToken", "tokenURL", "token")


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    outer = part(record, "accountUpdateResponse") or record
    at = None if outer.get("responseTime") is None else instant(outer["responseTime"], "responseTime")
    real_time = "accountUpdater" in outer
    answer = inside(outer, "accountUpdater") if real_time else outer
    names = _REAL_TIME if real_time else _BATCH
    original, updated = next((pair for pair in names if pair[0] in answer), names[0])
    old = _card(answer, original, edge)
    new = _card(answer, updated, edge) if part(answer, updated) else None
    kind = _in_real_time(answer, old, new) if real_time else type_of(_MEANING, answer.get("response"), "response")
    if kind not in _CHANGES:
        yield told(kind, old, at=at)
        return
    if new is None:
        raise Refused(f"{updated}: required where something changed")
    until = _until(answer, updated)
    if kind is Type.EXPIRY_UPDATED:
        if not until:
            raise Refused(f"{updated}.expDate: required for a new expiry")
        yield told(kind, old, until, at=at)
    else:
        if "fingerprint" in new and new["fingerprint"] != old.get("fingerprint"):
            must_check(Said(inside(answer, updated).get("number"), f"{updated}.number"))
        other_brand = None not in (old["brand"], new["brand"]) and old["brand"] != new["brand"]
        yield told(kind, old, {**new, **until}, at=at, reason=Reason.BRAND_CHANGE if other_brand else None)


def _in_real_time(answer: Record, old: Message, new: Message | None) -> Type:
    if "extendedCardResponse" in answer or new is None:
        code = part(answer, "extendedCardResponse").get("code")
        return type_of(_MEANING, code, "accountUpdater.extendedCardResponse.code")
    same = all(old.get(name) == new.get(name) for name in ("token", "fingerprint"))
    return Type.EXPIRY_UPDATED if same else Type.NUMBER_REPLACED


def _card(answer: Record, name: str, edge: Edge) -> Message:
    card = inside(answer, name)
    token = next((field for field in _TOKENS if optional(card.get(field)) is not None), None)
    if token is not None:
        named: Message = {"token": text(card[token], f"{name}.{token}")}
    else:
        named = edge.card(card.get("number"), f"{name}.number")
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
