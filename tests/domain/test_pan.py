"""Card numbers are found wherever they stand, and nothing else is taken for one."""

import base64
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from domain import encoded
from domain.pan import contains_pan, mask, pan_in_json
from tests.parts.card_numbers import NUMBER_IN_JSON, forms, in_json, is_left
from tests.parts.thorough import IS_THOROUGH, sampled

VISA = "4111111111111111"
NUMBERS = (VISA, "5555555555554444", "6011000990139424", "2223003122003222", "4539578763621460")
FORMS = {f"{name}: {number}": (number, text) for number in NUMBERS for name, text in forms(number).items()}


def luhn(digits: str) -> bool:
    """The textbook's way, written apart from the one under test."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if place % 2 else 1)
        total += number // 10 + number % 10
    return total % 10 == 0


# The first digits and the length of numbers that brands issue.
ISSUED = (
    ("4", 13), ("4", 16), ("4", 19), ("51", 16), ("55", 16), ("2221", 16), ("2720", 16), ("34", 15), ("37", 15),
    ("6011", 16), ("649", 16), ("65", 19), ("300", 14), ("36", 14), ("39", 19), ("3528", 16), ("3589", 19), ("62", 16),
    ("62", 19), ("50", 16), ("58", 13), ("6304", 17), ("6759", 19), ("60", 16), ("2200", 16), ("9792", 16), ("1", 15),
)  # fmt: skip


@st.composite
def pans(draw: st.DrawFn) -> str:
    begins, length = draw(st.sampled_from(ISSUED))
    more = length - len(begins) - 1
    head = begins + draw(st.text("0123456789", min_size=more, max_size=more))
    return next(head + check for check in "0123456789" if luhn(head + check))


@st.composite
def grouped_pans(draw: st.DrawFn) -> str:
    digits = draw(pans())
    separator = draw(st.sampled_from(["", " ", "-", "\u00a0", "\u2011"]))
    return separator.join(re.findall(r"\d{1,4}", digits))


# Behind a plus sign thirteen digits are a telephone number.
BESIDE = st.text(st.characters(exclude_categories=["Nd", "No", "Cs"], exclude_characters="\\%&+"), max_size=20)


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
NO_DIGITS = st.text(st.characters(codec="utf-8", exclude_categories=["Nd", "No"], exclude_characters=" -\\")).filter(
    lambda text: not re.search(r"[a-fA-F+]\Z|\A[a-fA-F]", text)
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
    word = base64.b64encode(b"4111111111111112x" * (50_000 if IS_THOROUGH else 10_000)).decode()
    assert not contains_pan(word)
    assert mask(word) is word


@given(st.text("0123456789", min_size=1, max_size=40) | pans())
def test_a_row_of_digits_is_a_card_number_when_its_range_its_length_and_luhn_say_so(digits: str) -> None:
    if contains_pan(digits):
        assert 13 <= len(digits) <= 19
        assert luhn(digits)
    if any(digits.startswith(begins) and len(digits) == length for begins, length in ISSUED):
        assert contains_pan(digits) == luhn(digits)


@given(st.uuids())
@example(uuid.UUID("12345678-1234-4321-8765-000041111111"))
@example(uuid.UUID("abcd4111-1111-1111-1111-abcdefabcdef"))  # four fours, the first one inside a word
@example(uuid.UUID("abcdefab-4111-1111-1111-1111abcdefab"))
@example(uuid.UUID("abcdefab-4222-2222-2222-2abcdefabcde"))
def test_a_uuid_is_no_card_number(value: uuid.UUID) -> None:
    assert not contains_pan(str(value))
    assert not contains_pan(f'{{"id": "{str(value).upper()}"}}')


@given(st.sampled_from([16, 20, 32, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
@example(bytes.fromhex(VISA + "a" * 16))
def test_a_digest_in_hexadecimal_is_no_card_number(digest: bytes) -> None:
    assert not contains_pan(f"fp_{digest.hex()}")
    assert not contains_pan(f'{{"id": "vau-{digest.hex().upper()}"}}')


@pytest.mark.parametrize("size", [31, 33, 39, 63, 65, 127])
def test_any_other_word_of_hexadecimal_digits_may_hold_a_card_number(size: int) -> None:
    for word in (f"{VISA}{'a' * (size - 16)}", f"{'b' * (size - 16)}{VISA}"):
        assert contains_pan(f"fp_{word}")
        assert mask(word).count("*") == 16


@given(st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31)))  # noqa: DTZ001 - as people write them
@example(datetime(2026, 11, 30, 4, 12, 13, 512345))  # noqa: DTZ001
def test_a_timestamp_is_no_card_number(moment: datetime) -> None:
    assert not contains_pan(moment.isoformat() + "Z")
    assert not contains_pan(str(moment))


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.integers(0, 999_999))
def test_an_id_made_of_a_date_and_a_number_is_no_card_number(day: date, serial: int) -> None:
    assert not contains_pan(f"vau-{day.isoformat()}-{serial:06}")
    assert not contains_pan(f"vau-{day:%Y%m%d}-{serial:06}")


@pytest.mark.parametrize(
    "text",
    [
        "V0010013022298169667504231315",  # the PAR of design.md §4
        "4111111111111112",  # Luhn says no
        "411111111111",  # twelve digits
        "4111    1111    1111    1111",  # four spaces: columns of a table
        "4111 and 1111 and 1111 and 1111",
        "1647725122227",  # it passes Luhn, and no brand has a range there
        "9999999999999995",
        "411111111111116",  # a Visa of fifteen digits, whose check digit is right
        "51.140.250.129:44321",  # an address and a port
        "2026-11-30 04:12:13.512345",
        "30.11.2026 04:12:13.512",
        "1732093653123",
        "1732093653123456789",
        "+49 30 901820 ext 4",
        "+4915123456787",
        "tel. +49 151 2345-6787",
        "43e12345-4e12-4e13-8e14-4e15abcdef12",
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
        ("411111-1111111111", "******-**********"),
        ("41111111 11111111", "******** ********"),
        ("4,111,111,111,111,111", "*,***,***,***,***,***"),
        ("a4111111111111111f", "a****************f"),
        ("4.111111111111111e15", "*.***************e15"),
        ("4111111111111111e0", "****************e0"),
        ("%B4111111111111111^DOE/JOHN^2512", "%B****************^DOE/JOHN^2512"),
        ("9F0206 57134111111111111111D25122010000F", f"9F0206 {'*' * 33}"),
        ("5712378282246310005D2512101000000000000F", "*" * 40),
        ("5711378282246310005D25121010000000000F", "*" * 38),
        ("57104222222222222D25121010000000000F", "*" * 36),
        ("9F6B11378282246310005d25121010000000000F", "*" * 40),
        ("9F260800112233445566 57104222222222222D25121010000000000F5F3401", f"9F260800112233445566 {'*' * 42}"),
        ("7834353339e2808335373837e2808336333632e2808331343836,321,x", f"{'*' * 56},x"),
        ("41%11%11%11%11%11%11%11", "**%**%**%**%**%**%**%**"),
        ("41=11=11=11=11=11=11=11", "**=**=**=**=**=**=**=**"),
        ("?a=34&b=4111111111111111", "?a=34&b=****************"),
        ("4\u200b111111111111111", "*\u200b***************"),
        ("5555-5555-5555-4444 and 4111 1111 1111 1111", "****-****-****-**** and **** **** **** ****"),
        ("2026-11-20 4111111111111111", "2026-11-20 ****************"),
        ("%4111111111111111^DOE/JOHN^2812", "%****************^DOE/JOHN^2812"),
        (";4111111111111111=28121010000", ";****************=28121010000"),
        ("\uff14111111111111111", "****************"),
        (r'{"token": "\u0034\u0031\u00311111111111111"}', '{"token": "****************"}'),
        (r'{"token": "\u12344111111111111111"}', r'{"token": "\u1234****************"}'),
        (r'{"token": "4111\/1111\u20031111\t1111"}', r'{"token": "****\/****\u2003****\t****"}'),
        ("/cards/4111%201111%201111%201111", "/cards/****%20****%20****%20****"),
    ],
)
def test_the_ways_in_which_card_numbers_are_written(text: str, masked: str) -> None:
    assert contains_pan(text)
    assert mask(text) == masked


# 192 forms of each of five numbers, and one of five is tried elsewhere than in CI: of each form another number.
@pytest.mark.parametrize(("number", "text"), sampled([*FORMS.values()], 5), ids=sampled([*FORMS], 5))
def test_every_form_is_seen_and_masked_wherever_it_stands(number: str, text: str) -> None:
    if text.startswith(NUMBER_IN_JSON):
        values = [text]
    else:
        assert contains_pan(text)
        assert is_left(number, text)
        assert not is_left(number, mask(text))
        values = [text, f"see {text} here"]
    for value in values:
        for ensure_ascii in (True, False):
            written = in_json({"id": "vau-2026-11-20-000017", "deep": [{"name": value}]}, ensure_ascii=ensure_ascii)
            assert contains_pan(written)
            assert not is_left(number, mask(written))
            assert pan_in_json(json.loads(written)) == "$.deep[0].name"
            assert pan_in_json({f"beside {value}": 1}) is not None or value == text


@given(BESIDE, pans(), st.data())
def test_whatever_single_characters_stand_between_any_groups(before: str, pan: str, data: st.DataObject) -> None:
    separators = st.characters(categories=["P", "S", "Z"], exclude_characters="\\%&") | st.just("")
    written = pan[0] + "".join(data.draw(separators) + digit for digit in pan[1:])
    assume(not re.search(r"(?:19|20)\d\d([-/.])\d\d\1|\d\d([-/.])\d\d\2|\d\.\d{1,3}\.\d{1,3}\.\d", written))
    assume(not re.search(r"[eE][+-]?\d", written))
    assert contains_pan(before + written)
    assert not re.search(r"\d", mask(before + written)[len(before) :])


MOMENTS = st.integers(0, 4_000_000_000_000_000).map(lambda time: datetime.fromtimestamp(time / 1e6, UTC))


@given(MOMENTS, pans(), st.sampled_from(["", '"', " ", '","', "/", "x"]), st.booleans())
def test_a_card_number_beside_a_moment_is_found(moment: datetime, pan: str, between: str, first: bool) -> None:  # noqa: FBT001
    written = moment.isoformat(timespec="microseconds")
    text = f"x {pan}{between} {written}" if first else f"x {written}{between} {pan}"
    assert contains_pan(text)


@given(pans(), st.sampled_from(["vau-2026-11-20-000017", "V0010013022298169667504231315", "12 ", "9" * 30, "1" * 19]))
def test_other_digits_hide_no_card_number_in_groups(pan: str, beside: str) -> None:
    """Also where the same digits stand elsewhere as one longer group."""
    spaced = f"1 23 {' '.join(re.findall('.{1,4}', pan))} 4"
    decoy = f"{re.sub(' ', '', spaced)}7 {beside}"
    for text in (f"{spaced} x {beside}", f"{beside} x {spaced} x {decoy}", f"{decoy} x {spaced}"):
        assert contains_pan(text)


@pytest.mark.parametrize("text", ["2026-11-20T09:14:13.0000+00:00 41", "T41:11:11.111111111+00:00", "T41:11:11:11"])
def test_only_a_whole_moment_is_no_card_number(text: str) -> None:
    """What is left out of the look is a time behind its date, and no other digits between `T` and `+00:00`."""
    number = "4111111111110000"
    assert luhn(number) == contains_pan(f"T{number[:2]}:{number[2:4]}:{number[4:6]}.{number[6:12]}+00:00")
    assert not contains_pan(text)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"new": {"token": VISA}}, "$.new.token"),
        ({"items": ["fine", {"n": int(VISA)}]}, "$.items[1].n"),
        ({"a": [float(VISA)]}, "$.a[0]"),
        ({"metadata": {VISA: 1}}, "$.metadata.****************"),
        ({"first": VISA, "second": VISA}, "$.first"),
        ({"a": {"b": VISA}, "c": VISA}, "$.a.b"),
        ({"a": {"b": 1}, "c": [[0], {}, [1, {"d": VISA}]]}, "$.c[2][1].d"),
        ({"a": {"b": {"c": 1}}, "d": VISA}, "$.d"),
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
    path = pan_in_json(value)
    assert path is not None
    assert re.fullmatch(r"\$(\[0\])+\[?…0?\]?(\[0\])+", path)


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


def test_few_rows_of_pieces_in_hexadecimal_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every piece may begin a number, those that end too near or too far are left out: a message has a MB."""
    looks: list[str] = []
    content = encoded._content

    def look(hexadecimal: str) -> str:
        looks.append(hexadecimal)
        return content(hexadecimal)

    monkeypatch.setattr(encoded, "_content", look)
    assert not contains_pan("-3431" * 1000)
    assert len(looks) <= 6 * 1000


@pytest.mark.parametrize("row", ["2030,{},2031", "x2030 {}", "{},3031a", "30,{}", "20{}", "2030,{} 3031", "2030,31,{}"])
def test_what_stands_beside_a_number_in_hexadecimal_hides_it_not(row: str) -> None:
    """Cells of a table: the end of one reads as the first digit of the next."""
    text = row.format(b"4539578763621486".hex())
    assert "34353339" not in mask(text)
