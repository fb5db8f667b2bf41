"""Basis Theory: the results of an Account Updater job, CSV v1 to v1.2, and the answer of its real-time call.

A changed card is a new token; with `deduplicate_tokens` it may be an existing token, or the same one. v1.1 adds
`new_fingerprint` and `new_brand`, v1.2 `new_last4`. Columns and codes are those of public clients. A real-time answer
does not name the token of the request, so the caller adds it as `token`. The fields of its `new_token` are those of
Basis Theory's token objects, which is assumed of this call. Neither form has a date.

A webhook has a `type`. Webhooks about tokens that the tenant itself makes, edits and deletes are irrelevant. A webhook
about a completed job is refused: the job's results have to be downloaded and read as a file.
"""

from collections.abc import Iterable, Mapping

from domain.refusal import RefusalCode, Refused
from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import brand, expiry, last4, optional_value, required, required_last4, vendor_fingerprint
from schemas.feeds.record import Record, UpdateFields, optional_object, update

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
IRRELEVANT = (
    "network-token.created",
    "token-intent.converted",
    "token.created",
    "token.deleted",
    "token.expired",
    "token.property.expired",
    "token.updated",
)


def adapt(result: Record, _edge: Edge) -> Iterable[UpdateFields]:
    update_type = type_of(_CODES, result.get("result_code"), "result_code")
    old = {"token": required(result.get("token"), "token"), "methodType": "CARD"}
    if update_type not in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
        yield update(update_type, old)
        return
    new = _token_of_answer(result) if isinstance(result.get("new_token"), Mapping) else _token_of_row(result)
    if update_type is Type.NUMBER_REPLACED and new["token"] is None:
        raise Refused(RefusalCode.REQUIRED_HERE, "new_token", "required for a changed number")
    if update_type is Type.EXPIRY_UPDATED and "expiryYear" not in new:
        raise Refused(RefusalCode.REQUIRED_HERE, "new_expiration_year", "required for a changed expiration date")
    is_new_token = new["token"] not in {None, old["token"]}
    if update_type is Type.NUMBER_REPLACED and not is_new_token and new["fingerprint"] is None:
        new["last4"] = required_last4(new["last4"], "new_last4")
    if update_type is Type.EXPIRY_UPDATED and not is_new_token:
        yield update(update_type, old, {**new, **old, "fingerprint": None})
    else:
        reason = Reason.EXPIRED if update_type is Type.EXPIRY_UPDATED else None
        yield update(Type.NUMBER_REPLACED, old, new, reason=reason)


def _token_of_row(result: Record) -> UpdateFields:
    return {
        "token": optional_value(result.get("new_token")),
        "methodType": "CARD",
        "fingerprint": vendor_fingerprint("basis-theory", result.get("new_fingerprint")),
        "last4": last4(result.get("new_last4")),
        "brand": brand(result.get("new_brand")),
        **expiry(result.get("new_expiration_month"), result.get("new_expiration_year"), "new_expiration_month"),
    }


def _token_of_answer(result: Record) -> UpdateFields:
    token = optional_object(result, "new_token")
    card = optional_object(token, "card")
    return {
        "token": optional_value(token.get("id")),
        "methodType": "CARD",
        "fingerprint": vendor_fingerprint("basis-theory", token.get("fingerprint")),
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
    irrelevant=IRRELEVANT,
    event_kind=lambda record: record.get("type"),
    is_table=True,
)
