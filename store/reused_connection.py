"""A connection that is kept between transactions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class ReusedConnection:
    """For a loop with many small transactions: to take a connection out of the pool takes as long as a small statement.

    After a failure the connection is given up, and the next transaction makes its own. An async context manager;
    one transaction at a time.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._give_up()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """As the engine's: a transaction, committed at the end."""
        try:
            if self._connection is None:
                self._connection = await self._engine.connect().start()
            async with self._connection.begin():
                yield self._connection
        except BaseException:
            await self._give_up()
            raise

    async def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
