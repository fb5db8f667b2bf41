"""Braintree's daily report, code by code, and the webhook that says where it lies."""

import base64
from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import asked, refusal, update, updates

URL = "https://reports.braintreegateway.com/au/2026-11-20.csv?signature=x"


def row(code: str, **changes: Any) -> dict[str, Any]:
    return {
        "Payment Method Token": "9f4ncm",
        "Update Type": code,
        "Card Type": "Visa",
        "New Last 4": "1881",
        "New Expiration Date": "11/2029",
    } | changes


def webhook(url: str = URL, kind: str = "account_updater_daily_report", before: str = "") -> dict[str, Any]:
    report = f"<report-date type='date'>2026-11-20</report-date><report-url>{url}</report-url>"
    subject = f"<subject><account-updater-daily-report>{report}</account-updater-daily-report></subject>"
    return payload(f"{before}<notification><kind>{kind}</kind>{subject}</notification>".encode())


def payload(xml: bytes) -> dict[str, Any]:
    return {"bt_signature": "key|signature", "bt_payload": base64.encodebytes(xml).decode()}


LAUGHS = (
    "<!DOCTYPE a [<!ENTITY b0 'ha'>" + "".join(f"<!ENTITY b{n} '{f'&b{n - 1};' * 10}'>" for n in range(1, 10)) + "]>"
)


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("New account number", UpdateType.NUMBER_REPLACED),
        ("New account number and expiration date", UpdateType.NUMBER_REPLACED),
        ("New expiration date", UpdateType.EXPIRY_UPDATED),
    ],
)
def test_a_change_is_told_of_the_token_that_stays(code: str, type_: UpdateType) -> None:
    report = update("braintree", row(code))
    assert (report.type, report.old) == (type_, Credential("braintree:9f4ncm"))
    assert (report.new.details, report.new.expiry) == ({"last4": "1881", "brand": "VISA"}, Expiry(2029, 11))


@pytest.mark.parametrize(
    ("code", "type_"),
    [("Account closed", UpdateType.CLOSED), ("Contact customer", UpdateType.CONTACT_CARDHOLDER)],
)
def test_every_other_code_tells_nothing_more(code: str, type_: UpdateType) -> None:
    report = update("braintree", row(code))
    assert (report.type, report.old, report.new.details) == (type_, Credential("braintree:9f4ncm"), {})


@pytest.mark.parametrize("code", ["New account number", "New account number and expiration date"])
@pytest.mark.parametrize("digits", ["", "42", "****", None, "0000000000000000"])
def test_another_number_needs_its_last_four_digits(code: str, digits: str | None) -> None:
    assert refusal("braintree", row(code, **{"New Last 4": digits})).startswith("New Last 4: ")


def test_another_expiry_needs_no_digits() -> None:
    assert update("braintree", row("New expiration date", **{"New Last 4": ""})).new.expiry == Expiry(2029, 11)


def test_a_webhook_leaves_the_report_to_be_fetched_as_of_its_date() -> None:
    fetch = asked("braintree", webhook())
    assert fetch.path == URL
    assert fetch.file_at is not None
    assert fetch.file_at.isoformat() == "2026-11-20T00:00:00+00:00"


def test_a_webhook_that_only_tries_the_url_tells_nothing() -> None:
    xml = b"<notification><kind>check</kind><subject><check type='boolean'>true</check></subject></notification>"
    assert updates("braintree", payload(xml)) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://reports.braintreegateway.com/r.csv",
        "http://reports.braintreegateway.com:443/r.csv",
        "https://braintreegateway.com.example.test/r.csv",
        "https://example.test/braintreegateway.com",
        "https://notbraintreegateway.com/r.csv",
        "https://user@www.braintreegateway.com/r.csv",
        "https://www.braintreegateway.com:8443/r.csv",
        "https://[/r.csv",
        "https://169.254.169.254/latest",
    ],
)
def test_a_report_lies_nowhere_else(url: str) -> None:
    assert refusal("braintree", webhook(url)).startswith("bt_payload.report-url: expected https at ")


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("Update Type", row("Card lost")),
        ("Update Type", row("")),
        ("Payment Method Token", row("Account closed", **{"Payment Method Token": ""})),
        ("New Expiration Date", row("New expiration date", **{"New Expiration Date": ""})),
        ("bt_payload", {"bt_payload": "%"}),
        ("bt_payload", {"bt_payload": base64.b64encode(b"<a>").decode()}),
        ("bt_payload", payload(b"\xff")),
        ("bt_payload", payload("<kind>check</kind>".encode("utf-16"))),
        ("bt_payload", webhook(before='<!DOCTYPE a [<!ENTITY b "c">]>')),
        ("bt_payload", webhook("&b9;", before=LAUGHS)),
        ("bt_payload", webhook("&b9;")),
        ("bt_payload", webhook("&file;", before='<!DOCTYPE a [<!ENTITY file SYSTEM "file:///etc/hostname">]>')),
        ("bt_payload", webhook(before="<?xml version='1.0' encoding='made up'?>")),
        ("bt_payload", payload(b"<a>" * 30_000)),
        ("bt_payload.kind", payload(b"<a>" * 9_000 + b"</a>" * 9_000)),
        ("bt_payload.kind", payload(b"<notification/>")),
        ("bt_payload.kind", webhook(kind="payment_method_revoked_by_customer")),
        ("bt_payload.report-url", webhook("")),
        ("$.path", webhook("https://www.braintreegateway.com/4111111111111111")),
    ],
)
def test_an_unknown_code_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("braintree", broken).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "url",
    [
        "https://braintreegateway.com/r.csv",
        "https://reports.braintree-api.com:443/r.csv",
        "https://www.braintreepayments.com./r.csv#part",
        "https://www.braintreepayments.com/r.csv?x=" + "a" * 4000,
    ],
)
def test_a_report_lies_at_any_of_the_vendors_hosts(url: str) -> None:
    assert asked("braintree", webhook(url)).path == url


def test_another_number_may_come_without_an_expiry() -> None:
    report = update("braintree", row("New account number", **{"New Expiration Date": ""}))
    assert (report.type, report.new.expiry) == (UpdateType.NUMBER_REPLACED, None)


@pytest.mark.parametrize(("length", "field"), [(65_536, "bt_payload.kind"), (65_537, "bt_payload")])
def test_a_webhook_may_be_so_long(length: int, field: str) -> None:
    around = len("<notification></notification>")
    xml = f"<notification>{' ' * (length - around)}</notification>"
    assert refusal("braintree", payload(xml.encode())).startswith(f"{field}: ")


def test_a_letter_that_is_no_base64_is_not_skipped() -> None:
    broken = webhook()
    broken["bt_payload"] = "*" + broken["bt_payload"]
    assert refusal("braintree", broken).startswith("bt_payload: ")
