"""CyberSource's Account Updater: records of the REST batch report, and detail records of the PAN response file.

The report (CyberSource's API models) has `records`, each with a `sourceRecord` and a `responseRecord` of tokens and
masked numbers. It is read whole, or one record at a time. For a token that stays, an update reports the card as it is
now. A changed token replaces the old one (tokens that keep a card's last four digits change). The file has full numbers
and no line of names: the columns are those of CyberSource's user guide.

Records H and F of the file, its header and its end, are irrelevant. NUP and UNA are in the API's list without a
meaning. A token of 16 or 19 digits that passes for a card number is refused where the message is read; a token of 32
hexadecimal digits never passes for one.

Assumed: `responseRecord.token` is the token to use from now on; where it is missing, the token of the request stays.
"""

import re
from collections.abc import Iterable, Sequence

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import Field, brand_change, require_same, table, type_of, update_by_number, update_by_token
from schemas.feeds.feed import Code, Edge, Feed, Rows
from schemas.feeds.fields import brand, expiry, last4, optional_text, optional_value, required, required_last4
from schemas.feeds.record import Record, UpdateFields, object_at, split_array, update

CODES = (
    Code("NAN", "new account number", Type.NUMBER_REPLACED),
    Code("NED", "new expiration date", Type.EXPIRY_UPDATED),
    Code("ACL", "account closed", Type.CLOSED),
    Code("CCH", "contact the cardholder", Type.CONTACT_CARDHOLDER),
    Code("CUR", "card current", Type.NO_CHANGE),
    Code("NUP", "something that is not documented", None),
    Code("UNA", "something that is not documented", None),
    Code("DEC", "declined by CyberSource", None),
    Code("ERR", "an error", None),
)
_CODES = table(CODES)
IRRELEVANT = ("F", "H")
_REASONS = {
    "801": "the card number is not valid",
    "802": "the check digit is wrong",
    "803": "the expiration date is not valid",
    "804": "the card type is not supported, or the card is cancelled",
    "805": "the length does not fit the card type",
    "806": "the card type is not known",
    "807": "the merchant is not enrolled properly",
    "808": "the record indicator is wrong",
    "809": "an error code that CyberSource does not know either",
    "810": "the sub-merchant id is not valid",
    "811": "the new account number has a wrong check digit",
    "850": "the token has a wrong format",
    "851": "the token has a wrong length",
    "852": "the token is not known, or superseded",
    "853": "the token was closed by an earlier batch",
    "861": "the cardmember is enrolled already, or not enrolled",
    "862": "the cardmember opted out",
}

_COLUMNS = (
    "Record Identifier",
    "Request ID",
    "Old Card Number",
    "Old Card Expiration Month",
    "Old Card Expiration Year",
    "New Card Number",
    "New Card Expiration Month",
    "New Card Expiration Year",
    "Merchant Reference ID",
    "BA Sub Merchant ID",
    "Response Code",
    "Reason Code",
)


def split(record: Record) -> Sequence[Record]:
    """The records of a report."""
    return split_array(record, "records") if "records" in record else [record]


def adapt(record: Record, edge: Edge) -> Iterable[UpdateFields]:
    yield _report_update(record) if "responseRecord" in record else _file_update(record, edge)


def _event_kind(record: Record) -> str | None:
    return None if "responseRecord" in record else optional_text(record.get("Record Identifier"))


def _report_update(record: Record) -> UpdateFields:
    source, response = object_at(record, "sourceRecord"), object_at(record, "responseRecord")
    update_type = _update_type(response, "response", "reason", "responseRecord.")
    expiry_field = "responseRecord.cardExpiryMonth"

    def read_expiry() -> UpdateFields:
        return expiry(response.get("cardExpiryMonth"), response.get("cardExpiryYear"), expiry_field)

    old, new = required(source.get("token"), "sourceRecord.token"), optional_value(response.get("token"))
    digits = last4(response.get("cardNumber"))
    old_brand, new_brand = brand(source.get("cardType")), brand(response.get("cardType"))
    if update_type is Type.NUMBER_REPLACED and new not in (None, old):
        card = {"token": new, "methodType": "CARD", "last4": digits, "brand": new_brand, **read_expiry()}
        reason = brand_change(old_brand, new_brand)
        return update(update_type, {"token": old, "methodType": "CARD"}, card, reason=reason)
    if update_type is not Type.NUMBER_REPLACED:
        require_same(update_type, Field(old, "sourceRecord.token"), Field(new, "responseRecord.token"))
    else:
        digits = required_last4(response.get("cardNumber"), "responseRecord.cardNumber")
    return update_by_token(
        update_type, old, last4=digits, brand=new_brand, expiry=read_expiry, expiry_field=expiry_field
    )


def _file_update(record: Record, edge: Edge) -> UpdateFields:
    update_type = _update_type(record, "Response Code", "Reason Code", "")
    expiry_field = "New Card Expiration Month"
    return update_by_number(
        update_type,
        edge,
        old=Field(record.get("Old Card Number"), "Old Card Number"),
        new=Field(record.get("New Card Number"), "New Card Number"),
        expiry=lambda: expiry(record.get(expiry_field), record.get("New Card Expiration Year"), expiry_field),
        expiry_field=expiry_field,
    )


def _update_type(record: Record, code: str, reason: str, path: str) -> Type:
    """The type that the code in the column `code` reports; the column `reason` says why CyberSource refused a card."""
    meaning = _REASONS.get(optional_text(record.get(reason)) or "")
    if optional_text(record.get(code)) in ("DEC", "ERR") and meaning is not None:
        raise Refused(RefusalCode.NO_UPDATE, f"{path}{code}", f"CyberSource refused the card, {meaning}")
    return type_of(_CODES, record.get(code), f"{path}{code}")


FEED = Feed(
    name="cybersource",
    title="CyberSource Account Updater",
    adapt=adapt,
    recognises=lambda record: (
        "responseRecord" in record
        or {"batchId", "records"} <= record.keys()
        or {"Old Card Number", "Response Code"} <= record.keys()
    ),
    codes=CODES,
    irrelevant=IRRELEVANT,
    event_kind=_event_kind,
    carries_numbers=True,
    split=split,
    rows=Rows(names=_COLUMNS, ignored_lines=re.compile(rb"[HF] *(,|\r?$)")),
)
