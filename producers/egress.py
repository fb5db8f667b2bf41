"""Where webhooks may go: public addresses and networks of REPOINT_EGRESS_ALLOW, on ports of REPOINT_EGRESS_PORTS.

Merchants choose the URLs, so a URL is untrusted. It is checked at import, for a clear answer, and again at every
connection, on the address of the socket that is about to be dialled. A name may resolve to another address by then, and
an address has many spellings.
"""

import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from aiohappyeyeballs import AddrInfoType

from producers.names import Names, NameUnknown
from schemas.url import Address, Url, read_url

Network: TypeAlias = IPv4Network | IPv6Network

# Some version of Python calls these networks global, or they tunnel to addresses that are not public.
_DENIED: Sequence[Network] = [
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT
        "168.63.129.16/32",  # a cloud's own services, on every machine in it
        "192.0.0.0/24",  # protocol assignments
        "192.31.196.0/24",  # AS112: answers for private addresses
        "192.52.193.0/24",  # multicast relays
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",  # AS112
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in its second to sixth byte
        "3ffe::/16",  # a test network of the past
        "3fff::/20",  # documentation
    )
]

# All public IPv6 addresses are in this eighth. Outside of it are loopback, local and multicast addresses, and most
# forms that embed an IPv4 address: compatible (::/96), translated (::ffff:0:0:0/96), NAT64 (64:ff9b::/96 and
# 64:ff9b:1::/48).
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# ISATAP (RFC 5214) tunnels to the IPv4 address in the last four bytes, behind any prefix. The second form sets the bit
# of globally unique identifiers.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


class EgressDenied(OSError):
    """The address may not be dialled. All have one text: aiohappyeyeballs re-raises equal errors as they are."""

    def __init__(self) -> None:
        super().__init__("the address is not one that webhooks may reach")


@dataclass(frozen=True, slots=True)
class Egress:
    """Where webhooks may go. `ports` are all ports if None. Plain http goes to addresses in `allow`, if at all."""

    allow: Sequence[Network] = ()
    ports: Collection[int] | None = None
    https_only: bool = False

    def permits(self, address: str, port: int, *, tls: bool) -> bool:
        """Whether a socket may be opened to `address`, a numeric address as the operating system writes it."""
        return self.permits_port(port) and self._permits(unmap(address), tls=tls)

    def permits_port(self, port: int) -> bool:
        return self.ports is None or port in self.ports

    def _permits(self, ip: Address, *, tls: bool) -> bool:
        return _is_permitted(ip, self.allow) if tls else not self.https_only and is_in(ip, self.allow)


def parse_networks(texts: Iterable[str]) -> list[Network]:
    """Parse CIDRs. Raises ValueError that names the malformed text."""
    return [ip_network(text) for text in texts]


def is_permitted(address: str, allow: Sequence[Network]) -> bool:
    """Whether a socket may be opened to `address`, a numeric address as the operating system writes it."""
    return _is_permitted(unmap(address), allow)


def _is_permitted(ip: Address, allow: Sequence[Network]) -> bool:
    return is_in(ip, allow) or (ip.is_global and not is_in(ip, _DENIED) and _is_native(ip))


def _is_native(ip: Address) -> bool:
    """Whether the address is no tunnel and no translation to an IPv4 address."""
    if isinstance(ip, IPv4Address):
        return True
    return ip in _GLOBAL_UNICAST and (int(ip) >> 32) & 0xFFFF_FFFF not in _ISATAP


def is_in(ip: Address, networks: Sequence[Network]) -> bool:
    return any(ip in network for network in networks)


def unmap(address: str) -> Address:
    """The address that a socket to `address` reaches: the IPv4 address of an IPv4-mapped one."""
    ip = ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def guard_sockets(egress: Egress, *, tls: bool = True) -> Callable[[AddrInfoType], socket.socket]:
    """A socket factory that raises EgressDenied for an address or a port that is not permitted."""

    def open_socket(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, name = address
        if not egress.permits(str(name[0]), name[1], tls=tls):
            raise EgressDenied
        new_socket = socket.socket(family, kind, protocol)
        new_socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return new_socket

    return open_socket


async def check_url(url: str, egress: Egress, names: Names) -> str | None:
    """Return why webhooks cannot go to `url`, for the person who registers it; None if they can. Looks the host up.

    An unknown name is accepted: it may exist when it is dialled, and its addresses are checked again then. Plain http
    is only for addresses that are allowed: elsewhere anybody could read the body on its way.
    """
    try:
        parsed = read_url(url)
    except ValueError as error:
        return str(error)
    if not egress.permits_port(parsed.port):
        return f"expected a port of REPOINT_EGRESS_PORTS: {', '.join(map(str, sorted(egress.ports or ())))}"
    addresses = await addresses_of(parsed, names)
    if not all(_is_permitted(ip, egress.allow) for ip in addresses):
        return "expected a host whose addresses are public, or in REPOINT_EGRESS_ALLOW"
    if not parsed.tls and egress.https_only:
        return "expected https: production sends nothing in the open"
    if not parsed.tls and not (addresses and all(is_in(ip, egress.allow) for ip in addresses)):
        return "expected https: plain http is for addresses in REPOINT_EGRESS_ALLOW"
    return None


async def addresses_of(url: Url, names: Names) -> list[Address]:
    """The addresses of the host of `url`, IPv4 first; none if the name is unknown or its name server is silent."""
    if url.address is not None:
        return [unmap(str(url.address))]
    try:
        addresses = await names.addresses(url.host, url.port)
    except NameUnknown:
        return []
    return sorted({unmap(str(name[0])) for *_, name in addresses}, key=lambda ip: (ip.version, ip.packed))
