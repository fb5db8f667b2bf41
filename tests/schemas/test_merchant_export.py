"""Lines of a merchant's export: which forms are read, and what is refused by which field."""

import pytest

from domain.refusal import Refused
from schemas import merchant_export

ID = "36824dd6-b804-49b8-8b2d-451c62f746b4"


@pytest.mark.parametrize(
    ("first", "line"),
    [
        ("id", ID),
        ("paymentMethodId,name", f'{ID},"Doe, John"'),
        ('"id";"paymentMethodId"', f"7;{ID.upper()}"),
    ],
)
def test_a_table_has_the_id_in_its_column(first: str, line: str) -> None:
    read, is_header = merchant_export.reader(first)
    assert (is_header, read(line)) == (True, ID)


@pytest.mark.parametrize(
    "line", [ID, f'"{ID}"', f'{{"id": "{ID}"}}', f'{{"id": "7", "paymentMethodId": "{ID}", "card": {{"last4": "1"}}}}']
)
def test_a_line_without_a_header_is_an_id_or_has_one(line: str) -> None:
    read, is_header = merchant_export.reader(line)
    assert (is_header, read(line)) == (False, ID)


@pytest.mark.parametrize(
    "first", ["name,last4", "4111111111111111", "<html>", '"id', "paymentMethodId,paymentMethodId"]
)
def test_a_file_of_another_kind_is_refused_by_its_first_line(first: str) -> None:
    with pytest.raises(Refused) as refused:
        merchant_export.reader(first)
    assert "4111" not in str(refused.value)


@pytest.mark.parametrize(
    ("first", "line", "refusal"),
    [
        ("name,id", "John", "line: expected 2 columns, as in the header"),
        ("name,id", '"John,', "line: expected a row of CSV, on one line"),
        ("name,id", "John,", "id: expected the id of a payment method, a UUID"),
        (ID, "4111111111111111", "line: expected the id of a payment method, a UUID"),
        ("{", "{", "line: expected a JSON object or an id"),
        ("{", "{}", "paymentMethodId: required"),
        ("{", '{"id": 7}', "id: expected a text"),
        ("{", f'{{"id": "{ID}", "id": "{ID}"}}', "id: expected once in its object"),
        ("{", '{"a":' * 100_000, "line: expected a JSON object that is less deep"),
    ],
)
def test_a_bad_line_is_refused_by_its_field(first: str, line: str, refusal: str) -> None:
    read, _ = merchant_export.reader(first)
    with pytest.raises(Refused) as refused:
        read(line)
    assert str(refused.value.refusal) == refusal
