"""Ranges and lengths of card numbers, brand by brand, at the ends of each range and one beyond."""

import pytest

from domain.brands import begins_with_number, brand_of, is_card_number, lengths

# brand, first prefix, last prefix, lengths of its numbers (ISO/IEC 7812 ranges as the brands publish them)
RANGES = [
    ("VISA", "4", "4", (13, 16, 18, 19)),
    ("MASTERCARD", "51", "55", (16,)),
    ("MASTERCARD", "2221", "2720", (16,)),
    ("AMEX", "34", "34", (15,)),
    ("AMEX", "37", "37", (15,)),
    ("DISCOVER", "6011", "6011", (16, 17, 18, 19)),
    ("DISCOVER", "644", "649", (16, 17, 18, 19)),
    ("DISCOVER", "65", "65", (16, 17, 18, 19)),
    ("DINERS", "300", "305", (14, 15, 16, 17, 18, 19)),
    ("DINERS", "3095", "3095", (14, 15, 16, 17, 18, 19)),
    ("DINERS", "36", "36", (14, 15, 16, 17, 18, 19)),
    ("DINERS", "38", "39", (14, 15, 16, 17, 18, 19)),
    ("JCB", "3528", "3589", (16, 17, 18, 19)),
    ("JCB", "1800", "1800", (15,)),
    ("JCB", "2131", "2131", (15,)),
    ("UNIONPAY", "62", "62", (16, 17, 18, 19)),
    ("UNIONPAY", "81", "81", (16, 17, 18, 19)),
    ("MAESTRO", "50", "50", (13, 14, 15, 16, 17, 18, 19)),
    ("MAESTRO", "56", "58", (13, 14, 15, 16, 17, 18, 19)),
    ("MAESTRO", "63", "63", (13, 14, 15, 16, 17, 18, 19)),
    ("MAESTRO", "67", "67", (13, 14, 15, 16, 17, 18, 19)),
    ("RUPAY", "60", "60", (16,)),
    ("RUPAY", "82", "82", (16,)),
    ("MIR", "2200", "2204", (16, 17, 18, 19)),
    ("TROY", "9792", "9792", (16,)),
    ("UZCARD", "8600", "8600", (16,)),
    ("HUMO", "9860", "9860", (16,)),
    ("UATP", "1", "1", (15,)),
]
NONE = [
    "0000",
    "2130",
    "2132",
    "2199",
    "2205",
    "2220",
    "2721",
    "3060",
    "3096",
    "3100",
    "3300",
    "3527",
    "3590",
    "5900",
    "6100",
    "6400",
    "6439",
    "6600",
    "6800",
    "7000",
    "8000",
    "8300",
    "8599",
    "8601",
    "9791",
    "9793",
    "9859",
    "9861",
]


def with_check_digit(digits: str) -> str:
    """`digits` and the digit that makes their sum, every second one doubled from the right, a multiple of ten."""
    doubled = (int(digit) * 2 for digit in digits[::-2])
    total = sum(number - 9 if number > 9 else number for number in doubled) + sum(map(int, digits[-2::-2]))
    return digits + str(-total % 10)


def number(prefix: str, length: int) -> str:
    return with_check_digit((prefix + "3" * length)[: length - 1])


@pytest.mark.parametrize(("brand", "first", "last", "long"), RANGES)
def test_a_number_at_either_end_of_a_range_is_of_its_brand(
    brand: str, first: str, last: str, long: tuple[int, ...]
) -> None:
    for prefix in (first, last):
        for length in range(12, 21):
            digits = number(prefix, length)
            assert is_card_number(digits.encode()) == (length in long)
            assert not is_card_number((digits[:-1] + str((int(digits[-1]) + 1) % 10)).encode())
            if length in long:
                assert brand_of(digits) == brand
                assert begins_with_number(digits.encode())
        assert brand_of(prefix) == brand
        assert set(long) <= set(lengths(number(prefix, 16).encode()))


@pytest.mark.parametrize("prefix", NONE)
def test_a_number_beside_every_range_is_of_no_brand(prefix: str) -> None:
    assert lengths(prefix.encode()) == ()
    assert brand_of(number(prefix, 16)) is None
    assert not any(is_card_number(number(prefix, length).encode()) for length in range(12, 21))


def test_the_check_digits_of_published_test_numbers() -> None:
    for digits in ("4111111111111111", "5555555555554444", "378282246310005", "6011111111111117", "30569309025904"):
        assert is_card_number(digits.encode())
        assert with_check_digit(digits[:-1]) == digits
