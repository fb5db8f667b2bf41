"""Why a payment method was updated, as its merchants are told."""

import json

import pytest

from domain.resolve import Updated
from domain.wallet import Details, Expiry, MethodStatus
from schemas.event import announcements
from tests.domain.build import method, wallet

BEFORE = Details(last4="1111", brand="VISA", expiry=Expiry(2026, 6), zip_code="12345")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expiry": Expiry(2029, 1)}, "EXPIRY_UPDATED"),
        ({"expiry": Expiry(2029, 1), "zip_code": "54321"}, "EXPIRY_UPDATED"),
        ({"last4": "1881"}, "DETAILS_UPDATED"),
        ({"last4": "1881", "expiry": Expiry(2029, 1)}, "DETAILS_UPDATED"),
        ({"brand": "MASTERCARD", "expiry": Expiry(2029, 1)}, "DETAILS_UPDATED"),
        ({"zip_code": "54321"}, "DETAILS_UPDATED"),
    ],
)
def test_an_expiry_is_the_reason_only_where_the_number_stayed(changes: dict[str, object], reason: str) -> None:
    before = method("A", details=BEFORE)
    after = before._replace(details=BEFORE._replace(**changes))  # type: ignore[arg-type]
    events = announcements(wallet(after), (Updated(before, after),))
    assert [event.reason for event in events] == [reason, reason]
    assert {"expiryYear", "last4", "cardBrand", "zipCode"} & json.loads(events[0].payload)["previous"].keys()
    suspended = after._replace(status=MethodStatus.SUSPENDED)
    assert {event.reason for event in announcements(wallet(suspended), (Updated(before, suspended),))} == {"SUSPENDED"}
