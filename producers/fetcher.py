"""The fetcher: asks vendors what their thin events are about, and puts what they answer onto the update topic.

    claim ──> ask, at most three times ──> read the answer ──> onto the topic, acknowledged ──> delete the row
                        └── no: due again, later and later; after the last time a dead letter ──┘

Killed anywhere, it asks again when the lease has ended. What was on the topic already will be recognised there.
"""

import asyncio
import random
import time
from collections import Counter as Count
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from io import BufferedReader, BytesIO
from typing import Literal, TypeAlias, TypeVar, cast

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from domain import pan
from producers import ingest
from producers.vendors import Unanswered, Vendors
from producers.waiting import either
from schemas import intake, thin
from schemas.canonical import Unreadable, masked
from schemas.feeds.feed import Edge, Feed, Refused, parsed
from schemas.intake import FEED_HEADER, Message
from schemas.thin import Thin
from store import dead_letters, fetches
from store.dead_letters import DeadLetter
from store.failures import passes
from store.fetches import Claimed

log = structlog.get_logger()

FETCHES = Counter("repoint_fetches_total", "Questions to vendors, by feed and what came of them", ["feed", "outcome"])

T = TypeVar("T")

Point: TypeAlias = Literal["claimed", "answered", "produced", "finished"]
"""What crash tests stop the process at."""

SCHEDULE = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
)
"""Delays after each failure; after one more it is a dead letter. A day and a quarter outlasts a night and a morning."""

# Apart, so that what failed together does not come again together.
_JITTER = 0.1
# For each feed. The vendors' own limits are some ten a second.
_AT_ONCE = 4
# How often one looks for what has become due.
_IDLE_SECONDS = 0.5
# When Kafka is away, the vendor's answer is thrown away: the next one is newer.
_KAFKA_AWAY = timedelta(seconds=10)
# So many messages are acknowledged together.
_MESSAGES_AT_ONCE = 500
# Slower than three tries; a loop that hangs is ended, and restarted by who runs it.
_STALLED_SECONDS = 180


class Fetcher:
    """One of any number of processes that share the thin events.

    `lease` is longer than three tries of `vendors` and what Kafka takes. `send` says whether everything is
    acknowledged. `edge` is of an event that came at that time. `at` is told each point that is passed.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        vendors: Vendors,
        feeds: Mapping[str, Feed],
        *,
        send: Callable[[Sequence[Message]], Awaitable[bool]],
        edge: Callable[[datetime], Edge],
        schedule: Sequence[timedelta] = SCHEDULE,
        lease: timedelta = timedelta(minutes=3),
        drain_within: float = 25,
        at: Callable[[Point], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._vendors = vendors
        self._feeds = feeds
        self._send = send
        self._edge = edge
        self._schedule = schedule
        self._lease = lease
        self._drain_within = drain_within
        self._at = at
        self._held: Count[str] = Count()
        self._progress = time.monotonic()

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask until `stopping` is set; what is under way then has `drain_within` seconds, or is asked again later."""
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                claimed = await self._patiently(self._claim, stopping) or []
                self._progress = time.monotonic()
                self._held.update(one.feed for one in claimed)
                for one in claimed:
                    task = group.create_task(self._fetch(one, stopping))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                if not claimed:
                    await either(stopping, _IDLE_SECONDS)
            if under_way:
                await asyncio.wait(under_way, timeout=self._drain_within)
            for task in under_way:
                task.cancel()

    async def run_once(self) -> int:
        """Ask once about all that is due, as far as it may be asked at once; how many. A test's `run`."""
        async with self._engine.begin() as connection:
            claimed = await self._claim(connection)
        self._held.update(one.feed for one in claimed)
        await asyncio.gather(*(self._fetch(one, asyncio.Event()) for one in claimed))
        return len(claimed)

    def stalled(self) -> str | None:
        """Why the process should be restarted; None if it is well."""
        idle = time.monotonic() - self._progress
        return f"the fetcher has stood still for {idle:.0f} s" if idle > _STALLED_SECONDS else None

    async def _claim(self, connection: AsyncConnection) -> list[Claimed]:
        most = {name: _AT_ONCE - self._held[name] for name in self._feeds if self._held[name] < _AT_ONCE}
        return await fetches.claim(connection, most, lease=self._lease) if most else []

    async def _fetch(self, claimed: Claimed, stopping: asyncio.Event) -> None:
        try:
            self._at("claimed")
            await self._bring(claimed, stopping)
        finally:
            self._held[claimed.feed] -= 1

    async def _bring(self, claimed: Claimed, stopping: asyncio.Event) -> None:
        try:
            event = thin.parse(claimed.event)
            answer = await self._vendors.ask(claimed.feed, event.fetch)
            self._at("answered")
            messages = await self._read(event, answer)
        except (Unreadable, Unanswered, Refused) as reason:
            await self._failed(claimed, reason, stopping)
            return
        for some in _in_parts(messages):
            if not await self._send(some):
                log.info("answer not on the topic: to be asked for again", feed=claimed.feed)
                await self._patiently(
                    lambda connection: fetches.postpone(connection, claimed, _KAFKA_AWAY, None), stopping
                )
                return
        self._at("produced")
        await self._patiently(lambda connection: fetches.finish(connection, claimed), stopping)
        self._at("finished")
        FETCHES.labels(claimed.feed, "answered").inc()

    async def _read(self, event: Thin, answer: bytes) -> list[Message]:
        """What the answer tells, ready for the topic. Raises Refused where that is nothing."""
        feed, edge = self._feeds[event.feed], self._edge(event.fetch.file_at or event.at)
        if event.fetch.file_at is None:
            return intake.take_answer(feed, event.fetch, _object(answer), edge)
        lines = [line async for line in ingest.vendors(feed, cast(BufferedReader, BytesIO(answer)), edge)]
        # otherwise the page that says to come back later would be a dead letter for each of its lines
        if lines and all(line.unusable is not None for line in lines):
            raise Refused(f"file: no line can be used; the first one: {lines[0].unusable}")
        return [message for line in lines for message in line.messages]

    # --- what failed ------------------------------------------------------------------------------------------------

    async def _failed(self, claimed: Claimed, reason: Exception, stopping: asyncio.Event) -> None:
        failed = pan.mask(str(reason))
        if claimed.failures >= len(self._schedule):
            log.warning("given up: the vendor was asked for the last time", feed=claimed.feed, failed=failed)
            letter = _letter(claimed, failed)
            await self._patiently(lambda connection: _give_up(connection, claimed, letter), stopping)
            FETCHES.labels(claimed.feed, "given up").inc()
            return
        delay = self._schedule[claimed.failures] * (1 + _JITTER * random.random())  # noqa: S311  nothing to guess
        if isinstance(reason, Unanswered) and reason.retry_after is not None:
            delay = max(delay, reason.retry_after)
        log.info(
            "the vendor is to be asked again", feed=claimed.feed, failed=failed, seconds=round(delay.total_seconds())
        )
        await self._patiently(lambda connection: fetches.postpone(connection, claimed, delay, failed), stopping)
        FETCHES.labels(claimed.feed, "failed").inc()

    async def _patiently(self, step: Callable[[AsyncConnection], Awaitable[T]], stopping: asyncio.Event) -> T | None:
        """Take the step in a transaction, however long the database is away; None if told to stop before."""
        trying = AsyncRetrying(
            retry=retry_if_exception(passes),
            wait=wait_exponential_jitter(multiplier=0.1, max=5),
            stop=lambda _: stopping.is_set(),
            before_sleep=self._say_why,
            retry_error_callback=lambda _: None,
        )

        async def transaction() -> T:
            async with self._engine.begin() as connection:
                return await step(connection)

        taken: T | None = await trying(transaction)
        return taken

    def _say_why(self, state: RetryCallState) -> None:
        self._progress = time.monotonic()
        error = state.outcome and state.outcome.exception()
        log.warning("questions to vendors wait for the database", error=type(error).__name__)


def _object(answer: bytes) -> Mapping[str, object]:
    try:
        found = parsed(answer)
    except ValueError:
        raise Refused("answer: expected JSON") from None
    if not isinstance(found, dict):
        raise Refused("answer: expected a JSON object")
    return found


def _letter(claimed: Claimed, failed: str) -> DeadLetter:
    body = masked(claimed.event).encode()
    return DeadLetter(
        claimed.topic,
        claimed.partition,
        claimed.offset,
        blake2b(body, digest_size=16).digest(),
        f"fetch: {failed}",
        None,
        body,
        [(FEED_HEADER, claimed.feed)],
    )


async def _give_up(connection: AsyncConnection, claimed: Claimed, letter: DeadLetter) -> None:
    if await fetches.give_up(connection, claimed):
        await dead_letters.keep(connection, [letter])


def _in_parts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for begin in range(0, len(messages), _MESSAGES_AT_ONCE):
        yield messages[begin : begin + _MESSAGES_AT_ONCE]
