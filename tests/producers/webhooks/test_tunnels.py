"""Webhooks through an egress proxy: what it is asked for, and whose fault a failure is."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from domain.delivery.outcome import NOT_THE_ENDPOINTS, Outcome
from producers.egress import parse_networks
from producers.names import Addresses
from producers.webhooks import restraints
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from producers.webhooks.tunnels import EgressProxy
from tests.parts.receiver import Receiver
from tests.parts.until import until
from tests.store.outbox import Outbox

LOOPBACK = parse_networks(["127.0.0.0/8", "::1/128"])


class Proxy:
    """An HTTP proxy on loopback that answers `CONNECT` as a test says: `answer` is None to open the tunnel."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.answer: Callable[[str], bytes | None] = lambda _: None
        self.is_silent = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def targets(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            answer = self.answer(head)
            if self.is_silent:
                await reader.read()
            elif answer is not None:
                writer.write(answer)
                await writer.drain()
            else:
                await self._join(reader, writer, head.split(" ")[1])
        writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        self._writers.add(far_writer)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with Proxy() as proxy:
        yield proxy


def through(proxy: Proxy, *, deadline: float = 5, **more: object) -> Sender:
    setting = EgressProxy.read(f"http://user:s3cret%21@127.0.0.1:{proxy.port}")
    return Sender(version="1", deadline=deadline, allow=LOOPBACK, proxy=setting, **more)  # type: ignore[arg-type]


async def outcome(sender: Sender, url: str) -> Outcome:
    return (await sender.post(url, {"x-test": "1"}, b"{}", endpoint="e")).outcome


async def test_a_webhook_arrives_through_a_tunnel_to_the_address_that_was_checked(
    proxy: Proxy, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    url = receiver.url("/hooks").replace("127.0.0.1", "localhost")
    port = url.split(":")[2].partition("/")[0]
    async with through(proxy) as sender:
        for _ in range(2):
            assert await outcome(sender, url) is Outcome.ACCEPTED
    assert proxy.targets == [f"127.0.0.1:{port}"], "one tunnel for two webhooks, and no name"
    [head] = proxy.heads
    assert head.splitlines()[1:3] == [f"Host: 127.0.0.1:{port}", "Proxy-Authorization: Basic dXNlcjpzM2NyZXQh"]
    assert "x-test" not in head
    assert "Proxy-Authorization" not in receiver.requests[0].headers
    assert receiver.requests[0].headers["host"] == f"localhost:{port}"


@pytest.mark.parametrize(
    ("answer", "beside_others"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", None),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", None),
        (b"HTTP/1.1 500 Oops\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None),
        (b"SSH-2.0-x\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 9000, None),
        (b"HTTP/1.1 20", None),
        (b"", None),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Outcome.CONNECTION_FAILED),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Outcome.CONNECTION_FAILED),
        (b"HTTP/1.0 504 Gateway Timeout\r\n\r\n", Outcome.CONNECTION_FAILED),
    ],
)
async def test_a_fault_of_the_proxy_is_not_the_endpoints(
    proxy: Proxy, receiver: Receiver, answer: bytes, beside_others: Outcome | None
) -> None:
    """What a proxy cannot reach is the endpoint's fault only if it has reached another one within the minute."""
    url = "http://127.0.0.1:9/hooks"
    async with through(proxy) as sender:
        proxy.answer = lambda _: answer
        with capture_logs() as logs:
            assert await outcome(sender, url) is Outcome.EGRESS_PROXY_FAILED
        assert [entry["event"] for entry in logs] == ["the egress proxy opens no tunnel"]
        assert "s3cret" not in str(logs)
        proxy.answer = lambda _: None
        assert await outcome(sender, receiver.url("/other")) is Outcome.ACCEPTED
        proxy.answer = lambda _: answer
        assert await outcome(sender, url) is (beside_others or Outcome.EGRESS_PROXY_FAILED)
    assert Outcome.EGRESS_PROXY_FAILED in NOT_THE_ENDPOINTS


async def test_a_proxy_that_does_not_answer_or_is_away_is_at_fault(proxy: Proxy) -> None:
    proxy.is_silent = True
    async with through(proxy, deadline=1) as sender:
        assert await outcome(sender, "http://127.0.0.1:9/") is Outcome.EGRESS_PROXY_FAILED
    for setting in (EgressProxy("127.0.0.1", 9), EgressProxy("no-such-name.invalid", 3128)):
        async with Sender(version="1", deadline=10, allow=LOOPBACK, proxy=setting) as sender:
            assert await outcome(sender, "http://127.0.0.1:9/") is Outcome.EGRESS_PROXY_FAILED


async def test_the_next_address_is_tried_where_the_proxy_cannot_reach_the_first(
    proxy: Proxy, receiver: Receiver
) -> None:
    def look_up(host: str) -> Addresses:
        addresses = ["127.0.0.2", "127.0.0.1", "10.0.0.1"] if host == "shop.example" else ["127.0.0.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    port = receiver.url("/").split(":")[2].strip("/")
    proxy.answer = lambda head: b"HTTP/1.1 503 No\r\n\r\n" if "127.0.0.2" in head else None
    async with through(proxy, look_up=look_up) as sender:
        assert await outcome(sender, f"http://shop.example:{port}/") is Outcome.ACCEPTED
    assert proxy.targets == [f"127.0.0.2:{port}", f"127.0.0.1:{port}"], "and none that is not permitted"


async def test_tls_is_with_the_endpoint_inside_the_tunnel(proxy: Proxy, receiver: Receiver) -> None:
    """The receiver speaks no TLS: that is its fault, and the proxy has seen no request."""
    url = receiver.url("/hooks").replace("http://", "https://")
    async with through(proxy, trust=ssl.create_default_context()) as sender:
        assert await outcome(sender, url) in {Outcome.TLS_FAILED, Outcome.CONNECTION_CLOSED, Outcome.CONNECTION_FAILED}
    assert len(proxy.heads) == 1


async def test_deliveries_lose_no_try_by_a_proxy_that_is_away(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    async with Sender(version="1", deadline=5, allow=LOOPBACK, proxy=EgressProxy("127.0.0.1", 9)) as sender:
        dispatcher = Dispatcher(engine, sender, schedule=())
        for _ in range(2):
            await dispatcher.run_once()
            await outbox.make_due()
    assert [name for _, name, _ in await outbox.attempts()] == ["egress_proxy_failed"] * 2
    [row] = await outbox.execute("SELECT status, tries FROM deliveries")
    assert (row.status, row.tries) == ("PENDING", 0)
    [row] = await outbox.execute("SELECT failures, circuit FROM endpoints")
    assert (row.failures, row.circuit) == (0, "CLOSED")


async def test_of_a_backlog_behind_a_proxy_that_is_away_one_delivery_at_a_time_is_attempted(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first claim has a window of ten. Then the endpoint is paused in this process, and one probe follows."""
    outbox = Outbox(engine)
    await outbox.add_endpoint("m")
    for _ in range(30):
        await outbox.tell("m", await outbox.add_wallet())
    async with Sender(version="1", deadline=5, allow=LOOPBACK, proxy=EgressProxy("127.0.0.1", 9)) as sender:
        dispatcher = Dispatcher(engine, sender, schedule=())
        assert [await dispatcher.run_once() for _ in range(3)] == [10, 0, 0]
        monkeypatch.setattr(restraints, "OWN_FAULT_PAUSE", timedelta(milliseconds=1))
        other = Dispatcher(engine, sender, schedule=())
        assert await other.run_once() == 10
        assert await until(other.run_once) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://proxy:3128", EgressProxy("proxy", 3128)),
        ("http://10.0.0.1:8080/", EgressProxy("10.0.0.1", 8080)),
        ("http://[fd00::1]:3128", EgressProxy("fd00::1", 3128)),
        ("http://u:p@proxy:1", EgressProxy("proxy", 1, "Basic dTpw")),
        ("http://u:p%40%3A@proxy:1", EgressProxy("proxy", 1, "Basic dTpwQDo=")),
    ],
)
def test_a_proxy_is_read(text: str, expected: EgressProxy) -> None:
    assert EgressProxy.read(text) == expected
    assert "Basic" not in repr(expected)


@pytest.mark.parametrize(
    "text",
    ["proxy:3128", "https://proxy:3128", "socks5://proxy:1080", "http://proxy", "http://proxy:0", "http://proxy:65536",
     "http://s3cret@proxy:1", "http://u:s3cret@:1", "http://proxy:1/path", "http://proxy:1\r\nx: y", ""],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="expected http://host:port") as refused:
        EgressProxy.read(text)
    assert "s3cret" not in str(refused.value)
