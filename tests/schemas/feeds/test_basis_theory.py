"""Basis Theory's results, code by code, in every version of the file and as an answer."""

from typing import Any

import pytest

from domain.update import Credential, Reason, UpdateType
from domain.wallet import Expiry, MethodType
from tests.schemas.feeds.reading import refusal, update

OLD = Credential("basis-theory:old")
V1_1 = {"new_fingerprint": "fp", "new_brand": "visa"}
V1_2 = {**V1_1, "new_last4": "1881"}


def row(code: str, new: str = "new", **changes: Any) -> dict[str, Any]:
    return {
        "token": "old",
        "expiration_year": "2026",
        "expiration_month": "12",
        "new_token": new,
        "new_expiration_year": "2029",
        "new_expiration_month": "11",
        "result_code": code,
    } | changes


@pytest.mark.parametrize("code", ["UPD_PAN", "UPD_PAN_EXP_DATE"])
def test_another_number_is_another_token(code: str) -> None:
    report = update("basis-theory", row(code, **V1_2))
    assert (report.type, report.old, report.reason) == (UpdateType.NUMBER_REPLACED, OLD, Reason.REISSUED)
    assert report.new.credential == Credential("basis-theory:new", ":basis-theory:fp")
    assert (report.new.last4, report.new.brand, report.new.expiry) == ("1881", "VISA", Expiry(2029, 11))


@pytest.mark.parametrize("columns", [{}, V1_1, V1_2])
def test_every_version_of_the_file_is_read(columns: dict[str, str]) -> None:
    report = update("basis-theory", row("UPD_PAN", **columns))
    assert (report.new.last4, report.new.brand) == (columns.get("new_last4"), "VISA" if columns else None)


def test_another_expiry_is_told_of_the_token_if_it_stays() -> None:
    for stays in ("old", ""):
        report = update("basis-theory", row("UPD_EXP_DATE", stays, **V1_2))
        assert (report.type, report.old, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, OLD, Expiry(2029, 11))


def test_another_expiry_under_another_token_is_a_replacement() -> None:
    report = update("basis-theory", row("UPD_EXP_DATE"))
    assert (report.type, report.reason) == (UpdateType.NUMBER_REPLACED, Reason.EXPIRED)
    assert report.new.credential == Credential("basis-theory:new")


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("WRN_CLOSED_ACCOUNT", UpdateType.CLOSED),
        ("WRN_CONTACT_CARDHOLDER", UpdateType.CONTACT_CARDHOLDER),
        ("NO_UPDATE", UpdateType.NO_CHANGE),
        ("NO_MATCH", UpdateType.NO_MATCH),
    ],
)
def test_every_other_code_speaks_of_the_old_token_alone(code: str, type_: UpdateType) -> None:
    report = update("basis-theory", row(code, ""))
    assert (report.type, report.old, report.new.credential) == (type_, OLD, None)


def test_a_real_time_answer_has_the_token_as_an_object() -> None:
    card = {"last4": "1881", "brand": "visa", "expiration_month": 11, "expiration_year": 2029}
    answer = {"token": "old", "result_code": "UPD_PAN", "new_token": {"id": "new", "fingerprint": "fp", "card": card}}
    assert update("basis-theory", answer).new == update("basis-theory", row("UPD_PAN", **V1_2)).new


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("result_code", row("UPD_SOMETHING")),
        ("token", row("NO_UPDATE", token="")),
        ("new_token", row("UPD_PAN", "")),
        ("new_expiration_month", row("UPD_PAN", new_expiration_month="13")),
        ("new_expiration_year", row("UPD_EXP_DATE", new_expiration_year="", new_expiration_month="")),
        ("card", row("UPD_PAN", new_token={"id": "new", "card": 1})),
    ],
)
def test_an_unknown_code_or_a_broken_field_is_named(field: str, broken: dict[str, Any]) -> None:
    assert refusal("basis-theory", broken).startswith(f"{field}: ")


def test_another_number_behind_the_same_token_is_refused_without_fingerprint_and_last_four_digits() -> None:
    record = {"token": "t-1", "new_token": "t-1", "result_code": "UPD_PAN", "new_last4": ""}
    assert refusal("basis-theory", record).startswith("new_last4: ")


@pytest.mark.parametrize(
    ("code", "type_"),
    [("UPD_PAN", UpdateType.NUMBER_REPLACED), ("UPD_EXP_DATE", UpdateType.EXPIRY_UPDATED)],
)
def test_a_token_that_stays_needs_no_last_digits_beside_a_fingerprint_or_for_an_expiry(
    code: str, type_: UpdateType
) -> None:
    columns = V1_1 if type_ is UpdateType.NUMBER_REPLACED else {}
    report = update("basis-theory", row(code, new="old", **columns))
    assert (report.type, report.old.key if report.old else None, report.new.last4) == (type_, OLD.key, None)
    assert report.method_type is MethodType.CARD
    assert report.new.expiry == Expiry(2029, 11)
