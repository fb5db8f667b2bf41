"""Paysafe's account updater, file-based: the decision codes that Paysafe documents.

A closed account is CONTACT here, which Mastercard itself writes CONTAC; in Mastercard's pull API the same word means
"contact the issuer". So a code is looked up by the network in Paysafe's own tables, where CONTAC is unknown. Of the
Visa letters, F is a later card that has expired already (it is not applied), and G a card not of the United Kingdom.

Assumed: the names of the columns, full numbers as in the request files, blank for what has not changed, O as Visa has
it, and MMYY for dates (a YYMM date of these years has no month, so it is refused).
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds import abu_batch, vau
from schemas.feeds.card import Said, by_number, dialect, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, mmyy

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


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    codes = dialect(_TABLES, record.get("Card Type"), "Card Type")
    kind = type_of(codes, record.get("Decision Code"), "Decision Code")
    yield by_number(
        kind,
        edge,
        old=Said(record.get("Card Number"), "Card Number"),
        new=Said(record.get("New Card Number"), "New Card Number"),
        expiry=lambda: mmyy(record.get("New Expiry Date"), "New Expiry Date"),
        expires="New Expiry Date",
        unchanged=lambda: mmyy(record.get("Expiry Date"), "Expiry Date"),
    )


FEED = Feed(
    name="paysafe",
    title="Paysafe account updater",
    adapt=adapt,
    recognises=lambda record: {"Card Number", "Decision Code"} <= record.keys(),
    codes=CODES,
    carries_numbers=True,
)
