"""Notices of new deliveries go from process to process, and a connection that ends is made anew."""

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from producers.webhooks import notices
from producers.webhooks.notices import NoticeListener, NoticeSender
from store.engine import connect

WITHIN = 30


async def test_what_gathers_while_a_notice_is_on_its_way_is_one_notice(engine: AsyncEngine) -> None:
    stopping = asyncio.Event()
    arrived: asyncio.Queue[object] = asyncio.Queue()
    sender = NoticeSender(engine)
    async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as tasks:
        tasks.create_task(NoticeListener(engine, arrived.put_nowait).run(stopping))
        assert await arrived.get() is None, "some may have been missed before"
        sender.add(["a"])
        sender.add(["b", "a"])
        tasks.create_task(sender.run(stopping))
        assert await arrived.get() == ["a", "b"]
        sender.add(["c"])
        assert await arrived.get() == ["c"]
        assert not sender._added.is_set(), "it waits for the next endpoint, and does not turn in a circle"
        stopping.set()


async def test_a_connection_that_ends_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, engine: AsyncEngine, database_url: str
) -> None:
    """What was missed in between is unknown, and what comes after it is heard."""
    monkeypatch.setattr(notices, "_RETRY_SECONDS", 0.01)
    stopping = asyncio.Event()
    arrived: asyncio.Queue[object] = asyncio.Queue()
    working = connect(database_url)
    sender = NoticeSender(working)
    async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as tasks:
        tasks.create_task(NoticeListener(working, arrived.put_nowait).run(stopping))
        tasks.create_task(sender.run(stopping))
        assert await arrived.get() is None
        sender.add(["a"])
        assert await arrived.get() == ["a"]
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        assert await arrived.get() is None
        received: object = None
        while received != ["b"]:
            # the first notice after it is lost with the sender's connection
            sender.add(["b"])
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    received = await arrived.get()
        stopping.set()
    await working.dispose()
