"""One POST to an endpoint that may be slow, broken or hostile; whatever it does comes back as an Answer.

aiohttp, because nothing else that is kept took as little CPU per request and lets the dialled address be
checked (bench/dispatch.py has the figures).
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import SimpleNamespace, TracebackType
from typing import NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from domain.delivery import Outcome, answered
from producers.egress import EgressDenied, Network, guarded_sockets

# An answer's body means nothing to us; it is read only so that the connection can serve the next request.
MOST_OF_A_BODY = 16 * 1024

# Many servers close an idle connection after 5 s, and a POST that meets the closing fails.
_KEEP_IDLE = 4.0

# Lookups of names whose servers do not answer take long, and must not keep the others from theirs.
_LOOKUP_THREADS = 32


class Answer(NamedTuple):
    """What came of one request; `took` in seconds, `retry_after` as the endpoint asked, unbounded."""

    outcome: Outcome
    took: float
    status_code: int | None = None
    retry_after: timedelta | None = None


class Sender:
    """An async context manager over the connections to all endpoints.

    `deadline` in seconds is for the whole of a request, name lookup to last byte; connecting may take half of
    it. `allow` are networks that may be reached beside public addresses. `sent` is called when a request has
    been written and its response not yet been read.
    """

    def __init__(
        self,
        *,
        version: str,
        deadline: float = 15.0,
        allow: Sequence[Network] = (),
        trust: ssl.SSLContext | None = None,
        sent: Callable[[], None] | None = None,
    ) -> None:
        self.deadline = deadline
        self._headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"Repoint/{version}",
        }
        self._allow = allow
        self._trust = trust
        self._sent = sent

    async def __aenter__(self) -> Self:
        self._lookups = _Lookups(within=self.deadline / 2)
        connector = aiohttp.TCPConnector(
            limit=0,  # whoever calls `post` bounds how many run at a time
            keepalive_timeout=_KEEP_IDLE,
            resolver=self._lookups,
            socket_factory=guarded_sockets(self._allow),
            ssl=True if self._trust is None else self._trust,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=MOST_OF_A_BODY,
            timeout=aiohttp.ClientTimeout(
                total=self.deadline, sock_connect=self.deadline / 2, ceil_threshold=float("inf")
            ),
            trace_configs=[] if self._sent is None else [_telling(self._sent)],
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Never raises for what the endpoint, its name server or the network does."""
        begun = time.perf_counter()
        try:
            response = await self._session.post(
                _parsed(url), data=aiohttp.BytesPayload(body), headers=headers, allow_redirects=False
            )
            # a short answer came whole with its head, and its connection serves the next request already
            if not response.content.is_eof():
                await _read(response)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return Answer(_name_of(error), time.perf_counter() - begun)
        took = time.perf_counter() - begun
        outcome = answered(response.status)
        if outcome is Outcome.ACCEPTED:
            return Answer(outcome, took, response.status)
        return Answer(outcome, took, response.status, _delay(response.headers.get("Retry-After")))


@lru_cache(maxsize=4096)  # parsing a URL takes a tenth of the time of a request
def _parsed(url: str) -> URL:
    return URL(url)


async def _read(response: aiohttp.ClientResponse) -> None:
    """Read to its end or to MOST_OF_A_BODY. The status line has told the outcome; how the body ends changes nothing."""
    left = MOST_OF_A_BODY
    try:
        while left > 0 and not response.content.at_eof():
            left -= len(await response.content.read(left))
    except (aiohttp.ClientError, TimeoutError):
        pass
    finally:
        response.release()


# The first class that fits names the failure.
_NAMES: Sequence[tuple[type[Exception], Outcome]] = [
    (aiohttp.InvalidURL, Outcome.URL_UNUSABLE),
    (aiohttp.NonHttpUrlClientError, Outcome.URL_UNUSABLE),
    (aiohttp.ClientConnectorDNSError, Outcome.DNS_LOOKUP_FAILED),
    (aiohttp.ClientSSLError, Outcome.TLS_FAILED),
    (aiohttp.ClientConnectorError, Outcome.CONNECTION_FAILED),
    (aiohttp.ServerTimeoutError, Outcome.CONNECTION_TIMEOUT),
    (TimeoutError, Outcome.RESPONSE_TIMEOUT),
    (aiohttp.ClientConnectionError, Outcome.CONNECTION_CLOSED),
    (aiohttp.ClientError, Outcome.RESPONSE_UNREADABLE),
    (ValueError, Outcome.URL_UNUSABLE),
]
_NAMES_OF_CONNECTING: Sequence[tuple[type[Exception], Outcome]] = [
    (EgressDenied, Outcome.EGRESS_DENIED),
    (ConnectionRefusedError, Outcome.CONNECTION_REFUSED),
    (TimeoutError, Outcome.CONNECTION_TIMEOUT),
    (OSError, Outcome.CONNECTION_FAILED),
]


def _name_of(error: Exception) -> Outcome:
    name = _first_name(error, _NAMES)
    if name is Outcome.CONNECTION_FAILED and isinstance(error, aiohttp.ClientConnectorError):
        return _first_name(error.os_error, _NAMES_OF_CONNECTING)
    return name


def _first_name(error: Exception, names: Sequence[tuple[type[Exception], Outcome]]) -> Outcome:
    return next(name for kind, name in names if isinstance(error, kind))


def _delay(retry_after: str | None) -> timedelta | None:
    """A Retry-After header, seconds or a date, as a delay from now; None if it is neither."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return timedelta(seconds=min(int(retry_after[:9]), 10**8))
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)


def _telling(sent: Callable[[], None]) -> aiohttp.TraceConfig:
    """It tells before it writes; the loop's next turn is after that and before anything is read."""

    async def chunk_sent(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        _chunk: aiohttp.TraceRequestChunkSentParams,
    ) -> None:
        asyncio.get_running_loop().call_soon(sent)

    config = aiohttp.TraceConfig()
    config.on_request_chunk_sent.append(chunk_sent)
    return config


class _Lookups(AbstractResolver):
    """getaddrinfo in threads of its own, each given up on after `within` seconds."""

    def __init__(self, within: float) -> None:
        self._within = within
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, "lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, _look_up, host, port, family)
        try:
            async with asyncio.timeout(self._within):
                return await asked
        except TimeoutError:
            raise OSError("no answer from the name servers") from None

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    # AI_ADDRCONFIG: no IPv6 addresses where there is no way to reach them
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=str(name[0]),
            port=port,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, protocol, _, name in found
    ]
