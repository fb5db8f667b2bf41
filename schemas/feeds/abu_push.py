"""Mastercard Automatic Billing Updater, push notifications (the code samples of Mastercard's developer site).

Dates are MMYY; a closed account has `0000` and nulls. C is a closed account here, and "contact the issuer" in the pull
API. `abuReferenceId` is the same in several of Mastercard's samples, so an update is known by its content. One
notification names all merchants that it is for; the card is the same for each of them.
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import Said, by_number, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, instant, mmyy

CODES = (
    Code("A", "account number changed", Type.NUMBER_REPLACED),
    Code("E", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("C", "account closed", Type.CLOSED),
)
_MEANING = table(CODES)


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    kind = type_of(_MEANING, record.get("reasonIdentifier"), "reasonIdentifier")
    yield by_number(
        kind,
        edge,
        old=Said(record.get("oldAccountNumber"), "oldAccountNumber"),
        new=Said(record.get("newAccountNumber"), "newAccountNumber"),
        expiry=lambda: mmyy(record.get("newExpirationDate"), "newExpirationDate"),
        expires="newExpirationDate",
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
