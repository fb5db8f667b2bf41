"""A connection serves the next request only if nothing of the last answer can be taken for part of the next."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import Any

import pytest

from domain.delivery.outcome import Outcome
from producers.egress import parse_networks
from producers.webhooks.connections import MOST_OF_A_BODY, parse_target
from producers.webhooks.sender import PostResult, Sender
from tests.parts.until import until
from tests.producers import raw

LOOPBACK = parse_networks(["127.0.0.0/8"])
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAILED = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(version="1", deadline=5, allow=LOOPBACK) as sender:
        yield sender


class Server:
    """Answers the requests that come, on however many connections, with the bytes it is given one after another."""

    def __init__(self, answers: Iterator[bytes], *, closes: bool) -> None:
        self.url = ""
        self.opened = 0
        self.closed = 0
        self.heads: list[bytes] = []
        self._answers = answers
        self._closes = closes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(next(self._answers))
                await writer.drain()
                if self._closes:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed += 1
            writer.close()


@asynccontextmanager
async def serving(*first: bytes, closes: bool = False) -> AsyncIterator[Server]:
    server = Server(chain(first, repeat(FINE)), closes=closes)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/hooks"
        yield server


async def outcomes(sender: Sender, url: str, posts: int) -> Sequence[Outcome]:
    return [(await sender.post(url, {"webhook-id": "evt_1"}, b"{}", endpoint="m")).outcome for _ in range(posts)]


async def test_one_connection_serves_one_request_after_another(sender: Sender) -> None:
    async with serving(FINE, FAILED, b"HTTP/1.1 100 Continue\r\n\r\n" + FINE, b"HTTP/1.1 204 No\r\n\r\n") as server:
        assert await outcomes(sender, server.url, 5) == [
            Outcome.ACCEPTED,
            Outcome.STATUS_REFUSED,
            Outcome.ACCEPTED,
            Outcome.ACCEPTED,
            Outcome.ACCEPTED,
        ]
        assert (server.opened, len(server.heads)) == (1, 5)


async def test_requests_at_the_same_time_have_a_connection_each(sender: Sender) -> None:
    async with serving() as server:
        posts = [sender.post(server.url, {}, b"{}", endpoint="m") for _ in range(10)]
        assert {answer.outcome for answer in await asyncio.gather(*posts)} == {Outcome.ACCEPTED}
        assert server.opened == 10


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        FINE + FAILED,
        FINE + b"HTTP/1.1 5",
        FINE + b"nonsense",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nokk",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * (MOST_OF_A_BODY + 1),
        b"nonsense\r\n\r\n",
    ],
    ids=[
        "it closes", "HTTP/1.0", "an answer more", "half an answer more", "nonsense more", "two lengths",
        "a length and chunks", "another protocol", "a long body", "nonsense",
    ],
)  # fmt: skip
async def test_after_an_answer_that_leaves_doubt_another_one_is_opened(sender: Sender, first: bytes) -> None:
    async with serving(first) as server:
        assert (await outcomes(sender, server.url, 2))[1] is Outcome.ACCEPTED
        assert (server.opened, len(server.heads)) == (2, 2)
        await until(lambda: as_said(server.closed == 1), within=30)


async def test_one_that_the_server_has_closed_is_not_used_again(sender: Sender) -> None:
    async with serving(closes=True) as server:
        for number in range(3):
            assert await outcomes(sender, server.url, 1) == [Outcome.ACCEPTED]
            await until(lambda: as_said(server.closed == number + 1))  # noqa: B023 - awaited before the next one
            await asyncio.sleep(0)
        assert server.opened == 3


class Unasked:
    """Answers each request, and then sends bytes that no request asked for when the test wants them."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.closed: list[asyncio.Event] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closed = asyncio.Event()
        self.writers.append(writer)
        self.closed.append(closed)
        try:
            while True:
                await reader.readuntil(b"{}")
                writer.write(FINE)
        except (ConnectionError, asyncio.IncompleteReadError):
            closed.set()
        writer.close()


async def test_bytes_that_no_request_asked_for_close_the_connection() -> None:
    """Not the sweep: it looks in an hour."""
    server = Unasked()
    async with (
        await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening,
        Sender(version="1", deadline=30, allow=LOOPBACK, keep_idle=3600) as sender,
    ):
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/hooks"
        assert await outcomes(sender, url, 2) == [Outcome.ACCEPTED] * 2
        assert len(server.writers) == 1
        server.writers[0].write(FAILED)
        async with asyncio.timeout(30):
            await server.closed[0].wait()
        assert await outcomes(sender, url, 1) == [Outcome.ACCEPTED]
        assert len(server.writers) == 2


def test_bytes_that_the_loop_has_not_read_yet_close_it_too() -> None:
    """They lie in the socket when the next request is about to be sent, and would be taken for its answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        accepted: list[socket.socket] = []

        def answer() -> None:
            connection, _ = listening.accept()
            accepted.append(connection)
            received = b""
            while not received.endswith(b"{}"):
                received += connection.recv(65536)
            connection.sendall(FINE)

        async def posts() -> list[Outcome]:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/hooks"
            async with Sender(version="1", deadline=30, allow=LOOPBACK, keep_idle=3600) as sender:
                first = await in_thread(answer, sender.post(url, {}, b"{}", endpoint="m"))
                [[kept]] = sender._connections._idle.values()
                accepted[0].sendall(FAILED)
                while kept.is_silent():
                    pass  # no await: the loop reads nothing meanwhile
                second = await in_thread(answer, sender.post(url, {}, b"{}", endpoint="m"))
            return [first.outcome, second.outcome]

        async def in_thread(work: Callable[[], None], post: Coroutine[Any, Any, PostResult]) -> PostResult:
            posting = asyncio.create_task(post)
            await asyncio.gather(asyncio.to_thread(work), posting)
            return await posting

        assert asyncio.run(posts()) == [Outcome.ACCEPTED, Outcome.ACCEPTED]
        assert len(accepted) == 2
        for connection in accepted:
            connection.close()


async def test_no_endpoint_gets_the_connection_of_another_at_the_same_place(sender: Sender) -> None:
    async with serving() as server:
        for endpoint, url in [("a", server.url), ("b", server.url), ("a", server.url), ("a", f"{server.url}/other")]:
            assert (await sender.post(url, {}, b"{}", endpoint=endpoint)).outcome is Outcome.ACCEPTED
        assert (server.opened, len(server.heads)) == (3, 4)


async def test_one_that_nobody_needs_is_closed_after_some_seconds(sender: Sender) -> None:
    async with serving() as server:
        await outcomes(sender, server.url, 1)
        await until(lambda: as_said(server.closed == 1), within=30)


async def test_a_connection_that_a_sweep_keeps_is_closed_by_the_next_sweep() -> None:
    async with (
        serving() as server,
        Sender(version="1", deadline=5, allow=LOOPBACK, keep_idle=1) as sender,
    ):
        await outcomes(sender, server.url, 1)
        await asyncio.sleep(0.5)
        await sender.post(server.url, {}, b"{}", endpoint="another")
        await until(lambda: as_said(server.closed == 2), within=30)


async def test_one_that_was_idle_for_too_long_is_closed_when_the_next_is_wanted() -> None:
    """Not by the sweep, which comes half an hour later: nobody would look at the connection again."""
    async with (
        serving() as server,
        Sender(version="1", deadline=30, allow=LOOPBACK, keep_idle=3600) as sender,
    ):
        assert await outcomes(sender, server.url, 1) == [Outcome.ACCEPTED]
        [[kept]] = sender._connections._idle.values()
        kept.idle_since -= 5400
        assert await outcomes(sender, server.url, 1) == [Outcome.ACCEPTED]
        await until(lambda: as_said(server.closed == 1), within=30)
        assert server.opened == 2


LONG = b'{"a": "%b"}' % (b"x" * 8_000_000)


async def answers_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(FAILED)
    await asyncio.Event().wait()


async def reads_no_more(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
    await asyncio.Event().wait()


async def test_an_answer_before_a_long_request_is_sent_keeps_nobody_waiting(sender: Sender) -> None:
    async with raw.server(answers_at_once) as url:
        assert (await sender.post(url, {}, LONG, endpoint="m")).outcome is Outcome.STATUS_REFUSED
        assert (await sender.post(url, {}, b"{}", endpoint="m")).outcome is Outcome.STATUS_REFUSED


async def test_who_reads_no_more_and_says_so_has_closed(sender: Sender) -> None:
    async with raw.server(reads_no_more) as url:
        assert (await sender.post(url, {}, LONG, endpoint="m")).outcome is Outcome.CONNECTION_CLOSED


async def test_what_comes_back_after_the_end_is_closed() -> None:
    async with serving() as server:
        async with Sender(version="1", allow=LOOPBACK) as sender:
            assert await outcomes(sender, server.url, 1) == [Outcome.ACCEPTED]
            late = asyncio.create_task(sender.post(server.url, {}, b"{}", endpoint="m"))
            await asyncio.sleep(0)
        assert (await late).outcome in {Outcome.ACCEPTED, Outcome.CONNECTION_CLOSED}
        await until(lambda: as_said(server.closed == server.opened))


async def as_said(it_is: bool) -> bool:  # noqa: FBT001 - what is waited for
    return it_is


@pytest.mark.parametrize(
    ("url", "head"),
    [
        ("https://shop.example/hooks", b"POST /hooks HTTP/1.1\r\nhost: shop.example\r\n"),
        ("https://shop.example:443", b"POST / HTTP/1.1\r\nhost: shop.example\r\n"),
        ("https://shop.example:8443/a?b=c&d=e%20f", b"POST /a?b=c&d=e%20f HTTP/1.1\r\nhost: shop.example:8443\r\n"),
        ("http://[2001:db8::1]:8080/", b"POST / HTTP/1.1\r\nhost: [2001:db8::1]:8080\r\n"),
        ("https://shop.example/a%0d%0ax", b"POST /a%0d%0ax HTTP/1.1\r\nhost: shop.example\r\n"),
    ],
)
def test_a_request_begins_with_the_path_and_the_host_of_its_url(url: str, head: bytes) -> None:
    assert parse_target(url).head == head


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example:0/",
        "https://shop.example:port/",
        "//shop.example/",
        "https:///x",
        "https://1.2.3/",
        "https://shop.example/a\r\nx: y",
        "https://shop.example/#g",
        "https://b\u00fccher.example/\u00fc",
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - who finds it out has a word of its own
        parse_target(url)
