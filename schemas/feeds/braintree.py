"""Braintree: the Account Updater's daily report, a CSV, and the webhook that links to it for a week.

The webhook is XML in base64 (`bt_payload`), as Braintree's own client reads it; it names no card. Braintree's control
panel sends `check` to try a URL: it is irrelevant, as are the clients' other kinds that are about no vaulted payment
method. A vaulted card keeps its token.

Assumed: the names of the report's columns and the words in `Update Type`, which are not public. The webhook links to
one of Braintree's own hosts (`braintreegateway.com`, `braintree-api.com`, `braintreepayments.com`), without a redirect.
"""

import base64
import re
from collections.abc import Iterable
from datetime import datetime
from xml.etree import ElementTree

from domain.refusal import RefusalCode, Refused
from domain.update import UpdateType as Type
from schemas.feeds.card import table, type_of
from schemas.feeds.feed import Code, Edge, Feed, Fetch, Irrelevant, match_irrelevant
from schemas.feeds.fields import brand, instant, last4, mmyy, optional_text, required, required_last4
from schemas.feeds.record import Record, UpdateFields, update
from schemas.url import LONGEST_OF_REPORT, Url, read_url

CODES = (
    Code("new account number", "another number", Type.NUMBER_REPLACED),
    Code("new account number and expiration date", "another number and expiry", Type.NUMBER_REPLACED),
    Code("new expiration date", "another expiry", Type.EXPIRY_UPDATED),
    Code("account closed", "account closed", Type.CLOSED),
    Code("contact customer", "contact the cardholder", Type.CONTACT_CARDHOLDER),
)
_CODES = table(CODES)
_HOSTS = ("braintreegateway.com", "braintree-api.com", "braintreepayments.com")
_HTTPS = 443
_REPORT = "account_updater_daily_report"
# Not `payment_method_revoked_by_customer` and the kinds of the Grant API: they are about vaulted methods, so refused.
IRRELEVANT = (
    "check",
    "connected_merchant_*",
    "disbursement",
    "disbursement_exception",
    "dispute_*",
    "ideal_payment_*",
    "local_payment_*",
    "oauth_access_revoked",
    "partner_merchant_*",
    "refund_failed",
    "sub_merchant_account_*",
    "subscription_*",
    "transaction_*",
)
# A webhook has half a kilobyte; an element takes a hundred times its letters in memory.
_LONGEST_XML = 64 * 1024
_TOKEN, _UPDATE = "Payment Method Token", "Update Type"


def adapt(record: Record, _edge: Edge) -> Iterable[UpdateFields | Fetch | Irrelevant]:
    if "bt_payload" in record:
        yield _report(required(record["bt_payload"], "bt_payload"))
        return
    token = {"token": required(record.get(_TOKEN), _TOKEN), "methodType": "CARD"}
    update_type = type_of(_CODES, (optional_text(record.get(_UPDATE)) or "").lower(), _UPDATE)
    new: UpdateFields | None = None
    if update_type in {Type.NUMBER_REPLACED, Type.EXPIRY_UPDATED}:
        expires = mmyy(record.get("New Expiration Date"), "New Expiration Date")
        new = {**token, **expires, "last4": last4(record.get("New Last 4")), "brand": brand(record.get("Card Type"))}
        if update_type is Type.NUMBER_REPLACED:
            new["last4"] = required_last4(record.get("New Last 4"), "New Last 4")
        if update_type is Type.EXPIRY_UPDATED and not expires:
            raise Refused(RefusalCode.REQUIRED_HERE, "New Expiration Date", "required for a new expiration date")
    yield update(update_type, token, new)


def _report(payload: str) -> Fetch | Irrelevant:
    """The fetch of the report that a webhook announces."""
    root = _parse_xml(payload)
    kind = root.findtext("kind")
    irrelevant = match_irrelevant(IRRELEVANT, kind)
    if irrelevant is not None:
        return irrelevant
    if kind != _REPORT:
        raise Refused(
            RefusalCode.UNEXPECTED_VALUE, "bt_payload.kind", f"{_REPORT}, or a kind that is known to be irrelevant"
        )
    report = "subject/account-updater-daily-report"
    at = instant(root.findtext(f"{report}/report-date"), "bt_payload.report-date")
    url = required(root.findtext(f"{report}/report-url"), "bt_payload.report-url")
    return Fetch(_address(url), {}, file_at=datetime.fromisoformat(at))


def _parse_xml(payload: str) -> ElementTree.Element:
    """The root of the XML. A document type, which may define entities, is refused before a parser reads it."""
    try:
        xml = base64.b64decode(re.sub(r"\s", "", payload), validate=True).decode()
    except ValueError:
        raise Refused(RefusalCode.NOT_READABLE, "bt_payload", "base64 of XML") from None
    if "<!DOCTYPE" in xml or len(xml) > _LONGEST_XML:
        raise Refused(
            RefusalCode.TOO_LONG, "bt_payload", f"XML without a document type, of {_LONGEST_XML:,} characters at most"
        )
    try:
        return ElementTree.fromstring(xml)  # noqa: S314  no document type
    except ElementTree.ParseError:
        raise Refused(RefusalCode.NOT_READABLE, "bt_payload", "base64 of XML") from None


def _address(url: str) -> str:
    """`url`, if it is https at one of Braintree's hosts."""
    try:
        address = read_url(url.partition("#")[0], longest=LONGEST_OF_REPORT)
    except ValueError:
        address = None
    if address is None or not _is_braintrees(address):
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "bt_payload.report-url", f"https at {' or '.join(_HOSTS)}")
    return url


def _is_braintrees(address: Url) -> bool:
    if address.scheme != "https" or address.port != _HTTPS:
        return False
    host = address.host.rstrip(".")
    return any(f".{host}".endswith(f".{domain}") for domain in _HOSTS)


FEED = Feed(
    name="braintree",
    title="Braintree Account Updater daily report",
    adapt=adapt,
    recognises=lambda record: "bt_payload" in record or {_TOKEN, _UPDATE} <= record.keys(),
    codes=CODES,
    irrelevant=IRRELEVANT,
)
