"""Whether a database can be used, and if not, why, in one line for people that holds no password."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store import migrate
from store.engine import connect
from store.failures import DATABASE_ERRORS, failure, sqlstate

_NOTHING = text("SELECT 1")
_CHECK_NOW = text("SET CONSTRAINTS ALL IMMEDIATE")


class Unusable(Exception):
    """The database cannot be used; the text says which, why, and what to do."""


@asynccontextmanager
async def opened(url: str, *, pool_size: int = 5, short: bool = False) -> AsyncIterator[AsyncEngine]:
    """An engine on a database that answers and stands at the newest revision; `short` as in `store.engine.connect`.

    Raises:
        Unusable: it does not answer, refuses us, or has not been migrated.
    """
    current, newest = await revisions(url)
    if current != newest:
        stands = "was never migrated" if current is None else f"stands at revision {current}, this program at {newest}"
        raise Unusable(f"the database {_name(make_url(url))} {stands}: run `repoint migrate`")
    engine = connect(url, pool_size=pool_size, short=short)
    try:
        yield engine
    finally:
        await engine.dispose()


async def revisions(url: str) -> tuple[str | None, str | None]:
    """As `store.migrate.revisions`. Raises Unusable where the database does not answer, or refuses us."""
    try:
        return await migrate.revisions(url)
    except DATABASE_ERRORS as error:
        raise Unusable(f"the database {_name(make_url(url))} {_why(error)}") from None


async def answers(engine: AsyncEngine) -> str | None:
    """Why the database cannot be used just now; None if it can."""
    try:
        async with engine.connect() as connection:
            await connection.execute(_NOTHING)
    except DATABASE_ERRORS as error:
        kind = failure(error)
        return "it refuses us" if kind is None else kind.value
    return None


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that only reads, and sees the database as it is at its first statement all along."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        async with connection.begin():
            yield connection


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, dry_run: bool) -> AsyncIterator[AsyncConnection]:
    """Committed at the end; with `dry_run` rolled back, once the database has checked what it checks at a commit."""
    async with engine.connect() as connection, connection.begin() as begun:
        yield connection
        if dry_run:
            await connection.execute(_CHECK_NOW)
            await begun.rollback()


_REFUSALS = {
    "28": "refuses this user or password (REPOINT_DATABASE_URL)",
    "3D": "does not exist on that server (REPOINT_DATABASE_URL)",
    "42": "does not let this user read its tables",
    "53": "has no connection left",
    "57": "is starting up or shutting down",
}


def _why(error: BaseException) -> str:
    state = sqlstate(error) or ""
    return _REFUSALS.get(state[:2], "cannot be reached (REPOINT_DATABASE_URL)")


def _name(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    port = f":{url.port}" if url.port else ""
    return f"{url.database} at {host}{port}"
