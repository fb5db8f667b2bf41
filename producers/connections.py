"""Connections to endpoints: HTTP/1.1, one POST at a time on each, kept for the next one.

Our own, because each POST of a client that can do everything takes three times the CPU (docs/decisions.md has the
figures). What is hard about it is done by others: httptools reads the answers, aiohappyeyeballs dials, `ssl` does TLS.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple, cast

import httptools
from aiohappyeyeballs import AddrInfoType, start_connection

from producers.egress import Network, guarded_sockets, is_numeric, parsed

# What an answer says beside its status and one header means nothing to us. Its head is read for those, its body only
# so that the connection can serve the next request.
MOST_OF_A_HEAD = 64 * 1024
MOST_OF_A_BODY = 16 * 1024

# Many servers close an idle connection after 5 s, and a POST that meets the closing fails.
_KEEP_IDLE = 4.0

# RFC 8305: how long an address has to answer before the next one is dialled beside it.
_NEXT_ADDRESS = 0.25

# At a time, of all places: there may be as many files open as there are places, and others want some, too.
_MOST_IDLE = 500

# An answer may come before a long request is sent, and what is left of it would go before the next one.
_LONGEST_BEFORE_ANOTHER = 64 * 1024

# Lookups of names whose servers do not answer take long, and must not keep the others from theirs: more than the
# attempts that may be under way to endpoints that do not answer.
_LOOKUP_THREADS = 128

# Of each family: a name may have thousands, and each is dialled or refused by itself.
_MOST_ADDRESSES = 4

_SWITCHING_PROTOCOLS = 101
_FINAL = 200


class NameUnknown(OSError):
    """No address could be found for a host's name in time."""


class Place(NamedTuple):
    """Where a connection leads to."""

    host: str
    port: int
    tls: bool


class Target(NamedTuple):
    """A URL, and how every request to it begins."""

    place: Place
    head: bytes


@lru_cache(maxsize=4096)  # parsing a URL takes as long as half a request
def target(url: str) -> Target:
    """Raises ValueError if no request can be sent there."""
    to = parsed(url)
    host, port = to.raw_host, to.port
    if to.scheme not in {"http", "https"} or not host or not port:
        raise ValueError("expected an absolute http or https URL")
    if not host.isprintable() or " " in host:
        raise ValueError("expected a host name")  # a resolver reads up to a NUL
    if is_numeric(host):
        ip_address(host)  # no other spelling of an address: what it means depends on who reads it
    head = f"POST {to.raw_path_qs} HTTP/1.1\r\nhost: {to.host_port_subcomponent}\r\n"
    return Target(Place(host, port, to.scheme == "https"), head.encode("ascii"))


class Connection(asyncio.Protocol):
    """A connection, and what has been read of the latest answer on it."""

    def __init__(self) -> None:
        self.status: int | None = None
        """Of the answer, once its head has come."""
        self.retry_after: bytes | None = None
        self.unreadable = False
        """What came instead of an answer is not HTTP, or without an end."""
        self.reusable = False
        """The answer came whole, and nothing behind it."""
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._parser: httptools.HttpResponseParser | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ended = self._loop.create_future()
        self._ended.set_result(None)

    def post(self, request: bytes) -> "asyncio.Future[None]":
        """Send it; the future is done when nothing more is read of the answer: it is whole, cut off or broken off."""
        self.status = self.retry_after = None
        self.reusable = False
        self._read = 0
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

    def close(self) -> None:
        """At once: who does not read what is sent must not keep the connection open."""
        self.reusable = False
        self._transport.abort()

    # --- as asyncio calls it ---

    def data_received(self, data: bytes) -> None:
        if self._ended.done():
            self.close()  # nobody asked
            return
        assert self._parser is not None
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
        self.unreadable = self.status is None
        self.reusable = False
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


class Connections:
    """Those that are open and idle, and how others are opened: within `within` seconds each, and as long to look up.

    `allow` are networks that may be reached beside public addresses.
    """

    def __init__(self, *, within: float, allow: Sequence[Network], trust: ssl.SSLContext | None) -> None:
        self._within = within
        self._socket = guarded_sockets(allow)
        self._trust = ssl.create_default_context() if trust is None else trust
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Place, list[Connection]] = {}
        self._kept = 0
        self._closed = False
        self._sweeping: asyncio.TimerHandle | None = None
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, "lookup")
        self._asked: dict[tuple[str, int], asyncio.Future[list[AddrInfoType]]] = {}

    def kept(self, place: Place) -> Connection | None:
        """One that is open already."""
        idle = self._idle.get(place, ())
        while idle:
            connection = idle.pop()
            self._kept -= 1
            if connection.serves_again() and self._loop.time() - connection.idle_since < _KEEP_IDLE:
                return connection
            connection.close()
        return None

    async def open(self, place: Place) -> Connection:
        """A new one.

        Raises:
            OSError: NameUnknown, EgressDenied, TimeoutError, ssl.SSLError, or what else went wrong.
        """
        addresses = await self._resolve(place.host, place.port)
        async with asyncio.timeout(self._within):
            dialled = await start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS, interleave=1, socket_factory=self._socket
            )
            _, connection = await self._loop.create_connection(
                Connection,
                sock=dialled,
                ssl=self._trust if place.tls else None,
                server_hostname=place.host.rstrip(".") if place.tls else None,
            )
        return connection

    def give_back(self, connection: Connection, place: Place) -> None:
        """Keep it for the next request, if it can serve one."""
        if self._closed or self._kept >= _MOST_IDLE or not connection.serves_again():
            connection.close()
            return
        self._kept += 1
        connection.idle_since = self._loop.time()
        self._idle.setdefault(place, []).append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_KEEP_IDLE, self._sweep)

    def close(self) -> None:
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _sweep(self) -> None:
        """Close what has been idle for too long; nobody may ask for its place again."""
        kept: dict[Place, list[Connection]] = {}
        since = self._loop.time() - _KEEP_IDLE
        for place, connections in self._idle.items():
            for connection in connections:
                if connection.serves_again() and connection.idle_since > since:
                    kept.setdefault(place, []).append(connection)
                else:
                    connection.close()
        self._idle, self._kept = kept, sum(map(len, kept.values()))
        self._sweeping = self._loop.call_later(_KEEP_IDLE, self._sweep) if kept else None

    async def _resolve(self, host: str, port: int) -> list[AddrInfoType]:
        if is_numeric(host):
            six = isinstance(ip_address(host), IPv6Address)
            family, name = (socket.AF_INET6, (host, port, 0, 0)) if six else (socket.AF_INET, (host, port))
            return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", name)]
        asked = self._asked.get((host, port))
        if asked is None:
            # once for all who wait for it
            asked = self._loop.run_in_executor(self._threads, _look_up, host, port)
            asked.add_done_callback(partial(self._answered, (host, port)))
            self._asked[host, port] = asked
        try:
            async with asyncio.timeout(self._within):
                return await asyncio.shield(asked)
        except (OSError, UnicodeError) as error:
            raise NameUnknown(host) from error

    def _answered(self, name: tuple[str, int], answer: "asyncio.Future[list[AddrInfoType]]") -> None:
        del self._asked[name]
        if not answer.cancelled():
            answer.exception()  # those who waited for it may all have gone


def _look_up(host: str, port: int) -> list[AddrInfoType]:
    # AI_ADDRCONFIG: no IPv6 addresses where there is no way to reach them
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    families: dict[int, list[AddrInfoType]] = {}
    for address in cast(list[AddrInfoType], found):
        families.setdefault(address[0], []).append(address)
    return [address for addresses in families.values() for address in addresses[:_MOST_ADDRESSES]]
