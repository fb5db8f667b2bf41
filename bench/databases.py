"""The databases that are measured, and copies of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from store import migrate
from store.engine import connect


@asynccontextmanager
async def migrated(server: str, name: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a new database of that name on a superuser's `server`; it goes at the end."""
    async with _temporary(make_url(server), name, "") as url:
        await migrate.upgrade(url)
        engine = connect(url)
        yield engine
        await engine.dispose()


@asynccontextmanager
async def copied(original: AsyncEngine, name: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a copy of a database nobody is working on; it goes at the end."""
    await original.dispose()
    async with _temporary(original.url, name, f"TEMPLATE {original.url.database} STRATEGY FILE_COPY") as url:
        engine = connect(url)
        yield engine
        await engine.dispose()


@asynccontextmanager
async def _temporary(server: URL, name: str, how: str) -> AsyncIterator[str]:
    await _as_superuser(server, f"CREATE DATABASE {name} {how}")
    yield server.set(database=name).render_as_string(hide_password=False)
    await _as_superuser(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _as_superuser(server: URL, statement: str) -> None:
    engine = connect(server.set(database="postgres").render_as_string(hide_password=False), pool_size=1)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SET statement_timeout = 0"))
        await connection.execute(text(statement))
    await engine.dispose()
