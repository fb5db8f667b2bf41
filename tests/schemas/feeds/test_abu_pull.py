"""Mastercard's pull API, indicator by indicator, in both of its spellings."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import fingerprint, refusal, update

OLD, NEW = "5555555555554444", "2223003122003222"
SPELLINGS = [("accountNumber", "expiryDate"), ("number", "expiry")]


def answer(indicator: str, *, spelled: tuple[str, str] = SPELLINGS[0], **changes: Any) -> dict[str, Any]:
    number, expiry = spelled
    now = {number: NEW if indicator == "ACCOUNT_UPDATE" else OLD, expiry: "0929"}
    fields = {"account": now} if indicator in ("ACCOUNT_UPDATE", "EXPIRY") else {}
    return {"request": {number: OLD, expiry: "0526"}, "responseIndicator": indicator, **fields} | changes


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_account_update_is_a_new_number_however_it_is_spelled(spelled: tuple[str, str]) -> None:
    report = update("abu-pull", answer("ACCOUNT_UPDATE", spelled=spelled))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD)))
    assert (report.new.credential, report.new.expiry) == (Credential(fingerprint(NEW)), Expiry(2029, 9))


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_expiry_is_a_new_expiry_however_it_is_spelled(spelled: tuple[str, str]) -> None:
    report = update("abu-pull", answer("EXPIRY", spelled=spelled))
    assert (report.type, report.new.credential, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, None, Expiry(2029, 9))


@pytest.mark.parametrize(
    ("indicator", "type_"),
    [
        ("CONTACT", UpdateType.CONTACT_CARDHOLDER),
        ("VALID", UpdateType.NO_CHANGE),
        ("UNKNOWN", UpdateType.NO_MATCH),
        ("NON_PARTICIPATING", UpdateType.NO_MATCH),
    ],
)
def test_every_other_indicator_speaks_of_the_account_asked_about(indicator: str, type_: UpdateType) -> None:
    report = update("abu-pull", answer(indicator))
    assert (report.type, report.old, report.new.credential) == (type_, Credential(fingerprint(OLD)), None)


def both(number: str, expiry: str, as_well: tuple[str, str]) -> dict[str, Any]:
    return {"accountNumber": number, "expiryDate": expiry, "number": as_well[0], "expiry": as_well[1]}


def test_both_spellings_may_stand_there_if_they_say_the_same() -> None:
    asked = both(OLD, "0526", ("5555 5555 5555 4444", "05/26"))
    account = both(NEW, "0929", ("2223-0031-2200-3222", "09/2029"))
    report = update("abu-pull", answer("ACCOUNT_UPDATE", request=asked, account=account))
    assert report == update("abu-pull", answer("ACCOUNT_UPDATE"))


def test_zeros_under_one_spelling_are_a_blank() -> None:
    account = both(NEW, "0929", ("0" * 16, "0000"))
    assert update("abu-pull", answer("ACCOUNT_UPDATE", account=account)) == update("abu-pull", answer("ACCOUNT_UPDATE"))


@pytest.mark.parametrize(
    ("indicator", "changes", "field"),
    [
        ("ACCOUNT_UPDATE", {"account": both(NEW, "0929", (OLD, "0929"))}, "account.accountNumber"),
        ("ACCOUNT_UPDATE", {"account": both(NEW, "0929", (NEW, "0930"))}, "account.expiryDate"),
        ("EXPIRY", {"account": both(OLD, "0929", (OLD, "0930"))}, "account.expiryDate"),
        ("EXPIRY", {"account": both(OLD, "0929", (NEW, "0929"))}, "account.accountNumber"),
        ("VALID", {"request": both(OLD, "0526", (NEW, "0526"))}, "request.accountNumber"),
    ],
)
def test_spellings_that_differ_are_refused(indicator: str, changes: dict[str, Any], field: str) -> None:
    assert refusal("abu-pull", answer(indicator, **changes)).startswith(f"{field}: ")


def test_what_does_not_count_may_differ() -> None:
    report = update("abu-pull", answer("CONTACT", account=both(OLD, "XX/XX", (OLD, "9999"))))
    assert report.type is UpdateType.CONTACT_CARDHOLDER


@pytest.mark.parametrize("indicator", ["C", "A", "E", "CONTAC", "CONTACH", "valid", ""])
def test_what_another_dialect_says_is_refused(indicator: str) -> None:
    assert refusal("abu-pull", answer("VALID", responseIndicator=indicator)).startswith("responseIndicator: ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request": None}, "request"),
        ({"request": {}}, "request.accountNumber"),
        ({"request": {"number": "x"}}, "request.number"),
        ({"account": {}}, "account.accountNumber"),
        ({"account": {"number": NEW, "accountNumber": OLD}}, "account.accountNumber"),
        ({"account": {"number": NEW, "expiry": "1399"}}, "account.expiry"),
        ({"account": "gone"}, "account"),
    ],
)
def test_a_broken_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert refusal("abu-pull", answer("ACCOUNT_UPDATE", **changes)).startswith(f"{field}: ")
