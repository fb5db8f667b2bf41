"""iATS, code by code, of each network's own."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import refusal, update

CARD = Credential("iats:A10000001")


def row(card: str, code: str, **changes: Any) -> dict[str, Any]:
    return {
        "Customer Code": "A10000001",
        "Card Type": card,
        "Card Number": "411111******1111",
        "Expiry": "1126",
        "New Card Number": "401288******1881" if code in ("A", "UPDATE") else "",
        "New Expiry": "1129" if code in ("A", "E", "UPDATE", "EXPIRY") else "",
        "Response Code": code,
    } | changes


@pytest.mark.parametrize(("card", "code"), [("VISA", "A"), ("MC", "UPDATE")])
def test_a_new_number_is_told_of_the_customer_code_that_stays(card: str, code: str) -> None:
    report = update("iats", row(card, code))
    assert (report.type, report.old, report.new.credential) == (UpdateType.NUMBER_REPLACED, CARD, CARD)
    assert report.new.details == {"last4": "1881", "brand": "VISA"}
    assert report.new.expiry == Expiry(2029, 11)


@pytest.mark.parametrize(("card", "code"), [("VISA", "A"), ("MC", "UPDATE")])
@pytest.mark.parametrize("blank", ["", " ", "0000000000000000"])
def test_what_is_blank_has_stayed(card: str, code: str, blank: str) -> None:
    report = update("iats", row(card, code, **{"New Card Number": blank}))
    assert (report.type, report.new.credential, report.new.expiry) == (
        UpdateType.EXPIRY_UPDATED,
        None,
        Expiry(2029, 11),
    )
    assert update("iats", row(card, code, **{"New Expiry": ""})).new.expiry is None
    assert update("iats", row(card, code, **{"New Card Number": "401288******0000"})).new.last4 == "0000"


@pytest.mark.parametrize(("card", "code"), [("VISA", "E"), ("MC", "EXPIRY")])
def test_a_new_expiry_is_told_alone(card: str, code: str) -> None:
    report = update("iats", row(card, code))
    assert (report.type, report.new.credential, report.new.expiry) == (
        UpdateType.EXPIRY_UPDATED,
        None,
        Expiry(2029, 11),
    )


@pytest.mark.parametrize(
    ("card", "code", "type_"),
    [
        ("VISA", "C", UpdateType.CLOSED),
        ("VISA", "Q", UpdateType.CONTACT_CARDHOLDER),
        ("VISA", "O", UpdateType.OPTED_OUT),
        ("VISA", "V", UpdateType.NO_CHANGE),
        ("VISA", "F", UpdateType.NO_CHANGE),
        ("VISA", "P", UpdateType.NO_MATCH),
        ("VISA", "N", UpdateType.NO_MATCH),
        ("VISA", "G", UpdateType.NO_MATCH),
        ("MC", "CONTAC", UpdateType.CLOSED),
        ("MC", "CONTACH", UpdateType.CONTACT_CARDHOLDER),
        ("MC", "VALID", UpdateType.NO_CHANGE),
        ("MC", "", UpdateType.NO_CHANGE),
        ("MC", "UNKNWN", UpdateType.NO_MATCH),
        ("MC", "NOMATH", UpdateType.NO_MATCH),
        ("MC", "MC_P", UpdateType.NO_MATCH),
        ("MC", "MC_N", UpdateType.NO_MATCH),
        ("MC", "34", UpdateType.OPTED_OUT),
        ("MC", "43", UpdateType.NO_MATCH),
    ],
)
def test_every_other_code_says_nothing_of_a_new_card(card: str, code: str, type_: UpdateType) -> None:
    report = update("iats", row(card, code))
    assert (report.type, report.old, report.new.credential) == (type_, CARD, None)


@pytest.mark.parametrize("code", ["000101", "000102", "000103", "000104", "000105", "000122"])
def test_what_mastercard_rejected_is_refused_with_its_reason(code: str) -> None:
    assert refusal("iats", row("MC", code)).startswith(f"Response Code: {code} means rejected: ")


@pytest.mark.parametrize(
    ("card", "code"), [("MC", "CONTACT"), ("MC", "C"), ("VISA", "CONTAC"), ("VISA", ""), ("VISA", "R"), ("MC", None)]
)
def test_what_another_dialect_says_is_refused(card: str, code: str | None) -> None:
    assert refusal("iats", row(card, "V") | {"Response Code": code}).startswith("Response Code: ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Card Type": "DISCOVER"}, "Card Type"),
        ({"Customer Code": ""}, "Customer Code"),
        ({"New Card Number": "****************"}, "New Card Number"),
        ({"New Card Number": "000000******0000"}, "New Card Number"),
        ({"New Card Number": "", "New Expiry": ""}, "New Expiry"),
        ({"New Expiry": "2911"}, "New Expiry"),
    ],
)
def test_a_broken_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert refusal("iats", row("VISA", "A", **changes)).startswith(f"{field}: ")
