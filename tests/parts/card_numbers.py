"""The ways in which card numbers are written, hidden or packed: by name, each as a text with the number in it.

They are written apart from the code under test, and so is `is_left`, which looks for what is left of a number.
"""

import base64
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote, unquote

VISA = "4539578763621486"

# Every one is between each two groups.
SEPARATORS = {
    "space": " ", "dash": "-", "dot": ".", "tab": "\t", "two spaces": "  ", "underscore": "_", "slash": "/",
    "comma": ",", "plus": "+", "percent 20": "%20", "percent 2D": "%2D", "percent NBSP": "%C2%A0", "bar": "|",
    "colon": ":", "line end": "\n", "CR LF": "\r\n", "spaced dash": " - ", "comma and space": ", ", "star": "*",
    "em space": "\u2003", "figure space": "\u2007", "ideographic space": "\u3000", "no-break space": "\u00a0",
    "narrow no-break space": "\u202f", "hyphen": "\u2010", "en dash": "\u2013", "minus": "\u2212",
    "middle dot": "\u00b7", "HTML space": "&nbsp;", "HTML number": "&#160;", "backslash": "\\",
    "zero width and space": "\u200b \u200b",
}  # fmt: skip
INVISIBLE = {
    "zero width space": "\u200b", "zero width joiner": "\u200d", "RLM": "\u200f", "LRM": "\u200e",
    "soft hyphen": "\u00ad", "word joiner": "\u2060", "BOM": "\ufeff", "NUL": "\0", "unit separator": "\x1f",
    "combining mark": "\u0301", "keycap": "\ufe0f\u20e3", "filler": "\u3164", "four zero width spaces": "\u200b" * 4,
}  # fmt: skip
DIGITS = {
    "full width": [chr(0xFF10 + digit) for digit in range(10)],
    "superscript": ["\u2070", "\u00b9", "\u00b2", "\u00b3", *(chr(0x2070 + digit) for digit in range(4, 10))],
    "circled": ["\u24ea", *(chr(0x245F + digit) for digit in range(1, 10))],
    "Arabic": [chr(0x0660 + digit) for digit in range(10)],
    "mathematical": [chr(0x1D7CE + digit) for digit in range(10)],
}
_PLAIN_DIGITS = {ord(character): str(at) for written in DIGITS.values() for at, character in enumerate(written)}
NUMBER_IN_JSON = "number in JSON: "
"""What follows it is to be written into JSON as it stands, without quotes."""


def forms(number: str) -> Mapping[str, str]:
    """`number`, of 16 digits, in every form."""
    return {
        "plain": number,
        **_grouped(number),
        **_beside_letters(number),
        **_of_chips_and_tracks(number),
        **_encoded(number),
        **{f"{name} digits": number.translate(_table(digits)) for name, digits in DIGITS.items()},
        **{f"with {name}": character.join(number) for name, character in INVISIBLE.items()},
        **_in_numbers_of_json(number),
    }


def in_json(value: object, *, ensure_ascii: bool = True) -> str:
    """`value` as JSON, with the numbers that `NUMBER_IN_JSON` announces."""
    written = json.dumps(value, ensure_ascii=ensure_ascii)
    return re.sub(rf'"{NUMBER_IN_JSON}([0-9.eE+-]+)"', r"\1", written)


def is_left(number: str, text: str) -> bool:
    """Whether twelve digits in a row of `number` are left in `text`, in any of the forms."""
    left = [number[:12], number[4:], number[2:14]]
    plain = _unescaped(text)
    readings = {text, plain, unquote(plain) if "%" in plain else plain}
    readings |= {part for reading in tuple(readings) for part in _decoded(reading)}
    return any(part in squeezed for squeezed in map(_squeezed, readings) for part in left)


def _grouped(number: str) -> dict[str, str]:
    fours = re.findall("....", number)
    found = {f"fours, {name}": separator.join(fours) for name, separator in SEPARATORS.items()}
    for separator in " -.":
        found[f"6-10, {separator!r}"] = separator.join((number[:6], number[6:]))
        found[f"8-8, {separator!r}"] = separator.join((number[:8], number[8:]))
        found[f"4-6-6, {separator!r}"] = separator.join((number[:4], number[4:10], number[10:]))
        found[f"one by one, {separator!r}"] = separator.join(number)
    return found


def _beside_letters(number: str) -> dict[str, str]:
    return {
        "a before": f"a{number}",
        "f behind": f"{number}f",
        "e before and behind": f"e{number}e",
        "in a hexadecimal word": f"deadbeef{number}",
        "in upper case": f"{number}ABCDEF",
        "in a token": f"tok_{number}",
        "in letters": f"x{number}y",
        "in a URL": f"https://shop.example/cards/{number}?a=1",
        "in JSON in a text": json.dumps({"number": number}),
        "in quotes, twice": f'"{number}"; {number}',
        "behind a date": f"2026-11-20 {number}",
        "before an expiry": f"{number} 12/28 123",
    }


def _of_chips_and_tracks(number: str) -> dict[str, str]:
    track_2 = f"{number}D25122010000012300000F"
    return {
        "track 1": f"%B{number}^DOE/JOHN^25122010000000123000000?",
        "track 2": f";{number}=25122010000012300000?",
        "tag 57, value": track_2,
        "tag 57, lower case": track_2.lower(),
        "tag 57, 32 nibbles": f"{number}D25122010000123"[:32].ljust(32, "F"),
        "tag 57 with tag and length": f"5713{track_2}",
        "tag 57 in a chip's data": f"9F260800112233445566775713{track_2}5F3401019F02060000000012345F",
        "tag 9F6B": f"9F6B13{track_2}",
        "tag 9F6B in a chip's data": f"9f26080011223344556677 9f6b13{track_2}9f02060000000012345f".lower(),
        "tag 5A": f"9F26080011223344556677885A08{number}5F24032512319F",
        "packed, filled": f"{number}".ljust(32, "F"),
    }


def _encoded(number: str) -> dict[str, str]:
    fours = " ".join(re.findall("....", number))
    hexadecimal = number.encode().hex()
    full_width = number.translate(_table(DIGITS["full width"]))
    return {
        **{f"base64, {name}": base64.b64encode(text.encode()).decode() for name, text in _separated(number).items()},
        **{f"hexadecimal, {name}": text.encode().hex() for name, text in _separated(number).items()},
        **{
            f"base64, full width behind {before!r}": base64.b64encode((before + full_width).encode()).decode()
            for before in ("", "n", "n=")
        },
        "base64": base64.b64encode(number.encode()).decode(),
        "base64 in a URL": f"https://shop.example/cards/{base64.b64encode(number.encode()).decode().rstrip('=')}",
        "base64 of JSON": base64.urlsafe_b64encode(json.dumps({"card": {"number": fours}}).encode()).decode(),
        "base64 of UTF-16 LE": base64.b64encode(number.encode("utf-16-le")).decode(),
        "base64 of UTF-16 BE": base64.b64encode(number.encode("utf-16-be")).decode(),
        "base64 of UTF-16, grouped": base64.b64encode(f'{{"n": "{fours}"}}'.encode("utf-16")).decode(),
        "base64 in lines": re.sub("(.{14})", r"\1\n", base64.b64encode(f"number={number};".encode()).decode()),
        "hexadecimal": hexadecimal,
        "hexadecimal, upper case": f"number={fours}".encode().hex().upper(),
        "hexadecimal, dashes": fours.replace(" ", "-").encode().hex(),
        "hexadecimal, bytes": " ".join(re.findall("..", hexadecimal)),
        "hexadecimal, bytes in a URL": "%20".join(re.findall("..", hexadecimal)),
        "hexadecimal, no-break space, upper case": fours.replace(" ", "\u00a0").encode().hex().upper(),
        "hexadecimal of UTF-16": number.encode("utf-16-le").hex(),
        "hexadecimal, 0x": f"0x{hexadecimal}",
        "percent": "".join(f"%{ord(digit):02X}" for digit in number),
        "percent, full width": quote(number.translate(_table(DIGITS["full width"]))),
        "percent, twice": quote("".join(f"%{ord(digit):02X}" for digit in number)),
        "escapes": "".join(f"\\u{ord(digit):04x}" for digit in number),
        "escapes of bytes": "".join(f"\\x{ord(digit):02x}" for digit in number),
        "escapes of JavaScript": "".join(f"\\u{{{ord(digit):x}}}" for digit in number),
        "escapes of Python": "".join(f"\\U{ord(digit):08x}" for digit in number),
        "quoted-printable": "".join(f"={ord(digit):02X}" for digit in number),
        "quoted-printable, grouped": "".join(f"={ord(character):02X}" for character in fours),
        "HTML, thin spaces": fours.replace(" ", "&thinsp;"),
        "HTML without semicolons": "".join(f"&#{ord(digit)}" for digit in number),
        "HTML, twice": "".join(f"&amp;#{ord(digit)};" for digit in number),
        "HTML": "".join(f"&#{ord(digit)};" for digit in number),
        "HTML, hexadecimal": "".join(f"&#x{ord(digit):x};" for digit in number),
    }


def _separated(number: str) -> dict[str, str]:
    """Groups with characters between them of one byte, two and three, wherever the first one begins."""
    fours = re.findall("....", number)
    between = {"tab": "\t", "dot": ".", "comma": ",", "colon": ":", "underscore": "_", "bar": "|", "line end": "\n"}
    between |= {"no-break space": "\u00a0", "em space": "\u2003", "hyphen": "\u2010", "spaced dash": " - "}
    return {
        f"{name} {before}".strip(): before + separator.join(fours)
        for name, separator in between.items()
        for before in ("", "x", "xy")
    }


def _in_numbers_of_json(number: str) -> dict[str, str]:
    written = (
        number, f"{number}.0", f"{number}e0", f"{number}E+00", f"{number[0]}.{number[1:]}e15", f"{number}000e-3",
        f"0.{number}e16", f"-{number}",
    )  # fmt: skip
    return {f"JSON {text}": NUMBER_IN_JSON + text for text in written}


def _table(digits: Sequence[str]) -> dict[int, str]:
    return {ord("0") + at: digit for at, digit in enumerate(digits)}


def _squeezed(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text if text.isascii() else unicodedata.normalize("NFKC", text))


def _unescaped(text: str) -> str:
    plain = text
    if "\\" in text:
        plain = re.sub(
            r"\\+u(d8..)\\+u(d[c-f]..)",
            lambda pair: bytes.fromhex(pair[1] + pair[2]).decode("utf-16-be", "replace"),
            plain,
        )
        plain = re.sub(
            r"\\+(?:u([0-9a-f]{4})|x([0-9a-f]{2}))", lambda escape: chr(int(escape[1] or escape[2], 16)), plain
        )
        plain = re.sub(r"\\+u\{([0-9a-f]+)\}|\\+U([0-9a-f]{8})", lambda code: chr(int(code[1] or code[2], 16)), plain)
        plain = re.sub(r"\\+t|\\+\"", " ", plain)
        plain = re.sub(r"\\+[nr]", "\n", plain)
        plain = re.sub(r"\\+/", "/", plain)
    if "&" in text:
        plain = plain.replace("&amp;", "&")
        plain = re.sub(r"&#(\d+);?", lambda escape: chr(int(escape[1])), plain)
        plain = re.sub(r"&#x([0-9a-f]+);", lambda escape: chr(int(escape[1], 16)), plain)
        plain = re.sub(r"&(?:nbsp|thinsp);", " ", plain)
    if "%" in text:
        plain = re.sub(r"(?:%25)*%20|(?:%25)+", lambda escape: "%" if escape[0] != "%20" else " ", plain)
    if "=3" in text:
        plain = re.sub(r"=([2-3][0-9A-F])", lambda escape: chr(int(escape[1], 16)), plain)
    return plain if plain.isascii() else plain.translate(_PLAIN_DIGITS)


def _decoded(text: str) -> list[str]:
    joined = re.sub(r"[\r\n]", "", text)
    words = {word for part in {text, joined} for word in re.findall(r"[A-Za-z0-9+/_\-]{16,}", part)}
    bytes_ = re.findall(r"(?:[0-9a-fA-F]{2}[ :]?){12,}", text)
    return [part for word in words for part in _of_base64(word)] + [part for word in bytes_ for part in _of_bytes(word)]


@lru_cache(maxsize=10_000)
def _of_base64(word: str) -> tuple[str, ...]:
    parts = (word[begin:] for begin in range(4))
    decoded = [base64.b64decode(part[: len(part) // 4 * 4], altchars="-_") for part in parts]
    return tuple(
        text.replace("\0", "") for part in decoded for text in (part.decode("latin-1"), part.decode(errors="ignore"))
    )


@lru_cache(maxsize=10_000)
def _of_bytes(word: str) -> tuple[str, ...]:
    digits = re.sub("[ :]", "", word)
    return tuple(
        bytes.fromhex(part[: len(part) // 2 * 2]).decode("latin-1").replace("\0", "") for part in (digits, digits[1:])
    )
