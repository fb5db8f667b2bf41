"""TabaPay, code by code, of each network's own."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import refusal, update

CARD = Credential("tabapay:acct-1")
REASONS = {"A": "Account", "UPDATE": "Account", "E": "Expiry", "EXPIRY": "Expiry"}


def row(brand: str, code: str, **changes: Any) -> dict[str, Any]:
    changed = code in REASONS
    return {
        "Account ID": "acct-1",
        "Original Last 4": "1111",
        "Original Brand": brand,
        "New Last 4": {"Account": "1881", "Expiry": "1111"}.get(REASONS.get(code, ""), ""),
        "New Expiration Date": "1129" if changed else "",
        "New Brand": brand if changed else "",
        "Reason Code": REASONS.get(code, ""),
        "Network Code": code,
    } | changes


@pytest.mark.parametrize(("brand", "code"), [("Visa", "A"), ("Mastercard", "UPDATE")])
def test_a_new_number_is_told_of_the_account_id_that_stays(brand: str, code: str) -> None:
    report = update("tabapay", row(brand, code))
    assert (report.type, report.old, report.new.credential) == (UpdateType.NUMBER_REPLACED, CARD, CARD)
    assert report.new.details == {"last4": "1881", "brand": brand.upper()}
    assert report.new.expiry == Expiry(2029, 11)


@pytest.mark.parametrize(("brand", "code"), [("Visa", "E"), ("Mastercard", "EXPIRY")])
def test_a_new_expiry_is_told_alone(brand: str, code: str) -> None:
    report = update("tabapay", row(brand, code))
    assert (report.type, report.new.credential, report.new.expiry) == (
        UpdateType.EXPIRY_UPDATED,
        None,
        Expiry(2029, 11),
    )


SAME = {"New Last 4": "1111"}
ZEROS = {"Original BIN": "510510", "New BIN": "000000", "New Last 4": "0000"}


@pytest.mark.parametrize(
    ("changes", "type_"),
    [
        ({"Reason Code": "Expiry", **SAME}, UpdateType.EXPIRY_UPDATED),
        ({"Reason Code": "Expiry", "New Last 4": ""}, UpdateType.EXPIRY_UPDATED),
        ({"Reason Code": "Expiry", **ZEROS}, UpdateType.EXPIRY_UPDATED),
        ({"Reason Code": "", **ZEROS}, UpdateType.EXPIRY_UPDATED),
        ({"Reason Code": "", "New Last 4": ""}, UpdateType.EXPIRY_UPDATED),
        ({"Reason Code": "", **SAME}, UpdateType.EXPIRY_UPDATED),
        ({"Reason Code": "", **SAME, "Original BIN": "510510", "New BIN": "510510"}, UpdateType.EXPIRY_UPDATED),
        ({"Reason Code": "", **SAME, "Original BIN": "510510", "New BIN": "222300"}, UpdateType.NUMBER_REPLACED),
        ({"Reason Code": "Account", **SAME}, UpdateType.NUMBER_REPLACED),
        ({"Reason Code": ""}, UpdateType.NUMBER_REPLACED),
    ],
)
def test_update_is_a_new_number_or_a_new_expiry(changes: dict[str, Any], type_: UpdateType) -> None:
    report = update("tabapay", row("Mastercard", "UPDATE", **changes))
    assert (report.type, report.old, report.new.expiry) == (type_, CARD, Expiry(2029, 11))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Reason Code": "Closed"}, "Reason Code"),
        ({"Reason Code": "Account", "New Last 4": ""}, "New Last 4"),
        ({"Reason Code": "", "New Last 4": "", "New Expiration Date": ""}, "New Expiration Date"),
        ({"Reason Code": "", "Original Last 4": "x"}, "Original Last 4"),
    ],
)
def test_an_update_of_nothing_is_refused(changes: dict[str, Any], field: str) -> None:
    assert refusal("tabapay", row("Mastercard", "UPDATE", **changes)).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("brand", "code"), [("Visa", "E"), ("Visa", "C"), ("Visa", "V"), ("Mastercard", "EXPIRY"), ("Mastercard", "CONTAC")]
)
@pytest.mark.parametrize(
    "digits",
    [
        {"New Last 4": "1881"},
        {**SAME, "Original BIN": "510510", "New BIN": "222300"},
        {"New Last 4": "0000", "New BIN": "510510"},
    ],
)
def test_other_digits_beside_a_code_that_tells_of_none_are_refused(
    brand: str, code: str, digits: dict[str, Any]
) -> None:
    assert refusal("tabapay", row(brand, code, **digits)).startswith(
        "New Last 4: expected none, or what there was, for "
    )
    assert refusal("tabapay", row("Mastercard", "UPDATE", **{"Reason Code": "Expiry"} | digits)).startswith(
        "New Last 4: "
    )


def test_zeros_are_no_digits_but_four_of_them_may_be_the_last() -> None:
    assert refusal("tabapay", row("Visa", "A", **ZEROS)) == "New Last 4: required"
    assert refusal("tabapay", row("Visa", "A", **ZEROS | {"New BIN": ""})) == "New Last 4: required"
    last = row("Visa", "A", **ZEROS | {"New BIN": "401288"})
    assert update("tabapay", last).new.details["last4"] == "0000"


@pytest.mark.parametrize("code", ["", "34", "43"])
def test_a_code_that_tells_nothing_with_a_reason_that_does_is_refused(code: str) -> None:
    assert refusal("tabapay", row("Mastercard", code, **{"Reason Code": "Account"})).startswith("Reason Code: ")


@pytest.mark.parametrize(
    ("brand", "code", "type_"),
    [
        ("Visa", "C", UpdateType.CLOSED),
        ("Visa", "Q", UpdateType.CONTACT_CARDHOLDER),
        ("Visa", "O", UpdateType.OPTED_OUT),
        ("Visa", "V", UpdateType.NO_CHANGE),
        ("Visa", "P", UpdateType.NO_MATCH),
        ("Visa", "N", UpdateType.NO_MATCH),
        ("Mastercard", "CONTAC", UpdateType.CLOSED),
        ("Mastercard", "CONTACH", UpdateType.CONTACT_CARDHOLDER),
        ("Mastercard", "VALID", UpdateType.NO_CHANGE),
        ("Mastercard", "UNKNWN", UpdateType.NO_MATCH),
        ("Mastercard", "NOMATH", UpdateType.NO_MATCH),
        ("Mastercard", "MC_P", UpdateType.NO_MATCH),
        ("Mastercard", "MC_N", UpdateType.NO_MATCH),
        ("Mastercard", "34", UpdateType.OPTED_OUT),
        ("Mastercard", "43", UpdateType.NO_MATCH),
        ("Mastercard", "", UpdateType.NO_CHANGE),
    ],
)
def test_every_other_code_says_nothing_of_a_new_card(brand: str, code: str, type_: UpdateType) -> None:
    report = update("tabapay", row(brand, code))
    assert (report.type, report.old, report.new.credential) == (type_, CARD, None)


@pytest.mark.parametrize(
    ("brand", "code"),
    [
        *(("Visa", code) for code in ("101", "103", "104", "122")),
        *(("Mastercard", f"000{code}") for code in ("101", "102", "103", "104", "105", "122")),
    ],
)
def test_what_the_network_rejected_is_refused_with_its_reason(brand: str, code: str) -> None:
    assert refusal("tabapay", row(brand, code)).startswith(f"Network Code: {code} means rejected: ")


@pytest.mark.parametrize(
    ("brand", "code"), [("Visa", "CONTAC"), ("Mastercard", "C"), ("Mastercard", "CONTACT"), ("Visa", ""), ("Visa", "R")]
)
def test_a_code_of_another_network_or_of_none_is_refused(brand: str, code: str) -> None:
    assert refusal("tabapay", row(brand, code)).startswith("Network Code: ")


@pytest.mark.parametrize("written", ["1129", "11/29", "112029", "202911", "2029-11"])
def test_an_expiry_is_read_either_way_round(written: str) -> None:
    assert update("tabapay", row("Visa", "E", **{"New Expiration Date": written})).new.expiry == Expiry(2029, 11)


def test_zeros_that_got_lost_in_front_are_put_back() -> None:
    assert update("tabapay", row("Visa", "A", **{"New Last 4": "42"})).new.details["last4"] == "0042"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Account ID": " "}, "Account ID"),
        ({"Original Brand": "Discover"}, "Original Brand"),
        ({"Original Brand": None}, "Original Brand"),
        ({"Reason Code": "Expiry"}, "Reason Code"),
        ({"New Last 4": ""}, "New Last 4"),
        ({"New Last 4": "**81"}, "New Last 4"),
        ({"New Expiration Date": "2911"}, "New Expiration Date"),
    ],
)
def test_a_broken_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert refusal("tabapay", row("Visa", "A", **changes)).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("original", "new", "type_"),
    [
        ("411111", "411111", UpdateType.EXPIRY_UPDATED),
        ("", "411111", UpdateType.EXPIRY_UPDATED),
        ("411111", "", UpdateType.EXPIRY_UPDATED),
    ],
)
def test_a_first_part_that_is_missing_makes_no_other_number(original: str, new: str, type_: UpdateType) -> None:
    record = row("Visa", "E", **{"Original BIN": original, "New BIN": new})
    assert update("tabapay", record).type is type_


def test_another_first_part_is_another_number() -> None:
    record = row("Visa", "E", **{"Original BIN": "411111", "New BIN": "401288"})
    assert refusal("tabapay", record)
