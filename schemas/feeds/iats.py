"""iATS's Account Updater report: Visa's letters and Mastercard's batch codes, as iATS documents them.

iATS updates the card behind its customer code, so the code stays; the report shows masked numbers, and not whose
customers they are, so two merchants' codes cannot be told apart. Mastercard's blank code says that nothing changed. Of
the Visa letters, F is a later card that has expired already (it is not applied), and G a card not of the United
Kingdom. A and UPDATE tell a new number or a new expiry.

Assumed: the names of the columns, masked numbers that end in their last four digits, blank for what has not changed,
O, MC_P and MC_N as the networks have them, and MMYY for dates (a YYMM date of these years has no month, so it is
refused).
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds import abu_batch, vau
from schemas.feeds.card import brand_of, by_token, dialect, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, is_blank, last4_required, mmyy, optional, text

_VISA = (
    *vau.CODES,
    Code("F", "there is a later card, but it has expired already", Type.NO_CHANGE),
    Code("G", "card not of the United Kingdom", Type.NO_MATCH),
)
CODES = _VISA + abu_batch.CODES
_TABLES = {"VISA": table(_VISA), "MASTERCARD": table(abu_batch.CODES)}


def adapt(record: Record, _edge: Edge) -> Iterable[Message]:
    codes = dialect(_TABLES, record.get("Card Type"), "Card Type")
    kind = type_of(codes, record.get("Response Code"), "Response Code")
    number = optional(record.get("New Card Number"))
    if is_blank(number):
        number = None  # networks fill with zeros what is blank
    if kind is Type.NUMBER_REPLACED and number is None:
        kind = Type.EXPIRY_UPDATED
    yield by_token(
        kind,
        text(record.get("Customer Code"), "Customer Code"),
        last4=last4_required(number, "New Card Number") if kind is Type.NUMBER_REPLACED else None,
        brand=brand_of(number),
        expiry=lambda: mmyy(record.get("New Expiry"), "New Expiry"),
        expires="New Expiry",
    )


FEED = Feed(
    name="iats",
    title="iATS Account Updater report",
    adapt=adapt,
    recognises=lambda record: {"Customer Code", "Response Code"} <= record.keys(),
    codes=CODES,
)
