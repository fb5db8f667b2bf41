"""Server-side request forgery: several hundred spellings of addresses that webhooks must not reach, on each way in.

    route      the vector is                                      it must be stopped by
    ───────    ────────────────────────────────────────────────   ─────────────────────────────────────
    import     the host of a URL that a merchants file names      `check_url`
    answer     what a name server says of a public name           `check_url`, and again at the dial
    connect    the host of a URL that is in the database          the dial, or the parser before it
    proxy      the same, with an egress proxy                     the dial: the proxy is not asked

Canaries listen on the loopback addresses, at the port of the vectors: they must count no connection.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, ip_address

import pytest

from domain.delivery.outcome import Outcome
from producers.egress import Egress, check_url, parse_networks
from producers.names import Addresses, Names
from producers.webhooks.sender import Sender
from producers.webhooks.tunnels import EgressProxy
from tests.producers.test_egress import EMBEDDED, INNER, NOT_PUBLIC

LOOPBACK = parse_networks(["127.0.0.0/8", "::1/128"])


def spellings(address: str) -> list[str]:
    """An IPv4 address as libraries of C, browsers and careless parsers read it."""
    number = int(IPv4Address(address))
    a, b, c, d = IPv4Address(address).packed
    wide = str.maketrans("0123456789.", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\u3002")
    return [
        str(number),
        f"{number:#x}",
        f"0{number:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{(b << 16) + (c << 8) + d}",
        f"{a}.{b}.{(c << 8) + d}",
        f"{a:#x}.{(b << 16) + (c << 8) + d}",
        f"{a + 256}.{b}.{c}.{d}",
        f"000{a}.{b}.{c}.{d}",
        f"{address}.",
        address.translate(wide),
        address.replace(".", "%2e"),
        f"{address}%00.shop.example",
        f"[{address}]",
        f"[::ffff:{address}%251]",
    ]


DISGUISED = [
    "localhost",
    "localhost.",
    "LOCALHOST",
    "ip6-localhost",
    "localhost.localdomain",
    "1.1.1.1@127.0.0.1",
    "1.1.1.1:443@127.0.0.1",
    "1.1.1.1%23@127.0.0.1",
    "1.1.1.1\\@127.0.0.1",
    "127.0.0.1\\.shop.example",
    "127.0.0.1#.shop.example",
    "127.0.0.1?.shop.example",
    "127.0.0.1;.shop.example",
    "127.0.0.1\t",
    "127.0.0.1\r\nhost: shop.example",
    " 127.0.0.1",
    "\u2460\u2461\u2466.0.0.1",
    "127\u30020\u30020\u30021",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1%25eth0]",
    "[::ffff:0x7f000001]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0:1]",
    "[v1.::1]",
    "xn--127-0-0-1",
]

NUMERIC = [*EMBEDDED, *NOT_PUBLIC, *INNER]
"""What a name server may answer."""
HOSTS = [
    *(f"[{address}]" if ":" in address else address for address in NUMERIC),
    *(spelling for address in INNER for spelling in spellings(address)),
    *DISGUISED,
]
"""What a URL may name."""


def test_there_are_hundreds_of_each() -> None:
    assert len(set(NUMERIC)) > 450
    assert len(set(HOSTS)) > 700


class Canaries:
    """Listeners on one port of every loopback address, and how many connections they have seen."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def listen(self, stack: AsyncExitStack) -> None:
        for host in ("0.0.0.0", "::"):  # noqa: S104 - every address of this machine is one that must not be reached
            opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            if ":" in host:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                opened.bind((host, self.port))
            except OSError:
                opened.close()
                if ":" in host:
                    continue  # a machine without IPv6
                raise
            self.port = opened.getsockname()[1]
            server = await asyncio.start_server(self._count, sock=opened)
            await stack.enter_async_context(server)

    async def _count(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.transport.abort()


@pytest.fixture
async def canaries() -> AsyncIterator[Canaries]:
    canaries = Canaries()
    async with AsyncExitStack() as stack:
        await canaries.listen(stack)
        yield canaries


def answers(addresses: dict[str, str]) -> Callable[[str], Addresses]:
    """A resolver that knows these names alone."""

    def look_up(host: str) -> Addresses:
        address = addresses.get(host)
        if address is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        is_ipv6 = ":" in address
        family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, 0, 0, 0) if is_ipv6 else (address, 0))]

    return look_up


STOPPED = {Outcome.EGRESS_DENIED, Outcome.URL_UNUSABLE, Outcome.DNS_LOOKUP_FAILED}
NAMED = {f"n{number}.shop.example": address for number, address in enumerate(sorted(set(NUMERIC)))}


async def test_canaries_count_what_is_allowed_to_reach_them(canaries: Canaries) -> None:
    async with Sender(version="1", deadline=10, allow=LOOPBACK) as sender:
        result = await sender.post(f"https://127.0.0.1:{canaries.port}/", {}, b"{}", endpoint="e")
    assert result.outcome not in STOPPED
    assert canaries.connections == 1


async def test_no_host_is_imported(canaries: Canaries) -> None:
    names = Names(answers({"localhost": "127.0.0.1", "ip6-localhost": "::1"}), within=10)
    for scheme in ("https", "http"):
        for host in HOSTS:
            refused = await check_url(f"{scheme}://{host}:{canaries.port}/hooks", Egress(), names)
            if refused is None:  # a name that nobody knows is imported, and stopped when it is dialled
                assert "[" not in host, host
                assert not host.replace(".", "").isdigit(), host
                with pytest.raises(ValueError, match="does not appear"):
                    ip_address(host)
    assert canaries.connections == 0


async def test_no_answer_of_a_name_server_is_imported_or_dialled(canaries: Canaries) -> None:
    names = Names(answers(NAMED), within=10)
    async with Sender(version="1", deadline=20, look_up=answers(NAMED)) as sender:
        for host, address in NAMED.items():
            url = f"https://{host}:{canaries.port}/hooks"
            assert await check_url(url, Egress(), names) is not None, address
            result = await sender.post(url, {}, b"{}", endpoint="e")
            assert result.outcome is Outcome.EGRESS_DENIED, address
    assert canaries.connections == 0


@pytest.mark.parametrize("has_proxy", [False, True])
async def test_no_host_of_a_stored_url_is_dialled(canaries: Canaries, has_proxy: bool) -> None:  # noqa: FBT001
    """With a proxy, the canaries are the proxy, too: it is not asked for any of the addresses."""
    known = {"localhost": "127.0.0.1", "localhost.": "127.0.0.1", "ip6-localhost": "::1"}
    proxy = EgressProxy("127.0.0.1", canaries.port) if has_proxy else None
    async with Sender(version="1", deadline=20, look_up=answers(known), proxy=proxy) as sender:
        for scheme in ("https", "http"):
            for host in HOSTS:
                url = f"{scheme}://{host}:{canaries.port}/hooks"
                result = await sender.post(url, {}, b"{}", endpoint="e")
                assert result.outcome in STOPPED, url
    assert canaries.connections == 0


async def test_a_name_that_leads_elsewhere_after_the_import_is_not_dialled(canaries: Canaries) -> None:
    """DNS rebinding: the name server answers another address each time."""
    addresses = {"shop.example": "93.184.216.34"}
    names = Names(answers(addresses), within=10)
    url = f"https://shop.example:{canaries.port}/hooks"
    assert await check_url(url, Egress(), names) is None
    addresses["shop.example"] = "127.0.0.1"
    async with Sender(version="1", deadline=10, look_up=answers(addresses)) as sender:
        assert (await sender.post(url, {}, b"{}", endpoint="e")).outcome is Outcome.EGRESS_DENIED
    assert canaries.connections == 0


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_another_port_is_neither_imported_nor_dialled_also_where_the_address_is_allowed(
    canaries: Canaries, scheme: str
) -> None:
    other = canaries.port - 1
    names = Names(answers({"shop.example": "127.0.0.1"}), within=10)
    for host in ("shop.example", "127.0.0.1", "[::1]"):
        url = f"{scheme}://{host}:{canaries.port}/hooks"
        refused = await check_url(url, Egress(LOOPBACK, ports=[443, other]), names)
        assert refused == f"expected a port of REPOINT_EGRESS_PORTS: {', '.join(map(str, sorted([443, other])))}"
        assert await check_url(url, Egress(LOOPBACK, ports=[canaries.port]), names) is None
        known = answers({"shop.example": "127.0.0.1"})
        async with Sender(version="1", deadline=10, allow=LOOPBACK, ports=[443], look_up=known) as sender:
            assert (await sender.post(url, {}, b"{}", endpoint="e")).outcome is Outcome.EGRESS_DENIED
    assert canaries.connections == 0


@pytest.mark.parametrize(
    ("address", "egress", "connections"),
    [
        ("127.0.0.1", Egress(LOOPBACK), 1),
        ("127.0.0.1", Egress(LOOPBACK, https_only=True), 0),
        ("93.184.216.34", Egress(LOOPBACK), 0),
    ],
    ids=["allowed", "production", "public"],
)
async def test_plain_http_is_dialled_at_allowed_addresses_alone_and_never_in_production(
    canaries: Canaries, address: str, egress: Egress, connections: int
) -> None:
    url = f"http://shop.example:{canaries.port}/hooks"
    look_up = answers({"shop.example": address})
    refused = await check_url(url, egress, Names(look_up, within=10))
    assert (refused is None) == bool(connections)
    async with Sender(
        version="1", deadline=10, allow=egress.allow, https_only=egress.https_only, look_up=look_up
    ) as sender:
        outcome = (await sender.post(url, {}, b"{}", endpoint="e")).outcome
    assert (outcome is Outcome.EGRESS_DENIED) == (connections == 0)
    assert canaries.connections == connections
