"""A refusal says what is wrong in the same words wherever it is shown, and is told apart by its code."""

from pathlib import Path

import pytest

from domain.refusal import Refusal, RefusalCode, Refused

ROOT = Path(__file__).parents[2]

UNKNOWN = Refusal(RefusalCode.UNKNOWN_CODE, "code", "a code of this feed", "Z is in no table of this feed")


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (Refusal(RefusalCode.WRONG_FORMAT, "exp", "a month and a year"), "exp: expected a month and a year"),
        (Refusal(RefusalCode.WRONG_FORMAT, "", "a UUID"), "expected a UUID"),
        (Refusal(RefusalCode.REQUIRED, "exp", "required"), "exp: required"),
        (Refusal(RefusalCode.WRONG_FORMAT, "secret", "a secret", "a secret starts"), "secret: a secret starts"),
        (Refusal(RefusalCode.NO_UPDATE, "code", "Q means no match"), "code: Q means no match"),
        (UNKNOWN, "code: Z is in no table of this feed"),
    ],
)
def test_the_text_names_the_field_and_what_was_expected(refusal: Refusal, text: str) -> None:
    assert str(refusal) == str(Refused.of(refusal)) == text


def test_the_sender_sees_no_value() -> None:
    assert str(UNKNOWN.without_value()) == "code: expected a code of this feed"
    other = Refusal(RefusalCode.WRONG_FORMAT, "secret", "a secret", "a secret starts")
    assert other.without_value() == other


def test_a_remark_stands_at_the_end_and_an_outer_field_begins_the_path() -> None:
    required = Refusal(RefusalCode.REQUIRED, "exp", "required").adding(" (part 2 of 3)").inside("old").inside("card")
    assert (required.field, str(required)) == ("card.old.exp", "card.old.exp: required (part 2 of 3)")
    assert required.inside("") == required
    assert str(UNKNOWN.adding(" (part 2 of 3)")) == "code: Z is in no table of this feed (part 2 of 3)"
    assert str(Refusal(RefusalCode.NOT_TEXT, "", "UTF-8").inside("file")) == "file: expected UTF-8"


def test_one_exception_carries_every_refusal_of_an_input() -> None:
    first, second = UNKNOWN, Refusal(RefusalCode.REQUIRED, "exp", "required")
    refused = Refused.of(first, second)
    assert (refused.refusal, refused.refusals, str(refused)) == (first, (first, second), str(first))
    assert repr(refused) == repr(Refused(*first))


def test_every_code_is_raised_somewhere() -> None:
    rooms = ("schemas", "producers", "consumers", "wallets", "ops", "api")
    sources = "".join(path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py"))
    assert [code.name for code in RefusalCode if f"RefusalCode.{code.name}" not in sources] == []
