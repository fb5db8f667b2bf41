"""What a vendor's record becomes on its topic: canonical updates, a thin event, or a message for the dead letters.

A record that no update can be made of goes on the topic too, marked, so that it is kept in the one place where people
look. Its numbers are masked. Of a feed that carries full numbers all digits that stand close together are, whatever is
between them: one that is mistyped passes no check, and still nearly is a card's.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from domain import pan
from schemas import thin
from schemas.canonical import UNREADABLE_HEADER, Unreadable, masked, update_in
from schemas.feeds.feed import Edge, Feed, Fetch, Record, Refused, answered, read, written

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

FEED_HEADER = "repoint-feed"
"""Its value is the feed that a dead letter came from, as it is named with `--format`."""

# What a broker takes in one message unless it is told otherwise is 1 MiB, the key and the headers included.
LONGEST = 1_000_000

# No expiry has as many; account numbers of banks begin with fewer, and are masked whole.
_CLOSE_TOGETHER = re.compile(r"\d(?:[^\d\n]{0,3}\d){6,}")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# Base64 comes in lines (Braintree's: of 60 letters), and a number may go over the end of one. An escape is no word.
_IN_LINES = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[a-z])|[A-Za-z0-9+/_\-]++(?:(?:\\r)?\\n[A-Za-z0-9+/=_\-]++)*+")
_LINE_END = re.compile(r"(?:\\r)?\\n")


class Message(NamedTuple):
    """As Kafka takes it; a `thin` one goes onto the topic of thin events."""

    key: bytes | None
    value: bytes
    headers: Headers = ()
    thin: bool = False


def take(feed: Feed, record: Record, edge: Edge) -> list[Message]:
    """What `record` tells, ready for the topic; where it must be fetched to know, ready for that of thin events.

    Raises:
        Refused: no update can be made of it; also of one that has a card number in a field that is no number's.
    """
    told = read(feed, record, edge)
    return [_thin(feed, each, edge) if isinstance(each, Fetch) else _message(each) for each in told]


def take_answer(feed: Feed, fetch: Fetch, answer: Record, edge: Edge) -> list[Message]:
    """What the answer to `fetch` tells, ready for the topic.

    Raises:
        Refused: no update can be made of it.
    """
    return [_message(each) for each in answered(feed, fetch, answer, edge)]


def _thin(feed: Feed, fetch: Fetch, edge: Edge) -> Message:
    value = thin.written(feed.name, fetch, edge.at)
    if len(value) > LONGEST:
        raise Refused(f"event: expected {LONGEST:,} bytes at most")
    try:
        event = thin.parse(value)
    except Unreadable as reason:
        raise Refused(str(reason)) from None
    # the same event told again follows it in the same partition
    return Message(event.digest.hex().encode(), value, thin=True)


def _message(told: dict[str, object]) -> Message:
    value = written(told)
    try:
        update = update_in(value)
    except Unreadable as reason:
        raise Refused(str(reason)) from None
    return Message(None if update.old is None else update.old.key.encode(), value)


def refused(feed: Feed, body: bytes, reason: str) -> Message:
    """A record for the dead letters."""
    shown = masked(_IN_LINES.sub(_starred, body.decode(errors="backslashreplace")).encode())
    if feed.carries_numbers:
        shown = _CLOSE_TOGETHER.sub(_stars, _ESCAPE.sub(_character, shown))
    headers = [(UNREADABLE_HEADER, pan.mask(reason).encode()), (FEED_HEADER, feed.name.encode())]
    return Message(None, shown.encode(errors="backslashreplace")[:LONGEST], headers)


def _starred(lines: re.Match[str]) -> str:
    """A word on several lines, as stars if a number is in it when they are joined."""
    joined = lines[0] if lines[0].startswith("\\") else _LINE_END.sub("", lines[0])
    return "*" * len(lines[0]) if joined != lines[0] and pan.contains_pan(joined) else lines[0]


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16))


def _stars(row: re.Match[str]) -> str:
    return re.sub(r"\d", "*", row[0])
