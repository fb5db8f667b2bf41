"""CyberSource's Account Updater: records of the REST batch report, and detail records of the PAN response file.

The report (CyberSource's API models) has `records`, each with a `sourceRecord` and a `responseRecord` of tokens and
masked numbers; it is read whole, or one record at a time. A token that stays is told of as it is now; one that changed
(tokens which keep a card's last four digits do) replaces the old one. The file has full numbers and no line of names:
the columns are those of CyberSource's user guide.

Records H and F of the file tell nothing. NUP and UNA are in the API's list without a meaning. A token of 16 or 19
digits that passes for a card number is refused where the message is read; one of 32 hexadecimal digits never does.

Assumed: `responseRecord.token` is the token to use from now on, and the one asked about where there is none.
"""

import re
from collections.abc import Iterable, Sequence

from domain.update import Reason
from domain.update import UpdateType as Type
from schemas.feeds.card import Said, by_number, by_token, must_stay, table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Message,
    Record,
    Refused,
    Rows,
    brand,
    each_alone,
    expiry,
    inside,
    last4,
    last4_required,
    optional,
    text,
    told,
)

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
_MEANING = table(CODES)
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
    """The records of a whole report."""
    return each_alone(record, "records") if "records" in record else [record]


def adapt(record: Record, edge: Edge) -> Iterable[Message]:
    if "responseRecord" in record:
        yield _of_report(record)
    elif optional(record.get("Record Identifier")) not in ("H", "F"):
        yield _of_file(record, edge)


def _of_report(record: Record) -> Message:
    before, now = inside(record, "sourceRecord"), inside(record, "responseRecord")
    kind = _kind(now, "response", "reason", "responseRecord.")
    expires = "responseRecord.cardExpiryMonth"

    def until() -> Message:
        return expiry(now.get("cardExpiryMonth"), now.get("cardExpiryYear"), expires)

    old, new = text(before.get("token"), "sourceRecord.token"), optional(now.get("token"))
    shown = last4(now.get("cardNumber"))
    brands = brand(before.get("cardType")), brand(now.get("cardType"))
    if kind is Type.NUMBER_REPLACED and new not in (None, old):
        card = {"token": new, "methodType": "CARD", "last4": shown, "brand": brands[1], **until()}
        reason = Reason.BRAND_CHANGE if None not in brands and brands[0] != brands[1] else None
        return told(kind, {"token": old, "methodType": "CARD"}, card, reason=reason)
    if kind is not Type.NUMBER_REPLACED:
        must_stay(kind, Said(old, "sourceRecord.token"), Said(new, "responseRecord.token"))
    else:
        shown = last4_required(now.get("cardNumber"), "responseRecord.cardNumber")
    return by_token(kind, old, last4=shown, brand=brands[1], expiry=until, expires=expires)


def _of_file(record: Record, edge: Edge) -> Message:
    kind = _kind(record, "Response Code", "Reason Code", "")
    expires = "New Card Expiration Month"
    return by_number(
        kind,
        edge,
        old=Said(record.get("Old Card Number"), "Old Card Number"),
        new=Said(record.get("New Card Number"), "New Card Number"),
        expiry=lambda: expiry(record.get(expires), record.get("New Card Expiration Year"), expires),
        expires=expires,
    )


def _kind(record: Record, code: str, reason: str, path: str) -> Type:
    why = _REASONS.get(optional(record.get(reason)) or "")
    if optional(record.get(code)) in ("DEC", "ERR") and why is not None:
        raise Refused(f"{path}{code}: CyberSource refused the card, {why}")
    return type_of(_MEANING, record.get(code), f"{path}{code}")


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
    carries_numbers=True,
    split=split,
    rows=Rows(names=_COLUMNS, aside=re.compile(rb"[HF] *(,|\r?$)")),
)
