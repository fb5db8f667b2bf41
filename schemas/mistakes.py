"""Mistakes of whoever brings a feed, told so that they can be mended: a file that is packed, a record in a wrapping."""

import re

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
