"""What time does: parked updates are given up, expired knowledge goes, the next days get their partitions."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from loops.waiting import event_or_timeout
from store import inbox, knowledge, partitions
from store.failures import DATABASE_ERRORS, Failure, failure
from store.refusals import reason

log = structlog.get_logger()

_EVERY_SECONDS = 60

T = TypeVar("T")


async def run(engine: AsyncEngine, *, parked_for: timedelta, stopping: asyncio.Event) -> None:
    """Run once a minute until `stopping` is set; a database that is away is waited for."""
    while not stopping.is_set():
        await run_once(engine, parked_for=parked_for)
        await event_or_timeout(stopping, _EVERY_SECONDS)


async def run_once(engine: AsyncEngine, *, parked_for: timedelta) -> None:
    """Every step is one transaction of its own, and harmless to repeat or to run in two processes at once.

    A step that fails for a reason that passes is put off, and keeps no other step from running.
    """
    given_up = await _attempt(engine, partial(inbox.give_up_parked, parked_for=parked_for))
    forgotten = await _attempt(engine, knowledge.forget)
    await _attempt(engine, partitions.make_ahead)
    if given_up or forgotten:
        log.info("upkeep", given_up=given_up, forgotten=forgotten)


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
