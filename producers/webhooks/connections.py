"""Connections to endpoints: HTTP/1.1, one POST at a time on each, kept for the next POST to the same endpoint.

Our own, because each POST of a client that can do everything takes three times the CPU (docs/decisions.md has the
figures). What is hard about it is done by others: httptools reads the answers, aiohappyeyeballs dials, `ssl` does TLS.
"""

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple, cast

import httptools
from aiohappyeyeballs import AddrInfoType, start_connection

from producers.egress import Network, guarded_sockets
from producers.names import LookUp, Names, system_look_up
from schemas.url import Url, read_url

# What an answer says beside its status and one header means nothing to us. Its head is read for those, its body only
# so that the connection can serve the next request.
MOST_OF_A_HEAD = 64 * 1024
MOST_OF_A_BODY = 16 * 1024

# Many servers close an idle connection after 5 s, and a POST that meets the closing fails.
KEEP_IDLE = 4.0

# RFC 8305: how long an address has to answer before the next one is dialled beside it.
_NEXT_ADDRESS = 0.25

# At a time, of all endpoints: there may be as many files open as there are connections, and others want some, too.
_MOST_IDLE = 500

# An answer may come before a long request is sent, and what is left of it would go before the next one.
_LONGEST_BEFORE_ANOTHER = 64 * 1024

_SWITCHING_PROTOCOLS = 101
_FINAL = 200

# RFC 9112, 4, and lenient as httptools is about the end of the line. The line must have ended: `20` may become `200`.
_STATUS_LINE = re.compile(rb"[\r\n]*HTTP/1\.[01] +([1-9][0-9][0-9])(?: [^\n]*)?\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_RETRY_AFTER = re.compile(rb"\nretry-after:([^\r\n]*)", re.IGNORECASE)


class HandshakeFailed(OSError):
    """TLS could not be agreed on: the server hung up, as many do that speak older versions only."""


class Target(NamedTuple):
    """A URL, and how every request to it begins."""

    url: Url
    head: bytes


class ConnectionKey(NamedTuple):
    """Whose connections these are, and for which of its URLs.

    Two endpoints never share one: an answer that comes late would be taken for the answer to the other endpoint.
    """

    endpoint: str
    url: str


@lru_cache(maxsize=4096)  # parsing a URL takes as long as half a request
def target(url: str) -> Target:
    """Raises ValueError if no request can be sent there; the import of merchants judges by the same function."""
    to = read_url(url)
    return Target(to, f"POST {to.target} HTTP/1.1\r\nhost: {to.authority}\r\n".encode("ascii"))


def read_head(received: bytes) -> tuple[int | None, bytes | None]:
    """The status code and the Retry-After header of an answer whose head is not well formed; None where there is none.

    A status line counts whatever follows it: the server has decided by then.
    """
    at = 0
    while line := _STATUS_LINE.match(received, at):
        status = int(line[1])
        end = _END_OF_HEAD.search(received, line.end() - 1)
        if status >= _FINAL or status == _SWITCHING_PROTOCOLS:
            retry_after = _RETRY_AFTER.search(received, line.end() - 1, len(received) if end is None else end.start())
            return status, None if retry_after is None else retry_after[1]
        if end is None:
            break
        at = end.end()
    return None, None


class Connection(asyncio.Protocol):
    """A connection, and what has been read of the latest answer on it."""

    def __init__(self) -> None:
        self.status: int | None = None
        """Of the answer, once its head has come, or as much of it as comes."""
        self.retry_after: bytes | None = None
        self.unreadable = False
        """What came instead of an answer is not HTTP, or without an end."""
        self.reusable = False
        """The answer came whole, and nothing behind it."""
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._parser: httptools.HttpResponseParser | None = None
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._arrivals = select.poll()
        self._arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._ended = self._loop.create_future()
        self._ended.set_result(None)

    def post(self, request: bytes) -> "asyncio.Future[None]":
        """Send it; the future is done when nothing more is read of the answer: it is whole, cut off or broken off."""
        self.status = self.retry_after = None
        self.reusable = False
        self._read = 0
        self._head = b""
        self._long = len(request) > _LONGEST_BEFORE_ANOTHER
        self._parser = httptools.HttpResponseParser(self)
        # as other clients read: lines that end in LF alone, and headers on two lines
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._ended = self._loop.create_future()
        self._transport.write(request)
        return self._ended

    def serves_again(self) -> bool:
        """Whether it can take the next request."""
        return self.reusable and not self._transport.is_closing() and not self._transport.get_write_buffer_size()

    def is_silent(self) -> bool:
        """Whether nothing has arrived that the loop has not read yet: bytes that no request asked for, or an end."""
        return not self._arrivals.poll(0)

    def close(self) -> None:
        """At once: who does not read what is sent must not keep the connection open."""
        self.reusable = False
        self._end()
        self._transport.abort()

    # --- as asyncio calls it ---

    def data_received(self, data: bytes) -> None:
        if self._ended.done():
            self.close()  # nobody asked
            return
        assert self._parser is not None
        if self.status is None:
            self._head += data
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._cut_off()
        else:
            self._read += len(data)
            if self._read > (MOST_OF_A_HEAD if self.status is None else MOST_OF_A_BODY) and not self._ended.done():
                self._cut_off()

    def eof_received(self) -> None:
        self.close()  # or what is still to be sent would keep it open

    def connection_lost(self, _error: Exception | None) -> None:
        self.reusable = False
        self._parser = None  # it holds us
        self._end()

    # --- as httptools calls it ---

    def on_message_begin(self) -> None:
        self.reusable = False  # an answer behind the answer, it may be
        if self.status is None:
            self.retry_after = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status is None and name.lower() == b"retry-after":
            self.retry_after = value

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self.status is None and (status >= _FINAL or status == _SWITCHING_PROTOCOLS):
            self.status = status
            self._read = 0

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self.status is not None and not self._ended.done():
            self.reusable = self._parser.should_keep_alive() and not self._long
            self._end()

    def _cut_off(self) -> None:
        self.reusable = False
        self._end()
        self.unreadable = self.status is None

    def _end(self) -> None:
        if self.status is None and self._head:
            self.status, self.retry_after = read_head(self._head)
        self._head = b""
        if not self._ended.done():
            self._ended.set_result(None)


class Connections:
    """Those that are open and idle, and how others are opened: within `within` seconds each, and as long to look up.

    `allow` are networks that may be reached beside public addresses. An idle connection is kept for `keep_idle`
    seconds.
    """

    def __init__(
        self,
        *,
        within: float,
        allow: Sequence[Network],
        trust: ssl.SSLContext | None,
        look_up: LookUp = system_look_up,
        keep_idle: float = KEEP_IDLE,
    ) -> None:
        self._within = within
        self._socket = guarded_sockets(allow)
        self._trust = ssl.create_default_context() if trust is None else trust
        self._names = Names(look_up, within=within)
        self._keep_idle = keep_idle
        self._loop = asyncio.get_running_loop()
        self._idle: dict[ConnectionKey, list[Connection]] = {}
        self._kept = 0
        self._closed = False
        self._sweeping: asyncio.TimerHandle | None = None

    def kept(self, key: ConnectionKey) -> Connection | None:
        """One that is open already, with nothing on it that was not asked for."""
        idle = self._idle.get(key, ())
        while idle:
            connection = idle.pop()
            self._kept -= 1
            fresh = self._loop.time() - connection.idle_since < self._keep_idle
            if fresh and connection.serves_again() and connection.is_silent():
                return connection
            connection.close()
        return None

    async def open(self, to: Url) -> Connection:
        """A new one.

        Raises:
            OSError: NameUnknown, EgressDenied, TimeoutError, HandshakeFailed, ssl.SSLError, or what else went wrong.
        """
        addresses = await self._addresses(to)
        try:
            async with asyncio.timeout(self._within):
                return await self._dial(addresses, to)
        except RuntimeError as error:
            raise OSError("the connection failed") from error  # uvloop has both for the same

    async def _dial(self, addresses: Sequence[AddrInfoType], to: Url) -> Connection:
        dialled = await start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS, interleave=1, socket_factory=self._socket
        )
        if not to.tls:
            return (await self._loop.create_connection(Connection, sock=dialled))[1]
        try:
            _, connection = await self._loop.create_connection(
                Connection, sock=dialled, ssl=self._trust, server_hostname=to.host.rstrip(".")
            )
        except ConnectionError as error:
            raise HandshakeFailed("the server hung up on the TLS handshake") from error
        return connection

    async def _addresses(self, to: Url) -> Sequence[AddrInfoType]:
        if to.address is None:
            return await self._names.addresses(to.host, to.port)
        six = isinstance(to.address, IPv6Address)
        family, name = (socket.AF_INET6, (to.host, to.port, 0, 0)) if six else (socket.AF_INET, (to.host, to.port))
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", name)]

    def give_back(self, connection: Connection, key: ConnectionKey) -> None:
        """Keep it for the next request to the same endpoint, if it can serve one."""
        if self._closed or self._kept >= _MOST_IDLE or not connection.serves_again():
            connection.close()
            return
        self._kept += 1
        connection.idle_since = self._loop.time()
        self._idle.setdefault(key, []).append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._keep_idle, self._sweep)

    def close(self) -> None:
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.close()

    def _sweep(self) -> None:
        """Close what has been idle for too long; nobody may ask for its place again."""
        kept: dict[ConnectionKey, list[Connection]] = {}
        since = self._loop.time() - self._keep_idle
        for key, connections in self._idle.items():
            for connection in connections:
                if connection.serves_again() and connection.idle_since > since:
                    kept.setdefault(key, []).append(connection)
                else:
                    connection.close()
        self._idle, self._kept = kept, sum(map(len, kept.values()))
        self._sweeping = self._loop.call_later(self._keep_idle, self._sweep) if kept else None
