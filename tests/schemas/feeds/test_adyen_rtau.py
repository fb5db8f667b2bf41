"""Adyen's Real Time Account Updater, status by status."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import refusal, update

TOKEN = "M5N7TQ4TG5PFWR50"


def response(status: str, **changes: Any) -> dict[str, Any]:
    data = {
        "realtimeAccountUpdaterStatus": status,
        "tokenization.storedPaymentMethodId": TOKEN,
        "cardSummary": "1881",
        "expiryDate": "3/2030",
        "paymentMethod": "mc",
    }
    return {"additionalData": data | changes, "pspReference": "KHQC5N7G84BLNK43", "resultCode": "Authorised"}


@pytest.mark.parametrize(
    ("status", "type_"),
    [("CardChanged", UpdateType.NUMBER_REPLACED), ("CardExpiryChanged", UpdateType.EXPIRY_UPDATED)],
)
def test_a_change_is_told_of_the_token_that_stays(status: str, type_: UpdateType) -> None:
    report = update("adyen-rtau", response(status))
    assert (report.type, report.old) == (type_, Credential(f"adyen:{TOKEN}"))
    assert (report.new.details, report.new.expiry) == ({"last4": "1881", "brand": "MASTERCARD"}, Expiry(2030, 3))


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        ("CloseAccount", UpdateType.CLOSED),
        ("ContactCardAccountHolder", UpdateType.CONTACT_CARDHOLDER),
        ("NoChange", UpdateType.NO_CHANGE),
    ],
)
def test_every_other_status_tells_nothing_more(status: str, type_: UpdateType) -> None:
    report = update("adyen-rtau", response(status))
    assert (report.type, report.old, report.new.details) == (type_, Credential(f"adyen:{TOKEN}"), {})


def test_the_token_may_have_its_older_name() -> None:
    older = {"tokenization.storedPaymentMethodId": None, "recurring.recurringDetailReference": "old-1"}
    assert update("adyen-rtau", response("NoChange", **older)).old == Credential("adyen:old-1")


@pytest.mark.parametrize("summary", [None, "", "42", "****"])
def test_another_number_needs_its_last_four_digits(summary: str | None) -> None:
    changed = response("CardChanged", cardSummary=summary)
    assert refusal("adyen-rtau", changed).startswith("additionalData.cardSummary: ")
    assert update("adyen-rtau", response("CardExpiryChanged", cardSummary=summary)).new.expiry == Expiry(2030, 3)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("additionalData.realtimeAccountUpdaterStatus", {"realtimeAccountUpdaterStatus": "Paused"}),
        ("additionalData.realtimeAccountUpdaterStatus", {"realtimeAccountUpdaterStatus": "Error"}),
        ("additionalData.tokenization.storedPaymentMethodId", {"tokenization.storedPaymentMethodId": None}),
        ("additionalData.expiryDate", {"expiryDate": "13/2030"}),
        ("additionalData.expiryDate", {"expiryDate": None}),
    ],
)
def test_an_unknown_status_or_a_broken_field_is_named(field: str, changes: dict[str, Any]) -> None:
    assert refusal("adyen-rtau", response("CardExpiryChanged", **changes)).startswith(f"{field}: ")
