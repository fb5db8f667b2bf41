"""Thin events from their topic: each is stored until the vendor has been asked, in one transaction for a batch.

No vendor is asked here. After a redelivered message the vendor is asked once more; its answer repeats known updates.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchPoint, BatchResult, empty_messages
from consumers.letters import LONGEST_BYTES, Message, dead_letter, message_size, shortened_letter, too_long_reason
from domain.refusal import RefusalCode, Refused
from domain.wallet import Key
from schemas import thin
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds import FEEDS
from store import dead_letters, fetches, topics
from store.dead_letters import DeadLetter
from store.fetches import NewFetch
from wallets.change import Retention
from wallets.loading import ORDINARY, Limits


async def take_in(
    engine: AsyncEngine,
    messages: Sequence[Message],
    _retention: Retention,
    *,
    within_reach: AbstractSet[Key] = frozenset(),  # noqa: ARG001  as `consumers.batch.take_in` is called
    digit_ids: DigitIds = NO_DIGIT_IDS,
    incarnation: int = 0,
    limits: Limits = ORDINARY,  # noqa: ARG001  the same
    on_point: Callable[[BatchPoint], None] = lambda _: None,
) -> BatchResult:
    """Store the thin events of `messages`; every other message becomes a dead letter."""
    letters, events = _read(messages, digit_ids)
    empties = empty_messages(messages)
    async with engine.begin() as connection:
        on_point("took in")
        if events:
            await fetches.keep(connection, events)
        if letters:
            await dead_letters.keep(connection, letters, incarnation)
        if empties:
            await topics.count_empty(connection, topics.Incarnation(messages[0].topic, incarnation), empties)
    on_point("committed")
    return BatchResult(Counter(), letters, 0, 0, len(empties))


def _read(messages: Sequence[Message], digit_ids: DigitIds) -> tuple[list[DeadLetter], list[NewFetch]]:
    letters, events = [], []
    for message in messages:
        if message.value is None:
            continue
        if (size := message_size(message)) > LONGEST_BYTES:
            letters.append(shortened_letter(message, too_long_reason(size)))
            continue
        value = message.value
        try:
            event = _check_feed(thin.parse(value, message.headers, digit_ids))
        except Refused as refused:
            letters.append(dead_letter(message, str(refused), digit_ids))
        else:
            events.append(NewFetch(event.feed, event.digest, value, message.topic, message.partition, message.offset))
    return letters, events


def _check_feed(event: thin.ThinEvent) -> thin.ThinEvent:
    feed = FEEDS.get(event.feed)
    if feed is None or (feed.fetched is None and event.fetch.file_at is None):
        raise Refused(RefusalCode.UNEXPECTED_VALUE, "feed", "one whose events are asked about")
    return event
