"""Why a payment method was updated, as its merchants are told."""

import json
from typing import Any

import pytest

from domain.merge import merge
from domain.resolve import Updated
from domain.wallet import Details, Expiry, Method, MethodStatus
from schemas.event import announcements
from schemas.payment_method import write_details
from tests.domain.build import method, wallet

BEFORE = Details(last4="1111", brand="VISA", expiry=Expiry(2026, 6), zip_code="12345")


def details(of: Method) -> dict[str, Any]:
    return write_details(of.type, of.details)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expiry": Expiry(2029, 1)}, "EXPIRY_UPDATED"),
        ({"expiry": Expiry(2026, 9)}, "EXPIRY_UPDATED"),
        ({"expiry": Expiry(2029, 6)}, "EXPIRY_UPDATED"),
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
    payload = json.loads(events[0].payload)
    previous = payload["previous"]
    shown = payload["paymentMethod"]["paymentMethodDetails"]
    assert previous == {key: value for key, value in details(before).items() if shown[key] != value}
    assert shown.items() >= details(after).items()
    assert {"expiryMonth", "expiryYear", "last4", "cardBrand", "zipCode"} & previous.keys()
    suspended = after._replace(status=MethodStatus.SUSPENDED)
    assert {event.reason for event in announcements(wallet(suspended), (Updated(before, suspended),))} == {"SUSPENDED"}


def test_after_a_merge_each_merchant_is_told_of_the_methods_that_are_new_to_it_alone() -> None:
    """The pharmacy shared both wallets, so nothing is new to it."""
    source = wallet(method("S"), customer="e2", merchants=("pharmacy", "grocer"))
    target = wallet(method("A"), customer="e1", merchants=("pharmacy", "optician"))
    merged = merge(source, target)
    events = announcements(merged.target, merged.changes)
    assert {(event.merchant_id, event.method_id) for event in events} == {("grocer", "m-A"), ("optician", "m-S")}
    assert [event.reason for event in events] == ["WALLET_MERGE", "WALLET_MERGE"]


@pytest.mark.parametrize(("default", "subscription_default"), [(True, False), (False, True)])
def test_each_of_the_two_flags_is_shown_under_its_own_name(*, default: bool, subscription_default: bool) -> None:
    before = method("A", details=BEFORE)
    after = before._replace(default=default, subscription_default=subscription_default)
    event = announcements(wallet(after), (Updated(before, after),))[0]
    payload = json.loads(event.payload)
    shown = payload["paymentMethod"]
    assert (shown["default"], shown["subscriptionDefault"]) == (default, subscription_default)
