"""The databases that are measured: copies of one that was filled once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from store import migrate
from store.engine import connect


class Copies:
    """Databases on one server, each a copy of a migrated one that `filled` has filled."""

    def __init__(self, url: str, template: str) -> None:
        self._url = make_url(url)
        self._template = template

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, name: str, fill: Callable[[AsyncEngine], Awaitable[None]]) -> AsyncIterator["Copies"]:
        """Copies of a database `name`, which is made here; it goes at the end."""
        copies = cls(url, name)
        async with copies._made(name, ""):
            await migrate.upgrade(copies._at(name))
            engine = connect(copies._at(name))
            await fill(engine)
            await engine.dispose()
            yield copies

    @asynccontextmanager
    async def copy(self, name: str) -> AsyncIterator[AsyncEngine]:
        """An engine on a copy of its own, named so; it goes at the end."""
        async with self._made(name, f"TEMPLATE {self._template} STRATEGY FILE_COPY"):
            engine = connect(self._at(name))
            yield engine
            await engine.dispose()

    @asynccontextmanager
    async def _made(self, name: str, how: str) -> AsyncIterator[None]:
        await self._as_superuser(f"CREATE DATABASE {name} {how}")
        try:
            yield
        finally:
            await self._as_superuser(f"DROP DATABASE {name} WITH (FORCE)")

    async def _as_superuser(self, statement: str) -> None:
        engine = connect(self._at(self._url.database or "postgres"), pool_size=1)
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("SET statement_timeout = 0"))
            await connection.execute(text(statement))
        await engine.dispose()

    def _at(self, database: str) -> str:
        return self._url.set(database=database).render_as_string(hide_password=False)
