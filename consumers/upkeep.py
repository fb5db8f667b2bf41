"""Work that is due by the clock: parked updates are given up; what is too old is dropped.

That is knowledge, history, evidence, and runs of reconciliation.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from loops.waiting import event_or_timeout
from store import inbox, knowledge, partitions
from store.failures import DATABASE_ERRORS, Failure, failure
from store.reconciliation import runs
from store.refusals import reason

log = structlog.get_logger()

_EVERY_SECONDS = 60

HISTORY_FOR = timedelta(days=180)
# A merchant's engineer asks about a failure within days; what strangers wrote is not kept for longer than it is useful.
_EVIDENCE_FOR = timedelta(days=30)

T = TypeVar("T")


async def run(
    engine: AsyncEngine, *, parked_for: timedelta, history_for: timedelta = HISTORY_FOR, stopping: asyncio.Event
) -> None:
    """Run once a minute until `stopping` is set. While the database is away, nothing is done."""
    while not stopping.is_set():
        await run_once(engine, parked_for=parked_for, history_for=history_for)
        await event_or_timeout(stopping, _EVERY_SECONDS)


async def run_once(
    engine: AsyncEngine, *, parked_for: timedelta, history_for: timedelta = HISTORY_FOR, now: datetime | None = None
) -> None:
    """Run every step, each in a transaction of its own; repeating it, or running it in two processes, is harmless.

    A step that fails for a passing reason is put off. The other steps run nevertheless. Days begin and end by `now`,
    the database's time if it is left out.
    """
    given_up = await _attempt(engine, partial(inbox.give_up_parked, parked_for=parked_for))
    forgotten = await _attempt(engine, knowledge.forget)
    await _attempt(engine, partial(partitions.make_ahead, now=now))
    await _drop_old_days(engine, history_for, now)
    while await _attempt(engine, partial(runs.forget, keep=history_for)):
        pass
    if given_up or forgotten:
        log.info("upkeep", given_up=given_up, forgotten=forgotten)


async def _drop_old_days(engine: AsyncEngine, history_for: timedelta, now: datetime | None) -> None:
    for parent, keep in kept_for(history_for).items():
        while dropped := await _attempt(engine, partial(partitions.drop_oldest, parent=parent, keep=keep, now=now)):
            log.info("a day of history was dropped", partition=dropped)
        while await _attempt(engine, partial(partitions.delete_old_defaults, parent=parent, keep=keep, now=now)):
            pass


def kept_for(history_for: timedelta) -> dict[partitions.Parent, timedelta]:
    """How long the days of each partitioned table are kept."""
    return {
        "delivery_history": history_for,
        "attempts": history_for,
        "attempt_evidence": min(history_for, _EVIDENCE_FOR),
    }


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
