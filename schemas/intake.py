"""What a vendor's record becomes on its topic: canonical updates, a thin event, or a message for the dead letters.

A record that no update can be made of goes on the topic too, marked, so that it is kept in the one place where people
look. Its numbers are masked. Of a feed that carries full numbers all digits that stand close together are, whatever is
between them: one that is mistyped passes no check, and still nearly is a card's.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from domain import pan
from schemas import thin
from schemas.canonical import UNREADABLE_HEADER, Unreadable, masked, update_in
from schemas.feeds.feed import Edge, Feed, Fetch, Irrelevant
from schemas.feeds.reading import encode, read_answer, reports
from schemas.feeds.record import Record, Refused

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

FEED_HEADER = "repoint-feed"
"""Its value is the feed that a dead letter came from, as it is named with `--format`."""

# What a broker takes in one message unless it is told otherwise is 1 MiB, the key and the headers included.
LONGEST = 1_000_000


class TopicMessage(NamedTuple):
    """As Kafka takes it; a `thin` one goes onto the topic of thin events."""

    key: bytes | None
    value: bytes
    headers: Headers = ()
    thin: bool = False


def to_messages(feed: Feed, record: Record, edge: Edge) -> list[TopicMessage] | Irrelevant:
    """What `record` tells, ready for the topic; where it must be fetched to know, ready for that of thin events.

    A record that is `Irrelevant` is to be counted under its kind, and nothing of it kept.

    Raises:
        Refused: no update can be made of it; also of one that has a card number in a field that is no number's.
    """
    reported = reports(feed, record, edge)
    if isinstance(reported, Irrelevant):
        return reported
    return [_thin(feed, item, edge) if isinstance(item, Fetch) else _message(item, edge) for item in reported]


def answer_to_messages(feed: Feed, fetch: Fetch, answer: Record, edge: Edge) -> list[TopicMessage]:
    """What the answer to `fetch` tells, ready for the topic; nothing, if it shows the event to be irrelevant.

    Raises:
        Refused: no update can be made of it.
    """
    return [_message(update, edge) for update in read_answer(feed, fetch, answer, edge)]


def _thin(feed: Feed, fetch: Fetch, edge: Edge) -> TopicMessage:
    value = thin.written(feed.name, fetch, edge.at)
    if len(value) > LONGEST:
        raise Refused(f"event: expected {LONGEST:,} bytes at most")
    try:
        event = thin.parse(value, digit_ids=edge.digit_ids)
    except Unreadable as reason:
        raise Refused(str(reason)) from None
    # the same event told again follows it in the same partition
    return TopicMessage(event.digest.hex().encode(), value, thin=True)


def _message(update_json: dict[str, object], edge: Edge) -> TopicMessage:
    value = encode(update_json)
    try:
        update = update_in(value, digit_ids=edge.digit_ids, ours=True)
    except Unreadable as reason:
        raise Refused(str(reason)) from None
    return TopicMessage(None if update.old is None else update.old.key.encode(), value)


def refused(feed: Feed, body: bytes, reason: str) -> TopicMessage:
    """A record for the dead letters."""
    shown = masked(body)
    if feed.carries_numbers:
        shown = pan.mask_close_digits(shown)
    headers = [(UNREADABLE_HEADER, pan.mask(reason).encode()), (FEED_HEADER, feed.name.encode())]
    return TopicMessage(None, shown.encode(errors="backslashreplace")[:LONGEST], headers)
