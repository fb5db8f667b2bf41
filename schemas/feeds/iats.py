"""iATS's Account Updater report: the codes that iATS documents.

iATS updates the card behind its customer code, so the code stays; the report shows masked numbers. Mastercard's blank
code says that nothing changed. Of the Visa letters, F is a later card that has expired already (it is not applied),
and G a card not of the United Kingdom. A and UPDATE tell a new number or a new expiry.

Assumed: the names of the columns, masked numbers that end in their last four digits, blank for what has not changed,
O as Visa has it, and MMYY for dates (a YYMM date of these years has no month, so it is refused).
"""

from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import brand_of, by_token, dialect, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, Refused, last4, mmyy, optional, text

_VISA = (
    Code("A", "new account number or new expiration date", Type.NUMBER_REPLACED),
    Code("E", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("C", "account closed", Type.CLOSED),
    Code("Q", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("O", "cardholder opted out", Type.OPTED_OUT),
    Code("V", "matches, nothing changed", Type.NO_CHANGE),
    Code("F", "there is a later card, but it has expired already", Type.NO_CHANGE),
    Code("P", "issuer participates, no match", Type.NO_MATCH),
    Code("N", "issuer does not participate", Type.NO_MATCH),
    Code("G", "card not of the United Kingdom", Type.NO_MATCH),
)
_MASTERCARD = (
    Code("UPDATE", "new number or new expiration date", Type.NUMBER_REPLACED),
    Code("EXPIRY", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("CONTAC", "account closed", Type.CLOSED),
    Code("CONTACH", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("VALID", "matches, nothing changed", Type.NO_CHANGE),
    Code("", "nothing changed", Type.NO_CHANGE),
    Code("UNKNWN", "not known to Mastercard", Type.NO_MATCH),
    Code("NOMATH", "no match", Type.NO_MATCH),
    Code("34", "stop all recurring payments of this merchant", Type.OPTED_OUT),
    Code("43", "card not of the United Kingdom", Type.NO_MATCH),
    Code("000101", "rejected: the number has other characters than digits", None),
    Code("000102", "rejected: the number has a wrong check digit", None),
    Code("000103", "rejected: the expiration date is not valid", None),
    Code("000104", "rejected: the merchant is not registered", None),
    Code("000105", "rejected: the number is not valid", None),
    Code("000122", "rejected: the merchant is not registered", None),
)
CODES = _VISA + _MASTERCARD
_TABLES = {"VISA": table(_VISA), "MASTERCARD": table(_MASTERCARD)}


def adapt(record: Record, _edge: Edge) -> Iterable[Message]:
    codes = dialect(_TABLES, record.get("Card Type"), "Card Type")
    kind = type_of(codes, record.get("Response Code"), "Response Code")
    number, expiry = optional(record.get("New Card Number")), mmyy(record.get("New Expiry"), "New Expiry")
    if kind is Type.NUMBER_REPLACED and number is None:
        kind = Type.EXPIRY_UPDATED
    if kind is Type.NUMBER_REPLACED and last4(number) is None:
        raise Refused("New Card Number: expected a masked number with its last four digits")
    yield by_token(
        kind,
        text(record.get("Customer Code"), "Customer Code"),
        last4=last4(number),
        brand=brand_of(number),
        expiry=expiry,
        expires="New Expiry",
    )


FEED = Feed(
    name="iats",
    title="iATS Account Updater report",
    adapt=adapt,
    recognises=lambda record: {"Customer Code", "Response Code"} <= record.keys(),
    codes=CODES,
)
