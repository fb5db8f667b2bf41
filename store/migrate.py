"""Bringing a database to the current schema, by Alembic."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from store.engine import connect

# over every migration, so that two replicas starting together do not both run it
_LOCK = 0x7265706F  # "repo"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


async def upgrade(url: str) -> None:
    """Migrate the database at `url` to the newest revision; nothing is done where it stands there already."""
    engine = connect(url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            await connection.run_sync(lambda sync: command.upgrade(_config(sync), "head"))
    finally:
        await engine.dispose()


async def revisions(url: str) -> tuple[str | None, str | None]:
    """The database's revision and the newest one; the first is None where nothing was ever migrated."""
    newest = await asyncio.to_thread(lambda: ScriptDirectory.from_config(_config()).get_current_head())
    engine = connect(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    finally:
        await engine.dispose()
    return current, newest
