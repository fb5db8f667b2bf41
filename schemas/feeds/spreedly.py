"""Spreedly: the transactions that its Account Updater makes, as the transactions API lists them.

A payment method keeps its token. One transaction type stands for another number and for another expiry; `fingerprint`
is Spreedly's own and identifies the card as it is now. The types are those of its documentation, which has no
`CloseAccount`. It is assumed that a transaction has the payment method as it is after the change.

The list has every other transaction of the environment, too. Payments, and the merchant's own actions on a payment
method, are irrelevant.
"""

from collections.abc import Iterable, Sequence

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import brand, expiry, instant, last4, required, required_last4, vendor_fingerprint
from schemas.feeds.record import Record, UpdateFields, object_at, split_array, update

CODES = (
    Code("ReplacePaymentMethod", "another number, another expiry, or both", Type.NUMBER_REPLACED),
    Code("ClosePaymentMethod", "account closed", Type.CLOSED),
    Code("ContactCardHolder", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("InvalidReplacePaymentMethod", "the new card was not valid, nothing changed", Type.NO_CHANGE),
)
_CODES = table(CODES)
IRRELEVANT = (
    "AddGateway",
    "AddPaymentMethod",
    "AddReceiver",
    "Authorization",
    "Capture",
    "Credit",
    "DeliverPaymentMethod",
    "GeneralCredit",
    "Purchase",
    "RecacheSensitiveData",
    "RedactGateway",
    "RedactPaymentMethod",
    "RetainGateway",
    "RetainPaymentMethod",
    "Store",
    "Verification",
    "Void",
)


def split(record: Record) -> Sequence[Record]:
    """The transactions of a list, or the one in an envelope."""
    if "transactions" in record:
        return split_array(record, "transactions")
    return [object_at(record, "transaction")] if "transaction" in record else [record]


def adapt(transaction: Record, _edge: Edge) -> Iterable[UpdateFields]:
    update_type = type_of(_CODES, transaction.get("transaction_type"), "transaction_type")
    method = object_at(transaction, "payment_method")
    token = {"token": required(method.get("token"), "payment_method.token"), "methodType": "CARD"}
    new: UpdateFields | None = None
    if update_type is Type.NUMBER_REPLACED:
        if transaction.get("succeeded") is False:
            raise Refused(RefusalCode.UNEXPECTED_VALUE, "succeeded", "true for ReplacePaymentMethod")
        new = {
            **token,
            "fingerprint": vendor_fingerprint("spreedly", method.get("fingerprint")),
            "last4": last4(method.get("last_four_digits")),
            "brand": brand(method.get("card_type")),
            **expiry(method.get("month"), method.get("year"), "payment_method.month"),
        }
        if new["fingerprint"] is None:
            new["last4"] = required_last4(method.get("last_four_digits"), "payment_method.last_four_digits")
    at = instant(transaction.get("created_at"), "created_at")
    yield update(update_type, token, new, id=required(transaction.get("token"), "token"), at=at)


FEED = Feed(
    name="spreedly",
    title="Spreedly Account Updater transactions",
    adapt=adapt,
    recognises=lambda record: (
        "transactions" in record or "transaction" in record or {"transaction_type", "payment_method"} <= record.keys()
    ),
    codes=CODES,
    split=split,
    irrelevant=IRRELEVANT,
    event_kind=lambda record: record.get("transaction_type"),
)
