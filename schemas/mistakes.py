"""Refusals that name the remedy, and the dead letters of a record's refused parts.

A file may be packed, in another encoding, or no text. A record may be inside an envelope. A record of many cards may
have parts that no update can be made of.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from domain.refusal import Refusal, RefusalCode
from schemas.feeds.feed import Feed
from schemas.feeds.record import Record

# The first bytes of each format, by its specification.
_SIGNATURES = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zip": re.compile(rb"PK\x03\x04"),
    "bzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "7z": re.compile(rb"7z\xbc\xaf\x27\x1c"),
}

# UTF-32 first: its mark begins like that of UTF-16.
_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_UTF_16_NULS = 0.4
# Control characters that no text has. Text has tabs, line ends, and from old systems form feeds, escapes and 0x1A.
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x19\x1c-\x1f]")
_SAMPLE_BYTES = 4096


def packing_refusal(beginning: bytes) -> Refusal | None:
    """Why a packed file is refused, by its first bytes; None for a file that is not packed.

    A packed file is not stored as a dead letter, because masking cannot reach the numbers inside.
    """
    name = next((name for name, signature in _SIGNATURES.items() if signature.match(beginning)), None)
    return None if name is None else _not_text(f"it unpacked, not as {name}")


def file_refusal(beginning: bytes) -> Refusal | None:
    """Why no line of a file can be read, by its first bytes: it is packed, in UTF-16 or UTF-32, or no text."""
    sample = beginning[:_SAMPLE_BYTES]
    return packing_refusal(beginning) or _nul_refusal(sample) or _encoding_refusal(sample) or _binary_refusal(sample)


def _not_text(expected: str) -> Refusal:
    return Refusal(RefusalCode.NOT_TEXT, "", expected)


def _nul_refusal(sample: bytes) -> Refusal | None:
    """Why a sparse file is refused: it reads as NULs."""
    return _not_text("text, not NULs") if sample and not sample.strip(b"\0") else None


def _encoding_refusal(sample: bytes) -> Refusal | None:
    marked = next((name for mark, name in _MARKS if sample.startswith(mark)), None)
    # every second byte of Latin text in UTF-16 is a NUL
    looks_like_utf_16 = len(sample) > 1 and sample.count(0) >= _UTF_16_NULS * len(sample)
    name = marked or ("UTF-16" if looks_like_utf_16 else None)
    return None if name is None else _not_text(f"UTF-8, not {name}")


def _binary_refusal(sample: bytes) -> Refusal | None:
    """Why binary data is refused. Text in another encoding has no control characters, and is read line by line."""
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        # the sample may end inside a character
        if error.reason != "unexpected end of data" and _CONTROLS.search(sample):
            return _not_text("text, not binary data")
    return None


def explain(feed: Feed, record: Record, refusal: Refusal) -> Refusal:
    """The refusal with the place where a missing field was expected, for a record that may be inside an envelope."""
    if refusal.code is not RefusalCode.REQUIRED or feed.recognises(record):
        return refusal
    return refusal.adding(" in the outermost object, which has not the names of a record of this feed")


def encode(record: Record) -> bytes:
    """A record, or a part of one, as JSON for a dead letter; half of a surrogate pair as its escape."""
    return json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace")


class RefusedPart(NamedTuple):
    """A part of a record that no update can be made of; `number` counts the record's parts from 1."""

    number: int
    record: Record
    refusal: Refusal


def dead_letters(whole: bytes, refused: Sequence[RefusedPart], part_count: int) -> list[tuple[bytes, Refusal]]:
    """The bodies and refusals of the dead letters of a record with `part_count` parts, some of them refused.

    Each refused part is a dead letter. Where they are larger together than the whole record, each repeats most of it:
    then the whole record is the only dead letter.
    """
    if part_count <= 1:
        return [(whole, part.refusal) for part in refused]
    bodies, size = [], 0
    for part in refused:
        bodies.append(encode(part.record))
        size += len(bodies[-1])
        if size > len(whole) and len(refused) > 1:
            first = refused[0]
            which = f" (part {first.number} of {part_count}, and {len(refused) - 1} others)"
            return [(whole, first.refusal.adding(which))]
    return list(zip(bodies, (part.refusal for part in refused), strict=True))
