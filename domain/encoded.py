"""Card numbers in words of base64 and of hexadecimal digits: the places of the whole words.

    base64 of ASCII, UTF-8, UTF-16    wherever in the word it begins, in lines or in one; the alphabet for URLs, too
    hexadecimal of the same           34313131…, also with a space, colon, comma or dash between two bytes
    EMV tag 57, 9F6B (Track 2)        4111111111111111D2512…, alone or behind its tag and length
    EMV tag 5A, packed BCD            5A084111111111111111, 4111111111111111FFFF

In base64 three bytes of digits and ASCII separators are four letters of a few, and so are four digits wherever they
begin: every card number has three such threes in a row, or two such fours near each other. In UTF-16 it is six bytes,
and eight letters. `has_sight_of_base64` looks for them. No other word is decoded.
"""

import binascii
import re
from collections.abc import Callable, Iterator, Sequence

from domain import brands, plain_text, rows
from domain.rows import Span

# Digits (0011 and 0000 to 1001) and separators (0010 and any) begin with one of IJKLMNO and one of CDSTijyz.
FLAT = bytes.maketrans(b"123456789IJKLNOCSTijyzlm", b"000000000MMMMMMDDDDDDDkk")
"""What makes all digits one digit, and letters that stand for the same in base64 one letter."""

_REST = rb"D[AEMQUYcgkosw0][ghkn-xD0]"  # all letters of three bytes but the first
_SIGHT = re.compile(rb"M%b(?:M%b){2,}" % (_REST, _REST))
# Of four digits three are four letters, or two are the end of four and two are the begin of the next four.
_FOUR = rb"MD(?:[AEMQUYcgk0][wxD0]|(?<=D[AEMQUYcgk0][wxD0]MD))"
_SIGHT_OF_GROUPS = re.compile(rb"%b(?:.{0,48}?%b)+" % (_FOUR, _FOUR), re.DOTALL)
_SIGHT_OF_UTF_16 = re.compile(rb"AD[AEMQUYcgk0]A(?:M[AQgw]A[gtwxD0]AD[AEMQUYcgk0]A)+")
# A digit of full width is EF BC 90 to EF BC 99 in UTF-8; what it is in base64 depends on where it begins.
_FULL_WIDTH = re.compile(rb"D[DQRU-Z]00" * 4)
_FULL_WIDTH_2 = re.compile(rb"k[Meu]?0" * 4)
_FULL_WIDTH_3 = re.compile(rb"vM[DHMPXbfn]v" * 4)
_SIGNS = b"+/-_"
# More letters than any card number has, so that a longer row is seen to be longer.
_LONGEST, _LONGEST_OF_OTHERS = 44, 100
# Mail breaks lines at 76 letters, Braintree at 60; what does not print is the rest of an escape.
_WORD = re.compile(r"[A-Za-z0-9+/_\-](?:[\0\r\n]*+[A-Za-z0-9+/_\-]){17,}+")
_BETWEEN = re.compile(r"[\0\r\n]")
_STANDARD = bytes.maketrans(b"-_", b"+/")  # the base64 for URLs has the former instead

# What stands between two bytes of a dump; a NUL is of an escape.
_GAP = r"[ :,\-\0]{0,6}"
_SEPARATOR = "(?:00|0[9aAdD]|2[0-9a-fA-F]|3[a-fA-F]|5[fF]|7[cC]|[cC]2[aA]0|[eE]28[0-1][89abAB][0-9a-fA-F])"
_AS_BYTES = re.compile(rf"3[0-9](?:{_GAP}(?:{_SEPARATOR}{_GAP}){{0,5}}3[0-9]){{12,}}+")
_NO_BYTES = re.compile(r"[ :,\-\0]")
# Letters of a byte, and more bytes than a card number has with a separator of three after each digit.
_BYTE, _MOST_BYTES = 2, 76
# Of a card number.
_FEWEST_DIGITS, _MOST_DIGITS = 13, 19
_DIGITS = frozenset(b"0123456789")
_ALONE, _END = "(?<![0-9A-Za-z])", "(?![0-9A-Za-z])"
# Track 2 is the number, D for the separator, and the expiry as YYMM; what is short of a whole byte is filled with F.
_TRACK_2 = re.compile(rf"{_ALONE}([0-9]{{13,19}})[dD][0-9]{{2}}(?:0[1-9]|1[0-2])")
_TAG_57 = re.compile(r"(?:57|9[fF]6[bB])[01][0-9a-fA-F](?=([0-9]{13,19})[dD][0-9]{2}(?:0[1-9]|1[0-2]))")
_FILLED = re.compile(rf"{_ALONE}([0-9]{{13,19}})[fF]+{_END}")
_TAG_5A = re.compile(r"5[aA]0(?:7(?=(.{14}))|8(?=(.{16}))|9(?=(.{18}))|[aA](?=(.{20})))")
_SIGHT_OF_TRACK_2 = re.compile(rb"0000000000000[dDfF]")
_HEXADECIMAL = "0123456789abcdefABCDEF"


def has_sight_of_base64(flat: bytes) -> bool:
    """Whether base64 of a card number may stand in a text that `FLAT` was made of."""
    return (
        _SIGHT_OF_GROUPS.search(flat) is not None
        or _SIGHT.search(flat) is not None
        or _SIGHT_OF_UTF_16.search(flat) is not None
        or _has_sight_of_full_width(flat)
    )


def _has_sight_of_full_width(flat: bytes) -> bool:
    """In a text without the signs of base64."""
    return (
        _FULL_WIDTH.search(flat) is not None
        or _FULL_WIDTH_2.search(flat) is not None
        or _FULL_WIDTH_3.search(flat) is not None
    )


def holds_number(text: str) -> bool:
    return next(rows.numbers(text), None) is not None


def words_of_base64(text: str, holds: Callable[[str], bool] = holds_number) -> Iterator[Span]:
    """The words that, decoded, hold a card number."""
    for word in _WORD.finditer(text):
        letters = _BETWEEN.sub("", word[0])
        if any(holds(_decoded(part)) for part in _parts(letters)):
            yield Span(*word.span())


def _parts(letters: str) -> Iterator[str]:
    """What may be base64: it can begin anywhere in a word, and what stands before it would read as more digits."""
    flat = letters.encode().translate(FLAT)
    sights = [(sight.start(), _LONGEST) for sight in _SIGHT.finditer(flat)]
    for pattern in (_SIGHT_OF_GROUPS, _SIGHT_OF_UTF_16):
        for sight in pattern.finditer(flat):
            # two digits may stand before the sight, and in UTF-16 the first half of one
            sights += [(max(sight.start() - 4, 0), _LONGEST_OF_OTHERS), (sight.start(), _LONGEST_OF_OTHERS)]
    if sights or _has_sight_of_full_width(flat.translate(None, _SIGNS)):
        spans = [(begin, len(letters)) for begin in range(4)]
        spans += [(begin, min(begin + longest, len(letters))) for begin, longest in sights]
        yield from (letters[begin:end] for begin, end in dict.fromkeys(spans))


def _decoded(letters: str) -> str:
    whole = letters[:-1] if len(letters) % 4 == 1 else letters
    content = binascii.a2b_base64(whole.encode().translate(_STANDARD) + b"===")
    return plain_text.plain(content.decode(errors="replace"))


def words_of_hexadecimal(text: str, flat: bytes) -> Iterator[Span]:
    """In `text`, of which `flat` was made."""
    for row in _AS_BYTES.finditer(text):
        if any(holds_number(content) for content in _contents(text, *row.span())):
            yield _word_around(text, *row.span())
    if _SIGHT_OF_TRACK_2.search(flat) is not None:
        yield from _words_of_track_2(text)
    for tag in _TAG_5A.finditer(text):
        number = (tag[tag.lastindex or 0]).rstrip("fF")
        if number.isascii() and number.isdecimal() and brands.is_card_number(number.encode()):
            yield _word_around(text, tag.start(), tag.end() + len(number))


def _contents(text: str, start: int, end: int) -> Iterator[str]:
    """What a row of bytes in hexadecimal may say: as a whole, and without what its neighbours lend it.

    The end of the cell `2030` before `3435…` reads as one more digit, and hides a number behind it.
    """
    yield _content(text[start:end])
    pieces = [piece for piece in _NO_BYTES.split(text[start:end]) if piece]
    if text[start - 1 : start].isalnum():
        yield _content("".join(pieces[1:]))
    if text[end : end + 1].isalnum():
        yield _content("".join(pieces[:-1]))
    if any(len(piece) > _BYTE for piece in pieces):  # no dump, which has every byte apart
        yield from _contents_of(pieces)


def _contents_of(pieces: Sequence[str]) -> Iterator[str]:
    """What some pieces in a row may say, if a number may begin in the first of them and end in the last.

    Between those two the number has all digits, so that few rows of pieces come into question.
    """
    digits = [sum(byte in _DIGITS for byte in bytes.fromhex(piece)) for piece in pieces]
    for first in range(len(pieces)):
        if not digits[first]:
            continue
        between = size = 0
        for last in range(first, len(pieces)):
            size += len(pieces[last])
            if digits[last]:
                ends = digits[first] + (digits[last] if last > first else 0)
                if between + ends >= _FEWEST_DIGITS:
                    content = _content("".join(pieces[first : last + 1]))
                    # most often a row of digits that is no number: not worth a thorough look
                    if not content.isdecimal() or brands.is_card_number(content.encode()):
                        yield content
                between += digits[last] if last > first else 0
            if between > _MOST_DIGITS or size > _BYTE * _MOST_BYTES:
                break


def _content(hexadecimal: str) -> str:
    return bytes.fromhex(_NO_BYTES.sub("", hexadecimal)).decode(errors="replace")


def may_hold_bytes(text: str) -> bool:
    """Whether thirteen digits as ASCII stand in `text` in hexadecimal."""
    return _AS_BYTES.search(text) is not None


def may_hold_chip_data(text: str) -> bool:
    """Whether digits stand in `text` as in the tags of a chip, whatever number they are."""
    return any(pattern.search(text) is not None for pattern in (_TRACK_2, _TAG_57, _FILLED, _TAG_5A))


def _words_of_track_2(text: str) -> Iterator[Span]:
    for pattern in (_TRACK_2, _TAG_57):
        for match in pattern.finditer(text):
            if brands.is_card_number(match[1].encode()):
                yield _word_around(text, match.start(), match.end(1))
    for match in _FILLED.finditer(text):
        if brands.is_card_number(match[1].encode()):
            yield Span(*match.span(1))


def _word_around(text: str, start: int, end: int) -> Span:
    while start and text[start - 1] in _HEXADECIMAL:
        start -= 1
    while end < len(text) and text[end] in _HEXADECIMAL:
        end += 1
    return Span(start, end)
