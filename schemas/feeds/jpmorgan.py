"""JPMorgan's two account updater reports, as in the sample files that it publishes.

The "Account Updated Preset Report" has detail rows (ACP-02) below a summary (ACP-01), both between BEGIN and END. The
"Account Update" report has other column names, between lines that name its company.

The meanings are JPMorgan's own words (`accountUpdaterResponse` in its API), or the sentence that the report has in
their place. For Visa, the network's letter must agree, or the columns have slipped. Numbers are masked, so a card is
named by `Payment Method Id`, or else by the merchant's own identifier, as `merchant/<identifier>`. Both stay while the
card changes. A row with neither is refused, because four digits name no card. No row says for sure which merchant it is
for: the same identifier of two merchants is one token.

The preset report's samples have the same change up to 14 times, each time under another `Response ID`. They have code A
for a number that stays, and `329` for 03/29. A new expiry that is blank has not changed, and is not reported. Rows may
end before `Request Status`; a row that is short of another column is refused. A year of two digits is 20xx, so 02/00
after 02/95 is earlier, and a stored expiry never goes back.

Rows of one day are in the order of the report. So the same row at another place of a later report gets another moment
and another id.

Assumed: the two identifiers stay when the number changes, and `Submitted Date` is a day in UTC.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds import vau
from schemas.feeds.card import brand_of, table, type_of, update_by_token
from schemas.feeds.feed import Code, Edge, Feed, Rows
from schemas.feeds.fields import (
    brand,
    instant,
    merchant_id,
    mmyy,
    optional_text,
    optional_value,
    required,
    required_last4,
    text,
)
from schemas.feeds.record import Record, UpdateFields

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
_CODES = table(CODES)
_SENTENCES = {
    "Account Update provided for Account Number": "NEW_ACCOUNT",
    "Account Update provided for both account number and expiry": "NEW_ACCOUNT_AND_EXPIRY",
    "Account Update provided for Account Expiry": "NEW_EXPIRY",
    "Account has been closed": "CLOSED_ACCOUNT",
    "Contact Cardholder": "CONTACT_CARDHOLDER",
}
_VISA = {code.code: code.update_type for code in vau.CODES}
_NO_NEWS = (Type.OPTED_OUT, Type.NO_CHANGE, Type.NO_MATCH)


class _Columns(NamedTuple):
    """The names of a report's columns; `number` and `expiry` are the new ones."""

    merchant_identifier: str
    update_id: str
    day: str
    brand: str
    brand_changed: str
    number: str
    expiry: str
    code: str
    network_code: str


_PRESET = _Columns(
    merchant_identifier="Merchant Record Identifier",
    update_id="Response ID",
    day="Submitted Date",
    brand="Payment Brand",
    brand_changed="Payment Brand Change",
    number="New Masked Account",
    expiry="New Expiry",
    code="Reason Message",
    network_code="Network Response",
)
_UPDATE = _Columns(
    merchant_identifier="Merchant Provided Account Update Identifier",
    update_id="Transaction Identifier",
    day="Transaction Timestamp",
    brand="Payment Method Code",
    brand_changed="Card Brand Changed Indicator",
    number="Account Number",
    expiry="Card Expiration Month Year Number",
    code="Account Updater Status Message Text",
    network_code="Network Account Update Response Code",
)


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    columns = _UPDATE if _UPDATE.code in record else _PRESET
    if columns is _PRESET and text(record.get("Record Type"), "Record Type") != "ACP-02":
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "Record Type", "ACP-02")
    if columns.day not in record:
        raise Refused(RefusalCode.REQUIRED_HERE, columns.day, "required; columns are missing")
    update_type = _update_type(record, columns)
    number = optional_value(record.get(columns.number))
    same_brand = brand(record.get(columns.brand)) if record.get(columns.brand_changed) == "N" else None
    at = _day(record.get(columns.day), columns.day, edge)
    yield update_by_token(
        update_type,
        _token(record, columns),
        last4=required_last4(number, columns.number) if update_type is Type.NUMBER_REPLACED else None,
        brand=brand_of(number) or same_brand,
        expiry=lambda: mmyy(record.get(columns.expiry), columns.expiry),
        expiry_field=columns.expiry,
        # without its day a row that comes again must not look like another row under the same id
        id=None if at is None else _id(record, columns, edge),
        at=at,
    )


def _update_type(record: Record, columns: _Columns) -> Type:
    if record.get(columns.brand_changed) not in ("Y", "N") or None in record:
        raise Refused(RefusalCode.UNEXPECTED_VALUE, columns.brand_changed, "Y or N; columns are missing, or too many")
    code = optional_text(record.get(columns.code)) or ""
    update_type = type_of(_CODES, _SENTENCES.get(code, code), columns.code)
    letter = required(record.get(columns.network_code), columns.network_code)
    # an unknown letter, such as VAU013, does no harm where nothing has changed
    unknown = update_type if update_type in _NO_NEWS else None
    if brand(record.get(columns.brand)) == "VISA" and _VISA.get(letter, unknown) is not update_type:
        raise Refused(RefusalCode.UNEXPECTED_VALUE, columns.network_code, f"Visa's letter for what {columns.code} says")
    return update_type


def _token(record: Record, columns: _Columns) -> str:
    token, own = merchant_id(record.get("Payment Method Id")), merchant_id(record.get(columns.merchant_identifier))
    if token is None and own is None:
        raise Refused(
            RefusalCode.REQUIRED_HERE,
            "Payment Method Id",
            f"required, or {columns.merchant_identifier}; a masked number names no card",
        )
    return token or f"merchant/{own}"


def _id(record: Record, columns: _Columns, edge: Edge) -> str | None:
    update_id = optional_value(record.get(columns.update_id))
    return None if update_id is None else f"{update_id}.{edge.row}"


def _day(value: object, field: str, edge: Edge) -> str | None:
    """The moment of a row of `3/17/2025`, or of an ISO 8601 date; None where there is no date."""
    date = optional_value(value)
    american = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", date or "", re.ASCII)
    if american:
        month, day, year = american.groups()
        date = f"{year}-{month:0>2}-{day:0>2}"
    return None if date is None else edge.in_order(datetime.fromisoformat(instant(date, field)), field)


FEED = Feed(
    name="jpmorgan",
    title="JPMorgan account updater reports",
    adapt=adapt,
    recognises=lambda record: "Payment Method Id" in record and not {_PRESET.number, _UPDATE.code}.isdisjoint(record),
    codes=CODES,
    is_table=True,
    rows=Rows(
        ignored_lines=re.compile(
            rb"(BEGIN|END),|(ProcessingEntityId|EntityIdentifier)=|ACP-01\b|Record Type *,Reason Message *,"
        ),
        optional_columns=1,
    ),
)
