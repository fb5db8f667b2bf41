"""Which addresses a webhook may reach: public ones, and what EGRESS_ALLOW names.

A merchant chooses the URL, so it is a stranger's wish. It is looked at when it is imported, for a clear
answer then, and again at every connection, on the address of the socket that is about to be dialled: names
change what they resolve to, and there are many spellings of 127.0.0.1.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from aiohappyeyeballs import AddrInfoType
from yarl import URL

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# `ipaddress` calls these global on one Python or another, or they lead on to addresses that are not.
_DENIED: Sequence[Network] = [
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT
        "168.63.129.16/32",  # a cloud's own services, on every machine in it
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "::/96",  # IPv4-compatible, the unspecified address and loopback
        "64:ff9b::/96",  # NAT64: an IPv4 address in its last four bytes
        "64:ff9b:1::/48",  # NAT64 of a local network
        "100::/64",  # discard
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
]

# A person waits for it; a resolver asks a second server after five.
_LOOK_UP_SECONDS = 10

# No name ends in a number (so browsers read URLs, too), and none has a colon: this is an address, or tries to be one.
_NUMERIC = re.compile(r":|(?:^|\.)(?:\d+|0[xX][0-9a-fA-F]*)\.?$")


class EgressDenied(OSError):
    """Raised in place of making a socket. One text for all, so that it stays itself where several fail."""

    def __init__(self) -> None:
        super().__init__("the address is not one that webhooks may reach")


def networks(texts: Iterable[str]) -> list[Network]:
    """Parse CIDRs. Raises ValueError naming the text that is none."""
    return [ip_network(text) for text in texts]


def permitted(address: str, allow: Sequence[Network]) -> bool:
    """Whether a socket may be opened to `address`, a numeric address as the operating system writes it."""
    return _permitted(unmapped(address), allow)


def _permitted(ip: Address, allow: Sequence[Network]) -> bool:
    return among(ip, allow) or (ip.is_global and not among(ip, _DENIED))


def among(ip: Address, networks: Sequence[Network]) -> bool:
    return any(ip in network for network in networks)


def unmapped(address: str) -> Address:
    ip = ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def guarded_sockets(allow: Sequence[Network]) -> Callable[[AddrInfoType], socket.socket]:
    """A socket factory that raises EgressDenied for an address that is not permitted."""

    def open_socket(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, name = address
        if not permitted(str(name[0]), allow):
            raise EgressDenied
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return made

    return open_socket


def parsed(url: str) -> URL:
    """Raises ValueError if it is none."""
    try:
        return URL(url)
    except IndexError as error:  # of odd brackets
        raise ValueError("expected a URL") from error


def is_numeric(host: str) -> bool:
    """Whether it is an address, in whatever spelling, and no name."""
    return _NUMERIC.search(host) is not None


async def refusal(url: str, allow: Sequence[Network]) -> str | None:
    """What was expected of `url`, for the person who registers it; None if webhooks can go there.

    Looks the host up, for some seconds at most. A name that is not known yet may be by the time it is dialled, which
    is looked at again then. Plain http is for addresses in `allow` only: anywhere else the body would travel in the
    open.
    """
    try:
        to = parsed(url)
        port = to.port
    except ValueError:
        return "expected a URL"
    if to.scheme not in {"https", "http"} or not to.host or not port:
        return "expected an absolute https URL"
    if to.user is not None or to.password is not None or to.fragment:
        return "expected no user name, password or fragment in the URL"
    return await _refusal_of_host(to.host, port, allow, plain=to.scheme == "http")


async def _refusal_of_host(host: str, port: int, allow: Sequence[Network], *, plain: bool) -> str | None:
    try:
        addresses = await _look_up(host, port)
    except UnicodeError:
        return "expected a host name"
    if not addresses and is_numeric(host):
        return "expected a host name, or an address as 192.0.2.1 or [2001:db8::1]"
    if not all(_permitted(ip, allow) for ip in addresses):
        return "expected a host whose addresses are public, or in REPOINT_EGRESS_ALLOW"
    if plain and not (addresses and all(among(ip, allow) for ip in addresses)):
        return "expected https: plain http is for addresses in REPOINT_EGRESS_ALLOW"
    return None


async def _look_up(host: str, port: int) -> set[Address]:
    """None where the name is not known, or whoever knows it does not answer."""
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, TimeoutError):
        return set()
    return {unmapped(str(name[0])) for *_, name in found}
