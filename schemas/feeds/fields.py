"""What adapters read the fields of a record with: texts, ids, codes, dates, expiries, brands and last digits.

Every function takes a field's value, and a function that can refuse it takes the field's name for the reason. A field
without a value (`record.is_blank`) is read in one way in all feeds.
"""

import re
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import quote

from domain import pan
from domain.refusal import RefusalCode, Refused
from schemas.feeds.record import UpdateFields, is_blank

# --- texts and ids ------------------------------------------------------------------------------------------------


def optional_text(value: object) -> str | None:
    """A string without blanks around it, or the digits of an integer; None where nothing is left."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: object, field: str) -> str:
    """The text of a field that must have one, as `optional_text` reads it; zeros are a text."""
    content = optional_text(value)
    if content is None:
        raise Refused(RefusalCode.REQUIRED, field, "required")
    return content


def optional_value(value: object) -> str | None:
    """The text of a field as `optional_text` reads it; None where the field is blank or filled with zeros."""
    return None if is_blank(value) else optional_text(value)


def required(value: object, field: str) -> str:
    """The text of a field that must have a value; zeros are none."""
    content = optional_value(value)
    if content is None:
        raise Refused(RefusalCode.REQUIRED, field, "required")
    return content


def merchant_id(value: object) -> str | None:
    """An id that a merchant chose. A lone 0 is an id, for merchants count from it; more zeros are a blank."""
    return "0" if optional_text(value) == "0" else optional_value(value)


def required_merchant_id(value: object, field: str) -> str:
    """The same, of a record that nothing else names."""
    id_ = merchant_id(value)
    if id_ is None:
        raise Refused(RefusalCode.REQUIRED, field, "required")
    return id_


def vendor_fingerprint(vendor: str, value: object) -> str | None:
    """A vendor's own fingerprint of a card, with the vendor's name in front; None where there is none."""
    fingerprint = optional_value(value)
    return None if fingerprint is None else f"{vendor}:{fingerprint}"


def url_path(template: str, **values: object) -> str:
    """`template` with the values in it. Each is percent-encoded whole, so that it cannot lead to another path."""
    texts = {name: required(value, name) for name, value in values.items()}
    for name, value in texts.items():
        if value in {".", ".."}:
            raise Refused(RefusalCode.WRONG_FORMAT, name, "an id")
    return template.format(**{name: quote(value, safe="", errors="replace") for name, value in texts.items()})


# --- codes --------------------------------------------------------------------------------------------------------


# No vendor's code has more than six digits. A mistyped card number passes no check, whatever separates its digits.
_LOOKS_LIKE_A_CODE = re.compile(r"(?!(?:[^0-9]*[0-9]){7})[A-Za-z0-9_.\-]{1,40}")


def refuse_code(value: object, field: str) -> NoReturn:
    """Refuse a code that is in no table of the feed. The reason shows it where it looks like a code."""
    code = text(value, field)
    shown = code if _LOOKS_LIKE_A_CODE.fullmatch(code) and not pan.contains_pan(code) else "what is there"
    raise Refused(RefusalCode.UNKNOWN_CODE, field, "a code of this feed", f"{shown} is in no table of this feed")


# --- expiries and moments -----------------------------------------------------------------------------------------


_YEAR_FIRST = re.compile(r"(?P<year>\d{4}|\d{2})\s*[/\-.]?\s*(?P<month>\d{2})", re.ASCII)
_MONTH_FIRST = re.compile(r"(?P<month>\d{1,2})\s*[/\-.]?\s*(?P<year>\d{4}|\d{2})", re.ASCII)
_MONTH, _YEAR = re.compile(r"\d{1,2}", re.ASCII), re.compile(r"\d{1,2}|\d{4}", re.ASCII)


def yymm(value: object, field: str) -> UpdateFields:
    """`expiryMonth` and `expiryYear` of a date such as `2812` or `202812`; an empty object for blanks and zeros.

    A date that lacks a digit is refused: in `210` it may be the first or the last one.
    """
    return _expiry_of_date(value, field, "YYMM", _YEAR_FIRST)


def mmyy(value: object, field: str) -> UpdateFields:
    """The same of `1228`, `12/28` or `12/2028`. A spreadsheet may have dropped a leading zero: `329` is 03/29.

    Other forms that spreadsheets write are refused: `129.0` and `12/1/28` could be read as years from now.
    """
    return _expiry_of_date(value, field, "MMYY", _MONTH_FIRST)


def expiry(month: object, year: object, field: str) -> UpdateFields:
    """`expiryMonth` and `expiryYear` of numbers or digits; an empty object for two blanks. Two digits are a year 20xx.

    A month or a year alone is refused: half an expiry is a mistake, and a stored expiry never goes back.
    """
    if is_blank(month) and is_blank(year):
        return {}
    if is_blank(month) or is_blank(year):
        raise Refused(RefusalCode.WRONG_FORMAT, field, "a month and a year")
    return _expiry_of_digits(text(month, field), text(year, field), field)


def _expiry_of_date(value: object, field: str, shape: str, pattern: re.Pattern[str]) -> UpdateFields:
    if is_blank(value):
        return {}
    date = pattern.fullmatch(optional_text(value) or "")
    if date is None:
        raise Refused(RefusalCode.WRONG_FORMAT, field, f"an expiry as {shape}")
    return _expiry_of_digits(date["month"], date["year"], field)


def _expiry_of_digits(month: str, year: str, field: str) -> UpdateFields:
    if not (_MONTH.fullmatch(month) and _YEAR.fullmatch(year)):
        raise Refused(RefusalCode.WRONG_FORMAT, field, "a month and a year")
    if not 1 <= int(month) <= 12:  # noqa: PLR2004
        raise Refused(RefusalCode.OUT_OF_RANGE, field, "a month from 1 to 12")
    return {"expiryMonth": int(month), "expiryYear": int(year) + (2000 if len(year) < 4 else 0)}  # noqa: PLR2004


def instant(value: object, field: str) -> str:
    """An ISO 8601 timestamp, in UTC. Without a zone it is read as UTC; digits beyond microseconds are dropped."""
    timestamp = required(value, field)
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", timestamp))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise Refused(RefusalCode.WRONG_FORMAT, field, "an ISO 8601 timestamp") from None


def epoch(value: object, field: str) -> str:
    """A timestamp in seconds since 1970, as ISO 8601; zero is a field without a value."""
    if is_blank(value):
        raise Refused(RefusalCode.REQUIRED, field, "required")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 4102444800:  # noqa: PLR2004
        raise Refused(RefusalCode.WRONG_FORMAT, field, "a timestamp in seconds since 1970")
    return datetime.fromtimestamp(value, UTC).isoformat()


# --- numbers, brands and last digits ------------------------------------------------------------------------------


SEPARATORS = re.compile(r"[\s\-]")
"""Blanks and dashes, which group the digits of a number."""


def without_grouping(number: object) -> str:
    """A number without the blanks and dashes that group its digits."""
    return SEPARATORS.sub("", optional_text(number) or "")


def last4(value: object) -> str | None:
    """The last four digits of a masked number; None where they are masked too.

    Four zeros may be a card's last digits. A longer number of zeros alone, masked or not, is a blank that was filled.
    """
    content = optional_text(value) or ""
    last = re.search(r"\d{4}$", content, re.ASCII)
    digits = re.sub(r"[^0-9]", "", content)
    return None if last is None or (len(digits) > len(last[0]) and is_blank(digits)) else last[0]


def required_last4(value: object, field: str) -> str:
    """The same, of a card that nothing else names."""
    digits = last4(value)
    if digits is None:
        raise Refused(
            RefusalCode.WRONG_FORMAT, field, "the new card's number, or the end of it, with its last four digits"
        )
    return digits


# Vendors' spellings in small letters, without blanks, dashes and underscores. The digits are CyberSource's card types.
# Of a network's product (Adyen's `visastandarddebit`) the network counts. `mcmaestro` is MAESTRO, so that comes first.
_BRANDS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("MAESTRO", r"(mc|uk)?maestro.*|024|042"),
        ("VISA", r"vi?|visa.*|vpay|electron|001|031|033"),
        ("MASTERCARD", r"m|mc.*|master(card.*)?|002"),
        ("AMEX", r"ax|amex.*|americanexpress.*|003"),
        ("DISCOVER", r"di?|disc|discover.*|004"),
        ("DINERS", r"dc|diners.*|005"),
        ("JCB", r"jc|jcb.*|007"),
        ("UNIONPAY", r"cup(credit|debit|prepaid)?|(china)?unionpay.*|062"),
    )
)
# The wallet that a payment was made with says nothing about the card.
_WALLET_SUFFIX = re.compile(r" (?:(?:amazon|android|apple|google|mobile|samsung) ?pay|vipps)$")


def brand(value: object) -> str | None:
    """One name for each card brand, so that reissues which two feeds report can be recognised as the same.

    A brand in no table is returned in capitals, with blanks between its words. A missing or unknown brand is None.
    """
    words = re.sub(r"[\s_\-]+", " ", (optional_value(value) or "").lower()).strip()
    name = _WALLET_SUFFIX.sub("", words)
    if name in ("", "unknown"):
        return None
    compact = name.replace(" ", "")
    return next((known for known, pattern in _BRANDS if pattern.fullmatch(compact)), name.upper())
