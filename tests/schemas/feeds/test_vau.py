"""Visa Account Updater, code by code."""

from datetime import timedelta
from typing import Any

import pytest

from domain.update import Credential, Reason, Update, UpdateType
from domain.wallet import Expiry
from schemas.feeds.feed import Edge
from tests.domain.build import at_once, link, method, wallet
from tests.schemas.feeds.reading import EDGE, FINGERPRINTS, fingerprint, refusal, update

OLD, NEW = "4111111111111111", "4012888888881881"


def response(code: str, **changes: Any) -> dict[str, Any]:
    return {
        "oldCardholderAccountNumber": OLD,
        "oldExpirationDate": "2612",
        "newCardholderAccountNumber": NEW if code == "A" else OLD if code in "EV" else " " * 19,
        "newExpirationDate": "2911" if code in "AEV" else "    ",
        "serviceIdentifier": code,
        "previouslySentFlag": "N",
    } | changes


def read(code: str, **changes: Any) -> Update:
    return update("vau", response(code, **changes))


def test_a_is_a_new_number_with_its_expiry() -> None:
    report = read("A")
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD)))
    assert report.new.credential == Credential(fingerprint(NEW))
    assert (report.new.last4, report.new.brand, report.new.expiry) == ("1881", "VISA", Expiry(2029, 11))


def test_e_is_a_new_expiry() -> None:
    report = read("E")
    assert (report.type, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, Expiry(2029, 11))


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("C", UpdateType.CLOSED),
        ("Q", UpdateType.CONTACT_CARDHOLDER),
        ("O", UpdateType.OPTED_OUT),
        ("P", UpdateType.NO_MATCH),
        ("N", UpdateType.NO_MATCH),
        ("V", UpdateType.NO_CHANGE),
    ],
)
def test_every_other_code_speaks_of_the_old_number_alone(code: str, type_: UpdateType) -> None:
    report = read(code)
    assert (report.type, report.old, report.new.credential) == (type_, Credential(fingerprint(OLD)), None)


@pytest.mark.parametrize("code", ["R", "U", "", "a", OLD, OLD[:-1] + "x"])
def test_an_unknown_code_is_refused(code: str) -> None:
    assert refusal("vau", response(code)).startswith("serviceIdentifier: ")
    assert OLD[:-1] not in refusal("vau", response(code))


def test_what_visa_rejected_is_refused_with_its_reason() -> None:
    assert refusal("vau", response("A", rejectReasonCode="4")) == (
        "rejectReasonCode: Visa rejected the inquiry, the number has not 13, 15, 16 or 19 digits"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("newExpirationDate", "1399"),
        ("newExpirationDate", "812"),
        ("newExpirationDate", "210"),
        ("newExpirationDate", "20281"),
        ("previouslySentFlag", "2911"),
        ("previouslySentFlag", "y"),
        ("newCardholderAccountNumber", " "),
        ("oldCardholderAccountNumber", "4111x"),
    ],
)
def test_a_broken_field_is_named(field: str, value: str) -> None:
    assert refusal("vau", response("A", **{field: value})).startswith(f"{field}: ")


MASTERCARD = "5105105105105100"


@pytest.mark.parametrize(
    ("old", "new", "brand", "reason"),
    [
        (OLD, NEW, "VISA", Reason.REISSUED),
        (OLD, MASTERCARD, "MASTERCARD", Reason.BRAND_CHANGE),
        (MASTERCARD, OLD, "VISA", Reason.BRAND_CHANGE),
    ],
)
def test_the_brand_is_that_of_the_number_and_another_one_is_said_to_be_one(
    old: str, new: str, brand: str, reason: Reason
) -> None:
    report = read("A", oldCardholderAccountNumber=old, newCardholderAccountNumber=new)
    assert (report.new.brand, report.reason) == (brand, reason)


@pytest.mark.parametrize("code", list("AECQ"))
def test_what_was_sent_before_is_read_and_makes_no_webhook_again(code: str) -> None:
    first = read(code)
    again = update("vau", response(code, previouslySentFlag="Y"), Edge(EDGE.at + timedelta(days=39), FINGERPRINTS))
    assert (again.type, again.old, again.new) == (first.type, first.old, first.new)
    before = wallet(method(fingerprint(OLD)), links=[link(f"m-{fingerprint(OLD)}")])
    once = at_once(before, first)
    assert once.changes
    assert at_once(once.wallet, first, again).changes == ()
    assert at_once(before, again).wallet == once.wallet


@pytest.mark.parametrize("flag", ["N", "Y", "", " ", None])
def test_the_flag_changes_no_meaning(flag: str | None) -> None:
    assert read("A", previouslySentFlag=flag) == read("A")


def test_the_same_row_is_the_same_update_and_a_row_of_another_day_is_not() -> None:
    assert read("A") == read("A")
    later = Edge(EDGE.at.replace(day=21), EDGE.fingerprints)
    assert update("vau", response("A"), later).stamp != read("A").stamp


def test_a_blank_reject_code_refuses_nothing() -> None:
    assert update("vau", response("A", rejectReasonCode="  ")).type is read("A").type


def test_no_number_goes_in_without_a_key() -> None:
    assert "REPOINT_FINGERPRINT_KEY" in refusal("vau", response("A"), Edge(EDGE.at))
