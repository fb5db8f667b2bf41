"""Spreedly: the transactions that its Account Updater makes, as the transactions API lists them.

A payment method keeps its token. One transaction type stands for another number and for another expiry; `fingerprint`
is Spreedly's own and tells which card it is now. The types are those of its documentation, `CloseAccount` is none of
them; that a transaction has the payment method as it is after the change is assumed.
"""

from collections.abc import Iterable, Sequence

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
    each_alone,
    expiry,
    inside,
    instant,
    last4,
    last4_required,
    scoped,
    text,
    told,
)

CODES = (
    Code("ReplacePaymentMethod", "another number, another expiry, or both", Type.NUMBER_REPLACED),
    Code("ClosePaymentMethod", "account closed", Type.CLOSED),
    Code("ContactCardHolder", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("InvalidReplacePaymentMethod", "the new card was not valid, nothing changed", Type.NO_CHANGE),
)
_CODES = table(CODES)


def split(record: Record) -> Sequence[Record]:
    if "transactions" in record:
        return each_alone(record, "transactions")
    return [inside(record, "transaction")] if "transaction" in record else [record]


def adapt(transaction: Record, _edge: Edge) -> Iterable[Message]:
    kind = type_of(_CODES, transaction.get("transaction_type"), "transaction_type")
    method = inside(transaction, "payment_method")
    token = {"token": text(method.get("token"), "payment_method.token"), "methodType": "CARD"}
    new: Message | None = None
    if kind is Type.NUMBER_REPLACED:
        if transaction.get("succeeded") is False:
            raise Refused("succeeded: expected true for ReplacePaymentMethod")
        new = {
            **token,
            "fingerprint": scoped("spreedly", method.get("fingerprint")),
            "last4": last4(method.get("last_four_digits")),
            "brand": brand(method.get("card_type")),
            **expiry(method.get("month"), method.get("year"), "payment_method.month"),
        }
        if new["fingerprint"] is None:
            new["last4"] = last4_required(method.get("last_four_digits"), "payment_method.last_four_digits")
    at = instant(transaction.get("created_at"), "created_at")
    yield told(kind, token, new, id=text(transaction.get("token"), "token"), at=at)


FEED = Feed(
    name="spreedly",
    title="Spreedly Account Updater transactions",
    adapt=adapt,
    recognises=lambda record: (
        "transactions" in record or "transaction" in record or {"transaction_type", "payment_method"} <= record.keys()
    ),
    codes=CODES,
    split=split,
)
