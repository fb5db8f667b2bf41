"""Basis Theory: an Account Updater job's results, CSV v1 to v1.2, and the answer of its real-time call.

A changed card is a new token; with `deduplicate_tokens` it may be one that was there before, or the same. v1.1 adds
`new_fingerprint` and `new_brand`, v1.2 `new_last4`. Columns and codes are those of public clients of it. A real-time
answer does not name the token that was asked about, so its caller writes it beside it as `token`; the fields of its
`new_token` are those of Basis Theory's token objects, which is assumed of this call. Neither has a date.
"""

from collections.abc import Iterable, Mapping

from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    brand,
    expiry,
    last4,
    last4_required,
    optional,
    part,
    scoped,
    text,
    told,
)

CODES = (
    Code("UPD_PAN", "account number changed", Type.NUMBER_REPLACED),
    Code("UPD_PAN_EXP_DATE", "account number and expiration date changed", Type.NUMBER_REPLACED),
    Code("UPD_EXP_DATE", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("WRN_CLOSED_ACCOUNT", "account closed", Type.CLOSED),
    Code("WRN_CONTACT_CARDHOLDER", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("NO_UPDATE", "nothing changed", Type.NO_CHANGE),
    Code("NO_MATCH", "no match", Type.NO_MATCH),
)
_CODES = table(CODES)


def adapt(result: Record, _edge: Edge) -> Iterable[Message]:
    kind = type_of(_CODES, result.get("result_code"), "result_code")
    old = {"token": text(result.get("token"), "token"), "methodType": "CARD"}
    if kind not in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
        yield told(kind, old)
        return
    new = _answer(result) if isinstance(result.get("new_token"), Mapping) else _row(result)
    if kind is Type.NUMBER_REPLACED and new["token"] is None:
        raise Refused("new_token: required for a changed number")
    if kind is Type.EXPIRY_UPDATED and "expiryYear" not in new:
        raise Refused("new_expiration_year: required for a changed expiration date")
    moved = new["token"] not in {None, old["token"]}
    if kind is Type.NUMBER_REPLACED and not moved and new["fingerprint"] is None:
        new["last4"] = last4_required(new["last4"], "new_last4")
    if kind is Type.EXPIRY_UPDATED and not moved:
        yield told(kind, old, {**new, **old, "fingerprint": None})
    else:
        yield told(Type.NUMBER_REPLACED, old, new, reason=Reason.EXPIRED if kind is Type.EXPIRY_UPDATED else None)


def _row(result: Record) -> Message:
    return {
        "token": optional(result.get("new_token")),
        "methodType": "CARD",
        "fingerprint": scoped("basis-theory", result.get("new_fingerprint")),
        "last4": last4(result.get("new_last4")),
        "brand": brand(result.get("new_brand")),
        **expiry(result.get("new_expiration_month"), result.get("new_expiration_year"), "new_expiration_month"),
    }


def _answer(result: Record) -> Message:
    token = part(result, "new_token")
    card = part(token, "card")
    return {
        "token": optional(token.get("id")),
        "methodType": "CARD",
        "fingerprint": scoped("basis-theory", token.get("fingerprint")),
        "last4": last4(card.get("last4")),
        "brand": brand(card.get("brand")),
        **expiry(card.get("expiration_month"), card.get("expiration_year"), "new_token.card.expiration_month"),
    }


FEED = Feed(
    name="basis-theory",
    title="Basis Theory Account Updater results",
    adapt=adapt,
    recognises=lambda record: {"token", "result_code", "new_token"} <= record.keys(),
    codes=CODES,
)
