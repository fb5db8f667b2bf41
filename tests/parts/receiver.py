"""A merchant's endpoint: a real HTTP server on loopback that writes down what it gets and answers as told.

receiver.answer("/hooks", Answer(503), Answer(200))     # once 503, from then on 200
await receiver.arrived(2, "/hooks")
assert receiver.at("/hooks")[0].headers["webhook-id"] == …
"""

import asyncio
import gzip
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from aiohttp import web
from multidict import CIMultiDictProxy


@dataclass(frozen=True)
class Request:
    """One request as it came in; `at` is Unix time in seconds."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    at: float


@dataclass(frozen=True)
class Answer:
    """What the receiver does with one request.

    `delay` seconds pass first. With `drip`, the body is sent byte by byte at that many seconds' distance,
    without end if it is empty. `cut` closes the connection: before anything was sent, or after half a status
    line.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    drip: float | None = None
    cut: Literal["silently", "mid-status"] | None = None


ACCEPTED = Answer(200)


def unavailable(retry_after: str | None = None) -> Answer:
    """503, with a `Retry-After` of seconds or an HTTP date if given."""
    return Answer(503, {} if retry_after is None else {"Retry-After": retry_after})


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(status, {"Location": location})


def gzip_bomb(size: int = 64 << 20) -> Answer:
    """`size` zeros, a thousandth of that on the wire."""
    return Answer(200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(size)))


class Receiver:
    """An async context manager; listens on a free port while it is open."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self._host = host
        self._port = 0
        self._answers: dict[str, list[Answer]] = {}
        self._arrival = asyncio.Condition()

    async def __aenter__(self) -> Self:
        # No size limit and no decompression: what came is what the test looks at.
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        # Handlers that still delay or drip at the end are cancelled, not waited for.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def url(self, path: str = "/") -> str:
        return f"http://{self._host}:{self._port}{path}"

    def answer(self, path: str, *answers: Answer) -> None:
        """The next requests to `path` get these, one each; the last stays. Unscripted paths answer 200."""
        self._answers[path] = list(answers)

    def at(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    async def arrived(self, count: int, path: str | None = None, *, within: float = 20.0) -> list[Request]:
        """The requests so far (to `path`), once there are `count`; TimeoutError after `within` seconds."""

        def so_far() -> list[Request]:
            return self.requests if path is None else self.at(path)

        try:
            async with asyncio.timeout(within), self._arrival:
                await self._arrival.wait_for(lambda: len(so_far()) >= count)
        except TimeoutError:
            seen = Counter(request.path for request in self.requests)
            raise TimeoutError(f"{count} requests to {path or 'any path'} awaited; seen: {dict(seen)}") from None
        return list(so_far())

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        answer = self._next(request.path)
        async with self._arrival:
            self.requests.append(Request(request.method, request.path, request.headers, body, time.time()))
            self._arrival.notify_all()
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.cut:
            return _cut(request, answer.cut)
        if answer.drip is not None:
            return await _drip(request, answer, answer.drip)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    def _next(self, path: str) -> Answer:
        script = self._answers.get(path, [ACCEPTED])
        return script.pop(0) if len(script) > 1 else script[0]


def _cut(request: web.Request, where: Literal["silently", "mid-status"]) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    if where == "mid-status":
        transport.write(b"HTTP/1.1 20")
        transport.close()
    else:
        transport.abort()
    return web.Response()


async def _drip(request: web.Request, answer: Answer, pause: float) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    await response.prepare(request)
    dripped = 0
    while not answer.body or dripped < len(answer.body):
        await response.write(answer.body[dripped : dripped + 1] or b".")
        dripped += 1
        await asyncio.sleep(pause)
    await response.write_eof()
    return response
