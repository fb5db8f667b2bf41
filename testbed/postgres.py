"""A real PostgreSQL: the one you name, a container, or the embedded wheel, in that order."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy.engine import URL, make_url

from ops import embedded
from testbed.engine import engine_has

IMAGE = "postgres:18-alpine"


@contextmanager
def postgres(named: str | None) -> Iterator[tuple[str, str]]:
    """A superuser's URL and one line on where it comes from. `named` is REPOINT_TEST_DATABASE_URL."""
    if named:
        yield named, "yours, by REPOINT_TEST_DATABASE_URL"
    elif engine_has(IMAGE):
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - slow, and rarely needed

        with PostgresContainer(IMAGE, driver="asyncpg") as container:
            yield container.get_connection_url(), f"container {IMAGE}"
    else:
        # Nothing here has to outlive the machine.
        with embedded.postgres(durable=False) as url:
            yield url, "embedded wheel"


class Databases:
    """Clean databases, each a copy of one that was migrated once."""

    def __init__(self, server: str) -> None:
        self._server = make_url(server).set(drivername="postgresql+asyncpg")
        self._template: str | None = None

    async def version(self) -> str:
        """As `18.1`."""
        async with self._admin() as connection:
            return str(await connection.fetchval("SHOW server_version"))

    async def create(self) -> str:
        """The URL of a new database at the newest revision."""
        if self._template is None:
            self._template = await self._migrated()
        return await self._new(f"TEMPLATE {self._template}")

    async def create_empty(self) -> str:
        """The URL of a new database with nothing in it."""
        return await self._new("")

    async def drop(self, url: str) -> None:
        """Also ends whoever is still connected: a killed worker's connections may linger."""
        async with self._admin() as connection:
            await connection.execute(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    async def _migrated(self) -> str:
        from store import migrate  # noqa: PLC0415 - only where a test asks for a migrated database

        url = await self.create_empty()
        await migrate.upgrade(url)
        name = make_url(url).database
        assert name is not None
        return name

    async def _new(self, how: str) -> str:
        name = f"repoint_{secrets.token_hex(6)}"
        async with self._admin() as connection:
            # FILE_COPY costs a checkpoint; WAL_LOG, the default, is the faster one for small templates.
            await connection.execute(f"CREATE DATABASE {name} {how}")
        return _text(self._server.set(database=name))

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[asyncpg.Connection]:
        async with asyncio.timeout(30):
            connection = await asyncpg.connect(_text(self._server.set(drivername="postgresql")))
        try:
            yield connection
        finally:
            await connection.close()


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
