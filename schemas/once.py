"""Untrusted JSON, in which objects with a repeated key are detected.

`json.loads` keeps the last of two values under one key, other readers the first: the vendor's meaning is unknown. Such
an object is read as `Ambiguous`. The caller refuses it, and reads the records beside it.
"""

import json
import re
import threading
from typing import Any

from domain import pan

_LONGEST_SHOWN = 40
# a key of this many digits may be a mistyped card number, which passes no check
_MANY_DIGITS = re.compile(r"\d(?:\D{0,3}\d){6,}")


class Ambiguous(dict[str, Any]):
    """An object with a repeated `key`, in itself or in an object inside it."""

    key = ""


def loads(written: str | bytes | bytearray) -> Any:
    """The value of a JSON text, as `json.loads` returns it; raises the same errors.

    An object with a repeated key anywhere inside is `Ambiguous`. In an array, each such element is.
    """
    if not isinstance(written, str):
        written = written.decode(json.detect_encoding(written), "surrogatepass")
    _read.repeated = False
    value = _decoded(written)
    return _marked(value) if _read.repeated else value


def repeated_key(value: object) -> str | None:
    """The repeated key of an `Ambiguous` object, fit to be shown; None for any other value."""
    return shown(value.key) if isinstance(value, Ambiguous) else None


def shown(key: str) -> str:
    """A key as a reason may show it: printable, without card numbers, 40 characters at most."""
    plain = "".join(character if character.isprintable() else "?" for character in key)
    masked = _MANY_DIGITS.sub(lambda digits: re.sub(r"\d", "*", digits[0]), pan.mask(plain))
    return masked if len(masked) <= _LONGEST_SHOWN else masked[:_LONGEST_SHOWN] + "…"


class _ReadingState(threading.local):
    """The state of this thread's parser: several threads parse at a time."""

    repeated = False
    """Whether the text has an object with a repeated key; if not, the search for it is skipped."""


_read = _ReadingState()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) == len(pairs):
        return mapping
    _read.repeated = True
    seen: set[str] = set()
    ambiguous = Ambiguous(mapping)
    for key, _ in pairs:
        if key in seen:
            ambiguous.key = key
            break
        seen.add(key)
    return ambiguous


# made once: `json.loads` makes a decoder for each text, which takes as long as parsing a message
_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _decoded(text: str) -> Any:
    """As `decode`, which takes a third of a message's time to look for blanks around it."""
    if text.startswith("{"):
        value, end = _DECODER.raw_decode(text)
        if end == len(text):
            return value
    return _DECODER.decode(text)


def _marked(value: Any) -> Any:
    if isinstance(value, list):
        return [_marked(element) for element in value]
    key = _first_repeated(value)
    if key is None or not isinstance(value, dict):
        return value
    ambiguous = Ambiguous(value)
    ambiguous.key = key
    return ambiguous


def _first_repeated(value: object) -> str | None:
    waiting = [value]
    for current in waiting:  # the list grows during the loop
        if isinstance(current, Ambiguous):
            return current.key
        inner = current.values() if isinstance(current, dict) else current if isinstance(current, list) else ()
        waiting += [child for child in inner if isinstance(child, (dict, list))]
    return None
