r"""Card numbers where none should be: finding them, and masking their digits.

A card number is 13 to 19 digits in the range of a card brand, with a length of that brand, that pass Luhn.

    form                                            example                                         module
    in a row, in groups of any size                 4111 1111 1111 1111, 411111-1111111111          domain/rows
    with up to three characters between groups      4111.1111.1111.1111, 4111 - 1111 - 1111 - 1111  domain/rows
    beside letters, in tracks of a magnetic stripe  tok_4111…, a4111…f, %B4111…^DOE/JOHN^2512       domain/rows
    JSON's numbers                                  4111111111111111e0, 4.111111111111111e15        domain/rows
    escapes, other digits, what does not print      \u0034111…, %34%31, &#52;, full width           domain/plain_text
    base64, hexadecimal, EMV tags 57 and 5A         NDExMTEx…, 34313131…, 4111…D2512…F              domain/encoded

Digits of a UUID, of a digest in hexadecimal (32, 40, 64 or 128 digits), of a date, of an IPv4 address or of a telephone
number such as +49 151 23456789 are none, and neither is a part of a longer row of digits.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from domain import brands, encoded, plain_text, rows
from domain.brands import LONGEST, SHORTEST
from domain.rows import Span

__all__ = ["LONGEST", "SHORTEST", "contains_pan", "mask", "mask_close_digits", "pan_in_json"]

_BETWEEN = bytes(byte for byte in range(256) if not bytes((byte,)).isalnum())
# In hexadecimal four digits are eight; separators are 20 to 2F, three of them at most, C2A0, or three bytes from E2.
# `encoded.FLAT` has made a D of every C.
_BYTES = rb"0{1,4}[a-fA-F]0{9,14}[a-fA-F]|[cD]0[aA]000000000[cD]|[eE]0000[0a-fA-F]00000000[eE]0"
# A number of JSON has ten digits at least before its exponent.
_SIGHT = re.compile(rb"00000000(?:00000|00+[eE]0|%b)" % _BYTES)
_SIGHT_OF_BYTES = re.compile(rb"00000000(?:%b)" % _BYTES)
_SIGHT_OF_EXPONENT = re.compile(rb"0000000000[eE]0")
_EXPONENT = re.compile(r"[eE](?<=[0-9.]{10}[eE])[+-]?[0-9]{1,3}(?![0-9A-Za-z.])")
# The time and zone of a moment in UTC have as many digits as a card number, and are in every message.
_TIME = re.compile(
    r"T(?<=[^0-9]{2}(?:19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]T)[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{1,9}\+00:00"
)
_ROW = re.compile(rb"[0-9](?:[^0-9A-Za-z]*+[0-9]){12,}+")
_LONG = re.compile(rb"00000000000000000000(?:0*+)")
_DIGITS = re.compile(rb"0000000000000(?:0*+)")  # thirteen that the search can skip to, and no `{13}`
_TAG_A, _BEHIND_CHIP_DATA = b"aA", (b"d", b"D", b"f", b"F")  # 5A before a number, D and F behind it
# No expiry has as many; account numbers of banks begin with fewer, and are masked whole.
_CLOSE_DIGITS = re.compile(r"[0-9](?:\0*+(?:[^0-9\n\0]\0*+){0,3}[0-9]){6,}+")
# The whole look costs less than `_may_hold_number` where a text has more rows of digits, or longer ones.
_MOST_ROWS, _LONGEST_ROW = 20, 100
_SHORTEST_TEXT = 12  # as in 5555555555e6
_LONGEST_PATH = 200


class Place(NamedTuple):
    """Where a card number stands, and what hides it there."""

    span: Span
    hide: Callable[[str], str]


def contains_pan(text: str) -> bool:
    """Whether a card number stands anywhere in `text`, which may be JSON."""
    return _may_hold_any(text) and next(_found(text), None) is not None


def mask(text: str) -> str:
    """`text` with a star for every digit of every card number, and for all of a word that encodes one."""
    return _starred(text, _found(text)) if _may_hold_any(text) else text


def mask_close_digits(text: str) -> str:
    """`text` with a star for every digit of seven or more with at most three characters between two of them.

    Words of base64 that hold as many are stars, too. A card number that is mistyped passes no check, and still nearly
    is a card's.
    """
    *_, reading = map(plain_text.plain, plain_text.readings(text))
    hidden = [
        Place(_with_escape(reading, Span(*row.span())), plain_text.starred) for row in _CLOSE_DIGITS.finditer(reading)
    ]
    hidden += [Place(word, _stars) for word in encoded.words_of_base64(reading, _has_close_digits)]
    return _starred(text, hidden)


def _has_close_digits(text: str) -> bool:
    return _CLOSE_DIGITS.search(text) is not None


def _starred(text: str, hidden: Iterable[Place]) -> str:
    """`text` with stars in the `hidden` places; of two that begin together the first one counts."""
    pieces: list[str] = []
    done = 0
    for span, hide in sorted(hidden, key=lambda place: place.span):
        start, end = max(span.start, done), span.end
        if end > start:
            pieces += (text[done:start], hide(text[start:end]))
            done = end
    return "".join((*pieces, text[done:])) if pieces else text


def _stars(text: str) -> str:
    return "*" * len(text)


def pan_in_json(value: object) -> str | None:
    """The path, as `$.new.token` or `$.items[0]`, of the first card number in parsed JSON; None for none.

    Strings, numbers and keys are looked at. A key that is one has the mask in the path, and a long path has no middle.
    """
    steps: list[str | int] = []  # to the array or object of the last level
    levels: list[Iterator[tuple[str | int, object]]] = [iter([("$", value)])]
    while levels:
        for step, current in levels[-1]:
            steps.append(step)
            if isinstance(current, dict):
                key = next(filter(contains_pan, current), None)
                if key is not None:
                    return _path([*steps, mask(key)])
                levels.append(iter(current.items()))
                break
            if isinstance(current, list):
                levels.append(iter(enumerate(current)))
                break
            if _is_pan(current):
                return _path(steps)
            steps.pop()
        else:
            levels.pop()
            del steps[len(levels) - 1 :]
    return None


def _is_pan(scalar: object) -> bool:
    """Whether a value that is neither array nor object is one; a number may be read from JSON as a float."""
    if isinstance(scalar, str):
        return len(scalar) >= SHORTEST and contains_pan(scalar)
    return isinstance(scalar, int | float) and contains_pan(str(scalar))


def _path(steps: Iterable[str | int]) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)[1:]
    half = _LONGEST_PATH // 2
    return path if len(path) <= _LONGEST_PATH else f"{path[:half]}…{path[-half:]}"


def _found(text: str) -> Iterator[Place]:
    """Where card numbers stand in any reading of `text`."""
    as_it_stands, *unescaped = plain_text.readings(text)
    places = _found_in(as_it_stands, plain_text.starred_as_it_stands)
    # an escape's letter would be taken for the first of a word
    yield from (place for place in places if not unescaped or place.hide is not _stars)
    for reading in unescaped:
        yield from _found_in(reading, plain_text.starred)


def _found_in(text: str, hide: Callable[[str], str]) -> Iterator[Place]:
    """The same of one reading."""
    if plain_text.has_unusual_digits(text):
        text = plain_text.plain(text)
    written = _without_time(text)
    flat = written.translate(encoded.FLAT, _BETWEEN)
    if encoded.has_sight_of_base64(flat):
        yield from (Place(word, _stars) for word in encoded.words_of_base64(plain_text.plain(text)))
    if _SIGHT.search(flat) is not None and _may_hold_number(text, written, flat):
        text = plain_text.plain(text)
        yield from (Place(word, _stars) for word in encoded.words_of_hexadecimal(text, flat))
        yield from (Place(_with_escape(text, number), hide) for number in rows.numbers(text))


def _may_hold_any(text: str) -> bool:
    """Cheap, and never wrong when it says no: nearly every text ends here."""
    if len(text) < _SHORTEST_TEXT:
        return False
    if plain_text.has_escapes(text) or plain_text.has_unusual_digits(text):
        return True
    written = _without_time(text)
    flat = written.translate(encoded.FLAT, _BETWEEN)
    if encoded.has_sight_of_base64(flat):
        return True
    return _SIGHT.search(flat) is not None and _may_hold_number(text, written, flat)


def _without_time(text: str) -> bytes:
    time = _TIME.search(text)
    if time is not None:
        text = text[: time.start() + 1] + text[time.end() :]
    return text.encode(errors="replace")


def _may_hold_number(text: str, written: bytes, flat: bytes) -> bool:
    """Cheap, and never wrong when it says no: an id of a date and a number ends here, and so do a PAR and a digest.

    `written` is `text` without a time; `flat` is the same without all that may stand between two digits, and with one
    digit for all.
    """
    if _SIGHT_OF_BYTES.search(flat) is not None and encoded.may_hold_bytes(text):
        return True
    if _SIGHT_OF_EXPONENT.search(flat) is not None and _EXPONENT.search(text) is not None:
        return True
    places = [place.span() for place in _DIGITS.finditer(flat)]
    if len(places) > _MOST_ROWS or any(end - start > _LONGEST_ROW for start, end in places):
        return True
    if _may_hold_tag(flat, places) and encoded.may_hold_chip_data(text):
        return True
    squeezed = written.translate(None, _BETWEEN)
    rows_of_digits = [squeezed[start:end] for start, end in places]
    if not any(map(_may_hold_one, rows_of_digits)) and _are_whole(rows_of_digits, written):
        return False
    return any(_may_be_number(row[0]) for row in _ROW.finditer(written))


def _may_hold_tag(flat: bytes, places: Iterable[tuple[int, int]]) -> bool:
    """Whether a tag of chip data may stand before one of the rows of digits, or another one behind it."""
    return any(
        flat[end : end + 1] in _BEHIND_CHIP_DATA or (start > 0 and flat[start - 1] in _TAG_A) for start, end in places
    )


def _may_hold_one(digits: bytes) -> bool:
    """Whether a card number may begin anywhere in the digits; a longer row than one is taken for one group."""
    if len(digits) > LONGEST:
        return digits.count(b"3") >= SHORTEST
    return any(brands.begins_with_number(digits[first:]) for first in range(len(digits) - SHORTEST + 1))


def _are_whole(rows_of_digits: Sequence[bytes], written: bytes) -> bool:
    """Whether each row that is longer than a card number is one group of digits where it is `written`."""
    longer = [digits for digits in rows_of_digits if len(digits) > LONGEST]
    if not longer:
        return True
    return longer == [written[group.start() : group.end()] for group in _LONG.finditer(written.translate(encoded.FLAT))]


def _may_be_number(row: bytes) -> bool:
    """Whether a row of digits may hold a card number: as a whole, or in groups, or as ASCII in hexadecimal."""
    if row.isdigit():
        return brands.is_card_number(row) if len(row) <= LONGEST else row.count(b"3") >= SHORTEST
    digits = row.translate(None, _BETWEEN)
    return len(digits) > LONGEST or _may_hold_one(digits)


def _with_escape(text: str, number: Span) -> Span:
    """The places of a number's first digit may include those of its escape, which have a NUL."""
    start = number.start
    while start and text[start - 1] == "\0":
        start -= 1
    return Span(start, number.end)
