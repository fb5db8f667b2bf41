"""Stripe's webhooks, event by event and attribute by attribute."""

import json
from typing import Any

import pytest

from domain.update import Credential, Update, UpdateType
from domain.wallet import Details, Expiry, MethodType
from schemas.feeds import FEEDS
from tests.domain.build import at_once, live, method, wallet
from tests.schemas.feeds.reading import messages, refusal, update, updates

EVENTS = (
    "payment_method.automatically_updated",
    "payment_method.card_automatically_updated",
    "payment_method.updated",
)
CARD = {"brand": "visa", "exp_month": 11, "exp_year": 2029, "fingerprint": "fpB", "last4": "1881"}
BANK = {"account_type": "savings", "bank_name": "NEW BANK", "fingerprint": "fpB", "last4": "6789"}
TOKEN = Credential("stripe:pm_1")


def event(was: dict[str, Any], type_: str = EVENTS[0], **changes: Any) -> dict[str, Any]:
    about = {"id": "pm_1", "object": "payment_method", "type": "card", "card": CARD} | changes
    return {
        "id": "evt_1",
        "object": "event",
        "api_version": "2024-06-20",
        "created": 1763629453,
        "type": type_,
        "data": {"object": about, "previous_attributes": was},
    }


def notified(was: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A bank's notification of change."""
    return event({"us_bank_account": was}, EVENTS[2], type="us_bank_account", us_bank_account=BANK, **changes)


def edited(was: dict[str, Any], now: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return event({"billing_details": was}, EVENTS[2], billing_details=now, **changes)


@pytest.mark.parametrize("type_", EVENTS)
def test_another_fingerprint_is_another_card_behind_the_id_that_stays(type_: str) -> None:
    report = update("stripe", event({"card": {"fingerprint": "fpA", "last4": "1111", "exp_year": 2026}}, type_))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential("stripe:pm_1", ":stripe:fpA"))
    assert report.new.credential == Credential(":stripe:fpB", "stripe:pm_1")
    assert (report.new.last4, report.new.brand, report.new.expiry) == ("1881", "VISA", Expiry(2029, 11))
    assert (report.method_type, report.stamp.update_id) == (MethodType.CARD, "evt_1")
    assert report.stamp.occurred_at.isoformat() == "2025-11-20T09:04:13+00:00"


def test_another_number_may_be_seen_by_its_last_four_alone() -> None:
    report = update("stripe", event({"card": {"last4": "1111"}}))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, TOKEN)
    assert report.new.credential == Credential(":stripe:fpB", "stripe:pm_1")


@pytest.mark.parametrize("was", [{"exp_month": 1, "exp_year": 2026}, {"exp_year": 2026}, {"exp_month": 10}])
def test_another_expiry_alone_is_no_other_card(was: dict[str, Any]) -> None:
    report = update("stripe", event({"card": was}))
    assert (report.type, report.old, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, TOKEN, Expiry(2029, 11))


def test_a_bank_account_that_a_bank_corrected_is_another_one_with_the_name_of_its_bank() -> None:
    replaced, details = updates("stripe", notified({"fingerprint": "fpA", "last4": "1234"}))
    assert (replaced.type, replaced.method_type) == (UpdateType.NUMBER_REPLACED, MethodType.BANK_ACCOUNT)
    assert replaced.new.credential == Credential(":stripe:fpB", "stripe:pm_1")
    assert (details.type, details.old) == (UpdateType.DETAILS_UPDATED, TOKEN)
    assert details.new.details == {"bank_name": "NEW BANK", "account_type": "savings"}
    assert details.stamp.update_id != replaced.stamp.update_id


def test_a_method_whose_bank_account_was_corrected_shows_the_new_bank() -> None:
    known = Details(last4="1234", bank_name="OLD BANK", account_type="checking", holder_name="Jenny Rosen")
    before = wallet(method("stripe:pm_1", ":stripe:fpA", type=MethodType.BANK_ACCOUNT, details=known))
    for reports in both_orders(updates("stripe", notified({"fingerprint": "fpA", "last4": "1234"}))):
        (after,) = at_once(before, *reports).wallet.methods
        assert (after.id, after.details) == (
            "m-stripe:pm_1",
            Details(last4="6789", bank_name="NEW BANK", account_type="savings", holder_name="Jenny Rosen"),
        )
        assert live(at_once(before, *reports).wallet)


def both_orders(reports: list[Update]) -> tuple[list[Update], list[Update]]:
    return reports, reports[::-1]


@pytest.mark.parametrize(
    ("was", "details"),
    [
        ({"account_type": "checking"}, {"account_type": "savings"}),
        ({"bank_name": "OLD BANK"}, {"bank_name": "NEW BANK"}),
        ({"bank_name": None, "account_type": None}, {"bank_name": "NEW BANK", "account_type": "savings"}),
    ],
)
def test_what_else_a_bank_corrected_is_told_of_the_same_account(was: dict[str, Any], details: dict[str, Any]) -> None:
    report = update("stripe", notified(was))
    assert (report.type, report.old, report.new.details) == (UpdateType.DETAILS_UPDATED, TOKEN, details)
    assert report.stamp.update_id == "evt_1"


@pytest.mark.parametrize(
    ("was", "now", "details"),
    [
        ({"name": None}, {"name": "Jenny Rosen"}, {"holder_name": "Jenny Rosen"}),
        (
            {"address": {"postal_code": "94107"}},
            {"name": "x", "address": {"postal_code": "10001"}},
            {"zip_code": "10001"},
        ),
        ({"address": None}, {"address": {"postal_code": "10001"}}, {"zip_code": "10001"}),
        (
            {"name": "J", "address": {"postal_code": None}},
            {"name": "Jenny", "address": {"postal_code": "1"}},
            {"holder_name": "Jenny", "zip_code": "1"},
        ),
    ],
)
def test_an_edited_name_or_postal_code_is_told(was: Any, now: dict[str, Any], details: dict[str, Any]) -> None:
    report = update("stripe", edited(was, now))
    assert (report.type, report.old, report.new.details) == (UpdateType.DETAILS_UPDATED, TOKEN, details)


@pytest.mark.parametrize(
    ("record", "named"),
    [
        (edited({"name": "J"}, {"name": "Jenny"}), "nameOnCard"),
        (
            event({"billing_details": {"name": "J"}}, EVENTS[2], type="us_bank_account", us_bank_account=BANK),
            "nameOnAccount",
        ),
    ],
)
def test_a_name_goes_onto_the_topic_as_that_of_a_card_or_of_an_account(record: dict[str, Any], named: str) -> None:
    record["data"]["object"]["billing_details"] = {"name": "Jenny"}
    (message,) = messages(FEEDS["stripe"], record)
    names = {name: value for name, value in json.loads(message.value)["new"].items() if name.startswith("name")}
    assert {name: value for name, value in names.items() if value is not None} == {named: "Jenny"}


def test_a_name_that_changed_with_the_card_is_told_too() -> None:
    both = edited({"name": "J"}, {"name": "Jenny Rosen"})
    both["data"]["previous_attributes"]["card"] = {"exp_year": 2026}
    date, name = updates("stripe", both)
    assert (date.type, name.type) == (UpdateType.EXPIRY_UPDATED, UpdateType.DETAILS_UPDATED)
    assert name.new.details == {"holder_name": "Jenny Rosen"}
    # under one id the second would be taken for another content of the first
    assert (date.stamp.update_id, name.stamp.update_id) == ("evt_1", "evt_1-details")


@pytest.mark.parametrize(
    "record",
    [
        event({}, EVENTS[2]),
        event({"card": {}}, EVENTS[2]),
        event({"card": {"checks": {"cvc_check": None}}}, EVENTS[2]),
        event({"metadata": {"order": "1"}}, EVENTS[2]),
        edited({"email": None}, {"email": "jenny@example.test", "name": "Jenny Rosen"}),
        edited({"address": {"line1": None}}, {"address": {"line1": "1 Main St", "postal_code": "10001"}}),
        edited({"name": "Jenny Rosen"}, {"name": None}),
        notified({"status_details": {}}),
    ],
)
def test_an_edit_of_anything_else_changes_nothing(record: dict[str, Any]) -> None:
    report = update("stripe", record)
    assert (report.type, report.old, report.new.credential) == (UpdateType.NO_CHANGE, TOKEN, None)


def without_previous_attributes(type_: str) -> list[dict[str, Any]]:
    """Events that do not say what was before, in all ways there are."""
    missing = event({}, type_)
    del missing["data"]["previous_attributes"]
    return [missing, event({}, type_), event({"card": None}, type_), event({"card": {}}, type_)]


def test_an_edit_that_does_not_say_what_was_before_changes_nothing() -> None:
    types = [update("stripe", record).type for record in without_previous_attributes(EVENTS[2])]
    assert types == [UpdateType.NO_CHANGE] * 4


@pytest.mark.parametrize("type_", EVENTS[:2])
def test_a_networks_update_tells_of_the_card_as_it_is_now_where_it_does_not_say_what_was_before(type_: str) -> None:
    for record in without_previous_attributes(type_):
        report = update("stripe", record)
        assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, TOKEN)
        assert report.new.credential == Credential(":stripe:fpB", "stripe:pm_1")
        assert (report.new.last4, report.new.brand, report.new.expiry) == ("1881", "VISA", Expiry(2029, 11))


@pytest.mark.parametrize("known", [("stripe:pm_1",), ("stripe:pm_1", ":stripe:fpA"), ("stripe:pm_1", ":stripe:fpB")])
def test_a_networks_update_reaches_the_method_whatever_the_wallet_knew_of_it(known: tuple[str, ...]) -> None:
    before = wallet(method(*known, details=Details(last4="1111", expiry=Expiry(2026, 12))))
    (after,) = at_once(before, update("stripe", without_previous_attributes(EVENTS[0])[0])).wallet.methods
    assert (after.id, after.details.last4, after.details.expiry) == ("m-stripe:pm_1", "1881", Expiry(2029, 11))


def test_a_networks_update_to_a_card_that_the_wallet_has_is_a_replacement() -> None:
    before = wallet(method("stripe:pm_1", ":stripe:fpA"), method("stripe:pm_2", ":stripe:fpB"))
    old, new = at_once(before, update("stripe", without_previous_attributes(EVENTS[0])[0])).wallet.methods
    assert (old.replaced_by, new.replaced_by) == ("m-stripe:pm_2", None)


@pytest.mark.parametrize("type_", ["customer.source.updated", "payment_method.merged", "", None])
def test_an_event_of_another_type_is_refused(type_: str | None) -> None:
    assert refusal("stripe", event({}) | {"type": type_}).startswith("type: ")


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("id", event({}) | {"id": None}),
        ("created", event({}) | {"created": "yesterday"}),
        ("data", event({}) | {"data": None}),
        ("data.object", event({}) | {"data": {}}),
        ("data.object.id", event({}, id="")),
        ("data.object.type", event({}, type="seashells")),
        ("card", event({}) | {"data": {"object": {"id": "pm_1", "type": "card"}}}),
        ("data.object.card.exp_month", event({"card": {"exp_year": 1}}, card=CARD | {"exp_month": 13})),
        ("card", event({"card": "x"})),
        ("data.object.card.last4", event({}, card=CARD | {"fingerprint": None, "last4": "81"})),
        ("data.object.card.last4", event({"card": {"last4": "1111"}}, card={"brand": "visa"})),
    ],
)
def test_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("stripe", broken).startswith(f"{field}: ")
