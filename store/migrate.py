"""Bringing a database to the current schema, by Alembic."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.wallet import IDENTIFIERS
from store import identities, schema
from store.engine import connect
from store.failures import sqlstate
from store.identities import Followed

# over every migration, so that two replicas starting together do not both run it
_LOCK = 0x7265706F  # "repo"
# one statement over a large table takes far longer than any of the running program's
_LONGEST_SECONDS = 3600

# A transaction that waits for another one of ours looks for a deadlock after a second (deadlock_timeout).
_LOCK_TIMEOUT = "200ms"
# By chance: transactions that waited for these locks go on together, and would meet the next try at the same step.
_LOCK_PAUSE_SECONDS = (0.02, 0.2)
_LOCK_TRIES = 200  # a minute
_LONGEST_LOCK = "60s"
_NOT_LOCKED = {"55P03", "40P01"}  # lock_not_available, deadlock_detected
_SET_LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', :timeout, true)")
_TABLES = text("""
    SELECT quote_ident(relname) FROM pg_class
    WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relname = ANY(CAST(:names AS text[]))
    ORDER BY relname
""")

# Renamed in the inbox after 0008 and before 0009, a slice of the rows in each transaction: the table is large, and
# workers update rows of it. The program reads no reason back, and runs with the former ones and the new.
_BEFORE_REASONS = "0008"
_RENAME_REASONS = text("""
    UPDATE inbox SET reason = CASE reason WHEN 'ALREADY_TOLD' THEN 'ALREADY_KNOWN' ELSE 'NEWER_KNOWN' END
    WHERE id > :after AND id <= :last AND reason IN ('ALREADY_TOLD', 'NEWER_TOLD')
""")
_LAST_UPDATE = text("SELECT coalesce(max(id), 0) FROM inbox")

# Sealed after 0014 and before 0015, in their transaction: endpoints number thousands.
_BEFORE_SEALED_SECRETS = "0014"
_CLEAR_SECRETS = text("SELECT id, secrets FROM endpoints ORDER BY id FOR NO KEY UPDATE")
_SEAL_SECRETS = text("UPDATE endpoints SET secrets = CAST(:secrets AS text[]) WHERE id = :id")

Seal: TypeAlias = Callable[[str, str], str]
"""Gives the sealed form of an endpoint's secret: (endpoint, secret)."""

SLICE = 20_000
"""Rows of the inbox in one transaction of a migration: a fraction of a second."""


def config(connection: Connection | None = None) -> Config:
    """What Alembic needs to run the migrations on `connection`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


async def upgrade(
    url: str, identifiers: Collection[str] = IDENTIFIERS, *, seal: Seal | None = None, dry_run: bool = False
) -> Followed:
    """Migrate the database at `url` to the newest revision, and let `identifiers` name customers from then on.

    Secrets that are stored in the clear are sealed by `seal`; it may be None for a database without such secrets.

    What the identifiers changed. A `dry_run` migrates nothing, and rolls back what it changed: of a database that was
    never migrated that is nothing.
    """
    engine = connect(url, pool_size=1, patience=_LONGEST_SECONDS)
    try:
        if not dry_run:
            await _rename_reasons(engine)
        async with _alone(engine) as connection:
            if not dry_run:
                await _lock_tables(connection)
                await _seal_secrets(connection, seal)
                await connection.run_sync(lambda sync: command.upgrade(config(sync), "head"))
            elif await connection.run_sync(_revision) is None:
                return Followed(Counter(), Counter(), [])
            followed = await identities.follow(connection, identifiers)
            if dry_run:
                await connection.rollback()
            return followed
    finally:
        await engine.dispose()


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction in which no other process migrates."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LONGEST_LOCK}'")
        await connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{_LONGEST_SECONDS}s'")
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        yield connection


async def _lock_tables(connection: AsyncConnection) -> None:
    """Lock all tables of a database that is to be migrated, before anything is changed.

    The running program reads and writes them in several orders, so that a migration which locks one after another while
    it changes them ends in a deadlock. Here, locks that are not given in time are released, and asked for again.
    """
    head = ScriptDirectory.from_config(config()).get_current_head()
    if await connection.run_sync(_revision) in {None, head}:
        return
    tables = ", ".join(await connection.scalars(_TABLES, {"names": list(schema.metadata.tables)}))
    for tries_left in reversed(range(_LOCK_TRIES)):
        try:
            async with connection.begin_nested():
                await connection.execute(_SET_LOCK_TIMEOUT, {"timeout": _LOCK_TIMEOUT})
                await connection.exec_driver_sql(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
                await connection.execute(_SET_LOCK_TIMEOUT, {"timeout": _LONGEST_LOCK})
        except DBAPIError as error:
            if not tries_left or sqlstate(error) not in _NOT_LOCKED:
                raise
        else:
            return
        await asyncio.sleep(random.uniform(*_LOCK_PAUSE_SECONDS))  # noqa: S311 - nothing to guess


async def _rename_reasons(engine: AsyncEngine) -> None:
    """Rename the reasons of a database older than their new names. If it is interrupted, the next call begins anew."""
    async with _alone(engine) as connection:
        current = await connection.run_sync(_revision)
        if current is None or current > _BEFORE_REASONS:
            return
        await connection.run_sync(lambda sync: command.upgrade(config(sync), _BEFORE_REASONS))
    after = 0
    while True:
        async with _alone(engine) as connection:
            if after >= await connection.scalar(_LAST_UPDATE):
                return
            await connection.execute(_RENAME_REASONS, {"after": after, "last": after + SLICE})
        after += SLICE


async def _seal_secrets(connection: AsyncConnection, seal: Seal | None) -> None:
    """Seal the secrets of a database in which they are stored in the clear."""
    current = await connection.run_sync(_revision)
    if current is None or current > _BEFORE_SEALED_SECRETS:
        return
    await connection.run_sync(lambda sync: command.upgrade(config(sync), _BEFORE_SEALED_SECRETS))
    rows = (await connection.execute(_CLEAR_SECRETS)).all()
    if rows and seal is None:
        raise ValueError("expected `seal` for a database with secrets in the clear")
    for id_, secrets in rows:
        assert seal is not None
        await connection.execute(_SEAL_SECRETS, {"id": id_, "secrets": [seal(id_, secret) for secret in secrets]})


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def revisions(url: str) -> tuple[str | None, str | None]:
    """The database's revision and the newest one; the first is None where nothing was ever migrated."""
    newest = await asyncio.to_thread(lambda: ScriptDirectory.from_config(config()).get_current_head())
    engine = connect(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            current = await connection.run_sync(_revision)
    finally:
        await engine.dispose()
    return current, newest
