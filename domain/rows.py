"""Card numbers in rows of digits: where they begin and end in text that `domain.plain_text` has made plain.

A row is digits with at most three characters between two of them that are no letters. A card number is some
neighbouring groups of a row, whole ones: part of a longer group is none, and neither is what stands in a place where
everybody writes digits that are no number (`_EXCEPTED`).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from domain import brands

# What does not print counts for nothing between two digits. Tabs and ends of lines print as space.
_INVISIBLE = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
# No brand's numbers begin with 0 or 7, nor with 20, 28 or 29; a group of twenty digits is no part of one.
_ROW = re.compile(
    rf"[1-689](?<![0-9].)(?<!2(?=[089]))(?=[0-9]{{0,{brands.LONGEST - 1}}}(?![0-9]))"
    rf"[0-9\W_]{{{brands.SHORTEST - 1},}}+",
    re.DOTALL,
)
# " - " is the longest that people write between two groups.
_SEPARATOR = rf"(?:_|[^\w{_INVISIBLE}])"
_TOO_FAR_APART = re.compile(rf"{_SEPARATOR}(?:[{_INVISIBLE}]*+{_SEPARATOR}){{3,}}+")
_GROUP = re.compile(r"[0-9]+")
_NO_DIGITS = bytes(byte for byte in range(256) if byte not in b"0123456789")

# 1.5e3 in JSON. A mantissa of fewer than ten digits would be a card number that ends in many zeros.
_EXPONENT = re.compile(
    r"(?P<whole>[0-9](?<![0-9A-Za-z.].)[0-9]{0,39})(?:\.(?P<fraction>[0-9]{0,40}))?[eE](?P<exponent>[+-]?[0-9]{1,3})"
    r"(?![0-9A-Za-z.])",
    re.DOTALL,
)
_SHORTEST_MANTISSA = 10
_EXACT = 15  # decimal digits that a double always keeps (IEEE 754); what has more may have been rounded

_HEXADECIMAL = "0-9a-fA-F"
_ALONE, _END = "(?<![0-9A-Za-z])", "(?![0-9A-Za-z])"
# Digits before would make it the middle of a longer row.
_FIRST = r"(?<![0-9])(?<![0-9][\W_])"
_TIME = r"(?:[T ][0-2]\d:[0-5]\d(?::[0-6]\d(?:[.,]\d{1,9})?)?)?(?![0-9])"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_EXCEPTED = re.compile(
    rf"{_ALONE}[{_HEXADECIMAL}]{{8}}-(?:[{_HEXADECIMAL}]{{4}}-){{3}}[{_HEXADECIMAL}]{{12}}{_END}"  # a UUID
    rf"|{_ALONE}(?:[{_HEXADECIMAL}]{{64}}){{1,2}}{_END}|{_ALONE}[{_HEXADECIMAL}]{{32}}(?:[{_HEXADECIMAL}]{{8}})?{_END}"
    rf"|{_FIRST}(?:19|20)\d\d([-/.])[01]\d\1[0-3]\d{_TIME}|{_FIRST}[0-3]\d([-/.])[0-3]\d\2(?:19|20)\d\d{_TIME}"
    rf"|{_FIRST}(?:{_BYTE}\.){{3}}{_BYTE}(?::\d{{1,5}})?(?![\W_]?[0-9])"  # an IPv4 address, with its port
    # A telephone number (E.164). Those of 14 and 15 digits are rare, and as long as numbers of cards that are not.
    rf"|{_FIRST}\+[1-9](?:[ ().\-/]{{0,2}}[0-9]){{6,12}}(?![\W_]?[0-9])",
    re.ASCII,
)


class Span(NamedTuple):
    """Where something stands in a text."""

    start: int
    end: int


def numbers(text: str) -> Iterator[Span]:
    """Where card numbers stand; two may overlap, for `4111 1111 1111 1111 0` can be read in two ways."""
    if next(_in_rows(text), None) is not None or next(_with_exponents(text), None) is not None:
        text = _EXCEPTED.sub(_blank, text)
        yield from _in_rows(text)
        yield from _with_exponents(text)


def _blank(match: re.Match[str]) -> str:
    return "x" * len(match[0])


def _in_rows(text: str) -> Iterator[Span]:
    for row in _ROW.finditer(text):
        start = row.start()
        for gap in _TOO_FAR_APART.finditer(text, *row.span()):
            yield from _in_row(text, start, gap.start())
            start = gap.end()
        yield from _in_row(text, start, row.end())


def _in_row(text: str, start: int, end: int) -> Iterator[Span]:
    if end - start < brands.SHORTEST:
        return
    places, ends, count = [], {}, 0
    for group in _GROUP.finditer(text, start, end):
        places.append((count, group.start()))
        count += group.end() - group.start()
        ends[count] = group.end()
    if count < brands.SHORTEST:
        return
    digits = text[start:end].encode("latin-1", "replace").translate(None, _NO_DIGITS)
    for first, place in places:
        if count - first < brands.SHORTEST:
            return
        for length in brands.lengths(digits[first : first + brands.LONGEST]):
            last = ends.get(first + length)
            if last is not None and brands.passes_luhn(digits[first : first + length]):
                yield Span(place, last)


def _with_exponents(text: str) -> Iterator[Span]:
    """Numbers of JSON such as `4.111111111111111e15`; the span ends before the `e`."""
    for number in _EXPONENT.finditer(text):
        mantissa = number["whole"] + (number["fraction"] or "")
        point = len(number["whole"]) + int(number["exponent"])
        digits = mantissa.ljust(point, "0")[: max(point, 0)].lstrip("0")
        if not brands.SHORTEST <= len(digits) <= brands.LONGEST or mantissa[max(point, 0) :].strip("0"):
            continue
        if len(mantissa) < _SHORTEST_MANTISSA:
            continue
        may_be_rounded = len(digits) > len(mantissa.strip("0")) > _EXACT
        if brands.is_card_number(digits.encode()) or (may_be_rounded and brands.lengths(digits.encode())):
            yield Span(number.start(), number.start() + number[0].lower().index("e"))
