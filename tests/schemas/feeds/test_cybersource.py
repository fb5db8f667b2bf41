"""CyberSource, code by code, in the REST report and in the file of full numbers."""

from typing import Any

import pytest

from domain.update import Credential, Reason, UpdateType
from domain.wallet import Expiry
from schemas.feeds import FEEDS
from tests.schemas.feeds.reading import fingerprint, refusal, update, updates

OLD, NEW = "4111111111111111", "4012888888881881"
TOKEN = Credential("cybersource:tok-1")


def reported(code: str, **now: Any) -> dict[str, Any]:
    looks = {"cardNumber": "401288XXXXXX1881", "cardExpiryMonth": "11", "cardExpiryYear": "2029", "cardType": "VISA"}
    return {
        "sourceRecord": {"token": "tok-1", "cardNumber": "411111XXXXXX1111", "cardType": "VISA"},
        "responseRecord": {"response": code, "reason": "800", **(looks if code in ("NAN", "NED") else {}), **now},
    }


def row(code: str, **changes: Any) -> dict[str, Any]:
    return {
        "Record Identifier": "D",
        "Old Card Number": OLD,
        "New Card Number": NEW if code == "NAN" else "",
        "New Card Expiration Month": "11" if code in ("NAN", "NED") else "",
        "New Card Expiration Year": "29" if code in ("NAN", "NED") else "",
        "Response Code": code,
        "Reason Code": "800",
    } | changes


@pytest.mark.parametrize("stays", [{}, {"token": "tok-1"}])
def test_nan_of_a_token_that_stays_tells_how_its_card_looks_now(stays: dict[str, str]) -> None:
    report = update("cybersource", reported("NAN", **stays))
    assert (report.type, report.old, report.new.credential) == (UpdateType.NUMBER_REPLACED, TOKEN, TOKEN)
    assert report.new.details == {"last4": "1881", "brand": "VISA"}
    assert report.new.expiry == Expiry(2029, 11)


def test_nan_with_another_token_replaces_the_old_one() -> None:
    report = update("cybersource", reported("NAN", token="tok-2", cardType="MASTERCARD"))
    assert (report.old, report.new.credential) == (TOKEN, Credential("cybersource:tok-2"))
    assert (report.new.last4, report.new.expiry, report.reason) == ("1881", Expiry(2029, 11), Reason.BRAND_CHANGE)


def test_nan_in_the_file_is_a_new_number() -> None:
    report = update("cybersource", row("NAN"))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD)))
    assert (report.new.credential, report.new.expiry) == (Credential(fingerprint(NEW)), Expiry(2029, 11))


@pytest.mark.parametrize("record", [reported("NED"), row("NED")])
def test_ned_is_a_new_expiry(record: dict[str, Any]) -> None:
    report = update("cybersource", record)
    assert (report.type, report.new.credential, report.new.expiry) == (
        UpdateType.EXPIRY_UPDATED,
        None,
        Expiry(2029, 11),
    )


@pytest.mark.parametrize(
    ("code", "type_"),
    [("ACL", UpdateType.CLOSED), ("CCH", UpdateType.CONTACT_CARDHOLDER), ("CUR", UpdateType.NO_CHANGE)],
)
def test_every_other_code_speaks_of_the_old_card_alone(code: str, type_: UpdateType) -> None:
    assert (update("cybersource", reported(code)).type, update("cybersource", reported(code)).old) == (type_, TOKEN)
    report = update("cybersource", row(code))
    assert (report.type, report.old, report.new.credential) == (type_, Credential(fingerprint(OLD)), None)


@pytest.mark.parametrize(
    ("code", "reason", "why"),
    [("DEC", "862", "opted out"), ("DEC", "852", "not known"), ("ERR", "811", "check digit")],
)
def test_what_cybersource_refused_is_refused_with_its_reason(code: str, reason: str, why: str) -> None:
    assert why in refusal("cybersource", reported(code, reason=reason))
    assert why in refusal("cybersource", row(code, **{"Reason Code": reason}))


@pytest.mark.parametrize("reason", ["803", "852", "862"])
def test_a_reason_counts_beside_a_refusal_alone(reason: str) -> None:
    """Reports of updates have a reason too."""
    assert update("cybersource", reported("NED", reason=reason)).type is UpdateType.EXPIRY_UPDATED
    assert update("cybersource", row("ACL", **{"Reason Code": reason})).type is UpdateType.CLOSED


@pytest.mark.parametrize("code", ["NUP", "UNA", "DEC", "ERR", "XXX", "", OLD])
def test_a_code_of_unknown_meaning_is_refused(code: str) -> None:
    assert refusal("cybersource", reported(code)).startswith("responseRecord.response: ")
    assert refusal("cybersource", row(code)).startswith("Response Code: ")
    assert OLD not in refusal("cybersource", row(code))


def test_a_whole_report_tells_what_its_records_tell() -> None:
    batch = {"batchId": "b-1", "records": [reported("ACL"), reported("CCH")]}
    assert [report.type for report in updates("cybersource", batch)] == [
        UpdateType.CLOSED,
        UpdateType.CONTACT_CARDHOLDER,
    ]
    assert refusal("cybersource", batch | {"records": "none"}).startswith("records: ")


@pytest.mark.parametrize("identifier", ["H", "F"])
def test_the_first_and_last_record_of_a_file_tell_nothing(identifier: str) -> None:
    assert updates("cybersource", row("", **{"Record Identifier": identifier})) == []


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (reported("NAN") | {"sourceRecord": {}}, "sourceRecord.token"),
        (reported("NAN") | {"responseRecord": []}, "responseRecord"),
        (reported("NED", token="tok-2"), "responseRecord.token"),
        (reported("ACL", token="tok-2"), "responseRecord.token"),
        (reported("NED", cardExpiryMonth="13"), "responseRecord.cardExpiryMonth"),
        (reported("NED", cardExpiryMonth="", cardExpiryYear=""), "responseRecord.cardExpiryMonth"),
        (row("NAN", **{"Old Card Number": "4111 XXXX"}), "Old Card Number"),
        (row("NAN", **{"New Card Number": ""}), "New Card Number"),
        (row("NED", **{"New Card Expiration Year": ""}), "New Card Expiration Month"),
    ],
)
def test_a_broken_field_is_named(record: dict[str, Any], field: str) -> None:
    assert refusal("cybersource", record).startswith(f"{field}: ")


@pytest.mark.parametrize("number", [None, "", "XXXX"])
def test_another_number_behind_the_same_token_is_refused_without_its_last_four_digits(number: str | None) -> None:
    record = {
        "sourceRecord": {"token": "T-1"},
        "responseRecord": {"response": "NAN", "token": "T-1", "cardNumber": number, "cardExpiryMonth": "11",
                           "cardExpiryYear": "2029"},
    }  # fmt: skip
    assert refusal("cybersource", record).startswith("responseRecord.cardNumber: ")


def test_a_file_has_its_columns_in_this_order() -> None:
    assert ",".join(FEEDS["cybersource"].rows.names) == (
        "Record Identifier,Request ID,Old Card Number,Old Card Expiration Month,Old Card Expiration Year,"
        "New Card Number,New Card Expiration Month,New Card Expiration Year,"
        "Merchant Reference ID,BA Sub Merchant ID,Response Code,Reason Code"
    )
