"""The fetcher: asks vendors about their thin events, and puts their answers onto the update topic.

    claim ──> ask, at most three times ──> read the answer ──> onto the topic, acknowledged ──> delete the row
                        └── failed: due again at growing delays; after the last a dead letter ──┘

The events of a feed without an address wait, and do not count as failed. A process that starts with an address makes
them due.

A fetcher may be killed at any point: after the lease the vendor is asked again, and the inbox recognises repetitions.
"""

import asyncio
import random
import time
from collections import Counter as Count
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Literal, TypeAlias, TypeVar

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain import pan
from domain.refusal import RefusalCode, Refused
from loops.progress import Progress
from loops.waiting import Reminder, event_or_timeout, retry
from producers.vendors import reports
from producers.vendors.client import NoAddress, Unanswered, VendorClient
from producers.vendors.reports import MESSAGES_AT_ONCE
from schemas import intake, thin
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds.feed import Edge, Feed
from schemas.feeds.reading import parse_json
from schemas.intake import FEED_HEADER, TopicMessage
from schemas.masking import mask_message
from store import dead_letters, fetches
from store.dead_letters import DeadLetter
from store.failures import passes
from store.fetches import ClaimedFetch
from store.refusals import reason

log = structlog.get_logger()

FETCHES = Counter("repoint_fetches_total", "Questions to vendors, by feed and what came of them", ["feed", "outcome"])

T = TypeVar("T")

FetchPoint: TypeAlias = Literal["claimed", "answered", "produced", "finished"]
"""Where crash tests stop the process."""

SCHEDULE = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
)
"""Delays after each failure; the failure after them makes a dead letter. In sum 31 hours: a night and a morning."""

# Spreads the retries of events that failed together.
_JITTER = 0.1
# Requests at a time for each feed. The vendors' own limits are some ten a second.
_REQUESTS_AT_ONCE = 4
# Interval of looking for due events.
_IDLE_SECONDS = 0.5
# While Kafka is away, the answer is dropped: the vendor's next answer is newer.
_KAFKA_RETRY = timedelta(seconds=10)
# An address needs a restart, which makes the feed's events due. Until then the row is written this often.
_ADDRESS_RETRY = timedelta(hours=1)


class _LeaseLost(Exception):
    """Another claim has the lease, or the process stops while the database is away."""


class _Lease:
    """Extends a claim's lease by `extend` once a third of its `length` is over."""

    def __init__(self, length: timedelta, extend: Callable[[], Awaitable[bool | None]]) -> None:
        self._interval = length.total_seconds() / 3
        self._extend = extend
        self._extended_at = time.monotonic()

    async def keep(self) -> None:
        """Extend the lease if it is time to. Raises _LeaseLost."""
        if time.monotonic() - self._extended_at > self._interval:
            self._extended_at = time.monotonic()
            if not await self._extend():
                raise _LeaseLost

    async def keep_during(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield `chunks`, and keep the lease: slow chunks may take longer to fill a batch than the lease lasts."""
        async for chunk in chunks:
            await self.keep()
            yield chunk


class Fetcher:
    """One fetcher of any number that share the thin events.

    `lease` is longer than three tries of `vendors` and a send to Kafka together. `send` returns whether Kafka has
    acknowledged every message. `edge` makes the `Edge` of an event from its time. `on_point` is called with each point
    that an event passes.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        vendors: VendorClient,
        feeds: Mapping[str, Feed],
        *,
        send: Callable[[Sequence[TopicMessage]], Awaitable[bool]],
        edge: Callable[[datetime], Edge],
        digit_ids: DigitIds = NO_DIGIT_IDS,
        schedule: Sequence[timedelta] = SCHEDULE,
        lease: timedelta = timedelta(minutes=3),
        drain_within: float = 25,
        on_point: Callable[[FetchPoint], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._vendors = vendors
        self._feeds = feeds
        self._send = send
        self._edge = edge
        self._digit_ids = digit_ids
        self._schedule = schedule
        self._lease = lease
        self._drain_within = drain_within
        self._on_point = on_point
        self._under_way: Count[str] = Count()
        self._progress = Progress("the fetcher")
        self._feeds_without_address: set[str] = set()
        self._reminder = Reminder()

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask until `stopping` is set. Requests under way have `drain_within` seconds, or are repeated later."""
        tasks: set[asyncio.Task[None]] = set()
        await self._retry(self._release, stopping)
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                claimed = await self._retry(self._claim, stopping) or []
                self._progress.advance()
                self._under_way.update(fetch.feed for fetch in claimed)
                for fetch in claimed:
                    task = group.create_task(self._fetch(fetch, stopping))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                if not claimed:
                    await event_or_timeout(stopping, _IDLE_SECONDS)
            if tasks:
                await asyncio.wait(tasks, timeout=self._drain_within)
            for task in tasks:
                task.cancel()

    async def run_once(self) -> int:
        """Ask once about all due events that may be asked at a time; for tests. Returns their number."""
        async with self._engine.begin() as connection:
            await self._release(connection)
            claimed = await self._claim(connection)
        self._under_way.update(fetch.feed for fetch in claimed)
        await asyncio.gather(*(self._fetch(fetch, asyncio.Event()) for fetch in claimed))
        return len(claimed)

    def stalled(self) -> str | None:
        """Why the process should be restarted; None while the fetcher makes progress."""
        return self._progress.stalled()

    async def _release(self, connection: AsyncConnection) -> None:
        await fetches.release(connection, self._vendors.feeds)

    async def _claim(self, connection: AsyncConnection) -> list[ClaimedFetch]:
        free = {name: _REQUESTS_AT_ONCE - self._under_way[name] for name in self._feeds}
        quotas = {name: count for name, count in free.items() if count > 0}
        return await fetches.claim(connection, quotas, lease=self._lease) if quotas else []

    async def _fetch(self, fetch: ClaimedFetch, stopping: asyncio.Event) -> None:
        try:
            self._on_point("claimed")
            await self._fetch_and_finish(fetch, stopping)
        finally:
            self._under_way[fetch.feed] -= 1

    async def _fetch_and_finish(self, fetch: ClaimedFetch, stopping: asyncio.Event) -> None:
        try:
            count = await self._produce(fetch, stopping)
        except NoAddress as error:
            await self._wait_for_address(fetch, str(error), stopping)
            return
        except (Unanswered, Refused) as error:
            await self._postpone_or_give_up(fetch, error, stopping)
            return
        if count is None:
            return
        self._on_point("produced")
        await self._retry(lambda connection: fetches.finish(connection, fetch), stopping)
        self._on_point("finished")
        FETCHES.labels(fetch.feed, "answered" if count else "irrelevant").inc()

    async def _produce(self, fetch: ClaimedFetch, stopping: asyncio.Event) -> int | None:
        """Send the answer's messages. Returns their number; None if Kafka did not take them all, or the lease is lost.

        The inbox recognises messages that are sent again.
        """
        lease = _Lease(
            self._lease,
            lambda: self._retry(lambda connection: fetches.extend(connection, fetch, self._lease), stopping),
        )
        try:
            return await self._send_all(fetch, lease, stopping)
        except _LeaseLost:
            return None

    async def _send_all(self, fetch: ClaimedFetch, lease: _Lease, stopping: asyncio.Event) -> int | None:
        count = 0
        async with aclosing(self._batches(fetch, lease)) as batches:
            async for batch in batches:
                if not await self._send(batch):
                    log.info("the answer is not on the topic: the vendor will be asked again", feed=fetch.feed)
                    await self._retry(
                        lambda connection: fetches.postpone(connection, fetch, _KAFKA_RETRY, None), stopping
                    )
                    return None
                count += len(batch)
                await lease.keep()
        return count

    async def _batches(self, fetch: ClaimedFetch, lease: _Lease) -> AsyncGenerator[Sequence[TopicMessage], None]:
        """The answer's messages for the topic, in batches. Raises Refused if the answer cannot be used."""
        event = thin.parse(fetch.event, digit_ids=self._digit_ids)
        feed, edge = self._feeds[event.feed], self._edge(event.fetch.file_at or event.at)
        if event.fetch.file_at is None:
            answer = await self._vendors.ask(fetch.feed, event.fetch)
            self._on_point("answered")
            messages = intake.answer_to_messages(feed, event.fetch, _object(answer), edge)
            for begin in range(0, len(messages), MESSAGES_AT_ONCE):
                yield messages[begin : begin + MESSAGES_AT_ONCE]
            return
        async with self._vendors.open_file(fetch.feed, event.fetch) as chunks:
            self._on_point("answered")
            async for batch in reports.batches(feed, lease.keep_during(chunks), edge):
                yield batch

    async def _wait_for_address(self, fetch: ClaimedFetch, problem: str, stopping: asyncio.Event) -> None:
        if fetch.feed not in self._feeds_without_address:
            self._feeds_without_address.add(fetch.feed)
            log.warning("thin events wait until REPOINT_FEED_FETCH says where their vendor is", feed=fetch.feed)
        await self._retry(
            lambda connection: fetches.wait_for_address(connection, fetch, _ADDRESS_RETRY, problem), stopping
        )
        FETCHES.labels(fetch.feed, "no address").inc()

    # --- failures ---------------------------------------------------------------------------------------------------

    async def _postpone_or_give_up(self, fetch: ClaimedFetch, error: Exception, stopping: asyncio.Event) -> None:
        failure = pan.mask(str(error))
        if fetch.failures >= len(self._schedule):
            log.warning("given up after the last try", feed=fetch.feed, failed=failure)
            letter = _letter(fetch, failure, self._digit_ids)
            await self._retry(lambda connection: _give_up(connection, fetch, letter), stopping)
            FETCHES.labels(fetch.feed, "given up").inc()
            return
        delay = self._schedule[fetch.failures] * (1 + _JITTER * random.random())  # noqa: S311  nothing to guess
        if isinstance(error, Unanswered) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        log.info(
            "the vendor will be asked again", feed=fetch.feed, failed=failure, seconds=round(delay.total_seconds())
        )
        await self._retry(lambda connection: fetches.postpone(connection, fetch, delay, failure), stopping)
        FETCHES.labels(fetch.feed, "failed").inc()

    async def _retry(self, step: Callable[[AsyncConnection], Awaitable[T]], stopping: asyncio.Event) -> T | None:
        """Run the step in a transaction, however long the database is away; None if `stopping` was set before."""

        async def transaction() -> T:
            async with self._engine.begin() as connection:
                return await step(connection)

        return await retry(transaction, passes, announce=self._announce_retry, until=stopping)

    def _announce_retry(self, error: BaseException, tries: int) -> None:
        self._progress.advance()
        if self._reminder.is_due(why := reason(error)):
            log.warning("questions to vendors wait", why=why, error=type(error).__name__, tries=tries)


def _object(answer: bytes) -> Mapping[str, object]:
    try:
        value = parse_json(answer)
    except ValueError:
        raise Refused(RefusalCode.NOT_READABLE, "answer", "JSON") from None
    if not isinstance(value, dict):
        raise Refused(RefusalCode.WRONG_TYPE, "answer", "a JSON object")
    return value


def _letter(fetch: ClaimedFetch, failure: str, digit_ids: DigitIds) -> DeadLetter:
    body = mask_message(fetch.event, digit_ids).encode()
    return DeadLetter(
        fetch.topic,
        fetch.partition,
        fetch.offset,
        blake2b(body, digest_size=16).digest(),
        f"fetch: {failure}",
        None,
        body,
        [(FEED_HEADER, fetch.feed)],
    )


async def _give_up(connection: AsyncConnection, fetch: ClaimedFetch, letter: DeadLetter) -> None:
    if await fetches.give_up(connection, fetch):
        await dead_letters.keep(connection, [letter])
