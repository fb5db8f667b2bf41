"""Mastercard Automatic Billing Updater, batch files: the codes as iATS, TabaPay and GoToBilling document them.

CONTAC is a closed account, CONTACH is "contact the cardholder": they differ in one letter. UPDATE reports a new number
or a new expiry, and the column that has not changed is blank. The code is blank where nothing changed. Paysafe spells
some codes in another way and has a table of its own.

Assumed: the names of the columns (Mastercard's record layout is not public), and dates as MMYY as in its other feeds.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import Field, table, type_of, update_by_number
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import mmyy
from schemas.feeds.record import Record, UpdateFields

REJECTED = (
    Code("000101", "rejected: the number has other characters than digits", None),
    Code("000102", "rejected: the number has a wrong check digit", None),
    Code("000103", "rejected: the expiration date is not valid", None),
    Code("000104", "rejected: the merchant is not registered", None),
    Code("000105", "rejected: the number is not valid", None),
)
"""The same at every processor, in all dialects."""

CODES = (
    Code("UPDATE", "new number or new expiration date", Type.NUMBER_REPLACED),
    Code("EXPIRY", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("CONTAC", "account closed", Type.CLOSED),
    Code("CONTACH", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("VALID", "matches, nothing changed", Type.NO_CHANGE),
    Code("", "nothing changed", Type.NO_CHANGE),
    Code("UNKNWN", "not known to Mastercard", Type.NO_MATCH),
    Code("NOMATH", "no match", Type.NO_MATCH),
    Code("MC_P", "issuer participates, no match", Type.NO_MATCH),
    Code("MC_N", "issuer does not participate", Type.NO_MATCH),
    Code("34", "stop all recurring payments of this merchant", Type.OPTED_OUT),
    Code("43", "card not of the United Kingdom", Type.NO_MATCH),
    *REJECTED,
    Code("000122", "rejected: the sub-merchant is not registered", None),
)
_CODES = table(CODES)


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    update_type = type_of(_CODES, record.get("responseCode"), "responseCode")
    yield update_by_number(
        update_type,
        edge,
        old=Field(record.get("oldAccountNumber"), "oldAccountNumber"),
        new=Field(record.get("newAccountNumber"), "newAccountNumber"),
        expiry=lambda: mmyy(record.get("newExpirationDate"), "newExpirationDate"),
        expiry_field="newExpirationDate",
        former_expiry=lambda: mmyy(record.get("oldExpirationDate"), "oldExpirationDate"),
    )


FEED = Feed(
    name="abu-batch",
    title="Mastercard Automatic Billing Updater, batch files",
    adapt=adapt,
    recognises=lambda record: "responseCode" in record and "oldAccountNumber" in record,
    codes=CODES,
    is_table=True,
    carries_numbers=True,
)
