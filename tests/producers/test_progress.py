"""Loops that wait for the database say so, and are not taken for loops that hang."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from loops.progress import Progress
from producers.vendors.client import VendorClient
from producers.vendors.fetcher import Fetcher
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from schemas.feeds import FEEDS
from store.engine import connect
from tests.parts.until import until

Loop = Dispatcher | Fetcher
REFUSED = "postgresql+asyncpg://127.0.0.1:1/x"


@asynccontextmanager
async def loop_of(kind: type[Loop], engine: AsyncEngine) -> AsyncIterator[Loop]:
    if kind is Dispatcher:
        async with Sender(version="1") as sender:
            yield Dispatcher(engine, sender)
    else:
        async with VendorClient({}, version="1") as vendors:
            edge: Any = None
            send: Any = None
            yield Fetcher(engine, vendors, FEEDS, send=send, edge=edge)


@asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    task = asyncio.create_task(loop.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        async with asyncio.timeout(30):
            await task


def stand_still(progress: Progress) -> None:
    """Its latest step was 200 s ago; a loop hangs after 180."""
    progress._advanced_at = time.monotonic() - 200


def moves(loop: Loop) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return loop.stalled() is None

    return ask


NAMES = [(Dispatcher, "the dispatcher", "deliveries wait"), (Fetcher, "the fetcher", "questions to vendors wait")]


@pytest.mark.parametrize(("kind", "name", "line"), NAMES)
async def test_a_loop_that_works_makes_progress(kind: type[Loop], name: str, line: str, engine: AsyncEngine) -> None:
    async with loop_of(kind, engine) as loop:
        stand_still(loop._progress)
        assert (loop.stalled() or "").startswith(f"{name} has made no progress for 20")
        async with running(loop):
            await until(moves(loop))
            # with its next step, too
            stand_still(loop._progress)
            await until(moves(loop))


@pytest.mark.parametrize(("kind", "name", "line"), NAMES)
async def test_a_loop_that_waits_for_the_database_makes_progress_and_logs_it_once(
    kind: type[Loop], name: str, line: str
) -> None:
    engine = connect(REFUSED)
    with capture_logs() as logs:
        async with loop_of(kind, engine) as loop, running(loop):
            for _ in range(2):
                stand_still(loop._progress)
                await until(moves(loop))
    await engine.dispose()
    assert [(entry["event"], entry["error"]) for entry in logs if entry["event"] == line] == [
        (line, "ConnectionRefusedError")
    ]


async def test_a_dispatcher_is_ready_once_the_database_answers(engine: AsyncEngine) -> None:
    async with loop_of(Dispatcher, engine) as dispatcher:
        assert isinstance(dispatcher, Dispatcher)
        dispatcher._announce_retry(ConnectionRefusedError(), 1)
        waits_for = dispatcher.ready()
        assert waits_for == "the database cannot be reached"

        async def is_ready() -> bool:
            return dispatcher.ready() is None

        async with running(dispatcher):
            await until(is_ready)
