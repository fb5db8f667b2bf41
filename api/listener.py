"""Where feeds are listened for: connections within bounds, and answers to the requests under way at the end."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from aiohttp import web

from api.connection import connections
from api.feeds import FeedIntake

# Who is connected and has sent no whole header by then is let go. Longer than proxies keep a connection for the next
# request (nginx: 60 s), or they would send it into one that is just being closed.
_IDLE_SECONDS = 75
# Well below the 1,024 files that a process usually may have open: deliveries and the database need theirs.
_MOST_CONNECTIONS = 500


class _Full(asyncio.Protocol):
    """Whom there is no room for is hung up on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Listener:
    """Listens on `host` and `port` while it is open. Requests under way when it closes have `drain_within` seconds.

    Entering it raises OSError where the port cannot be had.
    """

    def __init__(self, intake: FeedIntake, host: str, port: int, *, drain_within: float) -> None:
        application = web.Application()
        application.add_routes([web.post("/v1/feeds/{format}", intake.post)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        self._host, self._wanted = host, port
        self._drain_within = drain_within
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        assert self._runner.server is not None
        self._requests = self._runner.server
        self._connect = connections(
            self._requests,
            # A signature is of the bytes as they came; and what is packed may be a thousand times larger.
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
        )
        self._handle = self._requests.request_handler
        self._requests.request_handler = self._answer
        try:
            self._server = await asyncio.get_running_loop().create_server(self._connected, self._host, self._wanted)
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def _connected(self) -> asyncio.BaseProtocol:
        """What speaks with somebody who has just connected."""
        return _Full() if len(self._requests.connections) >= _MOST_CONNECTIONS else self._connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._runner.cleanup()

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; then nobody new is let in, and what is under way is answered."""
        await stopping.wait()
        self._closing = True
        self._server.close()
        # aiohttp's own shutdown reads no more of the bodies that are on their way
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
