"""What an adapter reads and makes: a vendor's record, and the canonical update (design.md §4) that it reports."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from domain.refusal import RefusalCode, Refused
from domain.update import Reason, UpdateType

Record: TypeAlias = Mapping[str, Any]
"""A vendor's record: a JSON object, or a row of a file by the names of its columns."""

UpdateFields: TypeAlias = dict[str, Any]
"""A canonical update as JSON, or a part of one. `reading.complete` adds a missing `id` and `occurredAt`."""


_IDENTIFYING = ("token", "fingerprint", "formerFingerprint", "methodType")


def update(
    type_: UpdateType,
    old: UpdateFields,
    new: UpdateFields | None = None,
    *,
    id: str | None = None,  # noqa: A002  the key of the message
    at: str | None = None,
    reason: Reason | None = None,
    customer: UpdateFields | None = None,
) -> UpdateFields:
    """A canonical update. It keeps the identifying fields of `old` and all fields of `new`, without those of None."""
    identity = {name: old[name] for name in _IDENTIFYING if old.get(name) is not None}
    message: UpdateFields = {"id": id, "type": type_.value, "occurredAt": at, "old": identity}
    if new is not None:
        message["new"] = {name: value for name, value in new.items() if value is not None}
    if reason is not None:
        message["reason"] = reason.value
    if customer is not None:
        message["customer"] = customer
    return message


# Networks and banks fill a field without a value with these. `./-` separate the parts of a date or a number.
_FILL = re.compile(r"[0\s\x00./\-]*")
_USUAL_FILL = "0 \x00./-"  # nearly every value ends the look at its first character


def is_blank(value: object) -> bool:
    """Whether a field has no value: it is missing, or filled with blanks or zeros.

    All adapters ask this function about numbers, dates, ids, names and fingerprints. Two kinds of field may hold zeros
    or blanks that count, and are not asked about: codes, and the last four digits of a card.
    """
    if isinstance(value, str):
        after_fill = value.lstrip(_USUAL_FILL)
        return not after_fill or (not after_fill[0].isalnum() and _FILL.fullmatch(after_fill) is not None)
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0)


def object_at(record: Record, *path: str) -> Record:
    """The object at `path`, as `object_at(event, "data", "object")`.

    Raises:
        Refused: there is no object.
    """
    value: object = record
    for step, name in enumerate(path, 1):
        value = value.get(name) if isinstance(value, Mapping) else None
        if not isinstance(value, Mapping):
            raise Refused(RefusalCode.WRONG_TYPE, f"{'.'.join(path[:step])}", "an object")
    assert isinstance(value, Mapping)
    return value


def optional_object(record: Record, name: str) -> Record:
    """The object `name`; an empty object where it is missing or blank, as in XML that became JSON."""
    return {} if is_blank(record.get(name)) else object_at(record, name)


def objects(record: Record, field: str) -> list[Record]:
    """The objects of the array `field`; an empty list where it is missing or blank."""
    array = record.get(field)
    if is_blank(array):
        return []
    if not isinstance(array, list) or not all(isinstance(element, Mapping) for element in array):
        raise Refused(RefusalCode.WRONG_TYPE, field, "an array of objects")
    return array


def split_array(record: Record, field: str) -> list[Record]:
    """For `Feed.split`: the objects of the array `field`. An element that is no object stays in an array of its own,
    so that the adapter refuses it alone.
    """
    array = record.get(field)
    if is_blank(array):
        return []
    if not isinstance(array, list):
        raise Refused(RefusalCode.WRONG_TYPE, field, "an array of objects")
    return [element if isinstance(element, Mapping) else {field: [element]} for element in array]


def split_at(record: Record, *path: str) -> list[Record]:
    """For `Feed.split`: a copy of the record for each element of the array at `path`, with that element alone.

    Without such an array the record itself is the only part.
    """
    name, *deeper = path
    value = record.get(name)
    parts: Sequence[object] = []
    if deeper and isinstance(value, Mapping):
        parts = split_at(value, *deeper)
    elif not deeper and isinstance(value, list):
        parts = [[element] for element in value]
    return [{**record, name: part} for part in parts] or [record]
