"""Mastercard's batch codes, one by one."""

from typing import Any

import pytest

from domain.update import Credential, UpdateType
from domain.wallet import Expiry
from tests.schemas.feeds.reading import fingerprint, refusal, update

OLD, NEW = "5555555555554444", "2223003122003222"


def row(code: str, **changes: Any) -> dict[str, Any]:
    return {
        "oldAccountNumber": OLD,
        "oldExpirationDate": "0526",
        "newAccountNumber": NEW if code == "UPDATE" else "",
        "newExpirationDate": "0929" if code in ("UPDATE", "EXPIRY") else "",
        "responseCode": code,
    } | changes


def test_update_is_a_new_number_with_its_expiry() -> None:
    report = update("abu-batch", row("UPDATE"))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD)))
    assert (report.new.credential, report.new.expiry) == (Credential(fingerprint(NEW)), Expiry(2029, 9))


def test_an_expiry_that_is_blank_has_stayed() -> None:
    assert update("abu-batch", row("UPDATE", newExpirationDate=" ")).new.expiry == Expiry(2026, 5)


def test_a_number_that_is_blank_has_stayed() -> None:
    report = update("abu-batch", row("UPDATE", newAccountNumber=""))
    assert (report.type, report.new.credential, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, None, Expiry(2029, 9))


def test_expiry_is_a_new_expiry() -> None:
    report = update("abu-batch", row("EXPIRY"))
    assert (report.type, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, Expiry(2029, 9))


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("CONTAC", UpdateType.CLOSED),
        ("CONTACH", UpdateType.CONTACT_CARDHOLDER),
        ("VALID", UpdateType.NO_CHANGE),
        ("", UpdateType.NO_CHANGE),
        ("UNKNWN", UpdateType.NO_MATCH),
        ("NOMATH", UpdateType.NO_MATCH),
        ("MC_P", UpdateType.NO_MATCH),
        ("MC_N", UpdateType.NO_MATCH),
        ("34", UpdateType.OPTED_OUT),
        ("43", UpdateType.NO_MATCH),
    ],
)
def test_every_other_code_speaks_of_the_old_number_alone(code: str, type_: UpdateType) -> None:
    report = update("abu-batch", row(code))
    assert (report.type, report.old, report.new.credential) == (type_, Credential(fingerprint(OLD)), None)


@pytest.mark.parametrize("changes", [{"newExpirationDate": "9999"}, {"oldExpirationDate": "XX/XX"}])
@pytest.mark.parametrize("code", ["CONTAC", "CONTACH", "VALID"])
def test_an_expiry_that_tells_nothing_refuses_nothing(code: str, changes: dict[str, Any]) -> None:
    assert update("abu-batch", row(code, **changes)).type is update("abu-batch", row(code)).type


def test_the_old_expiry_is_read_only_where_it_stays() -> None:
    assert update("abu-batch", row("UPDATE", oldExpirationDate="XX/XX")).new.expiry == Expiry(2029, 9)


@pytest.mark.parametrize("code", ["000101", "000102", "000103", "000104", "000105", "000122"])
def test_what_mastercard_rejected_is_refused_with_its_reason(code: str) -> None:
    assert refusal("abu-batch", row(code)).startswith(f"responseCode: {code} means rejected: ")


@pytest.mark.parametrize("code", ["CONTACT", "contac", "A", "C", OLD, None])
def test_an_unknown_code_is_refused(code: str | None) -> None:
    reason = refusal("abu-batch", row("VALID", responseCode=code))
    assert reason.startswith("responseCode: ")
    assert OLD not in reason


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"oldAccountNumber": ""}, "oldAccountNumber"),
        ({"newAccountNumber": "5555 XXXX"}, "newAccountNumber"),
        ({"newAccountNumber": "", "newExpirationDate": ""}, "newAccountNumber"),
        ({"newExpirationDate": "2909"}, "newExpirationDate"),
        ({"newExpirationDate": "", "oldExpirationDate": "2605"}, "oldExpirationDate"),
    ],
)
def test_a_broken_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert refusal("abu-batch", row("UPDATE", **changes)).startswith(f"{field}: ")
