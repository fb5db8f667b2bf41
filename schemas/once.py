"""JSON from outside, of which an object that has a key twice is found out.

`json.loads` keeps the last of two values under one key, other readers the first, so nobody can say which one the vendor
meant. Such an object is read as an `Ambiguous` one and refused by whoever uses it, so that the records beside it are
read.
"""

import json
import re
import threading
from typing import Any

from domain import pan

_LONGEST_SHOWN = 40
# a key of as many digits may be nearly a card's number, and a mistyped one passes no check
_MANY_DIGITS = re.compile(r"\d(?:\D{0,3}\d){6,}")


class Ambiguous(dict[str, Any]):
    """An object in which `key` stood more than once, or in one of the objects inside it."""

    key = ""


def loads(written: str | bytes | bytearray) -> Any:
    """The value of a JSON text, as `json.loads` gives it and with its errors.

    An object with a repeated key anywhere inside is `Ambiguous`; of an array each element that is such an object.
    """
    if not isinstance(written, str):
        written = written.decode(json.detect_encoding(written), "surrogatepass")
    _read.repeated = False
    value = _DECODER.decode(written)
    return _marked(value) if _read.repeated else value


def repeated_key(value: object) -> str | None:
    """The key that makes an object `Ambiguous`, fit to be shown; None of any other value."""
    return shown(value.key) if isinstance(value, Ambiguous) else None


def shown(key: str) -> str:
    """A key as a reason may repeat it: without card numbers, and no longer than the names of fields are."""
    plain = "".join(character if character.isprintable() else "?" for character in key)
    masked = _MANY_DIGITS.sub(lambda digits: re.sub(r"\d", "*", digits[0]), pan.mask(plain))
    return masked if len(masked) <= _LONGEST_SHOWN else masked[:_LONGEST_SHOWN] + "…"


class _ReadingState(threading.local):
    """The text that this thread reads. Bodies are read on several threads at a time."""

    repeated = False
    """Whether an object with a repeated key was in it: where there was none, nothing has to be looked for."""


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


# made once: `json.loads` makes another one for each text, which takes as long as a message
_DECODER = json.JSONDecoder(object_pairs_hook=_object)


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
    for current in waiting:  # which grows meanwhile
        if isinstance(current, Ambiguous):
            return current.key
        inner = current.values() if isinstance(current, dict) else current if isinstance(current, list) else ()
        waiting += [child for child in inner if isinstance(child, (dict, list))]
    return None
