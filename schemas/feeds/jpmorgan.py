"""JPMorgan's two account updater reports, as in the sample files that it publishes.

The "Account Updated Preset Report" has detail rows (ACP-02) below a summary (ACP-01), both between BEGIN and END; the
"Account Update" report names the same in another way, between lines that say whose it is.

The meanings are JPMorgan's own words (`accountUpdaterResponse` in its API), or the sentence that the report has in
their place; for Visa, the network's letter must agree, or a row has slipped. Numbers are masked, so a card goes by
`Payment Method Id`, or else by the merchant's own identifier, as `merchant/<identifier>`, whatever stands behind it; a
row that has neither is refused, because four digits name no card. No row says for sure whose it is, so two merchants'
identifiers cannot be told apart.

As seen in the first: the same change up to 14 times, each time under another `Response ID`; code A for a number that
stays; a blank new expiry, which has not changed and is not told; `329` for 03/29; rows that end before
`Request Status`. A row that is short of another column is refused. A year of two digits is 20xx, so 02/00 after 02/95
is earlier, and an expiry never goes back.

Rows of one day are in the order of the report. So the same row at another place of a later report is told at another
moment, and goes under another id.

Assumed: the two identifiers stay when the number changes, and `Submitted Date` is a day in UTC.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from domain.update import UpdateType as Type
from schemas.feeds import vau
from schemas.feeds.card import brand_of, by_token, table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    Rows,
    brand,
    instant,
    last4_required,
    mmyy,
    optional,
    text,
)

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
_VISA = {code.said: code.becomes for code in vau.CODES}
_TELLS_NOTHING = (Type.OPTED_OUT, Type.NO_CHANGE, Type.NO_MATCH)


class _Names(NamedTuple):
    """Of the columns of a report; the number and the expiry are the new ones."""

    merchants_own: str
    update_id: str
    day: str
    brand: str
    other_brand: str
    number: str
    expiry: str
    word: str
    network: str


_PRESET = _Names(
    merchants_own="Merchant Record Identifier",
    update_id="Response ID",
    day="Submitted Date",
    brand="Payment Brand",
    other_brand="Payment Brand Change",
    number="New Masked Account",
    expiry="New Expiry",
    word="Reason Message",
    network="Network Response",
)
_OTHER = _Names(
    merchants_own="Merchant Provided Account Update Identifier",
    update_id="Transaction Identifier",
    day="Transaction Timestamp",
    brand="Payment Method Code",
    other_brand="Card Brand Changed Indicator",
    number="Account Number",
    expiry="Card Expiration Month Year Number",
    word="Account Updater Status Message Text",
    network="Network Account Update Response Code",
)


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    names = _OTHER if _OTHER.word in record else _PRESET
    if names is _PRESET and text(record.get("Record Type"), "Record Type") != "ACP-02":
        raise Refused("Record Type: expected ACP-02")
    if names.day not in record:
        raise Refused(f"{names.day}: required; columns are missing")
    kind = _kind(record, names)
    new = optional(record.get(names.number))
    stays = record.get(names.other_brand) == "N"
    yield by_token(
        kind,
        _token(record, names),
        last4=last4_required(new, names.number) if kind is Type.NUMBER_REPLACED else None,
        brand=brand_of(new) or (brand(record.get(names.brand)) if stays else None),
        expiry=lambda: mmyy(record.get(names.expiry), names.expiry),
        expires=names.expiry,
        id=_id(record, names, edge),
        at=_day(record.get(names.day), names.day, edge),
    )


def _kind(record: Record, names: _Names) -> Type:
    if record.get(names.other_brand) not in ("Y", "N") or None in record:
        raise Refused(f"{names.other_brand}: expected Y or N; columns are missing, or too many")
    said = optional(record.get(names.word)) or ""
    kind = type_of(_MEANING, _SENTENCES.get(said, said), names.word)
    letter = text(record.get(names.network), names.network)
    other = kind if kind in _TELLS_NOTHING else None  # such as VAU013, where nothing comes of it
    if brand(record.get(names.brand)) == "VISA" and _VISA.get(letter, other) is not kind:
        raise Refused(f"{names.network}: expected Visa's letter for what {names.word} says")
    return kind


def _token(record: Record, names: _Names) -> str:
    token, own = optional(record.get("Payment Method Id")), optional(record.get(names.merchants_own))
    if token is None and own is None:
        raise Refused(f"Payment Method Id: required, or {names.merchants_own}; a masked number names no card")
    return token or f"merchant/{own}"


def _id(record: Record, names: _Names, edge: Edge) -> str | None:
    said = optional(record.get(names.update_id))
    return None if said is None else f"{said}.{edge.row}"


def _day(value: object, field: str, edge: Edge) -> str | None:
    """When a row of `3/17/2025`, or of an ISO 8601 date, was told; None where there is no date."""
    said = optional(value)
    american = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", said or "", re.ASCII)
    if american:
        month, day, year = american.groups()
        said = f"{year}-{month:0>2}-{day:0>2}"
    return None if said is None else edge.in_order(datetime.fromisoformat(instant(said, field)), field)


FEED = Feed(
    name="jpmorgan",
    title="JPMorgan account updater reports",
    adapt=adapt,
    recognises=lambda record: "Payment Method Id" in record and not {_PRESET.number, _OTHER.word}.isdisjoint(record),
    codes=CODES,
    rows=Rows(
        aside=re.compile(
            rb"(BEGIN|END),|(ProcessingEntityId|EntityIdentifier)=|ACP-01\b|Record Type *,Reason Message *,"
        ),
        may_lack=1,
    ),
)
