"""Paysafe's account updater, file-based: the decision codes that Paysafe documents.

A closed account is CONTACT here, which Mastercard itself writes CONTAC. In Mastercard's pull API the same word means
"contact the issuer". So a code is looked up by the network in Paysafe's own tables, where CONTAC is unknown. Visa's F
is a later card that has expired already, and is not applied. G is a card not of the United Kingdom.

Assumed: the names of the columns, full numbers as in the request files, and blank for what has not changed. O is as
Visa has it. Dates are MMYY (a YYMM date of these years has no month, so it is refused).
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds import abu_batch, vau
from schemas.feeds.card import Field, dialect, table, type_of, update_by_number
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import mmyy
from schemas.feeds.record import Record, UpdateFields

_VISA = (
    *vau.CODES,
    Code("F", "there is a later card, but it has expired already", Type.NO_CHANGE),
    Code("G", "card not of the United Kingdom", Type.NO_MATCH),
)
_MASTERCARD = (
    Code("UPDATE", "new number or new expiration date", Type.NUMBER_REPLACED),
    Code("EXPIRY", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("CONTACT", "account closed", Type.CLOSED),
    Code("CONTACH", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("VALID", "matches, nothing changed", Type.NO_CHANGE),
    Code("", "nothing changed", Type.NO_CHANGE),
    Code("UNKNWN", "not known to Mastercard", Type.NO_MATCH),
    Code("NOMATH", "no match", Type.NO_MATCH),
    Code("34", "stop all recurring payments of this merchant", Type.OPTED_OUT),
    Code("43", "card not of the United Kingdom", Type.NO_MATCH),
    *abu_batch.REJECTED,
    Code("000122", "rejected: the merchant is not registered", None),
)
CODES = _VISA + _MASTERCARD
_TABLES = {"VISA": table(_VISA), "MASTERCARD": table(_MASTERCARD)}


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    codes = dialect(_TABLES, record.get("Card Type"), "Card Type")
    update_type = type_of(codes, record.get("Decision Code"), "Decision Code")
    yield update_by_number(
        update_type,
        edge,
        old=Field(record.get("Card Number"), "Card Number"),
        new=Field(record.get("New Card Number"), "New Card Number"),
        expiry=lambda: mmyy(record.get("New Expiry Date"), "New Expiry Date"),
        expiry_field="New Expiry Date",
        former_expiry=lambda: mmyy(record.get("Expiry Date"), "Expiry Date"),
    )


FEED = Feed(
    name="paysafe",
    title="Paysafe account updater",
    adapt=adapt,
    recognises=lambda record: {"Card Number", "Decision Code"} <= record.keys(),
    codes=CODES,
    is_table=True,
    carries_numbers=True,
)
