"""What the log says of a database that was away."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from store.engine import connect
from store.failures import DATABASE_ERRORS
from tests.parts.proxy import Proxy


async def answers(engine: AsyncEngine) -> bool:
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except DATABASE_ERRORS:
        return False
    return True


@pytest.mark.parametrize("away", [False, True])
async def test_the_log_says_once_that_the_database_is_back_and_for_how_long_it_was_away(
    database_url: str, *, away: bool
) -> None:
    async with Proxy(database_url) as proxy:
        engine = connect(proxy.url, pool_size=2)
        try:
            with capture_logs() as logged:
                assert await answers(engine)
                if away:
                    proxy.refuse()
                    assert not await answers(engine)  # by the connection that was cut
                    assert not await answers(engine)
                    await asyncio.sleep(0.3)
                    assert not await answers(engine)
                    proxy.pass_on()
                assert all(await asyncio.gather(answers(engine), answers(engine)))
        finally:
            await engine.dispose()
    back = [entry for entry in logged if entry["event"] == "database is back"]
    assert [entry["log_level"] for entry in back] == (["info"] if away else [])
    assert all(0.2 <= entry["seconds"] < 60 and "@" not in entry["database"] for entry in back)
