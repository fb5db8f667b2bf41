"""Every fault that pydantic finds is named by the path of its field and by what was expected, in our words."""

import json
from typing import Any

import pytest

from domain.refusal import RefusalCode, Refused
from schemas.canonical import parse
from schemas.merchant import read_merchant
from schemas.validation import _EXPECTED
from schemas.wallet import read_wallet
from tests.acceptance.lines import merchant, wallet

METHOD = "paymentMethods.0"


def method(**changes: Any) -> dict[str, Any]:
    line = wallet(1)
    line["paymentMethods"][0] |= changes
    return line


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        (method(type="CARDX"), [f"{METHOD}.type: expected CARD, BANK_ACCOUNT, DIGITAL_WALLET or GIFT_CARD"]),
        (method(credentials=[5]), [f"{METHOD}.credentials.0: expected a JSON object"]),
        (method(credentials={}), [f"{METHOD}.credentials: expected an array"]),
        (method(credentials=[], fingerprint=None),
         [f"{METHOD}.credentials: expected at least one credential, or a fingerprint"]),
        (method(credentials=[{"vendor": "a b", "token": "t"}]),
         [f"{METHOD}.credentials.0.vendor: expected a name without colons and white space that begins with no @"]),
        (method(credentials=[{"vendor": "vau"}]), [f"{METHOD}.credentials.0: expected vendor and token together"]),
        (method(details={"last4": "12345"}), [f"{METHOD}.details.last4: expected 1 to 4 letters, digits or stars"]),
        (method(details={"color": 1.5, "int": []}), [
            f"{METHOD}.details.color: expected a text or an integer or a boolean",
            f"{METHOD}.details.int: expected a text or an integer or a boolean",
        ]),
        (method(details={"color": "x" * 256}), [f"{METHOD}.details.color: expected 255 characters at most"]),
        (wallet(1) | {"merchants": []}, ["merchants: required, 1 at least"]),
        (wallet(1) | {"customer": {"hsid": "h", "metadata": {"": "x"}}},
         ["customer.metadata: expected names of 1 to 255 characters"]),
        (wallet(1) | {"customer": {"hsid": "h", "dateOfBirth": "1980-13-01"}},
         ["customer.dateOfBirth: expected a date such as 1980-01-31"]),
        ([], ["line: expected a JSON object"]),
    ],
)  # fmt: skip
def test_a_fault_of_a_wallet_has_the_path_of_its_field(line: Any, texts: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        read_wallet(json.dumps(line))
    assert [str(refusal) for refusal in refused.value.refusals] == texts


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"occurredAt": "2026-11-20T12:00:00"}, "occurredAt: expected an ISO 8601 timestamp with a time zone"),
        ({"occurredAt": "2026-13-20T12:00:00Z"}, "occurredAt: expected an ISO 8601 timestamp with a time zone"),
        ({"old": 5}, "old: expected a JSON object"),
        ({"new": {"expiryMonth": 1.5}}, "new.expiryMonth: expected an integer"),
        ({"customer": {"metadata": []}}, "customer.metadata: expected a JSON object"),
        ({"vendor": ""}, "vendor: required"),
        ({"id": None}, "id: expected a text"),
    ],
)
def test_a_fault_of_an_update_has_the_path_of_its_field(change: dict[str, Any], text: str) -> None:
    update = {"id": "u-1", "vendor": "vau", "type": "CLOSED", "occurredAt": "2026-11-20T12:00:00Z",
              "old": {"token": "tok_A"}}  # fmt: skip
    with pytest.raises(Refused) as refused:
        parse(json.dumps(update | change).encode())
    assert str(refused.value) == text


def test_what_is_no_json_is_refused_without_pydantics_words() -> None:
    with pytest.raises(Refused) as refused:
        parse(b'{"id": ')
    assert refused.value.refusal[:3] == (RefusalCode.NOT_READABLE, "message", "JSON")


def test_a_secret_is_refused_in_our_words_and_not_shown() -> None:
    line = merchant("m-1", url="https://shop.example/")
    line["endpoints"][0]["secret"] = "not-a-secret"
    with pytest.raises(Refused) as refused:
        read_merchant(json.dumps(line))
    assert str(refused.value) == "endpoints.0.secret: a signing secret starts with whsec_"


def test_an_expected_value_needs_nothing_but_the_limits_of_its_field() -> None:
    limits = {"min_length": 1, "expected": "A or B", "max_length": 2, "ge": 3, "le": 4}
    assert all("{" not in expected.format_map(limits) for _, expected in _EXPECTED.values())
