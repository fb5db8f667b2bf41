"""Connections through an egress proxy: `CONNECT` (RFC 9110, 9.3.6), to addresses that this process has looked up.

    the proxy                                                  the failure is
    ───────────────────────────────────────────────────────    ───────────────────────────────
    cannot be reached, hangs up, answers no HTTP               the proxy's
    answers 2xx                                                none: the tunnel is open
    answers 502, 503 or 504, and has opened a tunnel in the    the endpoint's
    last minute
    does not answer in time, and has opened a tunnel           the endpoint's
    meanwhile
    the same, and has opened none                              the proxy's
    answers anything else, such as 403 or 407                  the proxy's

The proxy is asked for an address and never for a name: the address is checked here, and the proxy cannot look up
another one. TLS with the endpoint runs inside the tunnel.
"""

import asyncio
import re
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from math import inf
from typing import Self
from urllib.parse import unquote

import structlog
from aiohappyeyeballs import AddrInfoType, start_connection

from loops.waiting import Reminder
from producers.egress import unmap
from producers.names import Names, NameUnknown

log = structlog.get_logger()

_FORM = re.compile(r"http://(?:([^:@/\s]+):([^:@/\s]*)@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")

# A proxy that opened a tunnel a minute ago works: what it cannot reach now is not there.
_WORKED_SECONDS = 60.0
_MOST_OF_A_HEAD = 8 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])[ \r\n]")
_OK = range(200, 300)
_UNREACHABLE = frozenset({502, 503, 504})


class ProxyFailed(OSError):
    """The egress proxy opened no tunnel, by a fault that is not the endpoint's."""


class EndpointUnreachable(OSError):
    """The egress proxy works, and cannot reach the address."""


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """An HTTP proxy, and the value of `Proxy-Authorization` for it."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `http://host:port` or `http://user:password@host:port`. Raises ValueError that repeats nothing of it."""
        parts = _FORM.fullmatch(text)
        if parts is None or not 0 < int(parts[4]) < 1 << 16:
            raise ValueError("expected http://host:port, or http://user:password@host:port with %XX where it needs any")
        credentials = None
        if parts[1]:
            decoded = f"{unquote(parts[1])}:{unquote(parts[2])}".encode()
            credentials = f"Basic {b64encode(decoded).decode()}"
        return cls(parts[3].strip("[]"), int(parts[4]), credentials)


class Tunnels:
    """Opens tunnels through `proxy`. Its name is looked up by `names`; `clock` gives seconds."""

    def __init__(self, proxy: EgressProxy, names: Names, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._proxy = proxy
        self._names = names
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._opened_at = -inf
        self._reminder = Reminder()

    async def open(self, addresses: Sequence[AddrInfoType], *, within: float) -> socket.socket:
        """A socket whose other end is the first of `addresses` that the proxy reaches, in `within` seconds.

        Raises:
            ProxyFailed: the proxy opened no tunnel, by a fault of its own as far as can be seen.
            EndpointUnreachable: it reaches none of the addresses.
        """
        began_at = self._clock()
        try:
            async with asyncio.timeout(within):
                return await self._first(addresses, within / 2)
        except TimeoutError:
            raise self._failure("it did not answer in time", worked_since=began_at) from None

    async def _first(self, addresses: Sequence[AddrInfoType], dial_within: float) -> socket.socket:
        answer = ""
        for *_, name in addresses:
            ip = unmap(str(name[0]))
            opened = await self._dial(dial_within)
            try:
                status = await self._connect(opened, f"[{ip}]" if isinstance(ip, IPv6Address) else str(ip), name[1])
            except BaseException:
                opened.close()
                raise
            if status in _OK:
                self._opened_at = self._clock()
                return opened
            opened.close()
            answer = f"it answered {status}"
            if status not in _UNREACHABLE:
                raise self._fault(answer)
        raise self._failure(answer, worked_since=self._clock() - _WORKED_SECONDS)

    async def _dial(self, within: float) -> socket.socket:
        """A connection to the proxy itself, which the operator has named: its address is not checked."""
        try:
            async with asyncio.timeout(within):
                return await start_connection(await self._names.addresses(self._proxy.host, self._proxy.port))
        except NameUnknown:
            raise self._fault("its name is unknown") from None
        except OSError as error:
            raise self._fault(f"it cannot be reached ({type(error).__name__})") from None

    async def _connect(self, opened: socket.socket, host: str, port: int) -> int:
        """Ask for a tunnel; the status of the answer."""
        lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
        if self._proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        received = b""
        try:
            await self._loop.sock_sendall(opened, "\r\n".join([*lines, "", ""]).encode("ascii"))
            while b"\r\n\r\n" not in received and len(received) < _MOST_OF_A_HEAD:
                if not (chunk := await self._loop.sock_recv(opened, _MOST_OF_A_HEAD)):
                    break
                received += chunk
        except OSError as error:
            raise self._fault(f"it hung up ({type(error).__name__})") from None
        status = _STATUS_LINE.match(received)
        _, end, following = received.partition(b"\r\n\r\n")
        # the endpoint speaks second: bytes behind the head would be taken for its answer
        if status is None or not end or (following and int(status[1]) in _OK):
            raise self._fault("it answered no HTTP")
        return int(status[1])

    def _failure(self, why: str, *, worked_since: float) -> OSError:
        """Whose failure it is that a tunnel was not opened, if the endpoint may be the reason."""
        return EndpointUnreachable(why) if self._opened_at >= worked_since else self._fault(why)

    def _fault(self, why: str) -> ProxyFailed:
        if self._reminder.is_due(self._proxy):
            log.warning("the egress proxy opens no tunnel", why=why)
        return ProxyFailed(why)
