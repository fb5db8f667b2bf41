"""Card brands: the digits that their numbers begin with, and how many digits those have.

ISO/IEC 7812 as the brands publish their ranges. Four digits tell every range here from its neighbours; where two brands
share one (UnionPay and RuPay, Maestro and Elo), the lengths of both count.
"""

from typing import NamedTuple

SHORTEST, LONGEST = 13, 19  # ISO/IEC 7812-1; thirteen are old, but still issued


class Brand(NamedTuple):
    """`begins` names prefixes and ranges of prefixes of equal length; `lengths` count the digits of a whole number."""

    name: str
    begins: str
    lengths: tuple[int, ...]


BRANDS = (
    Brand("VISA", "4", (13, 16, 18, 19)),
    Brand("MASTERCARD", "51-55 2221-2720", (16,)),
    Brand("AMEX", "34 37", (15,)),
    Brand("DISCOVER", "6011 644-649 65", (16, 17, 18, 19)),
    Brand("DINERS", "300-305 3095 36 38-39", (14, 15, 16, 17, 18, 19)),
    Brand("JCB", "3528-3589", (16, 17, 18, 19)),
    Brand("JCB", "1800 2131", (15,)),
    Brand("UNIONPAY", "62 81", (16, 17, 18, 19)),
    Brand("MAESTRO", "50 56-58 63 67", (13, 14, 15, 16, 17, 18, 19)),
    Brand("RUPAY", "60 82", (16,)),
    Brand("MIR", "2200-2204", (16, 17, 18, 19)),
    Brand("TROY", "9792", (16,)),
    Brand("UZCARD", "8600", (16,)),
    Brand("HUMO", "9860", (16,)),
    Brand("UATP", "1", (15,)),
)

_PLACES = 4  # digits of the longest prefix above


def _prefixes(begins: str) -> list[str]:
    prefixes: list[str] = []
    for part in begins.split():
        first, _, last = part.partition("-")
        prefixes += map(str, range(int(first), int(last or first) + 1))
    return prefixes


_NAMES = {prefix: brand for brand in reversed(BRANDS) for prefix in _prefixes(brand.begins)}


def _lengths(digits: str) -> tuple[int, ...]:
    brands = [_NAMES[digits[:size]] for size in range(1, _PLACES + 1) if digits[:size] in _NAMES]
    return tuple(sorted({length for brand in brands for length in brand.lengths}))


_LENGTHS = tuple(_lengths(f"{number:0{_PLACES}}") for number in range(10**_PLACES))
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")  # 2 x 8 = 16 counts as 1 + 6


def brand_of(digits: str) -> str | None:
    """The brand whose numbers begin as `digits` do, which may be a whole number or its first digits only."""
    for size in range(min(_PLACES, len(digits)), 0, -1):
        brand = _NAMES.get(digits[:size])
        if brand is not None and (len(digits) < SHORTEST or len(digits) in brand.lengths):
            return brand.name
    return None


def lengths(digits: bytes) -> tuple[int, ...]:
    """How many digits a card number may have that begins with `digits`, of which there are four or more; often none."""
    return _LENGTHS[int(digits[:_PLACES])]


def passes_luhn(digits: bytes) -> bool:
    """ISO/IEC 7812-1, annex B: from the right, every second digit doubled, its digits added."""
    singles, doubles = digits[::-2], digits[-2::-2].translate(_DOUBLED)
    return (sum(singles) + sum(doubles) - ord("0") * len(digits)) % 10 == 0


def begins_with_number(digits: bytes) -> bool:
    """Whether the first of the ASCII `digits`, thirteen or more, can be a card number."""
    return any(len(digits) >= length and passes_luhn(digits[:length]) for length in lengths(digits))


def is_card_number(digits: bytes) -> bool:
    """Whether the ASCII `digits` have a brand's range, a length of that brand, and the right check digit."""
    return len(digits) >= SHORTEST and len(digits) in lengths(digits) and passes_luhn(digits)
