"""Vendors are asked at the address that was looked at, by a path and query that nobody has rewritten."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from producers.egress import parse_networks
from producers.names import Addresses
from producers.vendors.client import Unanswered, VendorAddress, VendorClient
from schemas.feeds.feed import Fetch
from tests.parts import certificates
from tests.producers import raw

LOOPBACK = parse_networks(["127.0.0.0/8"])


def answers(*addresses: str) -> Addresses:
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 0)) for address in addresses]


@asynccontextmanager
async def vendor(certificate: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """The port of a server, on plain TCP without a certificate, and the head of every request that it got."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A TLS greeting has no blank line to read until: the test would hang where it should fail.
        heads.append(await reader.read(16_384))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate) as listening:
        yield listening.sockets[0].getsockname()[1], heads


def asking(url: str) -> VendorClient:
    return VendorClient({"adyen": VendorAddress(url, None, LOOPBACK)}, version="0")


TARGETS = [
    "reports?sig=aB%2FcD%2BeF%3D&sp=%2Fr", "a/../b", "a/./b", "%2e%2e", "%3A%2F%2F", "%40%2C", "%27", "%e2", "%zz",
    "a?", "a?b?c", "a//b", "'\"<>^`{|}\\", "~a", "%7Ea", "a+b?c+d", "!$&()*,;=:@", "?a[]=b",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
async def test_path_and_query_go_out_byte_for_byte(target: str) -> None:
    async with vendor() as (port, heads):
        where = VendorAddress(f"http://127.0.0.1:{port}/v71/", None, LOOPBACK)
        async with VendorClient({"adyen": where}, version="0") as vendors:
            assert await vendors.ask("adyen", Fetch(target, {})) == b"{}"
    [head] = heads
    assert head.startswith(f"GET /v71/{target} HTTP/1.1\r\n".encode())
    assert f"host: 127.0.0.1:{port}\r\n".encode() in head.lower()


async def test_a_reports_own_url_may_be_longer_than_a_merchants() -> None:
    """Its signature is in it."""
    async with vendor() as (port, heads):
        path = f"reports?{'s' * 7000}"
        where = VendorAddress(f"http://127.0.0.1:{port}", None, LOOPBACK)
        async with VendorClient({"adyen": where}, version="0") as vendors:
            assert await vendors.ask("adyen", Fetch(path, {})) == b"{}"
            with pytest.raises(Unanswered, match="the vendor's address cannot be used"):
                await vendors.ask("adyen", Fetch(f"{path}{'s' * 1000}", {}))
    assert len(heads) == 1


async def test_a_reports_own_url_goes_out_byte_for_byte_and_without_its_fragment() -> None:
    """At the address of an event, which is public: the request is looked at before it is dialled."""
    async with VendorClient({}, version="0") as vendors:
        request = vendors._request("braintree", Fetch("https://assets.example/r.csv?sig=a%2Fb%3d&x='#part", {}))
    assert (request.url.host, request.url.target) == ("assets.example", "/r.csv?sig=a%2Fb%3d&x='")
    assert (request.headers, request.allow) == ({}, ())


async def test_our_credentials_go_to_the_address_of_the_settings_and_to_no_address_of_an_event() -> None:
    where = VendorAddress("http://vendor.example", "Basic dTpw", LOOPBACK)
    async with VendorClient({"braintree": where}, version="0") as vendors:
        ours = vendors._request("braintree", Fetch("a", {}))
        of_event = vendors._request("braintree", Fetch("https://assets.example/r.csv", {}))
    assert (ours.headers, ours.allow) == ({"Accept": "application/json", "Authorization": "Basic dTpw"}, LOOPBACK)
    assert (of_event.headers, of_event.allow) == ({}, ())


async def test_the_address_of_an_event_may_be_in_the_networks_of_the_settings() -> None:
    where = VendorAddress("http://vendor.example", "Basic dTpw", ())
    async with VendorClient({"braintree": where}, version="0", allow=LOOPBACK) as vendors:
        assert vendors._request("braintree", Fetch("https://assets.example/r.csv", {})).allow == LOOPBACK
        assert vendors._request("braintree", Fetch("a", {})).allow == ()


async def test_each_request_has_a_connection_of_its_own_and_no_cookie_of_another() -> None:
    """A connection is known by its address, at which another name may be served."""
    heads: list[bytes] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        where = VendorAddress(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", None, LOOPBACK)
        async with VendorClient({"adyen": where}, version="7") as vendors:
            for _ in range(2):
                assert await vendors.ask("adyen", Fetch("a", {})) == b"{}"
    assert connections == 2
    lines = heads[1].decode().lower().split("\r\n")
    named = dict(line.split(": ", 1) for line in lines[1:] if line)
    assert (named["user-agent"], named["accept-encoding"], named["accept"]) == (
        "repoint/7",
        "identity",
        "application/json",
    )
    assert "cookie" not in named


@pytest.mark.parametrize(("size", "is_read"), [(1_000_000, True), (1_000_001, False)])
async def test_an_answer_of_a_megabyte_is_read_and_no_longer_one(size: int, *, is_read: bool) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    async with raw.server(raw.says(head, b" " * size)) as url, asking(url) as vendors:
        try:
            length = len(await vendors.ask("adyen", Fetch("a", {})))
        except Unanswered:
            length = 0
    assert length == (size if is_read else 0)


async def test_a_file_is_not_late_where_its_reader_takes_long() -> None:
    """Kafka may; the vendor has sent it all."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n"
    chunks_read = size = 0
    async with raw.server(raw.says(head, b"x" * 400_000)) as url:
        where = VendorAddress(url, None, LOOPBACK)
        async with (
            VendorClient({"adyen": where}, version="0", longest_wait=0.25) as vendors,
            vendors.open_file("adyen", Fetch("r.csv", {})) as chunks,
        ):
            async for chunk in chunks:
                chunks_read, size = chunks_read + 1, size + len(chunk)
                if chunks_read <= 3:
                    await asyncio.sleep(0.15)
    assert chunks_read >= 3
    assert size == 400_000


@pytest.mark.parametrize(
    "url",
    [
        "https://assets.example/a b", "https://assets.example/\n", "https://\u00fc.example/", "https://xn--zz.invalid/",
        f"https://[2606:4700:4700::1111%{'a' * 64}]/", "https://user@assets.example/", "https://2130706433/",
    ],
)  # fmt: skip
async def test_an_address_that_cannot_be_used_is_said_to_be_so(url: str) -> None:
    async with VendorClient({}, version="0") as vendors:
        with pytest.raises(Unanswered, match="the vendor's address cannot be used"):
            await vendors.ask("braintree", Fetch(url, {}))


@pytest.mark.parametrize(
    ("scheme", "addresses"),
    [
        ("http", ["127.0.0.1", "192.168.0.1"]),
        ("http", ["127.0.0.1", "93.184.216.34"]),
        ("https", ["127.0.0.1", "192.168.0.1"]),
        ("https", ["127.0.0.1", "fd00::1"]),
    ],
)
async def test_all_addresses_of_a_name_must_be_ones_that_may_be_reached(scheme: str, addresses: Sequence[str]) -> None:
    """The first is allowed, and the server there would answer; another is not, or not without TLS."""
    async with vendor() as (port, heads):
        where = VendorAddress(f"{scheme}://vendor.example:{port}", None, LOOPBACK)
        async with VendorClient({"adyen": where}, version="0", look_up=lambda _: answers(*addresses)) as vendors:
            with pytest.raises(Unanswered, match="the vendor's address is not one that may be reached"):
                await vendors.ask("adyen", Fetch("a", {}))
    assert heads == []


async def test_a_name_is_dialled_where_all_of_its_addresses_may_be_reached() -> None:
    async with vendor() as (port, heads):
        where = VendorAddress(f"http://vendor.example:{port}", None, LOOPBACK)
        async with VendorClient(
            {"adyen": where}, version="0", look_up=lambda _: answers("127.0.0.1", "127.0.0.2")
        ) as vendors:
            assert await vendors.ask("adyen", Fetch("a", {})) == b"{}"
    assert f"host: vendor.example:{port}\r\n".encode() in heads[0].lower()


async def test_credentials_go_only_to_a_server_that_proves_the_name_of_the_settings(tmp_path: Path) -> None:
    """It is dialled by its address, which is in no certificate."""
    certificate = await certificates.make(tmp_path, "DNS:vendor.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate))

    async def ask(host: str, trust: ssl.SSLContext | None) -> bytes:
        where = VendorAddress(f"https://{host}:{port}", "Bearer ours", LOOPBACK)
        async with VendorClient(
            {"adyen": where}, version="0", trust=trust, look_up=lambda _: answers("127.0.0.1")
        ) as vendors:
            return await vendors.ask("adyen", Fetch("a", {}))

    async with vendor(server) as (port, heads):
        for host, trusted in (("vendor.example", None), ("another.example", trust)):
            with pytest.raises(Unanswered, match=r"^the connection to the vendor failed \(ConnectError\)$"):
                await ask(host, trusted)
        assert heads == []
        for host in ("vendor.example", "vendor.example."):
            assert await ask(host, trust) == b"{}"
    assert all(b"\r\nauthorization: bearer ours\r\n" in head.lower() for head in heads)


def test_a_vendors_credentials_are_in_no_text_of_its_address() -> None:
    assert "hunter2" not in repr(VendorAddress("https://vendor.example", "Bearer hunter2"))


async def test_a_name_without_an_address_is_named() -> None:
    where = VendorAddress("https://vendor.example", None, LOOPBACK)
    async with VendorClient({"adyen": where}, version="0", look_up=lambda _: ()) as vendors:
        with pytest.raises(Unanswered, match="the name of the vendor's host is not known"):
            await vendors.ask("adyen", Fetch("a", {}))


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        ("120", timedelta(seconds=120)),
        ("86400", timedelta(days=1)),
        ("Fri, 31 Dec 2190 23:59:59 GMT", timedelta(days=1)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", timedelta(0)),
        ("999999999", timedelta(days=1)),
        ("1763716454", None),
        ("soon", None),
    ],
)
async def test_a_pause_that_the_vendor_asks_for_is_bounded(asked: str, pause: timedelta | None) -> None:
    head = f"HTTP/1.1 429 Slow down\r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n".encode()
    async with raw.server(raw.says(head)) as url:
        where = VendorAddress(url, None, LOOPBACK)
        async with VendorClient({"adyen": where}, version="0") as vendors:
            with pytest.raises(Unanswered) as unanswered:
                await vendors.ask("adyen", Fetch("a", {}))
    assert unanswered.value.retry_after == pause


async def test_a_server_that_is_away_for_a_while_may_ask_for_a_pause_too() -> None:
    head = b"HTTP/1.1 503 Later\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"
    async with raw.server(raw.says(head)) as url, asking(url) as vendors:
        with pytest.raises(Unanswered, match="the vendor answered 503") as unanswered:
            await vendors.ask("adyen", Fetch("a", {}))
    assert unanswered.value.retry_after == timedelta(seconds=120)


async def read_file(vendors: VendorClient) -> bytes:
    async with vendors.open_file("adyen", Fetch("r.csv", {})) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    "head",
    ["404 Not Found", "429 Too Many Requests", "503 Later", "200 OK\r\nContent-Encoding: gzip"],
)
@pytest.mark.parametrize("is_file", [False, True], ids=["an answer", "a file"])
async def test_the_connection_of_an_answer_that_is_of_no_use_is_closed(head: str, *, is_file: bool) -> None:
    """Its body never ends; it would hold a place among the connections for as long as the process lives."""
    closed: asyncio.Queue[None] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {head}\r\nContent-Length: 10\r\n\r\n".encode())
        await reader.read()
        closed.put_nowait(None)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        where = VendorAddress(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", None, LOOPBACK)
        async with VendorClient({"adyen": where}, version="0", deadline=30) as vendors, asyncio.timeout(60):
            with pytest.raises(Unanswered):
                await (read_file(vendors) if is_file else vendors.ask("adyen", Fetch("a", {})))
            for _ in range(3 if head.startswith("503") else 1):
                await closed.get()


async def test_the_connection_of_a_file_that_is_not_read_to_its_end_is_closed() -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first line\n")
        await reader.read()
        closed.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        where = VendorAddress(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", None, LOOPBACK)
        async with VendorClient({"adyen": where}, version="0", deadline=30) as vendors, asyncio.timeout(60):
            async with vendors.open_file("adyen", Fetch("r.csv", {})) as chunks:
                assert await anext(chunks) == b"the first line\n"
            await closed.wait()


async def test_a_vendor_whose_bytes_make_no_chunk_is_waited_for_as_long_as_for_a_chunk() -> None:
    """Each byte comes soon after the last one, but the length of the first chunk never ends."""

    async def drips(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw.server(drips) as url:
        where = VendorAddress(url, None, LOOPBACK)
        async with VendorClient({"adyen": where}, version="0", deadline=1) as vendors, asyncio.timeout(60):
            with pytest.raises(Unanswered, match="the vendor did not answer in time"):
                await read_file(vendors)
