"""The HTTP listener for feeds: its routes, its bounds, and a graceful end that answers the requests under way."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from aiohttp import web

from api.connection import connection_factory
from api.feeds import FeedIntake

# A connection without a whole request header for this long is closed. Longer than proxies keep idle connections
# (nginx: 60 s): a proxy would otherwise send its next request into a connection that is just being closed.
_IDLE_SECONDS = 75
# Well below the 1,024 files that a process usually may have open: deliveries and the database need theirs.
_MOST_CONNECTIONS = 500


class _Full(asyncio.Protocol):
    """The protocol of a connection beyond the limit: closes it at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Listener:
    """Listens on `host` and `port` while it is open. At the end, requests under way have `drain_within` seconds.

    Entering it raises OSError if it cannot listen on the port.
    """

    def __init__(self, intake: FeedIntake, host: str, port: int, *, drain_within: float) -> None:
        application = web.Application()
        application.add_routes([web.post("/v1/feeds/{format}", intake.post)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        self._host, self._wanted_port = host, port
        self._drain_within = drain_within
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        assert self._runner.server is not None
        self._requests = self._runner.server
        self._connect = connection_factory(
            self._requests,
            # signatures cover the bytes as received, and a compressed body may expand a thousandfold
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
        )
        self._handle = self._requests.request_handler
        self._requests.request_handler = self._answer
        try:
            self._server = await asyncio.get_running_loop().create_server(self._protocol, self._host, self._wanted_port)
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def _protocol(self) -> asyncio.BaseProtocol:
        """The protocol of a new connection."""
        return _Full() if len(self._requests.connections) >= _MOST_CONNECTIONS else self._connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._runner.cleanup()

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set; then accept no new connection, and answer the requests under way."""
        await stopping.wait()
        self._closing = True
        self._server.close()
        # aiohttp's own shutdown would read no more of unfinished bodies
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_within):
                await self._idle.wait()
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._under_way += 1
        self._idle.clear()
        try:
            response = await self._handle(request)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        if self._closing:
            response.force_close()
        return response
