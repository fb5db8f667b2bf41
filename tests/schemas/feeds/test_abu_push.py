"""Mastercard's push notifications, reason by reason."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.update import Credential, Reason, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import fingerprint, refusal, update

OLD, NEW = "5555555555554444", "2223003122003222"


def notification(reason: str, **changes: Any) -> dict[str, Any]:
    return {
        "abuReferenceId": "583a6cae-57fe-40a6-b520-e24e6f969d60",
        "oldAccountNumber": OLD,
        "oldExpirationDate": "0000" if reason == "C" else "0526",
        "newAccountNumber": NEW if reason == "A" else None,
        "newExpirationDate": None if reason == "C" else "0929",
        "reasonIdentifier": reason,
        "eventDateTime": "2026-06-22T09:14:13.512Z",
    } | changes


def test_a_is_a_new_number_with_its_expiry_as_month_and_year() -> None:
    report = update("abu-push", notification("A"))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD)))
    assert report.new.credential == Credential(fingerprint(NEW))
    assert (report.new.last4, report.new.brand, report.new.expiry) == ("3222", "MASTERCARD", Expiry(2029, 9))
    assert report.stamp.occurred_at == datetime(2026, 6, 22, 9, 14, 13, 512000, UTC)


def test_e_is_a_new_expiry() -> None:
    report = update("abu-push", notification("E"))
    assert (report.type, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, Expiry(2029, 9))


def test_c_is_a_closed_account_and_not_contact() -> None:
    report = update("abu-push", notification("C"))
    assert (report.type, report.new.credential) == (UpdateType.CLOSED, None)


@pytest.mark.parametrize("field", ["oldExpirationDate", "newExpirationDate"])
def test_an_expiry_of_a_closed_account_refuses_nothing(field: str) -> None:
    assert update("abu-push", notification("C", **{field: "9999"})).type is UpdateType.CLOSED


def test_a_card_that_comes_over_from_another_network_says_so() -> None:
    assert update("abu-push", notification("A", oldAccountNumber="4012888888881881")).reason is Reason.BRAND_CHANGE
    assert update("abu-push", notification("A")).reason is Reason.REISSUED


def test_notifications_under_one_reference_are_told_apart_and_one_that_comes_again_is_not() -> None:
    assert update("abu-push", notification("A")).stamp == update("abu-push", notification("A")).stamp
    assert update("abu-push", notification("A")).stamp != update("abu-push", notification("C")).stamp


@pytest.mark.parametrize("reason", ["R", "", "a", "CLOSED", OLD])
def test_an_unknown_reason_is_refused(reason: str) -> None:
    refused = refusal("abu-push", notification("A", reasonIdentifier=reason))
    assert refused.startswith("reasonIdentifier: ")
    assert OLD not in refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("oldAccountNumber", "52XXXXXXXXXXXXXX12"),
        ("newAccountNumber", None),
        ("newExpirationDate", "2909"),
        ("eventDateTime", "yesterday"),
    ],
)
def test_a_broken_field_is_named(field: str, value: object) -> None:
    assert refusal("abu-push", notification("A", **{field: value})).startswith(f"{field}: ")


def test_a_new_expiry_is_needed_where_one_is_told() -> None:
    assert refusal("abu-push", notification("E", newExpirationDate=None)).startswith("newExpirationDate: ")
