"""Why a payment method was updated, as its merchants are told."""

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from domain.merge import Merged, merge
from domain.resolve import Replaced, Updated
from domain.update import Reason
from domain.wallet import Customer, Details, Expiry, Method, MethodStatus, MethodType
from schemas.event import (
    Announcement,
    EventName,
    announcements,
    endpoint_disabled,
    endpoint_test,
    render,
    render_notice,
    timestamp,
)
from schemas.payment_method import write_details
from tests.domain.build import link, method, wallet

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


def test_of_a_replacement_each_merchant_gets_both_methods_the_customer_and_its_own_links() -> None:
    old = method("A", status=MethodStatus.DELETED, details=BEFORE, id="m-A")
    new = method("B", details=BEFORE._replace(holder_name="Jane Roe"), nickname="Main", default=True, id="m-B")
    customer = Customer(
        frozenset({("enterpriseId", "e1"), ("metadata.patientId", "p1")}),
        date(1980, 1, 31),
        {"tier": "gold", "patientId": "p1"},
    )
    links = (link("m-B", id="mine", merchant="optician"), link("m-B", id="other", merchant="gym"))
    change = Replaced(old, new, Reason.LOST_OR_STOLEN, links)

    events = announcements(wallet(new)._replace(customer=customer), (change,))

    shown = {"last4": "1111", "cardBrand": "VISA", "expiryMonth": 6, "expiryYear": 2026, "zipCode": "12345"}
    shown |= {"type": "CARD", "manufacturerCard": None}
    new_card = shown | {"status": "ACTIVE", "nameOnCard": "Jane Roe"}
    old_card = shown | {"status": "DELETED", "nameOnCard": None}
    owner = {
        "enterpriseId": "e1",
        "hsid": None,
        "dateOfBirth": "1980-01-31",
        "metadata": {"patientId": "p1", "tier": "gold"},
    }
    common = {"subscriptionDefault": False, "paymentMethodType": "CARD"}
    current = common | {"id": "m-B", "card": new_card, "paymentMethodDetails": new_card, "default": True}
    tombstone = common | {"id": "m-A", "card": old_card, "paymentMethodDetails": old_card, "default": False}
    replacement = {
        "paymentMethod": current | {"nickname": "Main"},
        "customer": owner,
        "deletedPaymentMethodId": "m-A",
    }
    deletion = {
        "paymentMethod": tombstone | {"nickname": None},
        "customer": owner,
        "replacedByPaymentMethodId": "m-B",
    }
    mine = [{"id": "mine", "reference": "sub-mine", "kind": "SUBSCRIPTION"}]
    assert [(*event[:4], json.loads(event.payload)) for event in events] == [
        ("PAYMENT_METHOD_REPLACED", "pharmacy", "m-B", "LOST_OR_STOLEN", replacement | {"paymentLinks": []}),
        ("PAYMENT_METHOD_DELETED", "pharmacy", "m-A", "LOST_OR_STOLEN", deletion),
        ("PAYMENT_METHOD_REPLACED", "optician", "m-B", "LOST_OR_STOLEN", replacement | {"paymentLinks": mine}),
        ("PAYMENT_METHOD_DELETED", "optician", "m-A", "LOST_OR_STOLEN", deletion),
    ]


@pytest.mark.parametrize(
    ("type_", "section", "keys"),
    [
        (MethodType.BANK_ACCOUNT, "bankAccount", {"last4", "accountType", "nameOnAccount", "bankName"}),
        (MethodType.DIGITAL_WALLET, "digitalWallet", {"nameOnCard", "zipCode", "manufacturerCard"}),
        (MethodType.GIFT_CARD, "giftCard", {"last4", "cardBrand", "expiryMonth", "expiryYear"}),
    ],
)
def test_each_type_of_method_has_a_section_of_its_own(type_: MethodType, section: str, keys: set[str]) -> None:
    before = method("A", type=type_, details=Details("1111", account_type="CHECKING", bank_name="Bank"))
    after = before._replace(status=MethodStatus.CLOSED)
    (event, _) = announcements(wallet(after), (Updated(before, after),))
    payload = json.loads(event.payload)
    shown = payload["paymentMethod"]
    assert (shown["paymentMethodType"], shown[section]["type"], shown[section]["status"]) == (type_, type_, "CLOSED")
    assert shown[section] == shown["paymentMethodDetails"]
    assert keys <= shown[section].keys()
    assert (shown[section].get("accountType"), shown[section].get("bankName")) == (
        ("CHECKING", "Bank") if type_ is MethodType.BANK_ACCOUNT else (None, None)
    )
    assert payload["previous"] == {"status": "ACTIVE"}


def test_a_moment_is_written_in_utc_to_the_millisecond() -> None:
    assert timestamp(datetime(2026, 11, 20, 9, 14, 14, 20_900, tzinfo=UTC)) == "2026-11-20T09:14:14.020Z"


def test_a_flag_that_changed_stands_in_previous_with_its_former_value() -> None:
    before = method("A", details=BEFORE, default=True, nickname="Old", id="m-A")
    after = before._replace(default=False, subscription_default=True, nickname="New")
    customer = Customer(frozenset({("hsid", "h1")}))
    (event, _) = announcements(wallet(after)._replace(customer=customer), (Updated(before, after),))
    payload = json.loads(event.payload)
    assert payload["previous"] == {"default": True, "subscriptionDefault": False, "nickname": "Old"}
    assert payload["customer"] == {"enterpriseId": None, "hsid": "h1", "dateOfBirth": None, "metadata": {}}
    assert (event.name, event.method_id, event.reason) == ("PAYMENT_METHOD_UPDATED", "m-A", "DETAILS_UPDATED")


def test_a_method_that_a_merge_made_visible_is_told_whole() -> None:
    merged = method("A", details=BEFORE, id="m-A")
    (event,) = announcements(wallet(merged), (Merged(merged, ("optician",)),))
    payload = json.loads(event.payload)
    assert (event.name, event.merchant_id, event.method_id) == ("PAYMENT_METHOD_UPDATED", "optician", "m-A")
    assert (payload["paymentMethod"]["id"], payload["paymentMethod"]["card"]["last4"]) == ("m-A", "1111")
    assert (payload["customer"]["enterpriseId"], payload["previous"]) == ("e1", {})


EVENT = UUID("0198d3a1-0000-7000-8000-000000000001")
AT = "2026-11-20T09:14:14.020Z"


def test_the_head_of_an_event_is_written_before_its_payload() -> None:
    announcement = Announcement(EventName.DELETED, "pharmacy", "m-A", "EXPIRED", b'{"a":1}')
    head = f'{{"id":"evt_{EVENT.hex}","name":"PAYMENT_METHOD_DELETED","createdAt":"{AT}","version":1,'
    assert render(announcement, EVENT, "w-1", 42, AT).decode().replace(str(EVENT), EVENT.hex) == (
        head + '"walletId":"w-1","sequence":42,"reason":"EXPIRED","payload":{"a":1}}'
    )
    head = head.replace("PAYMENT_METHOD_DELETED", "ENDPOINT_TEST")
    payload = endpoint_test("e-1", "https://hooks.shop.example/secret")
    assert render_notice(EventName.ENDPOINT_TEST, EVENT, AT, payload).decode().replace(str(EVENT), EVENT.hex) == (
        head + '"walletId":null,"sequence":null,"reason":null,'
        '"payload":{"endpoint":{"id":"e-1","urlHost":"hooks.shop.example"}}}'
    )


@pytest.mark.parametrize(
    ("oldest", "shown"), [(None, None), (datetime(2026, 11, 20, 9, 14, 14, 20_000, tzinfo=UTC), AT)]
)
def test_what_is_told_of_a_disabled_endpoint(oldest: datetime | None, shown: str | None) -> None:
    assert endpoint_disabled("e-1", "https://h.example/x", "GONE", AT, undelivered=7, oldest_at=oldest) == {
        "endpoint": {"id": "e-1", "urlHost": "h.example", "disabledReason": "GONE", "disabledAt": AT},
        "undeliveredCount": 7,
        "oldestUndeliveredAt": shown,
    }
