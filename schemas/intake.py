"""A vendor's record as messages for its topic: canonical updates, a thin event, or a message for the dead letters.

An unusable record goes onto the topic too, marked by a header: operators look for dead letters in one place. Card
numbers in it are masked. In a feed that carries full numbers every run of close digits is masked: a mistyped number
passes no check, but still shows most of a card number.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from domain import pan
from domain.refusal import Refusal, RefusalCode, Refused
from domain.update import Update
from schemas import thin
from schemas.canonical import UNREADABLE_HEADER, update_in
from schemas.feeds.feed import Edge, Feed, Fetch, Irrelevant
from schemas.feeds.reading import encode, read_answer, reports
from schemas.feeds.record import Record
from schemas.masking import mask_message

MessageHeaders: TypeAlias = Sequence[tuple[str, bytes | None]]

FEED_HEADER = "repoint-feed"
"""Header with the feed of a dead letter, by its name for `--format`."""

# A broker's default limit is 1 MiB for a message with its key and headers.
LONGEST = 1_000_000


class TopicMessage(NamedTuple):
    """A message for Kafka; a `thin` one goes onto the topic of thin events.

    `update` is what a worker will read in it; None in a thin event or a message for the dead letters.
    """

    key: bytes | None
    value: bytes
    headers: MessageHeaders = ()
    thin: bool = False
    update: Update | None = None


def to_messages(feed: Feed, record: Record, edge: Edge) -> list[TopicMessage] | Irrelevant:
    """The updates that `record` reports, as messages for the topic; a thin event is a message for the topic of those.

    An `Irrelevant` record is counted under its kind, and not stored.

    Raises:
        Refused: no update can be made of the record, or a field that is no card number's holds one.
    """
    reported = reports(feed, record, edge)
    if isinstance(reported, Irrelevant):
        return reported
    return [_thin(feed, item, edge) if isinstance(item, Fetch) else _message(item, edge) for item in reported]


def answer_to_messages(feed: Feed, fetch: Fetch, answer: Record, edge: Edge) -> list[TopicMessage]:
    """The updates that the answer to `fetch` reports, as messages; none if the event is irrelevant after all.

    Raises:
        Refused: no update can be made of it.
    """
    return [_message(update, edge) for update in read_answer(feed, fetch, answer, edge)]


def _thin(feed: Feed, fetch: Fetch, edge: Edge) -> TopicMessage:
    value = thin.written(feed.name, fetch, edge.at)
    if len(value) > LONGEST:
        raise Refused(RefusalCode.TOO_LONG, "event", f"{LONGEST:,} bytes at most")
    event = thin.parse(value, digit_ids=edge.digit_ids)
    # a repetition of the event has the same key, so it follows in the same partition
    return TopicMessage(event.digest.hex().encode(), value, thin=True)


def _message(update_json: dict[str, object], edge: Edge) -> TopicMessage:
    value = encode(update_json)
    update = update_in(value, digit_ids=edge.digit_ids, ours=True)
    return update_message(update, value)


def update_message(update: Update, value: bytes, headers: MessageHeaders = ()) -> TopicMessage:
    """The message `value`, in which `update` was read: in order with the other updates of its old credential."""
    return TopicMessage(None if update.old is None else update.old.key.encode(), value, headers, update=update)


def refused(feed: Feed, body: bytes, refusal: Refusal) -> TopicMessage:
    """A refused record as a message for the dead letters, masked."""
    shown = mask_message(body)
    if feed.carries_numbers:
        shown = pan.mask_close_digits(shown)
    headers = [(UNREADABLE_HEADER, pan.mask(str(refusal)).encode()), (FEED_HEADER, feed.name.encode())]
    return TopicMessage(None, shown.encode(errors="backslashreplace")[:LONGEST], headers)
