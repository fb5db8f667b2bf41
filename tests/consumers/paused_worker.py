"""Another worker, at work at the same time: in a thread with a loop of its own, where it can be made to stand still."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchPoint, take_in
from consumers.halving import BatchIntake
from consumers.letters import Message
from loops.waiting import Waiting
from store.engine import connect
from tests.consumers.harness import RETENTION
from tests.parts.until import until


def intake(engine: AsyncEngine, *, at: Callable[[BatchPoint], None] = lambda _: None) -> BatchIntake:
    """A worker's intake that is handed its batches by the test, and tries them as it tries those that it reads."""
    return BatchIntake(engine, RETENTION, take_in, Waiting("the test"), on_point=at)


class PausedWorker:
    def __init__(self, url: str, messages: Sequence[Message], stand_still_at: BatchPoint) -> None:
        self._url = url
        self._messages = messages
        self._stand_still_at = stand_still_at
        self._there = threading.Event()
        self._go_on = threading.Event()

    async def stands_still(self) -> None:
        assert await asyncio.to_thread(self._there.wait, 20)

    def go_on(self) -> None:
        self._go_on.set()

    async def work(self) -> None:
        await asyncio.to_thread(asyncio.run, self._work())

    async def _work(self) -> None:
        engine = connect(self._url)
        try:
            await intake(engine, at=self._at).take_in(self._messages)
        finally:
            self._there.set()
            await engine.dispose()

    def _at(self, place: BatchPoint) -> None:
        """The first time; what is tried again goes through."""
        if place == self._stand_still_at and not self._there.is_set():
            self._there.set()
            assert self._go_on.wait(20)


@asynccontextmanager
async def standing_still(url: str, messages: Sequence[Message], at: BatchPoint) -> AsyncIterator[PausedWorker]:
    """A worker that stands still `at` that point of the batch until it is told to go on, or else to the end of this."""
    paused = PausedWorker(url, messages, at)
    async with asyncio.timeout(60), asyncio.TaskGroup() as work:
        work.create_task(paused.work())
        await paused.stands_still()
        try:
            yield paused
        finally:
            paused.go_on()


async def waits(engine: AsyncEngine, other: "asyncio.Task[object]") -> None:
    """Return when somebody waits for a lock, or `other` is done without having waited."""

    async def does() -> bool:
        async with engine.begin() as connection:
            waiting = await connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )
        return bool(waiting) or other.done()

    await until(does)
