"""A database is migrated while transactions of the running program lock its tables in several orders."""

import asyncio
from collections.abc import Sequence

from alembic import command
from sqlalchemy.exc import DBAPIError

from store import migrate
from store.engine import connect
from store.failures import sqlstate

# The tables in the orders of a recorder, a batch and a claim. A transaction is under way for some milliseconds.
ORDERS = (
    ("deliveries", "delivery_history", "endpoints"),
    ("endpoints", "events", "deliveries"),
    ("deliveries", "endpoints", "events"),
)
_DEADLOCK = "40P01"


async def test_transactions_of_the_program_are_no_deadlock_for_a_migration(empty_database_url: str) -> None:
    engine = connect(empty_database_url, pool_size=2 * len(ORDERS))
    stopping = asyncio.Event()

    async def use(tables: Sequence[str]) -> None:
        while not stopping.is_set():
            try:
                async with engine.begin() as connection:
                    for table in tables:
                        await connection.exec_driver_sql(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
                        await asyncio.sleep(0.01)
            except DBAPIError as error:  # the program tries again
                if sqlstate(error) != _DEADLOCK:
                    raise
            await asyncio.sleep(0.02)

    try:
        async with engine.begin() as connection:
            await connection.run_sync(lambda sync: command.upgrade(migrate.config(sync), "0009"))
        async with asyncio.TaskGroup() as tasks:
            for tables in ORDERS * 2:
                tasks.create_task(use(tables))
            try:
                await migrate.upgrade(empty_database_url)
            finally:
                stopping.set()
    finally:
        await engine.dispose()
    state = await migrate.revisions(empty_database_url)
    assert state.database == state.program
