"""Work that is due by the clock: parked updates are given up, and what is older than it is to be kept is removed.

Each step is a transaction of its own, which removes a page of rows or one day: it disturbs nobody, and many processes
may do it at once.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from loops.waiting import event_or_timeout
from store import inbox, knowledge, partitions, retention
from store.failures import DATABASE_ERRORS, Failure, failure
from store.reconciliation import runs
from store.refusals import reason

log = structlog.get_logger()

_EVERY_SECONDS = 60
# Of events and of updates, each time: 80 million a day.
_PAGES = 6

# A merchant's engineer asks about a failure within days; what strangers wrote is not kept for longer than it is useful.
_EVIDENCE_FOR = timedelta(days=30)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Keep:
    """How long rows are kept: `parked` updates until they are given up; all else until it is removed.

    `dead_letters` are kept for so long from when they were closed on, finished replay jobs for as long as `history`.
    """

    parked: timedelta
    history: timedelta = timedelta(days=90)
    events: timedelta = timedelta(days=90)
    inbox: timedelta = timedelta(days=90)
    dead_letters: timedelta = timedelta(days=90)
    audit: timedelta = timedelta(days=800)

    @property
    def days(self) -> dict[partitions.Parent, timedelta]:
        """How long the days of each partitioned table are kept."""
        return {
            "delivery_history": self.history,
            "attempts": self.history,
            "attempt_evidence": min(self.history, _EVIDENCE_FOR),
        }


@dataclass(slots=True)
class Places:
    """Where the next page begins, in tables of which some old rows are still needed."""

    events: UUID = retention.FIRST_EVENT
    inbox: int = retention.FIRST_ID


async def run(engine: AsyncEngine, keep: Keep, *, stopping: asyncio.Event) -> None:
    """Run once a minute until `stopping` is set. While the database is away, nothing is done."""
    places = Places()
    while not stopping.is_set():
        await run_once(engine, keep, places)
        await event_or_timeout(stopping, _EVERY_SECONDS)


async def run_once(
    engine: AsyncEngine, keep: Keep, places: Places | None = None, *, now: datetime | None = None
) -> None:
    """Run every step; repeating it, or running it in two processes, is harmless. One line says what was removed.

    A step that fails for a passing reason is put off. The other steps run nevertheless. Days begin and end by `now`,
    the database's time if it is left out.
    """
    removed = Counter[str]()
    removed["given_up"] = await _attempt(engine, partial(inbox.give_up_parked, parked_for=keep.parked)) or 0
    removed["forgotten"] = await _attempt(engine, knowledge.forget) or 0
    await _attempt(engine, partial(partitions.make_ahead, now=now))
    await _drop_old_days(engine, keep, removed, now)
    places = places or Places()
    await _remove_events(engine, keep, places, removed, now)
    await _remove_updates(engine, keep, places, removed, now)
    for name, step in (
        ("dead_letters", partial(retention.remove_dead_letters, keep=keep.dead_letters, now=now)),
        ("acts", partial(retention.remove_acts, keep=keep.audit, now=now)),
        ("replay_jobs", partial(retention.remove_replay_jobs, keep=keep.history, now=now)),
    ):
        removed[name] += await _attempt(engine, step) or 0
    while count := await _attempt(engine, partial(runs.forget, keep=keep.history)):
        removed["runs"] += count
    if counts := {name: count for name, count in removed.items() if count}:
        log.info("upkeep", **counts)


async def _drop_old_days(engine: AsyncEngine, keep: Keep, removed: Counter[str], now: datetime | None) -> None:
    for parent, time in keep.days.items():
        while await _attempt(engine, partial(partitions.drop_oldest, parent=parent, keep=time, now=now)):
            removed[f"days_of_{parent}"] += 1
        old = partial(partitions.delete_old_defaults, parent=parent, keep=time, now=now)
        while count := await _attempt(engine, old):
            removed[parent] += count


async def _remove_events(
    engine: AsyncEngine, keep: Keep, places: Places, removed: Counter[str], now: datetime | None
) -> None:
    for _ in range(_PAGES):
        remove = partial(retention.remove_events, after=places.events, keep=keep.events, now=now)
        page = await _attempt(engine, remove)
        places.events = retention.FIRST_EVENT if page is None or page.last is None else page.last
        removed["events"] += 0 if page is None else page.removed
        if places.events == retention.FIRST_EVENT:
            return


async def _remove_updates(
    engine: AsyncEngine, keep: Keep, places: Places, removed: Counter[str], now: datetime | None
) -> None:
    for _ in range(_PAGES):
        remove = partial(retention.remove_updates, after=places.inbox, keep=keep.inbox, now=now)
        page = await _attempt(engine, remove)
        places.inbox = retention.FIRST_ID if page is None or page.last is None else page.last
        removed["updates"] += 0 if page is None else page.removed
        if places.inbox == retention.FIRST_ID:
            return


async def _attempt(engine: AsyncEngine, step: Callable[[AsyncConnection], Awaitable[T]]) -> T | None:
    try:
        async with engine.begin() as connection:
            return await step(connection)
    except DATABASE_ERRORS as error:
        kind = failure(error)
        if kind is None or kind is Failure.REFUSED:
            raise
        log.warning("upkeep put off", reason=reason(error))
        return None
