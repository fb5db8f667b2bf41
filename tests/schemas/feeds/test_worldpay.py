"""Worldpay, code by code, in the batch file's shape and in the real-time one."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.update import Credential, Reason, UpdateType
from domain.wallet import Expiry, MethodType
from tests.schemas.feeds.reading import fingerprint, refusal, update

OLD = {"type": "VI", "number": "4111111111111111", "expDate": "1126"}
NEW = {"type": "VI", "number": "4012888888881881", "expDate": "1129"}
OLD_TOKEN = {"type": "VI", "cnpToken": "1111000276870000", "expDate": "1126"}
NEW_TOKEN = {"type": "MC", "cnpToken": "1111000276880001", "expDate": "1129"}


def response(code: str, **changes: Any) -> dict[str, Any]:
    changed = {"updatedCard": NEW if code == "500" else OLD | {"expDate": "1129"}} if code in ("500", "502") else {}
    return {"response": code, "responseTime": "2026-11-16T11:37:04", "originalCard": OLD, **changed} | changes


def real_time(**updater: Any) -> dict[str, Any]:
    return {"response": "000", "accountUpdater": {"originalCardTokenInfo": OLD_TOKEN, **updater}}


def test_500_is_a_new_number_with_its_expiry() -> None:
    report = update("worldpay", response("500"))
    assert (report.type, report.old) == (UpdateType.NUMBER_REPLACED, Credential(fingerprint(OLD["number"])))
    assert report.new.credential == Credential(fingerprint(NEW["number"]))
    assert (report.new.last4, report.new.brand, report.new.expiry) == ("1881", "VISA", Expiry(2029, 11))
    assert report.stamp.occurred_at == datetime(2026, 11, 16, 11, 37, 4, tzinfo=UTC)


def test_500_of_tokens_is_a_new_token_whose_digits_are_no_last4() -> None:
    tokens = {"response": "500", "originalToken": OLD_TOKEN, "updatedToken": NEW_TOKEN}
    report = update("worldpay", {"accountUpdateResponse": tokens})
    assert report.old == Credential("worldpay:1111000276870000")
    assert report.new.credential == Credential("worldpay:1111000276880001")
    assert (report.new.last4, report.new.brand, report.reason) == (None, "MASTERCARD", Reason.BRAND_CHANGE)


def test_502_is_a_new_expiry() -> None:
    report = update("worldpay", response("502"))
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
    report = update("worldpay", response(code))
    assert (report.type, report.new.credential) == (type_, None)
    report = update("worldpay", real_time(extendedCardResponse={"code": code}))
    assert (report.type, report.old) == (type_, Credential("worldpay:1111000276870000"))


def test_in_real_time_another_token_is_a_new_number_and_the_same_a_new_expiry() -> None:
    report = update("worldpay", real_time(newCardTokenInfo=NEW_TOKEN))
    assert (report.type, report.new.credential) == (UpdateType.NUMBER_REPLACED, Credential("worldpay:1111000276880001"))
    report = update("worldpay", real_time(newCardTokenInfo=OLD_TOKEN | {"expDate": "1129"}))
    assert (report.type, report.new.expiry) == (UpdateType.EXPIRY_UPDATED, Expiry(2029, 11))


@pytest.mark.parametrize(
    "record",
    [{"response": code, "originalToken": OLD_TOKEN, "updatedToken": NEW_TOKEN} for code in ("501", "502", "504", "506")]
    + [real_time(extendedCardResponse={"code": "501"}, newCardTokenInfo=NEW_TOKEN)],
)
def test_a_new_token_beside_a_code_that_tells_of_none_is_refused(record: dict[str, Any]) -> None:
    assert "Token: expected none, or the same as original" in refusal("worldpay", record)


def test_an_element_that_says_nothing_is_none() -> None:
    blank = {"number": "", "expDate": ""}
    assert update("worldpay", response("501", updatedCard=blank)) == update("worldpay", response("501"))
    zeros = {"response": "501", "originalToken": OLD_TOKEN, "updatedToken": {"cnpToken": "0" * 16}}
    assert update("worldpay", zeros).type is UpdateType.CLOSED
    assert refusal("worldpay", zeros | {"response": "500"}).startswith("updatedToken.number: ")


@pytest.mark.parametrize("code", ["508", "000", "A", "", OLD["number"]])
def test_an_unknown_code_is_refused(code: str) -> None:
    assert refusal("worldpay", response(code)).startswith("response: ")
    assert OLD["number"] not in refusal("worldpay", response(code))


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (response("500", originalCard={}), "originalCard.number"),
        (response("500", originalCard="x"), "originalCard"),
        (response("500", updatedCard=None), "updatedCard"),
        (response("500", updatedCard=NEW | {"number": "4111"}), "updatedCard.number"),
        (response("500", updatedCard=NEW | {"expDate": "1326"}), "updatedCard.expDate"),
        (response("502", updatedCard={"number": OLD["number"]}), "updatedCard.expDate"),
        (response("501", responseTime="noon"), "responseTime"),
        (real_time(), "accountUpdater.extendedCardResponse.code"),
        ({"accountUpdater": []}, "accountUpdater"),
    ],
)
def test_a_broken_field_is_named(record: dict[str, Any], field: str) -> None:
    assert refusal("worldpay", record).startswith(f"{field}: ")


@pytest.mark.parametrize("name", ["cnpToken", "litleToken", "tokenURL", "token"])
def test_a_token_is_read_under_each_of_its_names(name: str) -> None:
    tokens = {"originalToken": {name: "t-1"}, "updatedToken": {name: "t-2", "expDate": "1129"}}
    report = update("worldpay", {"response": "500", **tokens})
    assert (report.old, report.new.credential) == (Credential("worldpay:t-1"), Credential("worldpay:t-2"))


AT = {"responseTime": "2026-11-16T11:37:04"}


@pytest.mark.parametrize(
    ("record", "type_"),
    [
        (response("500"), UpdateType.NUMBER_REPLACED),
        (response("502"), UpdateType.EXPIRY_UPDATED),
        (response("504"), UpdateType.CONTACT_CARDHOLDER),
        (real_time(newCardTokenInfo=NEW_TOKEN) | AT, UpdateType.NUMBER_REPLACED),
        (real_time(newCardTokenInfo=OLD_TOKEN | {"expDate": "1129"}) | AT, UpdateType.EXPIRY_UPDATED),
        (AT | {"accountUpdater": {"originalCardInfo": OLD, "newCardInfo": NEW}}, UpdateType.NUMBER_REPLACED),
    ],
)
def test_every_update_is_of_a_card_and_dated_by_its_response(record: dict[str, Any], type_: UpdateType) -> None:
    report = update("worldpay", record)
    assert (report.type, report.method_type) == (type_, MethodType.CARD)
    assert report.stamp.occurred_at == datetime(2026, 11, 16, 11, 37, 4, tzinfo=UTC)
