r"""Text as a card number could be read in it: ASCII digits in place of every other way to write one, place by place.

The result is as long as the text. An escape's last place has the character that it stands for; the places before it,
and characters that do not print, have a NUL.

    as written                                      digit 4                     separator
    JSON, also escaped once more                    \u0034                       \u00a0 \t \/
    JavaScript, Python                              \u{34} \U00000034            \u{a0} \U000000a0
    bytes in a text that is no UTF-8                \x34                         \xa0
    URL, also encoded once more                     %34                         %20 %2D %C2%A0
    XML and HTML, also escaped once more            &#52; &#x34; &amp;#52;      &nbsp; &#160;
    quoted-printable (RFC 2045), two or more        =34=31                      =20
    Unicode (full width, circled, Arabic, …)        one character               any that is no letter
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

_NUL = "\0"

_ESCAPE = re.compile(
    r"""\\(?<!\\\\)\\*+
         (?: u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\+u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
           | u(?P<unit>[0-9a-fA-F]{4}) | u\{0{0,9}(?P<braced>[0-9a-fA-F]{1,6})\} | U00(?P<long>[0-9a-fA-F]{6})
           | x(?P<byte>[0-9a-fA-F]{2}) | (?P<letter>[tnrbfv/"']) )
      | (?P<utf8>%(?:25)*[c-fC-F][0-9a-fA-F](?:%(?:25)*[89abAB][0-9a-fA-F]){1,3})
      | %(?:25)*(?P<percent>[0-9a-fA-F]{2})
      | &(?:amp;)*+ (?: \#(?P<decimal>[0-9]{1,7});? | \#[xX](?P<hexadecimal>[0-9a-fA-F]{1,6});?
                      | (?P<name>nbsp|ensp|emsp|thinsp|Tab|NewLine|shy|ndash|minus|hyphen); )
      | =(?P<quoted>[0-9a-fA-F]{2})(?:(?==[0-9a-fA-F]{2})|(?<==..=..))""",
    re.VERBOSE,
)
_PERCENT = re.compile("%(?:25)*(?=[89a-fA-F])")
_DIGIT = re.compile(r"[0-9]|[^\x00-\x7f]")
_WRITTEN = re.compile(rf"{_ESCAPE.pattern}|[0-9]|[^\x00-\x7f]", re.VERBOSE)
# In superscript, in circles, in brackets, with a full stop: digits that are no decimal ones.
_UNUSUAL_DIGIT = re.compile(
    r"[^\x00-\x7f](?<=[\d\u00b2\u00b3\u00b9\u2070-\u2089\u2460-\u249b\u24ea-\u24ff\u2776-\u2793\U0001f100-\U0001f10a])"
)
_LETTERS = {"n": "\n", "r": "\r", "/": "/"}
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_HIGHEST = 0x10FFFF
# The blocks of letters of Asia have neither digits nor characters that do not print, but for U+3164.
_BLOCKS = (range(0x80, 0x3400), range(0xA000, 0xAC00), range(0xD7A4, 0x20000), range(0xE0000, 0xE0200))
# Letters by their category, and invisible all the same (Unicode's Default_Ignorable_Code_Point).
_INVISIBLE_LETTERS = (0x115F, 0x1160, 0x3164, 0xFFA0)
_DO_NOT_PRINT = {"Cc", "Cf", "Mn", "Me"}


def has_escapes(text: str) -> bool:
    """Whether there may be a second one of `readings`."""
    return "\\" in text or "%" in text or "&" in text or "=3" in text


def readings(text: str) -> Iterator[str]:
    """`text` itself and, where it has escapes, as it reads without them: `%41` may begin a number, too."""
    yield text
    if has_escapes(text):
        unescaped = _ESCAPE.sub(_in_place, text)
        if unescaped != text:
            yield unescaped


def starred(text: str) -> str:
    """`text` with a star for every digit, however it is written."""
    return _WRITTEN.sub(_star, text)


def starred_as_it_stands(text: str) -> str:
    """`text` with a star for every digit, also in what could be an escape: in `41%11%11` there need be none."""
    return _DIGIT.sub(_star, text)


def has_unusual_digits(text: str) -> bool:
    """Whether a digit other than 0 to 9 stands in `text`."""
    return not text.isascii() and _UNUSUAL_DIGIT.search(text) is not None


def plain(text: str) -> str:
    """`text` with ASCII digits in place of all others, and without characters that do not print."""
    return text if text.isascii() else _NOT_ASCII.sub(lambda part: part[0].translate(_plain_characters()), text)


def _star(match: re.Match[str]) -> str:
    character = match[0] if match.lastgroup is None else _character(match)
    return match[0] if unicodedata.digit(character, None) is None else "*"


def _in_place(escape: re.Match[str]) -> str:
    return _character(escape).rjust(len(escape[0]), _NUL)


def _character(escape: re.Match[str]) -> str:
    """The character that an escape stands for; a space for a separator of any kind, a NUL for half a character."""
    name = escape.lastgroup
    if name == "low":
        high, low = int(escape["high"], 16), int(escape["low"], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    if name is None or name == "name":
        return " "
    if name == "letter":
        return _LETTERS.get(escape["letter"], " ")
    if name == "utf8":
        return bytes.fromhex(_PERCENT.sub("", escape[0])).decode(errors="replace")[0]
    code = int(escape[name], 10 if name == "decimal" else 16)
    if (name in ("percent", "byte", "quoted") and code >= 0x80) or code > _HIGHEST:  # noqa: PLR2004 - a part of a character
        return _NUL
    return chr(code)


@cache
def _plain_characters() -> dict[int, str]:
    """What stands for each character that is another digit, or that does not print."""
    table = dict.fromkeys(_INVISIBLE_LETTERS, _NUL)
    for code in (code for block in _BLOCKS for code in block):
        character = chr(code)
        digit = unicodedata.digit(character, None)
        if digit is not None:
            table[code] = str(digit)
        elif unicodedata.category(character) in _DO_NOT_PRINT:
            table[code] = _NUL
    return table
