"""A way to a part that can be broken: a TCP proxy that refuses, cuts, or withholds what the part answers.

async with Proxy(database_url) as proxy:        # proxy.url leads to the same database
    proxy.mute()        # what the database answers reaches nobody: it did commit, and nobody learns of it
    proxy.refuse()      # it is away: connections that stand are cut, new ones end at once
    proxy.pass_on()     # it is back
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url


class Proxy:
    """An async context manager before the PostgreSQL of `url`; listens on loopback while it is open."""

    def __init__(self, url: str) -> None:
        self._upstream = make_url(url)
        self._refusing = False
        self._muted = False
        self._connections: set[asyncio.Task[None]] = set()
        self.asked: dict[asyncio.StreamReader, bytearray] = {}
        """What came from each connection for the part, in the order of the connections."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        # A unix socket's folder stands in the query; here it is a port.
        self.url = self._upstream.set(host=host, port=port, query={}).render_as_string(hide_password=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def mute(self) -> None:
        self._muted = True

    def refuse(self) -> None:
        self._refusing = True
        self.cut()

    def pass_on(self) -> None:
        self._refusing = self._muted = False

    def cut(self) -> None:
        """End the connections that stand, without a word."""
        for connection in self._connections:
            connection.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            if not self._refusing:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # cut; the task ends here, and nobody awaits it
        finally:
            self._connections.discard(connection)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        folder = self._upstream.query.get("host")
        port = self._upstream.port or 5432
        if folder:
            from_part, to_part = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
        else:
            from_part, to_part = await asyncio.open_connection(self._upstream.host, port)
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pump(reader, to_part, answers=False))
                directions.create_task(self._pump(from_part, writer, answers=True))
        finally:
            to_part.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(ConnectionError):
            while chunk := await source.read(1 << 16):
                if not answers:
                    self.asked.setdefault(source, bytearray()).extend(chunk)
                if not (answers and self._muted):
                    sink.write(chunk)
                    await sink.drain()
        sink.transport.abort()
