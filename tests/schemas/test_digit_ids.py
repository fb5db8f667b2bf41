"""Where `REPOINT_DIGIT_IDS` says that digits are ids they are; everywhere else they are a card number."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from domain.refusal import Refused
from domain.wallet import token_key
from producers.topic import ingest
from schemas import intake, thin
from schemas.canonical import parse
from schemas.digit_ids import DigitIds
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.masking import mask_message
from schemas.wallet import read_wallet
from tests.schemas.feeds.reading import EDGE
from tests.schemas.feeds.test_every_feed import samples

# CyberSource's tokens pass Luhn and keep the last four digits; these begin as a brand's numbers do, too.
TOKEN, NEW_TOKEN, CUSTOMER = "4539578763621486", "5555555555554444", "6011000990139424"
IDS = frozenset({"cybersource", "visa-tms", "customer"})


def update(**changed: object) -> dict[str, Any]:
    message = {
        "id": "u-1",
        "vendor": "cybersource",
        "type": "NUMBER_REPLACED",
        "occurredAt": "2026-11-20T09:14:13Z",
        "old": {"token": TOKEN},
        "new": {"token": NEW_TOKEN, "last4": "4444"},
        "customer": {"enterpriseId": CUSTOMER, "hsid": CUSTOMER, "metadata": {"patientId": CUSTOMER}},
    }
    return message | changed


def in_event(message: object) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "e", "data": message}


def in_base64(message: object) -> dict[str, Any]:
    return {"specversion": "1.0", "data_base64": base64.b64encode(json.dumps(message).encode()).decode()}


@pytest.mark.parametrize("wrap", [dict, in_event, in_base64])
def test_an_update_with_ids_of_digits_is_read_and_kept_as_it_came_where_the_setting_says_so(wrap: Any) -> None:
    body = json.dumps(wrap(update(id=CUSTOMER))).encode()
    assert parse(body, digit_ids=IDS).update.old.key == token_key("cybersource", TOKEN)  # type: ignore[union-attr]
    assert mask_message(body, IDS).encode() == body
    line = ingest.read_update(1, body, digit_ids=IDS)
    assert (line.refusal_text, line.messages[0].value) == (None, body)
    with pytest.raises(Refused, match="expected no card number"):
        parse(body)
    assert TOKEN not in mask_message(body)


@pytest.mark.parametrize("wrap", [dict, in_event, in_base64])
@pytest.mark.parametrize(
    ("changed", "digit_ids"),
    [
        ({}, {"customer"}),
        ({}, {"cybersource"}),
        ({}, {"visa-tms", "customer"}),
        ({"vendor": "stripe"}, IDS),
        ({"old": {"token": f"{TOKEN} "}}, IDS),
        ({"old": {"token": f"%B{TOKEN}^DOE/JOHN^2512"}}, IDS),
        ({"old": {"token": TOKEN, "fingerprint": TOKEN}}, IDS),
        ({"new": {"token": NEW_TOKEN, "nameOnCard": TOKEN}}, IDS),
        ({"new": {"token": NEW_TOKEN, "par": TOKEN}}, IDS),
        ({"customer": {"enterpriseId": "e", "metadata": {TOKEN: "x"}}}, IDS),
        ({"token": TOKEN}, IDS),
        ({"extra": {"token": TOKEN}}, IDS),
        ({"customer": {"token": TOKEN, "hsid": "h"}}, IDS),
        ({"id": f"see {CUSTOMER}"}, IDS),
    ],
)
def test_elsewhere_digits_are_refused_and_masked(wrap: Any, changed: Mapping[str, object], digit_ids: DigitIds) -> None:
    body = json.dumps(wrap(update(**changed))).encode()
    with pytest.raises(Refused, match="expected no card number"):
        parse(body, digit_ids=digit_ids)
    assert TOKEN not in mask_message(body, digit_ids)
    assert "expected no card number" in str(ingest.read_update(1, body, digit_ids=digit_ids).refusal_text)


@pytest.mark.parametrize(
    "event", ["{}", '{{"specversion": "1.0", "data": {}}}', '{{"specversion": "1.0", "data_base64": "{}"}}']
)
def test_in_an_update_with_a_repeated_key_digits_are_masked_as_without_the_setting(event: str) -> None:
    """A JSON reader keeps the last of two values, and the card number may be the first."""
    text = json.dumps(update()).replace('"new": {', f'"new": {{"nameOnCard": "{TOKEN}", "nameOnCard": "J. Doe", ')
    body = event.format(base64.b64encode(text.encode()).decode() if "base64" in event else text).encode()
    assert mask_message(body, IDS) == mask_message(body) != body.decode()


@pytest.mark.parametrize("deep", ["[" * 100_000, "[" * 100_000 + "]" * 100_000], ids=["cut off", "whole"])
def test_a_message_that_is_too_deep_to_be_read_is_masked_all_the_same(deep: str) -> None:
    assert TOKEN not in mask_message(f'{{"x": "{TOKEN}", "y": {deep}'.encode(), IDS)


def test_a_merge_may_name_customers_by_digits() -> None:
    merge = {name: {"enterpriseId": CUSTOMER} for name in ("from", "into")}
    merge["into"] = {"hsid": TOKEN}
    message = {"id": "1", "vendor": "crm", "type": "WALLET_MERGED", "occurredAt": "2026-11-20T09:14:13Z", **merge}
    assert parse(json.dumps(message).encode(), digit_ids=IDS).update.merge_into == (("hsid", TOKEN),)
    with pytest.raises(Refused, match=r"^\$\.from\.enterpriseId: expected no card number$"):
        parse(json.dumps(message).encode())


def wallet(**changed: object) -> str:
    method = {
        "id": "6d1f3a4e-0000-4000-8000-000000000001",
        "type": "CARD",
        "status": "ACTIVE",
        "credentials": [{"vendor": "cybersource", "token": TOKEN}],
        **changed,
    }
    customer = {"enterpriseId": CUSTOMER, "metadata": {"patientId": CUSTOMER}}
    line = {"id": "6d1f3a4e-0000-4000-8000-000000000002", "customer": customer, "merchants": ["m"]}
    return json.dumps(line | {"paymentMethods": [method]})


def test_a_wallet_with_ids_of_digits_is_read_where_the_setting_says_so() -> None:
    assert token_key("cybersource", TOKEN) in read_wallet(wallet(), digit_ids=IDS).methods[0].keys
    for names in ("", "customer", "cybersource"):
        with pytest.raises(Refused, match="expected no card number"):
            read_wallet(wallet(), digit_ids=frozenset({names}))


@pytest.mark.parametrize(
    "changed",
    [
        {"nickname": TOKEN},
        {"fingerprint": TOKEN},
        {"details": {"nameOnCard": TOKEN}},
        {"credentials": [{"vendor": "stripe", "token": TOKEN}]},
        {"credentials": [{"vendor": "cybersource", "token": f"{TOKEN[:4]} {TOKEN[4:]}"}]},
    ],
)
def test_elsewhere_in_a_wallet_digits_are_refused(changed: Mapping[str, object]) -> None:
    with pytest.raises(Refused, match="expected no card number"):
        read_wallet(wallet(**changed), digit_ids=IDS)


def test_cybersources_report_names_tokens_of_digits() -> None:
    report = next(record for record in samples(FEEDS["cybersource"]) if "responseRecord" in record)
    record = json.loads(json.dumps(report))
    record["sourceRecord"]["token"] = record["responseRecord"]["token"] = TOKEN
    taken = intake.to_messages(FEEDS["cybersource"], record, Edge(EDGE.at, EDGE.fingerprints, digit_ids=IDS))
    assert isinstance(taken, list)
    assert TOKEN in taken[0].value.decode()
    with pytest.raises(Refused, match="expected no card number"):
        intake.to_messages(FEEDS["cybersource"], record, EDGE)


@pytest.mark.parametrize("kind", ["tms.networktoken.updated", "tms.networktoken.provisioned"])
def test_a_thin_event_of_visa_names_an_instrument_of_digits(kind: str) -> None:
    text = json.dumps(samples(FEEDS["visa-tms"])[0])
    record = json.loads(text)
    record["eventType"] = kind
    payload = record.get("payload") or record["payloads"]
    for each in payload:
        each["data"]["_links"]["paymentInstruments"] = [{"href": f"/tms/v1/paymentinstruments/{TOKEN}"}]
    taken = intake.to_messages(FEEDS["visa-tms"], record, Edge(EDGE.at, digit_ids=IDS))
    assert isinstance(taken, list)
    assert TOKEN in taken[0].value.decode()
    if taken[0].thin:
        assert thin.parse(taken[0].value, digit_ids=IDS).fetch.path.endswith(TOKEN)
        assert mask_message(taken[0].value, IDS) == taken[0].value.decode()
    with pytest.raises(Refused, match="expected no card number"):
        intake.to_messages(FEEDS["visa-tms"], record, EDGE)


@pytest.mark.parametrize(
    "body", [[TOKEN], TOKEN, {"old": TOKEN}, {"old": [TOKEN], "vendor": "cybersource"}, [{"old": {"token": TOKEN}}]]
)
def test_what_is_no_update_no_wallet_and_no_thin_event_has_no_ids(body: object) -> None:
    written = json.dumps(body)
    with pytest.raises(Refused, match="expected no card number"):
        parse(written.encode(), digit_ids=IDS)
    with pytest.raises(Refused, match="expected no card number"):
        thin.parse(written.encode(), digit_ids=IDS)
    with pytest.raises(Refused, match="expected no card number"):
        read_wallet(written, digit_ids=IDS)
    assert TOKEN not in mask_message(written.encode(), IDS)


@pytest.mark.parametrize(
    "line",
    [
        {"customer": [CUSTOMER]},
        {"customer": {"metadata": CUSTOMER}},
        {"customer": {"dateOfBirth": CUSTOMER}},
        {"paymentMethods": {"credentials": TOKEN}},
        {"paymentMethods": [TOKEN]},
        {"paymentMethods": [{"credentials": [TOKEN]}]},
        {"paymentMethods": [{"credentials": [{"vendor": "vau", "token": TOKEN}]}]},
        {"paymentMethods": [{"credentials": [{"vendor": "cybersource", "fingerprint": TOKEN}]}]},
        {"paymentMethods": [{"nickname": TOKEN, "credentials": [{"vendor": "cybersource", "token": TOKEN}]}]},
        {"id": TOKEN},
    ],
)  # fmt: skip
def test_digits_of_a_wallet_are_a_card_number_outside_its_ids(line: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="expected no card number"):
        read_wallet(json.dumps(line), digit_ids=IDS)
