"""Thin events off their topic: each is kept until the vendor has been asked, in one transaction for a batch.

Nothing is asked here. A message that comes again after a crash asks once more, which tells nothing new.

Their topic may be missing: whoever has no feed with thin events need not make it. aiokafka would wait for it without an
end, ten times a second, and look like a loop that hangs; so nobody subscribes to it before it is there.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import Keeping, Message, Point, Taken, dead_letter
from consumers.worker import Worker
from domain.wallet import Key
from schemas import thin
from schemas.canonical import Unreadable
from schemas.feeds import FEEDS
from store import dead_letters, fetches
from store.dead_letters import DeadLetter
from store.fetches import NewFetch

log = structlog.get_logger()

# How often one looks whether the topic is there, and how long that may take.
_LOOK_SECONDS = 5


async def run(
    worker: Worker, stopping: asyncio.Event, *, bootstrap_servers: str, topic: str, security: Mapping[str, Any]
) -> None:
    """Let `worker` take in what comes on `topic`, once that is there, until `stopping` is set."""
    said = False
    while not stopping.is_set():
        if await _is_there(topic, bootstrap_servers, security):
            await worker.run(stopping)
            return
        if not said:
            log.info("no thin events are taken in while their topic is not there", topic=topic)
            said = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await stopping.wait()


async def _is_there(topic: str, bootstrap_servers: str, security: Mapping[str, Any]) -> bool:
    """False also where no broker is: whoever consumes the updates says so."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, client_id="repoint-thin", **security)
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            await consumer.start()
            return topic in await consumer.topics()
    except (KafkaError, TimeoutError):
        return False
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await consumer.stop()


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
