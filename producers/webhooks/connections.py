"""Connections to endpoints: HTTP/1.1, one POST at a time on each, kept for the next POST to the same endpoint.

A general HTTP client takes three times the CPU for each POST (docs/decisions.md has the figures). The hard parts are in
libraries: httptools parses the answers, aiohappyeyeballs dials, `ssl` does TLS.
"""

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from itertools import islice
from typing import NamedTuple, TypeAlias, cast

import httptools
from aiohappyeyeballs import AddrInfoType, start_connection

from domain.delivery.outcome import ACCEPTED, outcome_of_status
from producers.egress import Egress, EgressDenied, guard_sockets
from producers.names import LookUp, Names, system_look_up
from producers.webhooks.tunnels import EgressProxy, Tunnels
from schemas.url import Url, read_url

# Only the status and one header of an accepted answer are used. Its body is read so that the connection can serve the
# next request.
MOST_OF_A_HEAD = 64 * 1024
MOST_OF_A_BODY = 16 * 1024

# Of a failing answer: what is kept of the body is masked before it is cut, so a card number that spans the cut is read
# whole, in any of its forms.
MOST_OF_AN_EXCERPT = 1024 + 512
_MOST_NAMES = 50
_LONGEST_NAME = 100

# Seconds. Many servers close an idle connection after 5 s, and a POST sent at that moment fails.
KEEP_IDLE = 4.0

# RFC 8305: seconds that an address has to answer before the next one is dialled beside it.
_NEXT_ADDRESS = 0.25

# Of the time to connect: the rest is for TLS with the endpoint inside the tunnel.
_TUNNEL_SHARE = 0.75

# Idle connections to all endpoints together: each needs an open file, and other parts of the process need files too.
_MOST_IDLE = 500

# An answer may arrive before a longer request is sent; its unsent bytes would precede the next request.
_LONGEST_BEFORE_ANOTHER = 64 * 1024

_SWITCHING_PROTOCOLS = 101
_FINAL = 200

# RFC 9112, 4, and lenient as httptools is about the end of the line. The line must have ended: `20` may become `200`.
_STATUS_LINE = re.compile(rb"[\r\n]*HTTP/1\.[01] +([1-9][0-9][0-9])(?: [^\n]*)?\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_HEADER_NAME = re.compile(rb"\n([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:")
# a value may go on in the next line, which begins with a blank then
_RETRY_AFTER = re.compile(rb"\nretry-after[ \t]*:(?:[ \t]|\r?\n[ \t])*([^\r\n]*)", re.IGNORECASE)


class HandshakeFailed(OSError):
    """The server hung up during the TLS handshake, as many servers of older versions do."""


class Target(NamedTuple):
    """A URL, and the constant beginning of every request to it."""

    url: Url
    head: bytes


ConnectionKey: TypeAlias = tuple[str, str]
"""The endpoint and the URL that a connection serves. (A tuple without names is made in an eighth of the time.)

Two endpoints never share a connection: a late answer would count as the answer to the other endpoint.
"""


@lru_cache(maxsize=4096)  # parsing a URL takes as long as half a request
def parse_target(url: str) -> Target:
    """Parse the target of `url`. Raises ValueError if no request can be sent there."""
    parsed = read_url(url)
    return Target(parsed, f"POST {parsed.target} HTTP/1.1\r\nhost: {parsed.authority}\r\n".encode("ascii"))


def read_head(received: bytes) -> tuple[int | None, bytes | None]:
    """The status code and the Retry-After header of an answer whose head is malformed; None for each if missing.

    A whole status line counts, whatever follows it: the server has decided by then.
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


def header_names(received: bytes) -> list[str]:
    """The names of the headers of the last answer in `received`, 50 at most, in lower case."""
    at = 0
    while line := _STATUS_LINE.match(received, at):
        end = _END_OF_HEAD.search(received, line.end() - 1)
        if int(line[1]) >= _FINAL or end is None:
            names = _HEADER_NAME.finditer(received, line.end() - 1, len(received) if end is None else end.start())
            return [name[1][:_LONGEST_NAME].decode("ascii").lower() for name in islice(names, _MOST_NAMES)]
        at = end.end()
    return []


class Connection(asyncio.Protocol):
    """A connection, and the parts of its latest answer that have been read."""

    def __init__(self) -> None:
        self.status: int | None = None
        """The answer's status, once its head has been read; None if no head arrived."""
        self.retry_after: bytes | None = None
        self.header_names: Sequence[str] = ()
        """The names of the headers of a failing answer."""
        self.excerpt = b""
        """The beginning of the body of a failing answer."""
        self.is_unreadable = False
        """Whether the received bytes are not HTTP, or the head has no end."""
        self.is_late = False
        """Whether the answer was not complete in time."""
        self.is_reusable = False
        """Whether the answer is complete, and no bytes followed it."""
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        # other clients accept these, too: lines that end in LF alone, and headers on two lines
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._head = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._arrivals = select.poll()
        self._arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._completion = self._loop.create_future()
        self._completion.set_result(None)

    def post(self, request: bytes, *, within: float) -> "asyncio.Future[None]":
        """Send the request. The future is done when the answer is complete, too long, late, or broken off.

        It is late `within` seconds from now. A timer of the loop takes a third of the CPU of `asyncio.timeout`.
        """
        self.status = self.retry_after = None
        self.header_names, self.excerpt = (), b""
        self.is_reusable = False
        self._is_refused = False
        self._read_size = 0
        self._head = b""
        self._is_long = len(request) > _LONGEST_BEFORE_ANOTHER
        self._completion = self._loop.create_future()
        self._timer = self._loop.call_later(within, self._end_late)
        self._transport.write(request)
        return self._completion

    def serves_again(self) -> bool:
        """Whether it can take the next request."""
        return self.is_reusable and not self._transport.is_closing() and not self._transport.get_write_buffer_size()

    def is_silent(self) -> bool:
        """Whether the socket has nothing to read: no unexpected bytes, and no end of the connection."""
        return not self._arrivals.poll(0)

    def close(self) -> None:
        """Close at once, without sending the rest: a server that does not read must not keep the connection open."""
        self.is_reusable = False
        self._end()
        self._transport.abort()

    # --- as asyncio calls it ---

    def data_received(self, data: bytes) -> None:
        if self._completion.done():
            self.close()  # no request is under way
            return
        assert self._parser is not None
        if self.status is None:
            self._head += data
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._cut_off()
        else:
            self._read_size += len(data)
            if (
                self._read_size > (MOST_OF_A_HEAD if self.status is None else MOST_OF_A_BODY)
                and not self._completion.done()
            ):
                self._cut_off()

    def eof_received(self) -> None:
        self.close()  # unsent bytes would keep the connection open

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_reusable = False
        self._parser = None  # the parser refers to this object: break the cycle
        self._end()

    # --- as httptools calls it ---

    def on_message_begin(self) -> None:
        self.is_reusable = False  # it may be a second answer

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self.status is None and (status >= _FINAL or status == _SWITCHING_PROTOCOLS):
            self._read_size = 0
            self._take_status(status)

    def on_body(self, body: bytes) -> None:
        if self._is_refused and len(self.excerpt) < MOST_OF_AN_EXCERPT and not self._completion.done():
            self.excerpt += body[: MOST_OF_AN_EXCERPT - len(self.excerpt)]

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self.status is not None and not self._completion.done():
            self.is_reusable = self._parser.should_keep_alive() and not self._is_long
            self._end()

    def _take_status(self, status: int) -> None:
        """Keep the status, and what the head says beside it, unless the answer accepts the request."""
        self.status = status
        if outcome_of_status(status) is not ACCEPTED:
            self._is_refused = True
            self.retry_after = read_head(self._head)[1]
            self.header_names = header_names(self._head)

    def _cut_off(self) -> None:
        self.is_reusable = False
        self._end()
        self.is_unreadable = self.status is None

    def _end(self) -> None:
        if self.status is None and self._head:
            status, _ = read_head(self._head)
            if status is not None:
                self._take_status(status)
        self._head = b""
        if self._timer is not None:
            self._timer.cancel()
        if not self._completion.done():
            self._completion.set_result(None)

    def _end_late(self) -> None:
        self.is_late = True
        self.close()


class Connections:
    """The idle connections, and the way to open new ones.

    Looking up a name and connecting have `within` seconds each. Connections go where `egress` permits, through `proxy`
    if there is one. An idle connection is kept for `keep_idle` seconds.
    """

    def __init__(
        self,
        *,
        within: float,
        egress: Egress,
        trust: ssl.SSLContext | None,
        proxy: EgressProxy | None = None,
        look_up: LookUp = system_look_up,
        keep_idle: float = KEEP_IDLE,
    ) -> None:
        self._within = within
        self._egress = egress
        self._trust = ssl.create_default_context() if trust is None else trust
        self._names = Names(look_up, within=within)
        self._tunnels = None if proxy is None else Tunnels(proxy, self._names)
        self._keep_idle = keep_idle
        self._loop = asyncio.get_running_loop()
        self._idle: dict[ConnectionKey, list[Connection]] = {}
        self._idle_count = 0
        self._is_closed = False
        self._sweep_timer: asyncio.TimerHandle | None = None

    def reuse(self, key: ConnectionKey) -> Connection | None:
        """An idle connection for `key` that can serve a request; None if there is none."""
        idle = self._idle.get(key, ())
        while idle:
            connection = idle.pop()
            self._idle_count -= 1
            is_fresh = self._loop.time() - connection.idle_since < self._keep_idle
            if is_fresh and connection.serves_again() and connection.is_silent():
                return connection
            connection.close()
        return None

    async def open(self, url: Url) -> Connection:
        """Open a new connection.

        Raises:
            OSError: NameUnknown, EgressDenied, ProxyFailed, TimeoutError, HandshakeFailed, ssl.SSLError or another
                failure.
        """
        addresses = await self._addresses(url)
        try:
            async with asyncio.timeout(self._within):
                return await self._dial(addresses, url)
        except RuntimeError as error:
            raise OSError("the connection failed") from error  # uvloop raises either for the same failure

    async def _dial(self, addresses: Sequence[AddrInfoType], url: Url) -> Connection:
        if self._tunnels is None:
            guarded = guard_sockets(self._egress, tls=url.tls)
            opened = await start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS, interleave=1, socket_factory=guarded
            )
        else:
            opened = await self._tunnels.open(self._permitted(addresses, url), within=_TUNNEL_SHARE * self._within)
        if not url.tls:
            return (await self._loop.create_connection(Connection, sock=opened))[1]
        try:
            _, connection = await self._loop.create_connection(
                Connection, sock=opened, ssl=self._trust, server_hostname=url.host.rstrip(".")
            )
        except ConnectionError as error:
            raise HandshakeFailed("the server hung up on the TLS handshake") from error
        return connection

    def _permitted(self, addresses: Sequence[AddrInfoType], url: Url) -> Sequence[AddrInfoType]:
        permitted = [info for info in addresses if self._egress.permits(str(info[4][0]), info[4][1], tls=url.tls)]
        if not permitted:
            raise EgressDenied
        return permitted

    async def _addresses(self, url: Url) -> Sequence[AddrInfoType]:
        if url.address is None:
            return await self._names.addresses(url.host, url.port)
        is_ipv6 = isinstance(url.address, IPv6Address)
        family, name = (
            (socket.AF_INET6, (url.host, url.port, 0, 0)) if is_ipv6 else (socket.AF_INET, (url.host, url.port))
        )
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", name)]

    def keep(self, connection: Connection, key: ConnectionKey) -> None:
        """Keep it for the next request to the same endpoint, if it can serve one."""
        if self._is_closed or self._idle_count >= _MOST_IDLE or not connection.serves_again():
            connection.close()
            return
        self._idle_count += 1
        connection.idle_since = self._loop.time()
        self._idle.setdefault(key, []).append(connection)
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(self._keep_idle, self._sweep)

    def close(self) -> None:
        self._is_closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.close()

    def _sweep(self) -> None:
        """Close connections that have been idle for too long: no later request may ask for their key."""
        kept: dict[ConnectionKey, list[Connection]] = {}
        since = self._loop.time() - self._keep_idle
        for key, connections in self._idle.items():
            for connection in connections:
                if connection.serves_again() and connection.idle_since > since:
                    kept.setdefault(key, []).append(connection)
                else:
                    connection.close()
        self._idle, self._idle_count = kept, sum(map(len, kept.values()))
        self._sweep_timer = self._loop.call_later(self._keep_idle, self._sweep) if kept else None
