"""Card numbers are found wherever they stand, and nothing else is taken for one."""

import base64
import json
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from domain.pan import contains_pan, mask, pan_in_json

VISA = "4111111111111111"


def luhn(digits: str) -> bool:
    """The textbook's way, written apart from the one under test."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if place % 2 else 1)
        total += number // 10 + number % 10
    return total % 10 == 0


@st.composite
def pans(draw: st.DrawFn) -> str:
    head = draw(st.text("0123456789", min_size=12, max_size=18))
    return next(head + check for check in "0123456789" if luhn(head + check))


@st.composite
def grouped_pans(draw: st.DrawFn) -> str:
    digits = draw(pans())
    separator = draw(st.sampled_from(["", " ", "-", "\u00a0", "\u2011"]))
    return separator.join(re.findall(r"\d{1,4}", digits))


BESIDE = st.text(st.characters(exclude_categories=["Nd", "Cs"], exclude_characters="\\-"), max_size=20).filter(
    lambda text: not re.search(r"[0-9a-fA-F\s\u2010-\u2014\u2212]\Z|\A[0-9a-fA-F\s\u2010-\u2014\u2212]", text)
)


@given(BESIDE, grouped_pans(), BESIDE)
@example("card", VISA, "exp")
@example("tok_", VISA, "")
@example("\\b", VISA, "")
def test_a_card_number_is_found_and_masked_beside_any_other_text(before: str, pan: str, after: str) -> None:
    assert contains_pan(before + pan + after)
    assert mask(before + pan + after) == before + re.sub(r"\d", "*", pan) + after


@given(st.text() | st.text("0123456789 -abx\\u03") | st.lists(grouped_pans() | st.text(max_size=3)).map("".join))
def test_masked_text_holds_no_card_number_and_nothing_but_digits_changed(text: str) -> None:
    masked = mask(text)
    assert (masked != text) == contains_pan(text)
    assert not contains_pan(masked)
    if masked != text and "\\u00" not in text:
        assert all(a == b or (a.isdigit() and b == "*") for a, b in zip(text, masked, strict=True))


STANDARD, FOR_URLS = base64.b64encode, base64.urlsafe_b64encode
PRINTED = st.builds(
    lambda pan, separator: separator.join(re.findall(r"\d{1,4}", pan)), pans(), st.sampled_from(["", " ", "-"])
)
NO_DIGITS = st.text(st.characters(codec="utf-8", exclude_categories=["Nd"], exclude_characters=" -\\")).filter(
    lambda text: not re.search(r"[a-fA-F]\Z|\A[a-fA-F]", text)
)


@given(
    NO_DIGITS,
    PRINTED,
    NO_DIGITS,
    st.sampled_from([STANDARD, FOR_URLS]),
    st.sampled_from(["", "/", "x/", "\\n", '"', "z:"]),
)
@example("", VISA, "", STANDARD, "")
@example("", "4222222222222", "", STANDARD, "")
@example("xx", "4222222222222", "", STANDARD, "https://example.test/cards/")
def test_a_card_number_in_base64_is_found_wherever_it_stands_in_there(
    before: str, pan: str, after: str, encode: Callable[[bytes], bytes], outside: str
) -> None:
    word = encode((before + pan + after).encode()).decode()
    assert contains_pan(f"{outside}{word}")
    assert contains_pan(outside + word.rstrip("="))
    masked = mask(f"{outside}{word} and more")
    assert word.rstrip("=") not in masked
    assert masked.endswith(" and more")
    assert not contains_pan(masked)


@given(pans(), st.sampled_from("+/_-"), st.text("0123456789abcdefGHX+/_-", max_size=20))
def test_base64_is_one_of_the_steps_of_a_path(pan: str, parted: str, before: str) -> None:
    assert contains_pan(f"{before}{parted}{base64.b64encode(pan.encode()).decode()}")


def test_the_whole_word_of_base64_is_masked_and_nothing_else() -> None:
    word = base64.b64encode(f'{{"number": "{VISA}"}}'.encode()).decode()
    assert mask(f'{{"a": "1", "b": "{word}", "c": "x"}}') == f'{{"a": "1", "b": "{"*" * len(word)}", "c": "x"}}'
    assert mask(rf"\n{word}\n") == rf"\n{'*' * len(word)}\n"
    assert pan_in_json({"a": {"b": [word]}}) == "$.a.b[0]"


def test_letters_of_base64_that_json_writes_as_escapes_hide_nothing() -> None:
    word = base64.b64encode(VISA.encode()).decode()
    escaped = word.replace("N", r"\u004e").replace("M", r"\u004D")
    assert contains_pan(escaped)
    assert not contains_pan(mask(escaped))
    assert VISA not in base64.b64decode(mask(escaped).replace("*", "A")).decode("latin-1")


@given(st.binary(max_size=300))
def test_other_bytes_in_base64_are_no_card_number(content: bytes) -> None:
    assume(not re.search(rb"[0-9 \-]{9}", content))
    assert not contains_pan(base64.b64encode(content).decode())


@pytest.mark.parametrize("digits", ["4111111111111112", "411111111111", "41111111111111111111", "2026112000001743"])
def test_other_digits_in_base64_are_no_card_number(digits: str) -> None:
    assert not contains_pan(base64.b64encode(digits.encode()).decode())


def test_a_long_word_of_base64_is_looked_through_once() -> None:
    word = base64.b64encode(b"4111111111111112x" * 50_000).decode()
    assert not contains_pan(word)
    assert mask(word) is word


@given(st.text("0123456789", min_size=1, max_size=40))
def test_a_row_of_digits_is_a_card_number_exactly_when_its_length_and_luhn_say_so(digits: str) -> None:
    assert contains_pan(digits) == (13 <= len(digits) <= 19 and luhn(digits))


@given(st.uuids())
@example(uuid.UUID("12345678-1234-4321-8765-000041111111"))
@example(uuid.UUID("abcd4111-1111-1111-1111-abcdefabcdef"))  # four fours, the first one inside a word
@example(uuid.UUID("abcdefab-4111-1111-1111-1111abcdefab"))
@example(uuid.UUID("abcdefab-4222-2222-2222-2abcdefabcde"))
def test_a_uuid_is_no_card_number(value: uuid.UUID) -> None:
    assert not contains_pan(str(value))
    assert not contains_pan(f'{{"id": "{str(value).upper()}"}}')


@given(st.binary(min_size=9, max_size=64))
def test_a_key_in_hexadecimal_is_no_card_number(key: bytes) -> None:
    assume(re.search("[a-f]", key.hex()))
    assert not contains_pan(f"fp_{key.hex()}")


@given(st.datetimes())
def test_a_timestamp_is_no_card_number(moment: datetime) -> None:
    assert not contains_pan(moment.isoformat() + "Z")
    assert not contains_pan(str(moment))


@given(st.dates(), st.integers(0, 999_999))
def test_an_id_made_of_a_date_and_a_number_is_no_card_number(day: date, serial: int) -> None:
    assert not contains_pan(f"vau-{day.isoformat()}-{serial:06}")
    assert not contains_pan(f"vau-{day:%Y%m%d}-{serial:06}")


@pytest.mark.parametrize(
    "text",
    [
        "V0010013022298169667504231315",  # the PAR of design.md §4
        "4111111111111112",  # Luhn says no
        "411111111111",  # twelve digits
        "4111  1111  1111  1111",  # two spaces: no way to write one number
        "4111.1111.1111.1111",
        "4111,1111,1111,1111",
        "+49 30 901820 ext 4",
        "",
    ],
)
def test_what_looks_like_one_but_is_none(text: str) -> None:
    assert not contains_pan(text)
    assert mask(text) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("4222222222222", "*************"),
        ("6304 0000 0000 0000 0", "**** **** **** **** *"),
        ("3782 822463 10005", "**** ****** *****"),
        ("3056-930902-5904", "****-******-****"),
        ("4111 1111 1111 1111 123", "**** **** **** **** 123"),
        ("5555-5555-5555-4444 and 4111 1111 1111 1111", "****-****-****-**** and **** **** **** ****"),
        ("2026-11-20 4111111111111111", "2026-11-20 ****************"),
        ("%4111111111111111^DOE/JOHN^2812", "%****************^DOE/JOHN^2812"),
        (";4111111111111111=28121010000", ";****************=28121010000"),
        ("\uff14111111111111111", "****************"),
        (r'{"token": "\u0034\u0031\u00311111111111111"}', '{"token": "****************"}'),
        (r'{"token": "\u12344111111111111111"}', r'{"token": "\u1234****************"}'),
    ],
)
def test_the_ways_in_which_card_numbers_are_written(text: str, masked: str) -> None:
    assert contains_pan(text)
    assert mask(text) == masked


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"new": {"token": VISA}}, "$.new.token"),
        ({"items": ["fine", {"n": int(VISA)}]}, "$.items[1].n"),
        ({"a": [float(VISA)]}, "$.a[0]"),
        ({"metadata": {VISA: 1}}, "$.metadata.****************"),
        ({"first": VISA, "second": VISA}, "$.first"),
        ({"a": {"b": VISA}, "c": VISA}, "$.a.b"),
        (VISA, "$"),
        ({"a": True, "b": None, "c": 1.5, "d": [], "e": {}, "f": 1e300}, None),
        ({"left": "41111111", "right": "11111111"}, None),
    ],
)
def test_the_path_names_the_first_one_in_parsed_json(value: object, path: str | None) -> None:
    assert pan_in_json(value) == path
    assert pan_in_json(json.loads(json.dumps(value))) == path


def test_deep_json_is_looked_through_without_recursion() -> None:
    value: object = VISA
    for _ in range(100_000):
        value = [value]
    assert pan_in_json(value) == "$" + "[0]" * 100_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | pans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | pans(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_text_is_never_cleared_when_its_values_hold_one(value: object) -> None:
    if pan_in_json(value) is not None:
        assert contains_pan(json.dumps(value, ensure_ascii=True))
        assert contains_pan(json.dumps(value, ensure_ascii=False))
