"""Card numbers where none should be: finding them, and masking their digits.

A card number is 13 to 19 digits that pass Luhn, in one row or grouped as cards are printed: fours with a
shorter last group, 4-6-5, 4-6-4 or 4-5-6, one space or dash between. What is not taken for one, because every
message carries such digits and one row in ten passes by chance:

- digits joined otherwise: the id `vau-2026-11-20-000017`, a timestamp, the last groups of a UUID;
- part of a longer row of digits: a PAR is a letter and 28 digits;
- digits of a hexadecimal word, one of digits and letters from a to f, such as a fingerprint or a part of a UUID.

One in base64 is found, too, whatever stands before it in there: three bytes that are digits, spaces or dashes are four
letters of a few, and every card number has three such threes in a row. The whole word of base64 is masked.
"""

import binascii
import re
from collections.abc import Iterator

SHORTEST, LONGEST = 13, 19  # ISO/IEC 7812-1; thirteen are old, but still issued

_AS_PRINTED = {(4, 6, 5), (4, 6, 4), (4, 5, 6)}  # American Express, Diners Club, UATP
_FOUR = 4  # everybody else prints fours, and what remains

_UNUSUAL_SEPARATORS = "\u00a0\u2009\u202f\u2010-\u2014\u2212"
_SEPARATORS = rf" \-{_UNUSUAL_SEPARATORS}"
_ROW = re.compile(rf"\d(?:[{_SEPARATORS}]?\d){{{SHORTEST - 1},}}")
_GROUP = re.compile(r"\d+")
_DIGIT = re.compile(r"\d")
_HEXADECIMAL_DIGITS = "0123456789abcdefABCDEF"
_LONGEST_WORD = 256  # no digest is longer, and a message of nothing else is looked through in no time

# JSON can write a digit as an escape, and the letters of any other escape belong to no word.
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[a-z])")

# All digits made one digit and both ASCII separators one, what is worth a look is a fixed sight. It begins with
# literal characters because the regex engine then skips from one such place to the next. In base64 three bytes that are
# digits (0011 and 0000 to 1001), spaces (00100000) or dashes (00101101) begin with one of ILMNO and one of CDSTijyz.
_FLAT = bytes.maketrans(b"123456789 ILNOCSTijyz", b"000000000-MMMMDDDDDDD")
_SIGHT = re.compile(
    rb"0000(?<!00000)(?:0{9,15}(?!0)|-(?:0000-0000-0|000000-0000|00000-000000))",
)
_ENCODED_SIGHT = re.compile(rb"MD[AEMQUYcgk0][gtwxD0](?:MD[AEMQUYcgk0][gtwxD0]){2,}")
_ENCODED = re.compile(rf"{_ESCAPE.pattern}|[A-Za-z0-9+/_\-]{{12,}}")
_LONGEST_ENCODED = 44  # letters: more digits than any card number has, so that a longer row is seen to be longer
_STANDARD = bytes.maketrans(b"-_", b"+/")  # the base64 for URLs has the former instead

_UNUSUAL = re.compile(rf"[^\x00-\x7f](?<=[\d{_UNUSUAL_SEPARATORS}])")

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def contains_pan(text: str) -> bool:
    """Whether a card number stands anywhere in `text`, which may be JSON."""
    if not _worth_a_look(text):
        return False
    plain = _with_digits(text)
    return next(_pans(plain), None) is not None or _without_encoded(plain) != plain


def mask(text: str) -> str:
    """`text` with every digit of every card number as `*`, and base64 of one too; the same text where there is none."""
    if not _worth_a_look(text):
        return text
    read = _with_digits(text)
    plain = _without_encoded(read)
    pieces: list[str] = []
    done = 0
    for start, end in _pans(plain):
        if end > done:
            begin = max(start, done)
            pieces += (plain[done:begin], _DIGIT.sub("*", plain[begin:end]))
            done = end
    return "".join((*pieces, plain[done:])) if pieces or plain != read else text


def pan_in_json(value: object) -> str | None:
    """The path, as `$.new.token` or `$.items[0]`, of the first card number in parsed JSON; None for none.

    Looks at strings, numbers and keys. Of a key that is one, the path has the mask.
    """
    waiting: list[tuple[str, object]] = [("$", value)]
    while waiting:
        path, current = waiting.pop()
        if isinstance(current, dict):
            for key in current:
                if contains_pan(key):
                    return f"{path}.{mask(key)}"
            waiting += [(f"{path}.{key}", current[key]) for key in reversed(current)]
        elif isinstance(current, list):
            waiting += [(f"{path}[{at}]", current[at]) for at in reversed(range(len(current)))]
        elif contains_pan(_as_text(current)):
            return path
    return None


def _as_text(scalar: object) -> str:
    """A number as its digits: a long one may come as 4.1e15."""
    if isinstance(scalar, float) and abs(scalar) < 10.0**LONGEST and scalar.is_integer():
        return str(int(scalar))
    return str(scalar)


def _worth_a_look(text: str) -> bool:
    """Cheap, and never wrong when it says no: nearly every message ends here."""
    if "\\u" in text or (not text.isascii() and _UNUSUAL.search(text)):
        return True
    flat = _flat(text)
    return _SIGHT.search(flat) is not None or _ENCODED_SIGHT.search(flat) is not None


def _flat(text: str) -> bytes:
    return text.encode(errors="replace").translate(_FLAT)


def _with_digits(text: str) -> str:
    return _ESCAPED.sub(_digit, text) if "\\u" in text else text


def _digit(escape: re.Match[str]) -> str:
    """Itself, and letters, of which base64 is."""
    character = chr(int(escape[1], 16))
    return character if character.isdecimal() or (character.isascii() and character.isalpha()) else escape[0]


def _without_encoded(text: str) -> str:
    return _ENCODED.sub(_starred, text) if _ENCODED_SIGHT.search(_flat(text)) else text


def _starred(word: re.Match[str]) -> str:
    letters = word[0]
    sights = [] if letters.startswith("\\") else [each.start() for each in _ENCODED_SIGHT.finditer(_flat(letters))]
    if not sights:
        return letters
    # base64 may begin anywhere in what looks like a word, and what is before would read as more digits
    readings = [letters[at:] for at in range(4)] + [letters[at : at + _LONGEST_ENCODED] for at in sights]
    return "*" * len(letters) if any(next(_pans(_decoded(each)), None) for each in readings) else letters


def _decoded(letters: str) -> str:
    whole = letters[:-1] if len(letters) % 4 == 1 else letters
    return binascii.a2b_base64(whole.encode().translate(_STANDARD) + b"===").decode("latin-1")


def _pans(text: str) -> Iterator[tuple[int, int]]:
    """Where card numbers stand. They may overlap: `4111 1111 1111 1111 0` can be read in two ways."""
    if "\\" in text:
        text = _ESCAPE.sub(lambda escape: "." * len(escape[0]), text)
    for row in _ROW.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *row.span())]
        for start, end, digits in _candidates(text, groups):
            if _passes_luhn(digits) and not _is_hexadecimal(text, start) and not _is_hexadecimal(text, end - 1):
                yield start, end


def _candidates(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """Neighbouring groups that together have a card number's length and shape."""
    for first, (start, _) in enumerate(groups):
        digits = ""
        sizes: tuple[int, ...] = ()
        for group_start, end in groups[first : first + LONGEST]:
            digits += text[group_start:end]
            sizes += (end - group_start,)
            if len(digits) > LONGEST:
                break
            if len(digits) >= SHORTEST and _is_as_printed(sizes):
                yield start, end, digits


def _is_as_printed(sizes: tuple[int, ...]) -> bool:
    if len(sizes) == 1 or sizes in _AS_PRINTED:
        return True
    return all(size == _FOUR for size in sizes[:-1]) and sizes[-1] <= _FOUR


def _passes_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: from the right, every second digit doubled, its digits added."""
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(_DOUBLED[number] for number in numbers[1::2])) % 10 == 0


def _is_hexadecimal(text: str, at: int) -> bool:
    """Whether the digit at `at` is part of a hexadecimal word, as the outer ones of a UUID mostly are."""
    before, after = text[max(at - _LONGEST_WORD, 0) : at], text[at : at + _LONGEST_WORD]
    start = at - len(before) + len(before.rstrip(_HEXADECIMAL_DIGITS))
    end = at + len(after) - len(after.lstrip(_HEXADECIMAL_DIGITS))
    around = text[max(start - 1, 0) : start] + text[end : end + 1]
    return not text[start:end].isdecimal() and not any(character.isalnum() for character in around)
