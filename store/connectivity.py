"""Database connectivity: whether the database can be used, and if not, why, in one line without a password."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.schema_revision import SchemaState
from store import inbox, migrate
from store.address import read
from store.engine import connect
from store.failures import DATABASE_ERRORS, Failure, failure
from store.identities import Followed
from store.migrate import Seal
from store.refusals import READ_ONLY, TOO_SLOW, explain, reason

_IS_READ_ONLY = text("SELECT current_setting('transaction_read_only') = 'on'")
# Of a transaction that wrote nothing the server awaits no disk.
_WRITE_TO_DISK = text("SELECT pg_logical_emit_message(true, 'repoint', '')")
_SOON = text("SELECT set_config('statement_timeout', '2s', true)")
# A row and a commit take milliseconds; a little longer than a statement may take, so that its own error comes first.
_SOON_SECONDS = 3
_CHECK_NOW = text("SET CONSTRAINTS ALL IMMEDIATE")


class Unusable(Exception):
    """The database cannot be used; the text says which, why, and what to do."""


@asynccontextmanager
async def opened(url: str, *, pool_size: int = 5, short: bool = False) -> AsyncIterator[AsyncEngine]:
    """An engine on a database that answers and supports this program; `short` as in `store.engine.connect`.

    Raises:
        Unusable: it does not answer, refuses us, has not been migrated, or supports newer programs alone.
    """
    refusal = (await revisions(url)).refusal
    if refusal is not None:
        raise Unusable(f"the database {read(url).name} {refusal}")
    engine = connect(url, pool_size=pool_size, short=short)
    try:
        yield engine
    finally:
        await engine.dispose()


async def revisions(url: str) -> SchemaState:
    """As `store.migrate.revisions`. Raises Unusable where the database does not answer, or refuses us."""
    try:
        return await migrate.revisions(url)
    except DATABASE_ERRORS as error:
        raise Unusable(f"the database {read(url).name} {explain(error)}") from None


async def upgrade(
    url: str, identifiers: Collection[str], *, seal: Seal | None = None, dry_run: bool = False
) -> Followed:
    """As `store.migrate.upgrade`. Raises Unusable where the database does not answer, or refuses us."""
    try:
        return await migrate.upgrade(url, identifiers, seal=seal, dry_run=dry_run)
    except DATABASE_ERRORS as error:
        if failure(error) is None:
            raise
        raise Unusable(f"the database {read(url).name} {explain(error)}") from None


async def answers(engine: AsyncEngine) -> str | None:
    """The reason why the database cannot be used at present; None if it can."""
    try:
        async with engine.connect() as connection:
            read_only = await connection.scalar(_IS_READ_ONLY)
    except DATABASE_ERRORS as error:
        return reason(error)
    return READ_ONLY if read_only else None


async def keeps_up(engine: AsyncEngine) -> str | None:
    """The reason why the database is too slow at present; None if it is not.

    One row is written and rolled back, and one write to disk is awaited. This distinguishes a statement that takes too
    long from a server that is too slow for any statement.
    """
    try:
        async with asyncio.timeout(_SOON_SECONDS), engine.connect() as connection, connection.begin():
            await connection.execute(_SOON)
            async with connection.begin_nested() as undone:
                await inbox.probe(connection)
                await undone.rollback()
            await connection.execute(_WRITE_TO_DISK)
    except DATABASE_ERRORS as error:
        kind = failure(error)
        if kind is None:
            raise
        return TOO_SLOW if kind is Failure.TOO_MUCH or isinstance(error, TimeoutError) else reason(error)
    return None


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A read-only transaction that sees the database as of its first statement throughout."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        async with connection.begin():
            yield connection


_LIMIT = text("SELECT set_config('statement_timeout', :milliseconds, true)")


@asynccontextmanager
async def brief_snapshot(engine: AsyncEngine, *, within: float) -> AsyncIterator[AsyncConnection]:
    """As `snapshot`, with statements that take `within` seconds at most."""
    async with snapshot(engine) as connection:
        await connection.execute(_LIMIT, {"milliseconds": str(int(within * 1000))})
        yield connection


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, dry_run: bool) -> AsyncIterator[AsyncConnection]:
    """A transaction. With `dry_run` it is rolled back at the end, after the checks that a commit would make."""
    async with engine.connect() as connection, connection.begin() as begun:
        yield connection
        if dry_run:
            await connection.execute(_CHECK_NOW)
            await begun.rollback()
