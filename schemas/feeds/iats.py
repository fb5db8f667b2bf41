"""iATS's Account Updater report: Visa's letters and Mastercard's batch codes, as iATS documents them.

iATS updates the card behind its customer code, so the code stays. The report shows masked numbers, and not whose
customers they are: the same code of two merchants is one token. Mastercard's blank code reports that nothing changed.
Visa's F is a later card that has expired already, and is not applied. G is a card not of the United Kingdom. A and
UPDATE report a new number or a new expiry.

Assumed: the names of the columns, masked numbers that end in their last four digits, and blank for what has not
changed. O, MC_P and MC_N are as the networks have them. Dates are MMYY (a YYMM date of these years has no month, so it
is refused).
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds import abu_batch, vau
from schemas.feeds.card import brand_of, dialect, table, type_of, update_by_token
from schemas.feeds.feed import Code, Edge, Feed
from schemas.feeds.fields import mmyy, optional_value, required_last4, required_merchant_id
from schemas.feeds.record import Record, UpdateFields

_VISA = (
    *vau.CODES,
    Code("F", "there is a later card, but it has expired already", Type.NO_CHANGE),
    Code("G", "card not of the United Kingdom", Type.NO_MATCH),
)
CODES = _VISA + abu_batch.CODES
_TABLES = {"VISA": table(_VISA), "MASTERCARD": table(abu_batch.CODES)}


def adapt(record: Record, _edge: Edge) -> Iterable[UpdateFields]:
    codes = dialect(_TABLES, record.get("Card Type"), "Card Type")
    update_type = type_of(codes, record.get("Response Code"), "Response Code")
    number = optional_value(record.get("New Card Number"))
    if update_type is Type.NUMBER_REPLACED and number is None:
        update_type = Type.EXPIRY_UPDATED
    yield update_by_token(
        update_type,
        required_merchant_id(record.get("Customer Code"), "Customer Code"),
        last4=required_last4(number, "New Card Number") if update_type is Type.NUMBER_REPLACED else None,
        brand=brand_of(number),
        expiry=lambda: mmyy(record.get("New Expiry"), "New Expiry"),
        expiry_field="New Expiry",
    )


FEED = Feed(
    name="iats",
    title="iATS Account Updater report",
    adapt=adapt,
    recognises=lambda record: {"Customer Code", "Response Code"} <= record.keys(),
    codes=CODES,
    is_table=True,
)
