"""The state of a running process, on one port: /metrics for Prometheus, /livez and /readyz for supervisors.

    /livez    503: it makes no progress any more, and should be ended and restarted
    /readyz   503: it waits for a part that is away, or drains; ending it would mend nothing

Each metric is declared where it is counted, on prometheus_client's own registry.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import prometheus_client
from aiohttp import web

from api.connection import connection_factory
from ops.logs import hidden

Stuck: TypeAlias = Callable[[], str | None]
"""Why no progress is made; None while it is."""

Probe: TypeAlias = Callable[[], Awaitable[str | None]]
"""Why a part cannot be used now; None while it can. It must not raise for a part that is merely away."""

# Supervisors ask every few seconds and give up after one or two: a probe that hangs is an answer too.
PROBE_DEADLINE = 2.0


@asynccontextmanager
async def serve(host: str, port: int, *, stuck: Stuck, probes: Mapping[str, Probe]) -> AsyncIterator[int]:
    """Answer on `host` and `port` meanwhile; yields the port, a free one where 0 was asked for.

    Raises OSError where the port cannot be had.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = prometheus_client.exposition.choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(prometheus_client.REGISTRY), headers={"Content-Type": content_type})

    async def livez(_request: web.Request) -> web.Response:
        return _answer({"progress": stuck()})

    async def readyz(_request: web.Request) -> web.Response:
        reasons = await asyncio.gather(*(_within_deadline(probe) for probe in probes.values()))
        return _answer(dict(zip(probes, reasons, strict=True)))

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/livez", livez), web.get("/readyz", readyz)])
    # A scraper's open connection must not hold up the end of the process.
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None
    connected = connection_factory(runner.server)
    try:
        server = await asyncio.get_running_loop().create_server(connected, host, port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def _within_deadline(probe: Probe) -> str | None:
    try:
        async with asyncio.timeout(PROBE_DEADLINE):
            return await probe()
    except TimeoutError:
        return f"no answer within {PROBE_DEADLINE:g} s"


def _answer(reasons: Mapping[str, str | None]) -> web.Response:
    """The response of a probe: for each part `ok`, or what is wrong with it."""
    body = {name: "ok" if reason is None else hidden(reason) for name, reason in reasons.items()}
    wrong = any(reason is not None for reason in reasons.values())
    return web.json_response(body, status=503 if wrong else 200)
