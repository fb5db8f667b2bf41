"""Notices of new deliveries, from one session of PostgreSQL to another."""

import asyncio
import gc
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from store import notices

WITHIN = 30


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (["b", "a"], ["a", "b"]),
        (['"quoted"', "{a,b}", "ü"], ['"quoted"', "{a,b}", "ü"]),
        ([f"endpoint-{number:04}" for number in range(2000)], None),
    ],
)
async def test_a_notice_names_the_endpoints_unless_they_are_too_many(
    engine: AsyncEngine, sent: list[str], received: list[str] | None
) -> None:
    arrived: asyncio.Queue[object] = asyncio.Queue()
    async with notices.listening(engine, arrived.put_nowait), asyncio.timeout(WITHIN):
        async with engine.begin() as connection:
            await notices.send(connection, sent)
        assert await arrived.get() == received


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage is collected: at the limit of the recursion, a finalizer of another test's object cannot run."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
async def test_a_notice_of_somebody_else_names_no_endpoint(engine: AsyncEngine) -> None:
    arrived: asyncio.Queue[object] = asyncio.Queue()
    async with notices.listening(engine, arrived.put_nowait), asyncio.timeout(WITHIN):
        for payload in ("", "nonsense", '{"a": 1}', "[1]", '["\\u0000"]', '["\\ud800"]', "[" * 3500):
            async with engine.begin() as connection:
                await connection.execute(
                    text("SELECT pg_notify('repoint_deliveries_due', :payload)"), {"payload": payload}
                )
            assert await arrived.get() is None


async def test_the_end_of_the_connection_is_seen(engine: AsyncEngine) -> None:
    async with notices.listening(engine, lambda _: None) as ended, asyncio.timeout(WITHIN):
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        await ended.wait()
