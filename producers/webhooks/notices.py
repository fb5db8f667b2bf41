"""Notices of new deliveries from the processes that write them to the dispatchers in other processes."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from sqlalchemy.ext.asyncio import AsyncEngine

from loops.waiting import event_or_timeout, wait_for_first
from store import notices
from store.failures import DATABASE_ERRORS
from store.reused_connection import ReusedConnection

# While the database is away, or its connections are all in use.
_RETRY_SECONDS = 1.0


class NoticeSender:
    """Sends notices. While a notice is on its way, further endpoints gather for the next one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._connection = ReusedConnection(engine.execution_options(isolation_level="AUTOCOMMIT"))
        self._due: set[str] = set()
        self._added = asyncio.Event()

    def add(self, endpoint_ids: Collection[str]) -> None:
        """Let the next notice name these endpoints."""
        self._due.update(endpoint_ids)
        self._added.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Send notices until `stopping` is set. One that cannot be sent is dropped: dispatchers look for themselves."""
        async with self._connection:
            while not stopping.is_set():
                await wait_for_first(self._added.wait(), stopping.wait())
                self._added.clear()
                due, self._due = self._due, set()
                if due:
                    await self._send(due, stopping)

    async def _send(self, due: Collection[str], stopping: asyncio.Event) -> None:
        try:
            async with self._connection.begin() as connection:
                await notices.send(connection, due)
        except DATABASE_ERRORS:
            await event_or_timeout(stopping, _RETRY_SECONDS)


class NoticeListener:
    """Calls `on_due` with the endpoints of each notice; None if some may have been missed."""

    def __init__(self, engine: AsyncEngine, on_due: Callable[[Collection[str] | None], None]) -> None:
        self._engine = engine
        self._on_due = on_due

    async def run(self, stopping: asyncio.Event) -> None:
        """Listen until `stopping` is set, on a new connection whenever one has ended."""
        while not stopping.is_set():
            with suppress(*DATABASE_ERRORS):
                async with notices.listening(self._engine, self._on_due) as ended:
                    self._on_due(None)
                    await wait_for_first(ended.wait(), stopping.wait())
            if not stopping.is_set():
                await event_or_timeout(stopping, _RETRY_SECONDS)
