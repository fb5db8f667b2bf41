"""What time does: parked updates are given up, expired knowledge goes, the next days get their partitions."""

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from loops.waiting import event_or_timeout
from store import inbox, knowledge, partitions
from store.failures import DATABASE_ERRORS, Failure, failure
from store.refusals import reason

log = structlog.get_logger()

_EVERY_SECONDS = 60


async def run(engine: AsyncEngine, *, parked_for: timedelta, stopping: asyncio.Event) -> None:
    """Run once a minute until `stopping` is set; a database that is away is waited for."""
    while not stopping.is_set():
        try:
            await run_once(engine, parked_for=parked_for)
        except DATABASE_ERRORS as error:
            kind = failure(error)
            if kind is None or kind is Failure.REFUSED:
                raise
            log.warning("upkeep put off", reason=reason(error))
        await event_or_timeout(stopping, _EVERY_SECONDS)


async def run_once(engine: AsyncEngine, *, parked_for: timedelta) -> None:
    """Every step is one transaction of its own, and harmless to repeat or to run in two processes at once."""
    async with engine.begin() as connection:
        given_up = await inbox.give_up_parked(connection, parked_for=parked_for)
    async with engine.begin() as connection:
        forgotten = await knowledge.forget(connection)
    async with engine.begin() as connection:
        await partitions.make_ahead(connection)
    if given_up or forgotten:
        log.info("upkeep", given_up=given_up, forgotten=forgotten)
