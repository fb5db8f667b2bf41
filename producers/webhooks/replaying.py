"""Replay jobs at work: what persons want to have sent again is enqueued at the rate of each job."""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from loops.waiting import Reminder, event_or_timeout
from store import replay_jobs
from store.failures import DATABASE_ERRORS, passes
from store.refusals import reason
from store.replay_jobs import Enqueued

log = structlog.get_logger()

# Without a job, each process that delivers asks for one so often; also the longest pause between two parts of a job.
_LONGEST_PAUSE = timedelta(seconds=2)
# After a part: another job may be due.
_SHORTEST_PAUSE = timedelta(seconds=0.05)


class Replaying:
    """Enqueues for the jobs that are due, beside other processes that do so; `on_due` hears of the endpoints."""

    def __init__(self, engine: AsyncEngine, on_due: Callable[[Collection[str]], None]) -> None:
        self._engine = engine
        self._on_due = on_due
        self._reminder = Reminder()

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set. While the database is away, jobs wait."""
        while not stopping.is_set():
            pause = _LONGEST_PAUSE
            try:
                pause = await self.run_once()
            except DATABASE_ERRORS as error:
                if not passes(error):
                    raise
                why = reason(error)
                if self._reminder.is_due(why):
                    log.warning("replays are put off", reason=why)
            await event_or_timeout(stopping, pause.total_seconds())

    async def run_once(self) -> timedelta:
        """Enqueue the next part of the job that is due, in a transaction. Return how long until the next look."""
        async with self._engine.begin() as connection:
            enqueued = await replay_jobs.enqueue_next(connection)
        if not isinstance(enqueued, Enqueued):
            return _LONGEST_PAUSE if enqueued is None else min(enqueued, _LONGEST_PAUSE)
        if enqueued.endpoint_ids:
            self._on_due(enqueued.endpoint_ids)
        if enqueued.is_over:
            log.info("a replay is done", job=enqueued.job_id)
        return _SHORTEST_PAUSE
