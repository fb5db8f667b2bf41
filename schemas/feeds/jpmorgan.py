"""JPMorgan's Account Updated report: its detail rows (ACP-02), as in the sample file that JPMorgan publishes.

The meanings are JPMorgan's own words (`accountUpdaterResponse` in its API), or the sentence that the report has in
their place; for Visa, the network's letter must agree, or a row has slipped. Numbers are masked, so a card goes by
`Payment Method Id`, or else by the merchant's own `Merchant Record Identifier`, whatever stands behind it; a row that
has neither is refused, because four digits name no card.

As seen in that file: the same change up to 14 times, each time under another `Response ID`; code A for a number that
stays; a blank new expiry, which has not changed and is not told; `329` for 03/29; rows that end before
`Request Status`. A row that is short of another column is refused. A year of two digits is 20xx, so 02/00 after 02/95
is earlier, and an expiry never goes back.

Assumed: the two identifiers stay when the number changes, and `Submitted Date` is a day in UTC.
"""

import re
from collections.abc import Iterable

from domain.update import UpdateType as Type
from schemas.feeds.card import brand_of, by_token, table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Message, Record, Refused, brand, instant, last4, mmyy, optional, text

CODES = (
    Code("NEW_ACCOUNT", "account number changed", Type.NUMBER_REPLACED),
    Code("NEW_ACCOUNT_AND_EXPIRY", "account number and expiration date changed", Type.NUMBER_REPLACED),
    Code("NEW_EXPIRY", "expiration date changed", Type.EXPIRY_UPDATED),
    Code("CLOSED_ACCOUNT", "account closed", Type.CLOSED),
    Code("CONTACT_CARDHOLDER", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("CARDHOLDER_OPT_OUT", "cardholder opted out", Type.OPTED_OUT),
    Code("MATCH_NO_UPDATE", "matches, nothing changed", Type.NO_CHANGE),
    Code("PROVIDED_EXPIRY_NEWER", "the submitted expiration date is later than the network's", Type.NO_CHANGE),
    Code("NO_MATCH_PARTICIPATING_BIN", "issuer participates, no match", Type.NO_MATCH),
    Code("NO_MATCH_NON_PARTICIPATING_BIN", "issuer does not participate, no match", Type.NO_MATCH),
    Code("ISSUER_NOT_PARTICIPATING", "issuer does not participate", Type.NO_MATCH),
    Code(
        "PORTFOLIO_CONVERSION", "the issuer sold or moved its cards; what it tells of this one is not documented", None
    ),
)
_MEANING = table(CODES)
_SENTENCES = {
    "Account Update provided for Account Number": "NEW_ACCOUNT",
    "Account Update provided for both account number and expiry": "NEW_ACCOUNT_AND_EXPIRY",
    "Account Update provided for Account Expiry": "NEW_EXPIRY",
    "Account has been closed": "CLOSED_ACCOUNT",
    "Contact Cardholder": "CONTACT_CARDHOLDER",
}
_VISA = {
    "A": Type.NUMBER_REPLACED,
    "E": Type.EXPIRY_UPDATED,
    "C": Type.CLOSED,
    "Q": Type.CONTACT_CARDHOLDER,
    "O": Type.OPTED_OUT,
    "V": Type.NO_CHANGE,
    "P": Type.NO_MATCH,
    "N": Type.NO_MATCH,
}
_TELLS_NOTHING = (Type.OPTED_OUT, Type.NO_CHANGE, Type.NO_MATCH)


def adapt(record: Record, _edge: Edge) -> Iterable[Message]:
    if text(record.get("Record Type"), "Record Type") != "ACP-02":
        raise Refused("Record Type: expected ACP-02")
    kind = _kind(record)
    new = optional(record.get("New Masked Account"))
    if kind is Type.NUMBER_REPLACED and last4(new) is None:
        raise Refused("New Masked Account: expected a masked number for a new account")
    stays = record.get("Payment Brand Change") == "N"
    yield by_token(
        kind,
        _token(record),
        last4=last4(new),
        brand=brand_of(new) or (brand(record.get("Payment Brand")) if stays else None),
        expiry=mmyy(record.get("New Expiry"), "New Expiry"),
        expires="New Expiry",
        id=optional(record.get("Response ID")),
        at=_day(record.get("Submitted Date")),
    )


def _kind(record: Record) -> Type:
    if record.get("Payment Brand Change") not in ("Y", "N") or None in record:
        raise Refused("Payment Brand Change: expected Y or N; columns are missing, or too many")
    said = optional(record.get("Reason Message")) or ""
    kind = type_of(_MEANING, _SENTENCES.get(said, said), "Reason Message")
    letter = text(record.get("Network Response"), "Network Response")
    other = kind if kind in _TELLS_NOTHING else None  # such as VAU013, where nothing comes of it
    if brand(record.get("Payment Brand")) == "VISA" and _VISA.get(letter, other) is not kind:
        raise Refused("Network Response: expected Visa's letter for what Reason Message says")
    return kind


def _token(record: Record) -> str:
    token = optional(record.get("Payment Method Id")) or optional(record.get("Merchant Record Identifier"))
    if token is None:
        raise Refused("Payment Method Id: required, or Merchant Record Identifier; a masked number names no card")
    return token


def _day(value: object) -> str | None:
    """`3/17/2025`, or an ISO 8601 date; None where there is none."""
    said = optional(value)
    american = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", said or "", re.ASCII)
    if american:
        month, day, year = american.groups()
        said = f"{year}-{month:0>2}-{day:0>2}"
    return None if said is None else instant(said, "Submitted Date")


FEED = Feed(
    name="jpmorgan",
    title="JPMorgan Account Updated report",
    adapt=adapt,
    recognises=lambda record: {"Payment Method Id", "New Masked Account"} <= record.keys(),
    codes=CODES,
)
