"""Thin events off their topic: each is kept until the vendor has been asked, in one transaction for a batch.

Nothing is asked here. A message that comes again after a crash asks once more, which tells nothing new.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import Keeping, Message, Point, Taken, dead_letter
from domain.wallet import Key
from schemas import thin
from schemas.canonical import Unreadable
from schemas.feeds import FEEDS
from store import dead_letters, fetches
from store.dead_letters import DeadLetter
from store.fetches import NewFetch


async def take(
    engine: AsyncEngine,
    messages: Sequence[Message],
    _keeping: Keeping,
    *,
    within_reach: AbstractSet[Key] = frozenset(),  # noqa: ARG001  as `consumers.batch.take` is called
    at: Callable[[Point], None] = lambda _: None,
) -> Taken:
    """Keep what is to be asked for; what is no thin event becomes a dead letter."""
    letters, events = _read(messages)
    async with engine.begin() as connection:
        at("took in")
        if events:
            await fetches.keep(connection, events)
        if letters:
            await dead_letters.keep(connection, letters)
    at("committed")
    return Taken(Counter(), len(letters), 0, 0)


def _read(messages: Sequence[Message]) -> tuple[list[DeadLetter], list[NewFetch]]:
    letters, events = [], []
    for message in messages:
        value = message.value or b""
        try:
            event = _known(thin.parse(value, message.headers))
        except Unreadable as reason:
            letters.append(dead_letter(message, str(reason)))
        else:
            events.append(NewFetch(event.feed, event.digest, value, message.topic, message.partition, message.offset))
    return letters, events


def _known(event: thin.Thin) -> thin.Thin:
    feed = FEEDS.get(event.feed)
    if feed is None or (feed.fetched is None and event.fetch.file_at is None):
        raise Unreadable("feed: expected one whose events are asked about")
    return event
