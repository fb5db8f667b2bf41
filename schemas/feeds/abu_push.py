"""Mastercard Automatic Billing Updater, push notifications (the code samples of Mastercard's developer site).

Dates are MMYY; a closed account has `0000` and nulls. C is a closed account here, "contact the issuer" in the pull API.
`abuReferenceId` is the same in several of Mastercard's samples, so an update gets an id from its content. One
notification names all merchants that it is for; the card is the same for each of them.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import Field, table, type_of, update_by_number
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import instant, mmyy
from schemas.feeds.record import Record, UpdateFields

CODES = (
    Code("A", "account number changed", Type.NUMBER_REPLACED),
    Code("E", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("C", "account closed", Type.CLOSED),
)
_CODES = table(CODES)


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    update_type = type_of(_CODES, record.get("reasonIdentifier"), "reasonIdentifier")
    yield update_by_number(
        update_type,
        edge,
        old=Field(record.get("oldAccountNumber"), "oldAccountNumber"),
        new=Field(record.get("newAccountNumber"), "newAccountNumber"),
        expiry=lambda: mmyy(record.get("newExpirationDate"), "newExpirationDate"),
        expiry_field="newExpirationDate",
        at=instant(record.get("eventDateTime"), "eventDateTime"),
    )


FEED = Feed(
    name="abu-push",
    title="Mastercard Automatic Billing Updater, push notifications",
    adapt=adapt,
    recognises=lambda record: "reasonIdentifier" in record and "oldAccountNumber" in record,
    codes=CODES,
    carries_numbers=True,
)
