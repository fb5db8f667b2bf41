"""BlueSnap, code by code."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import fingerprint, refusal, update, updates

OLD, NEW = "4111111111111111", "4012888888881881"


def resource(code: str, **changes: Any) -> dict[str, Any]:
    number = NEW if code == "500" else OLD
    updated = {"card-number": number, "expiration-month": "11", "expiration-year": "2029"}
    return {
        "merchant-updater-id": "bs-1",
        "update-response-code": code,
        "original-card": {"card-number": OLD, "expiration-month": 11, "expiration-year": 2026},
        **({"updated-card": updated} if code in ("500", "502") else {}),
    } | changes


def test_500_is_a_new_number_with_its_expiry() -> None:
    report = update("bluesnap", resource("500"))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD)))
    assert report.new.credential == Credential(fingerprint(NEW))
    assert (report.new.last4, report.new.brand, report.new.expiry) == ("1881", "VISA", Expiry(2029, 11))


def test_502_is_a_new_expiry() -> None:
    report = update("bluesnap", resource("502"))
    assert (report.type, report.new.credential, report.new.expiry) == (
        UpdateType.EXPIRY_UPDATED,
        None,
        Expiry(2029, 11),
    )


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("501", UpdateType.CLOSED),
        ("503", UpdateType.NO_MATCH),
        ("504", UpdateType.CONTACT_CARDHOLDER),
        ("505", UpdateType.NO_MATCH),
        ("506", UpdateType.NO_CHANGE),
        ("507", UpdateType.OPTED_OUT),
    ],
)
def test_every_other_code_speaks_of_the_original_card_alone(code: str, type_: UpdateType) -> None:
    report = update("bluesnap", resource(code))
    assert (report.type, report.old, report.new.credential) == (type_, Credential(fingerprint(OLD)), None)


def test_a_whole_batch_tells_what_its_resources_tell() -> None:
    batch = {"account-update-batch-id": "b-1", "account-update": [resource("501"), resource("504")]}
    for record in (batch, {"batch-account-update": batch}):
        types = [report.type for report in updates("bluesnap", record)]
        assert types == [UpdateType.CLOSED, UpdateType.CONTACT_CARDHOLDER]
    assert refusal("bluesnap", batch | {"account-update": "none"}).startswith("account-update: ")


@pytest.mark.parametrize("code", ["000", "301", "508", "", OLD])
def test_an_unknown_code_is_refused(code: str) -> None:
    reason = refusal("bluesnap", resource(code))
    assert reason.startswith("update-response-code: ")
    assert OLD not in reason


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"original-card": None}, "original-card"),
        ({"original-card": {"card-number": "xxxx"}}, "original-card.card-number"),
        ({"updated-card": None}, "updated-card.card-number"),
        (
            {"updated-card": {"card-number": NEW, "expiration-month": 13, "expiration-year": 2029}},
            "updated-card.expiration-month",
        ),
    ],
)
def test_a_broken_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert refusal("bluesnap", resource("500", **changes)).startswith(f"{field}: ")
