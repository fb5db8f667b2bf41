"""A line of a merchant's export of the payment method ids that it stores: of a CSV file, or a text of its own.

An id is in the column or key `paymentMethodId`, or else in `id`. A line without a form around it is the id itself.
"""

import csv
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias
from uuid import UUID

from domain.refusal import RefusalCode, Refused
from domain.wallet import MethodId
from schemas import once

KEYS = ("paymentMethodId", "id")
"""Names of the column or key that has the id, the first that is there."""

# A longer one is no id, and `csv` would take its time for it.
_LONGEST = 100_000
_DELIMITERS = ",;"

ReadId: TypeAlias = Callable[[str], MethodId]
"""Read the id of a line. Raises Refused."""


def reader(first: str) -> tuple[ReadId, bool]:
    """How lines are read, by the first one of the file; and whether that one is a header.

    Raises:
        Refused: it is neither a header with a column of ids, nor JSON, nor an id.
    """
    if first.startswith("{"):
        return read_json, False
    delimiter = next((mark for mark in _DELIMITERS if mark in first), _DELIMITERS[0])
    header = [name.strip() for name in _cells(first, delimiter)]
    name = next((name for name in KEYS if name in header), None)
    if name is not None:
        if header.count(name) > 1:
            raise Refused(RefusalCode.REPEATED, name, "once in the header")
        return partial(_read_row, header=header, name=name, delimiter=delimiter), True
    if len(header) > 1 or not _is_id(first.strip('"')):
        raise Refused(
            RefusalCode.NOT_READABLE, "line", f"a header with the column {' or '.join(KEYS)}, a JSON object, or an id"
        )
    return read_json, False


def read_json(line: str) -> MethodId:
    """The id of a line that is a JSON object, a JSON text, or the id itself."""
    if not line.startswith(("{", '"')):
        return _id(line, "line")
    try:
        value = once.loads(line)
    except ValueError:
        raise Refused(RefusalCode.NOT_READABLE, "line", "a JSON object or an id") from None
    except RecursionError:
        raise Refused(RefusalCode.TOO_DEEP, "line", "a JSON object that is less deep") from None
    if key := once.repeated_key(value):
        raise Refused(RefusalCode.REPEATED, key, "once in its object")
    if isinstance(value, str):
        return _id(value, "line")
    name = next((name for name in KEYS if name in value), None)
    if name is None:
        raise Refused(RefusalCode.REQUIRED, KEYS[0], "required")
    return _id(value[name], name)


def _read_row(line: str, *, header: Sequence[str], name: str, delimiter: str) -> MethodId:
    cells = _cells(line, delimiter)
    if len(cells) != len(header):
        raise Refused(RefusalCode.NOT_READABLE, "line", f"{len(header)} columns, as in the header")
    return _id(cells[header.index(name)].strip(), name)


def _cells(line: str, delimiter: str) -> list[str]:
    if len(line) > _LONGEST:
        raise Refused(RefusalCode.TOO_LONG, "line", f"{_LONGEST:,} characters at most")
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        raise Refused(RefusalCode.NOT_READABLE, "line", "a row of CSV, on one line") from None


def _id(value: object, field: str) -> MethodId:
    if not isinstance(value, str):
        raise Refused(RefusalCode.WRONG_TYPE, field, "a text")
    try:
        return MethodId(str(UUID(value)))
    except ValueError:
        raise Refused(RefusalCode.WRONG_FORMAT, field, "the id of a payment method, a UUID") from None


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
