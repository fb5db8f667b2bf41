"""Braintree: the Account Updater's daily report, a CSV, and the webhook that says where it lies for a week.

The webhook is XML in base64 (`bt_payload`), as Braintree's own client reads it; it tells no card. `check` is what
somebody sends from Braintree's control panel to try the URL. A vaulted card keeps its token.

Assumed: the names of the report's columns and the words in `Update Type`, which are not public, and that the webhook
links to one of Braintree's own hosts (`braintreegateway.com`, `braintree-api.com`, `braintreepayments.com`), without a
redirect.
"""

import base64
import re
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import (
    Code,
    Edge,
    Feed,
    Fetch,
    Message,
    Record,
    Refused,
    brand,
    instant,
    last4,
    last4_required,
    mmyy,
    optional,
    text,
    told,
)

CODES = (
    Code("new account number", "another number", Type.NUMBER_REPLACED),
    Code("new account number and expiration date", "another number and expiry", Type.NUMBER_REPLACED),
    Code("new expiration date", "another expiry", Type.EXPIRY_UPDATED),
    Code("account closed", "account closed", Type.CLOSED),
    Code("contact customer", "contact the cardholder", Type.CONTACT_CARDHOLDER),
)
_CODES = table(CODES)
_HOSTS = ("braintreegateway.com", "braintree-api.com", "braintreepayments.com")
_REPORT, _CHECK = "account_updater_daily_report", "check"
# A webhook is half a kilobyte; an element takes a hundred times its letters in memory.
_LONGEST_XML = 64 * 1024
_TOKEN, _UPDATE = "Payment Method Token", "Update Type"


def adapt(record: Record, _edge: Edge) -> Iterable[Message | Fetch]:
    if "bt_payload" in record:
        yield from _reports(text(record["bt_payload"], "bt_payload"))
        return
    token = {"token": text(record.get(_TOKEN), _TOKEN), "methodType": "CARD"}
    kind = type_of(_CODES, (optional(record.get(_UPDATE)) or "").lower(), _UPDATE)
    new: Message | None = None
    if kind in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
        expires = mmyy(record.get("New Expiration Date"), "New Expiration Date")
        new = {**token, **expires, "last4": last4(record.get("New Last 4")), "brand": brand(record.get("Card Type"))}
        if kind is Type.NUMBER_REPLACED:
            new["last4"] = last4_required(record.get("New Last 4"), "New Last 4")
        if kind is Type.EXPIRY_UPDATED and not expires:
            raise Refused("New Expiration Date: required for a new expiration date")
    yield told(kind, token, new)


def _reports(payload: str) -> Iterable[Fetch]:
    """Where the report lies; nowhere, if the webhook only tries whether it arrives."""
    root = _parsed(payload)
    kind = root.findtext("kind")
    if kind == _CHECK:
        return
    if kind != _REPORT:
        raise Refused(f"bt_payload.kind: expected {_REPORT} or {_CHECK}")
    found = {
        name: root.findtext(f"subject/account-updater-daily-report/{name}") for name in ("report-date", "report-url")
    }
    at = instant(found["report-date"], "bt_payload.report-date")
    yield Fetch(_address(text(found["report-url"], "bt_payload.report-url")), {}, file_at=datetime.fromisoformat(at))


def _parsed(payload: str) -> ElementTree.Element:
    """The XML. A document type, where entities come from, is refused before a parser sees it."""
    try:
        written = base64.b64decode(re.sub(r"\s", "", payload), validate=True).decode()
    except ValueError:
        raise Refused("bt_payload: expected base64 of XML") from None
    if "<!DOCTYPE" in written or len(written) > _LONGEST_XML:
        raise Refused(f"bt_payload: expected XML without a document type, of {_LONGEST_XML:,} characters at most")
    try:
        return ElementTree.fromstring(written)  # noqa: S314  no document type
    except ElementTree.ParseError:
        raise Refused("bt_payload: expected base64 of XML") from None


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        plain = parts.port is None and parts.username is None and url.isascii() and url.isprintable()
    except ValueError:
        parts, plain = None, False
    host = "" if parts is None else parts.hostname or ""
    at_home = any(host == each or host.endswith(f".{each}") for each in _HOSTS)
    if parts is None or not plain or parts.scheme != "https" or not at_home:
        raise Refused(f"bt_payload.report-url: expected https at {' or '.join(_HOSTS)}")
    return url


FEED = Feed(
    name="braintree",
    title="Braintree Account Updater daily report",
    adapt=adapt,
    recognises=lambda record: "bt_payload" in record or {_TOKEN, _UPDATE} <= record.keys(),
    codes=CODES,
)
