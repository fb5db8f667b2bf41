"""Paysafe, code by code, of each network's own."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import fingerprint, refusal, update

OLD, NEW = "5555555555554444", "2223003122003222"


def row(card: str, code: str, **changes: Any) -> dict[str, Any]:
    return {
        "Card Type": card,
        "Card Number": OLD,
        "Expiry Date": "0526",
        "New Card Number": NEW if code in ("A", "UPDATE") else "",
        "New Expiry Date": "0929" if code in ("A", "E", "UPDATE", "EXPIRY") else "",
        "Decision Code": code,
    } | changes


@pytest.mark.parametrize(("card", "code"), [("VI", "A"), ("Visa", "A"), ("MC", "UPDATE"), ("Mastercard", "UPDATE")])
def test_a_new_number_is_told_with_its_expiry(card: str, code: str) -> None:
    report = update("paysafe", row(card, code))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD)))
    assert (report.new.credential, report.new.expiry) == (Credential(fingerprint(NEW)), Expiry(2029, 9))


@pytest.mark.parametrize(("card", "code"), [("VI", "A"), ("MC", "UPDATE")])
def test_what_is_blank_has_stayed(card: str, code: str) -> None:
    report = update("paysafe", row(card, code, **{"New Card Number": ""}))
    assert (report.type, report.new.credential, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, None, Expiry(2029, 9))
    assert update("paysafe", row(card, code, **{"New Expiry Date": ""})).new.expiry == Expiry(2026, 5)


@pytest.mark.parametrize(("card", "code"), [("VI", "E"), ("MC", "EXPIRY")])
def test_a_new_expiry_is_told_alone(card: str, code: str) -> None:
    report = update("paysafe", row(card, code))
    assert (report.type, report.new.credential, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, None, Expiry(2029, 9))


@pytest.mark.parametrize(
    ("card", "code", "type_"),
    [
        ("VI", "C", UpdateType.CLOSED),
        ("VI", "Q", UpdateType.CONTACT_CARDHOLDER),
        ("VI", "O", UpdateType.OPTED_OUT),
        ("VI", "V", UpdateType.NO_CHANGE),
        ("VI", "F", UpdateType.NO_CHANGE),
        ("VI", "P", UpdateType.NO_MATCH),
        ("VI", "N", UpdateType.NO_MATCH),
        ("VI", "G", UpdateType.NO_MATCH),
        ("MC", "CONTACT", UpdateType.CLOSED),
        ("MC", "CONTACH", UpdateType.CONTACT_CARDHOLDER),
        ("MC", "VALID", UpdateType.NO_CHANGE),
        ("MC", "", UpdateType.NO_CHANGE),
        ("MC", "UNKNWN", UpdateType.NO_MATCH),
        ("MC", "NOMATH", UpdateType.NO_MATCH),
        ("MC", "34", UpdateType.OPTED_OUT),
        ("MC", "43", UpdateType.NO_MATCH),
    ],
)
def test_every_other_code_speaks_of_the_old_card_alone(card: str, code: str, type_: UpdateType) -> None:
    report = update("paysafe", row(card, code))
    assert (report.type, report.old, report.new.credential) == (type_, Credential(fingerprint(OLD)), None)


@pytest.mark.parametrize("code", ["000101", "000102", "000103", "000104", "000105", "000122"])
def test_what_mastercard_rejected_is_refused_with_its_reason(code: str) -> None:
    assert refusal("paysafe", row("MC", code)).startswith(f"Decision Code: {code} means rejected: ")


@pytest.mark.parametrize(
    ("card", "code"),
    [("MC", "CONTAC"), ("MC", "C"), ("VI", "CONTACT"), ("VI", "34"), ("VI", ""), ("VI", "R"), ("MC", OLD)],
)
def test_what_another_dialect_says_is_refused(card: str, code: str) -> None:
    reason = refusal("paysafe", row(card, code))
    assert reason.startswith("Decision Code: ")
    assert OLD not in reason


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Card Type": "AM"}, "Card Type"),
        ({"Card Type": ""}, "Card Type"),
        ({"Card Number": "5555 XXXX"}, "Card Number"),
        ({"New Card Number": "2223"}, "New Card Number"),
        ({"New Card Number": "", "New Expiry Date": ""}, "New Card Number"),
        ({"New Expiry Date": "2909"}, "New Expiry Date"),
        ({"New Expiry Date": "", "Expiry Date": "2605"}, "Expiry Date"),
    ],
)
def test_a_broken_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert refusal("paysafe", row("MC", "UPDATE", **changes)).startswith(f"{field}: ")
