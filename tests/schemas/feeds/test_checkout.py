"""Checkout.com's webhooks, code by code."""

from typing import Any

import pytest

from domain.update import Credential, Reason, UpdateType
from domain.wallet import Expiry, MethodType
from schemas.feeds import FEEDS
from schemas.feeds.reading import parts
from tests.schemas.feeds.reading import refusal, update, updates

OLD = {"scheme": "visa", "last4": "2345", "expiry_month": 10, "expiry_year": 2026, "fingerprint": "fpA"}
NEW = {"scheme": "visa", "last4": "3456", "expiry_month": 12, "expiry_year": 2029, "fingerprint": "fpB"}


def event(code: str, **changes: Any) -> dict[str, Any]:
    data = {"reason_type": code, "original_card": OLD, "replacement_card": NEW, "sources": [{"id": "src_1"}]}
    kind = "card_closed" if code == "card_closed" else "card_updated"
    return {"id": "evt_1", "type": kind, "created_on": "2026-11-20T17:21:45.7502303Z", "data": data | changes}


def source(was: dict[str, Any]) -> dict[str, Any]:
    data = {"id": "src_1", "type": "card", **NEW, "previous_attributes": was}
    return {"id": "evt_1", "type": "source_updated", "created_on": "2026-11-20T17:21:45Z", "data": data}


def test_another_number_is_told_of_every_source() -> None:
    first, second = updates("checkout", event("card_updated", sources=[{"id": "src_1"}, {"id": "src_2"}]))
    assert (first.type, first.old) == (
        UpdateType.NUMBER_REPLACED,
        Credential("checkout:src_1", ":checkout:fpA"),
    )
    assert first.new.credential == Credential(":checkout:fpB", "checkout:src_1")
    assert (first.new.last4, first.new.brand, first.new.expiry) == ("3456", "VISA", Expiry(2029, 12))
    assert second.old == Credential("checkout:src_2", ":checkout:fpA")
    assert first.stamp.update_id != second.stamp.update_id
    assert first.stamp.occurred_at.isoformat() == "2026-11-20T17:21:45.750230+00:00"


def test_each_source_is_a_part_of_its_own() -> None:
    whole = event("card_updated", sources=[{"id": "src_1"}, None, {"id": "src_2"}])
    first, broken, last = (dict(part) for part in parts(FEEDS["checkout"], whole))
    assert [update("checkout", part).stamp.update_id for part in (first, last)] == ["evt_1-src_1", "evt_1-src_2"]
    assert refusal("checkout", broken).startswith("sources: ")


def test_another_brand_is_said_to_be_one() -> None:
    flipped = event("card_updated", replacement_card=NEW | {"scheme": "mastercard"})
    assert update("checkout", flipped).reason is Reason.BRAND_CHANGE


@pytest.mark.parametrize(
    "record", [event("card_expiry_updated"), event("card_updated", replacement_card=NEW | {"fingerprint": "fpA"})]
)
def test_the_same_card_has_another_expiry(record: dict[str, Any]) -> None:
    report = update("checkout", record)
    assert (report.type, report.old, report.new.expiry) == (
        UpdateType.EXPIRY_UPDATED,
        Credential("checkout:src_1"),
        Expiry(2029, 12),
    )


def test_two_cards_without_fingerprints_are_not_taken_for_one_card() -> None:
    cards = {
        name: {key: value for key, value in card.items() if key != "fingerprint"}
        for name, card in (("original_card", OLD), ("replacement_card", NEW))
    }
    reported = update("checkout", event("card_updated", **cards))
    assert (reported.type, reported.old) == (UpdateType.NUMBER_REPLACED, Credential("checkout:src_1"))
    assert (reported.new.credential, reported.new.last4) == (Credential("checkout:src_1"), "3456")


@pytest.mark.parametrize(
    ("code", "type_"),
    [("card_closed", UpdateType.CLOSED), ("contact_cardholder", UpdateType.CONTACT_CARDHOLDER)],
)
def test_every_other_code_speaks_of_the_sources_alone(code: str, type_: UpdateType) -> None:
    for fingerprint in ("fpA", "fpB"):
        report = update("checkout", event(code, replacement_card=NEW | {"fingerprint": fingerprint}))
        assert (report.type, report.old, report.new.credential) == (type_, Credential("checkout:src_1"), None)


@pytest.mark.parametrize(
    ("was", "type_", "old"),
    [
        ({"fingerprint": "fpA", "expiry_year": 2026}, UpdateType.NUMBER_REPLACED, ":checkout:fpA"),
        ({"last4": "2345"}, UpdateType.NUMBER_REPLACED, None),
        ({"expiry_year": 2026}, UpdateType.EXPIRY_UPDATED, None),
        ({"name": "x"}, UpdateType.NO_CHANGE, None),
    ],
)
def test_an_updated_source_says_what_it_was(was: dict[str, Any], type_: UpdateType, old: str | None) -> None:
    report = update("checkout", source(was))
    assert (report.type, report.old) == (type_, Credential("checkout:src_1", old))


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("type", event("card_updated") | {"type": "card_lost"}),
        ("data.reason_type", event("card_lost")),
        ("data.sources", event("card_updated", sources=[])),
        ("data.sources.id", event("card_updated", sources=[{}])),
        ("data.replacement_card", event("card_updated", replacement_card=None)),
        ("data.replacement_card.expiry_month", event("card_updated", replacement_card=NEW | {"expiry_month": 13})),
        ("created_on", event("card_updated") | {"created_on": 1}),
    ],
)
def test_an_unknown_code_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("checkout", broken).startswith(f"{field}: ")


def test_another_number_without_fingerprint_and_last_four_digits_is_refused() -> None:
    unseen = {name: value for name, value in NEW.items() if name not in {"fingerprint", "last4"}}
    assert refusal("checkout", event("card_updated", replacement_card=unseen)).startswith(
        "data.replacement_card.last4: "
    )
    event_ = source({"fingerprint": "fpA"})
    event_["data"] = {name: value for name, value in event_["data"].items() if name not in {"fingerprint", "last4"}}
    assert refusal("checkout", event_).startswith("data.last4: ")


@pytest.mark.parametrize(
    "record",
    [
        event("card_updated"),
        event("card_expiry_updated"),
        event("card_closed"),
        source({"fingerprint": "fpA"}),
        source({"expiry_year": 2026}),
        source({"expiry_month": 1}),
        source({"name": "Jane Roe"}),
    ],
)
def test_every_update_is_of_a_card_and_dated_by_its_event(record: dict[str, Any]) -> None:
    report = update("checkout", record)
    assert report.stamp.occurred_at.isoformat().startswith("2026-11-20T17:21:45")
    assert report.method_type is MethodType.CARD


def test_a_new_month_alone_is_another_expiry() -> None:
    report = update("checkout", source({"expiry_month": 1}))
    assert (report.type, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, Expiry(2029, 12))
