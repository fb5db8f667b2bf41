"""Bringing a database to the current schema, by Alembic, while processes of this version and the one before run.

A migration expands: it adds what the next version needs, and takes away only what no supported version uses (the oldest
one is `oldest_program` of its revision). Each revision is a transaction of its own. What takes long is done before it,
in slices (`_PREPARATIONS`) or without a lock that writers wait for (`indexes` of a revision).
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.schema_revision import SchemaState
from domain.wallet import IDENTIFIERS
from store import identities
from store.engine import connect, is_pooled
from store.failures import sqlstate
from store.identities import Followed

# over every migration, so that two replicas starting together do not both run it
_LOCK = 0x7265706F  # "repo"
# one statement over a large table takes far longer than any of the running program's
_LONGEST_SECONDS = 3600

# Statements that come after one that waits for a table wait as well: so long at most. It is shorter than the second
# after which a transaction looks for a deadlock (deadlock_timeout), so that the program's are never the ones that end.
_LOCK_TIMEOUT = "200ms"
# By chance: transactions that waited for these locks go on together, and would meet the next try at the same step.
_LOCK_PAUSE_SECONDS = (0.02, 0.2)
_LOCK_TRIES = 300  # a minute or more
# For a slice of rows, which only the program's short transactions hold.
_LONGEST_LOCK = "60s"
_NOT_LOCKED = {"55P03", "40P01"}  # lock_not_available, deadlock_detected
_SET_LIMITS = text("""
    SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', :statement, true),
           set_config('idle_in_transaction_session_timeout', '0', true)
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

VERSIONS = [Path(__file__).parent / "migrations" / "versions"]
"""The folders of the revisions."""

SLICE = 20_000
"""Rows of the inbox in one transaction of a migration: a fraction of a second."""


def config(connection: Connection | None = None) -> Config:
    """What Alembic needs to run the migrations on `connection`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, VERSIONS)))
    config.attributes["connection"] = connection
    return config


_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:lock)")


async def upgrade(
    url: str, identifiers: Collection[str] = IDENTIFIERS, *, seal: Seal | None = None, dry_run: bool = False
) -> Followed:
    """Migrate the database at `url` to the newest revision, and let `identifiers` name customers from then on.

    Secrets that are stored in the clear are sealed by `seal`; it may be None for a database without such secrets.

    What the identifiers changed. A `dry_run` migrates nothing, and rolls back what it changed: of a database that was
    never migrated that is nothing. What was interrupted is continued by the next call. A database that is newer than
    this program is left as it is.
    """
    engine = connect(url, pool_size=2, patience=_LONGEST_SECONDS)
    try:
        async with _alone(engine):
            if not dry_run:
                await _migrate(engine, seal)
            return await _follow(engine, identifiers, dry_run=dry_run)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[None]:
    """Keep other processes from migrating meanwhile, by a lock of a transaction that does nothing else.

    The lock is asked for again and again. A statement that waited for it would have a snapshot, for whose end the
    building of an index waits, in the process that has the lock.
    """
    while True:
        async with engine.begin() as connection:
            await connection.execute(_SET_LIMITS, {"lock": _LOCK_TIMEOUT, "statement": _LONGEST_LOCK})
            if await connection.scalar(_TRY_LOCK, {"lock": _LOCK}):
                # the driver keeps the snapshot of the latest SELECT until the next statement
                await connection.exec_driver_sql("SAVEPOINT locked")
                yield
                return
        await asyncio.sleep(random.uniform(*_LOCK_PAUSE_SECONDS))  # noqa: S311 - nothing to guess


async def _migrate(engine: AsyncEngine, seal: Seal | None) -> None:
    """Bring the database up to date: an empty one at once, any other by one revision after another.

    Raises:
        ValueError: secrets have to be sealed, and `seal` is None.
    """
    async with engine.connect() as connection:
        current = await connection.run_sync(_revision)
        if current is not None and seal is None and await _has_clear_secrets(connection, current):
            raise ValueError("expected `seal` for a database with secrets in the clear")
    if current is None:
        await _apply(engine, "head", seal)
        return
    for revision in reversed(list(_scripts().walk_revisions())):
        if revision.revision > current:
            await _prepare(engine, revision)
            await _apply(engine, revision.revision, seal)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())


async def _prepare(engine: AsyncEngine, revision: Script) -> None:
    """Do what takes long before the transaction of `revision`; done again, it goes on or changes nothing."""
    if prepare := _PREPARATIONS.get(revision.revision):
        await prepare(engine)
    if indexes := getattr(revision.module, "indexes", None):
        await _build_indexes(engine, indexes)


async def _apply(engine: AsyncEngine, revision: str, seal: Seal | None) -> None:
    """Migrate to `revision`, in one transaction. If a lock is not given at once, begin again."""
    for tries_left in reversed(range(_LOCK_TRIES)):
        try:
            async with engine.begin() as connection:
                await connection.execute(_SET_LIMITS, {"lock": _LOCK_TIMEOUT, "statement": f"{_LONGEST_SECONDS}s"})
                if revision == _SEALED_SECRETS:
                    await _seal_secrets(connection, seal)
                await connection.run_sync(lambda sync: command.upgrade(config(sync), revision))
        except DBAPIError as error:
            if not tries_left or sqlstate(error) not in _NOT_LOCKED:
                raise
        else:
            return
        await asyncio.sleep(random.uniform(*_LOCK_PAUSE_SECONDS))  # noqa: S311 - nothing to guess


async def _follow(engine: AsyncEngine, identifiers: Collection[str], *, dry_run: bool) -> Followed:
    async with engine.connect() as connection, connection.begin() as begun:
        await connection.execute(_SET_LIMITS, {"lock": _LONGEST_LOCK, "statement": f"{_LONGEST_SECONDS}s"})
        if await connection.run_sync(_revision) is None:
            return Followed(Counter(), Counter(), [])
        followed = await identities.follow(connection, identifiers)
        if dry_run:
            await begun.rollback()
        return followed


# --- what is done before a revision -----------------------------------------------------------------------------------

_HAS = text("SELECT CAST(to_regclass(:name) AS text)")
_IS_BROKEN = text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


async def _build_indexes(engine: AsyncEngine, indexes: Mapping[str, str]) -> None:
    """Build `indexes`, by name (`ON table (column) WHERE …`), while rows are written. Half an index is built anew."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        if not is_pooled(engine):  # through a pooler the session is another client's next, and has no limits of ours
            await connection.exec_driver_sql(f"SET statement_timeout = '{_LONGEST_SECONDS}s'")
            await connection.exec_driver_sql("SET lock_timeout = 0")  # it waits for transactions, and nobody for it
        for name, definition in indexes.items():
            if await connection.scalar(_IS_BROKEN, {"name": name}):
                await connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
            await connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} {definition}")


# The table is large, and workers update rows of it. The program reads no reason back, and runs with the former ones and
# the new.
_RENAMED_REASONS = "0009"
_RENAME_REASONS = text("""
    UPDATE inbox SET reason = CASE reason WHEN 'ALREADY_TOLD' THEN 'ALREADY_KNOWN' ELSE 'NEWER_KNOWN' END
    WHERE id > :after AND id <= :last AND reason IN ('ALREADY_TOLD', 'NEWER_TOLD')
""")
_LAST_UPDATE = text("SELECT coalesce(max(id), 0) FROM inbox")


async def _rename_reasons(engine: AsyncEngine) -> None:
    """Rename the reasons of a database older than their new names. If it is interrupted, the next call begins anew."""
    after = 0
    while True:
        async with engine.begin() as connection:
            await connection.execute(_SET_LIMITS, {"lock": _LONGEST_LOCK, "statement": f"{_LONGEST_SECONDS}s"})
            if after >= await connection.scalar(_LAST_UPDATE):
                return
            await connection.execute(_RENAME_REASONS, {"after": after, "last": after + SLICE})
        after += SLICE


_PREPARATIONS: Mapping[str, Callable[[AsyncEngine], Awaitable[None]]] = {_RENAMED_REASONS: _rename_reasons}
"""What is done before a revision, outside of its transaction."""

# Sealed in the transaction of their revision: endpoints number thousands.
_SEALED_SECRETS = "0015"
_HAS_CLEAR_SECRETS = text("SELECT EXISTS (SELECT FROM endpoints WHERE cardinality(secrets) > 0)")
_CLEAR_SECRETS = text("SELECT id, secrets FROM endpoints ORDER BY id FOR NO KEY UPDATE")
_SEAL_SECRETS = text("UPDATE endpoints SET secrets = CAST(:secrets AS text[]) WHERE id = :id")


async def _has_clear_secrets(connection: AsyncConnection, current: str) -> bool:
    return current < _SEALED_SECRETS and bool(await connection.scalar(_HAS_CLEAR_SECRETS))


async def _seal_secrets(connection: AsyncConnection, seal: Seal | None) -> None:
    """Seal the secrets of a database in which they are stored in the clear."""
    for id_, secrets in (await connection.execute(_CLEAR_SECRETS)).all():
        assert seal is not None  # or `_pending` has refused it
        await connection.execute(_SEAL_SECRETS, {"id": id_, "secrets": [seal(id_, secret) for secret in secrets]})


# --- which programs work with it --------------------------------------------------------------------------------------

_FIRST_NOTED = "0031"
_NOTE = text("""
    INSERT INTO schema_revisions (revision, oldest_program) VALUES (:revision, :oldest_program)
    ON CONFLICT (revision) DO UPDATE SET oldest_program = excluded.oldest_program
""")


def complete(connection: Connection, revision: Script) -> None:
    """End a revision, in its transaction: build the indexes that it lacks, and note which programs it supports.

    On a database that is in use, `_build_indexes` was before.
    """
    for name, definition in getattr(revision.module, "indexes", {}).items():
        if connection.scalar(_HAS, {"name": name}) is None:
            connection.exec_driver_sql(f"CREATE INDEX {name} {definition}")
    if revision.revision >= _FIRST_NOTED:
        oldest = revision.module.oldest_program
        connection.execute(_NOTE, {"revision": revision.revision, "oldest_program": oldest})


_OLDEST_PROGRAM = text("SELECT oldest_program FROM schema_revisions WHERE revision = :revision")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def revisions(url: str) -> SchemaState:
    """The revision of the database, of this program, and the oldest program that the database supports."""
    newest = await asyncio.to_thread(lambda: _scripts().get_current_head())
    assert newest is not None
    engine = connect(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            current = await connection.run_sync(_revision)
            oldest = None
            if current is not None and await connection.scalar(_HAS, {"name": "schema_revisions"}):
                oldest = await connection.scalar(_OLDEST_PROGRAM, {"revision": current})
    finally:
        await engine.dispose()
    return SchemaState(current, newest, oldest)
