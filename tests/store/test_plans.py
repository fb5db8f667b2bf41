"""Each statement is planned for the tables as they are, also by a session that ran it when they were empty."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from store import wallets

# Beyond so many runs of a prepared statement PostgreSQL may keep one plan for all that follow.
RUNS = 12


async def test_no_plan_is_kept_from_when_the_tables_were_empty(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("ANALYZE"))
        for number in range(RUNS):
            await wallets.lock(connection, {f"vendor:{number}"}, {("hsid", f"h{number}")})
        counts = await connection.execute(
            text("SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE :locking"),
            {"locking": "%FOR NO KEY UPDATE%"},
        )
        assert [tuple(row) for row in counts] == [(0, RUNS)]
