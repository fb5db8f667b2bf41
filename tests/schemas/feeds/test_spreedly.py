"""Spreedly's Account Updater transactions, type by type."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import refusal, update, updates

TOKEN = Credential("spreedly:pm1")
METHOD = {
    "token": "pm1",
    "last_four_digits": "1881",
    "card_type": "visa",
    "month": 11,
    "year": 2029,
    "fingerprint": "fp",
}


def transaction(kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "token": "t1",
        "created_at": "2026-11-20T09:14:13Z",
        "succeeded": True,
        "transaction_type": kind,
        "payment_method": METHOD,
    } | changes


def test_a_replaced_payment_method_keeps_its_token_and_has_another_fingerprint() -> None:
    report = update("spreedly", transaction("ReplacePaymentMethod"))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, TOKEN)
    assert report.new.credential == Credential(":spreedly:fp", "spreedly:pm1")
    assert (report.new.last4, report.new.brand, report.new.expiry) == ("1881", "VISA", Expiry(2029, 11))
    assert report.stamp.update_id == "t1"


@pytest.mark.parametrize("digits", [None, "", "81", "XXXX"])
def test_what_tells_no_fingerprint_needs_the_last_four_digits(digits: str | None) -> None:
    unnamed = METHOD | {"fingerprint": None, "last_four_digits": digits}
    replaced = transaction("ReplacePaymentMethod", payment_method=unnamed)
    assert refusal("spreedly", replaced).startswith("payment_method.last_four_digits: ")
    named = transaction("ReplacePaymentMethod", payment_method=METHOD | {"last_four_digits": digits})
    assert update("spreedly", named).new.credential == Credential(":spreedly:fp", "spreedly:pm1")


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("ClosePaymentMethod", UpdateType.CLOSED),
        ("ContactCardHolder", UpdateType.CONTACT_CARDHOLDER),
        ("InvalidReplacePaymentMethod", UpdateType.NO_CHANGE),
    ],
)
def test_every_other_type_speaks_of_the_token_alone(kind: str, type_: UpdateType) -> None:
    report = update("spreedly", transaction(kind))
    assert (report.type, report.old, report.new.credential) == (type_, TOKEN, None)


def test_transactions_come_alone_wrapped_or_listed() -> None:
    closed = transaction("ClosePaymentMethod")
    wrapped, listed = (
        updates("spreedly", {"transaction": closed}),
        updates("spreedly", {"transactions": [closed, closed]}),
    )
    assert [*wrapped, *wrapped] == listed == [update("spreedly", closed)] * 2


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("transaction_type", transaction("CloseAccount")),
        ("succeeded", transaction("ReplacePaymentMethod", succeeded=False)),
        ("payment_method", transaction("ClosePaymentMethod", payment_method=None)),
        ("payment_method.token", transaction("ClosePaymentMethod", payment_method={})),
        ("payment_method.month", transaction("ReplacePaymentMethod", payment_method=METHOD | {"month": "x"})),
        ("token", transaction("ClosePaymentMethod", token=None)),
        ("created_at", transaction("ClosePaymentMethod", created_at=None)),
        ("transactions", {"transactions": {}}),
    ],
)
def test_an_unknown_type_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("spreedly", broken).startswith(f"{field}: ")
