"""What is wrong with what a feed brings, told so that it can be mended: a file that is packed, a record in a wrapping,
and the parts of a record that cannot be used.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from schemas.feeds.feed import Feed, Record

# The first bytes of each, as its specification has them.
_BEGINS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zip": re.compile(rb"PK\x03\x04"),
    "bzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "7z": re.compile(rb"7z\xbc\xaf\x27\x1c"),
}


def packed(beginning: bytes) -> str | None:
    """What is wrong with what begins so, if it is packed. It is not kept: unpacked it would show its numbers."""
    name = next((name for name, begins in _BEGINS.items() if begins.match(beginning)), None)
    return None if name is None else f"expected it unpacked, not as {name}"


def explained(feed: Feed, record: Record, reason: str) -> str:
    """Why `record` was refused; and where was looked, if a field is missing that may be further inside."""
    if not reason.endswith(": required") or feed.recognises(record):
        return reason
    return f"{reason} in the outermost object, which has not the names of a record of this feed"


def written(record: Record) -> bytes:
    """A record, or a part of one, as it is kept; half of a surrogate pair as its escape."""
    return json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace")


class Part(NamedTuple):
    """One of a record's parts (from 1) that no update can be made of."""

    number: int
    record: Record
    reason: str


def letters(whole: bytes, refused: Sequence[Part], of: int) -> list[tuple[bytes, str]]:
    """What is to be kept of a record of `of` parts, of which these are refused, and for which reasons.

    Each part by itself; but the whole record once, where they are larger together: then each repeats most of it.
    """
    if of <= 1:
        return [(whole, each.reason) for each in refused]
    bodies, size = [], 0
    for each in refused:
        bodies.append(written(each.record))
        size += len(bodies[-1])
        if size > len(whole) and len(refused) > 1:
            first = refused[0]
            return [(whole, f"{first.reason} (part {first.number} of {of}, and {len(refused) - 1} others)")]
    return list(zip(bodies, (each.reason for each in refused), strict=True))
