"""One connection, byte by byte: which answers let it serve again, what of an answer counts, and how it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from producers import retry_after
from producers.egress import Egress
from producers.webhooks import connections as module
from producers.webhooks.connections import MOST_OF_A_BODY, Connection, ConnectionKey, Connections, read_head
from producers.webhooks.sender import Sender
from schemas.url import read_url
from tests.parts.until import until

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
KEY: ConnectionKey = ("endpoint", "https://merchant.example/")


class Pair:
    """A connection, and the other end of its socket."""

    def __init__(self, connection: Connection, peer: socket.socket) -> None:
        self.connection = connection
        self.peer = peer

    async def answer(self, *pieces: bytes) -> None:
        """Each piece arrives by itself."""
        loop = asyncio.get_running_loop()
        for piece in pieces:
            with suppress(ConnectionError):  # it was enough already
                await loop.sock_sendall(self.peer, piece)
            for _ in range(3):
                await asyncio.sleep(0)

    async def rest(self) -> int:
        """How many bytes the peer can read until the end."""
        loop, count = asyncio.get_running_loop(), 0
        try:
            while piece := await loop.sock_recv(self.peer, 1 << 20):
                count += len(piece)
        except ConnectionError:
            pass
        return count


async def connect() -> Pair:
    own, peer = socket.socketpair()
    peer.settimeout(0)
    _, connection = await asyncio.get_running_loop().create_connection(Connection, sock=own)
    return Pair(connection, peer)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = await connect()
    yield pair
    pair.connection.close()
    pair.peer.close()


async def test_a_connection_serves_again_after_a_whole_answer(pair: Pair) -> None:
    for _ in range(3):
        ended = pair.connection.post(REQUEST, within=60)
        assert not pair.connection.serves_again()
        await pair.answer(OK, b"{}")
        await ended
        assert pair.connection.status == 200
        assert pair.connection.serves_again()
        assert pair.connection.is_silent()


async def test_after_a_long_request_it_serves_no_other(pair: Pair) -> None:
    """Its answer may have come before all of it was sent."""
    body = b"x" * (module._LONGEST_BEFORE_ANOTHER + 1)
    ended = pair.connection.post(REQUEST + body, within=60)
    await pair.answer(OK + b"{}")
    await ended
    assert pair.connection.status == 200
    assert not pair.connection.serves_again()


async def test_only_the_head_of_the_final_answer_asks_for_a_pause(pair: Pair) -> None:
    ended = pair.connection.post(REQUEST, within=60)
    await pair.answer(b"HTTP/1.1 103 Early Hints\r\nretry-after: 7200\r\n\r\n", b"HTTP/1.1 503 Busy\r\n")
    await pair.answer(b"Retry-After: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\nretry-after: 3600\r\n\r\n")
    await ended
    assert (pair.connection.status, pair.connection.retry_after) == (503, b"5")
    ended = pair.connection.post(REQUEST, within=60)
    await pair.answer(b"HTTP/1.1 103 Early Hints\r\nretry-after: 7200\r\n\r\n", b"HTTP/1.1 503 Busy\r\n")
    await pair.answer(b"content-length: 0\r\n\r\n")
    await ended
    assert (pair.connection.status, pair.connection.retry_after) == (503, None)


async def test_a_long_head_leaves_the_body_its_own_bound(pair: Pair) -> None:
    ended = pair.connection.post(REQUEST, within=60)
    padding = [b"x-padding-%d: %b\r\n" % (n, b"x" * 9_000) for n in range(3)]
    await pair.answer(b"HTTP/1.1 200 OK\r\n", *padding, b"content-length: 2000\r\n\r\n", b"y" * 2000)
    await ended
    assert pair.connection.status == 200
    assert pair.connection.serves_again()


@pytest.mark.parametrize(("size", "serves"), [(MOST_OF_A_BODY - 100, True), (MOST_OF_A_BODY + 3000, False)])
async def test_a_body_is_read_up_to_its_bound(pair: Pair, size: int, serves: bool) -> None:  # noqa: FBT001
    ended = pair.connection.post(REQUEST, within=60)
    await pair.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
    for at in range(0, size, 1000):
        await pair.answer(b"y" * min(1000, size - at))
    await ended
    assert pair.connection.status == 200
    assert pair.connection.serves_again() is serves


@pytest.mark.parametrize("how", ["closed by us", "ended by the peer"])
async def test_what_is_unsent_goes_with_the_connection(pair: Pair, how: str) -> None:
    request = REQUEST + b"x" * (16 * 1024 * 1024)
    ended = pair.connection.post(request, within=60)
    if how == "closed by us":
        pair.connection.close()
    else:
        pair.peer.shutdown(socket.SHUT_WR)
    await ended
    assert await pair.rest() < len(request)
    assert not pair.connection.serves_again()


async def test_a_second_answer_that_has_begun_ends_the_use_of_the_connection(pair: Pair) -> None:
    ended = pair.connection.post(REQUEST, within=60)
    await pair.answer(OK + b"{}" + b"HTTP/1.1 200 OK\r\ncontent-")
    await ended
    assert pair.connection.status == 200
    assert not pair.connection.serves_again()


async def test_bytes_that_nobody_asked_for_close_the_connection(pair: Pair) -> None:
    ended = pair.connection.post(REQUEST, within=60)
    await pair.answer(OK + b"{}")
    await ended
    await pair.answer(b"HTTP/1.1 410 Gone\r\n\r\n")
    await until(lambda: is_true(not pair.connection.serves_again()))
    assert await pair.rest() == len(REQUEST)


async def is_true(value: bool) -> bool:  # noqa: FBT001 - what is waited for
    return value


Serve = Callable[[], Awaitable[Pair]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Gives connections that have served a request."""
    pairs = []

    async def served() -> Pair:
        pairs.append(pair := await connect())
        ended = pair.connection.post(REQUEST, within=60)
        await pair.answer(OK + b"{}")
        await ended
        return pair

    yield served
    for pair in pairs:
        pair.connection.close()
        pair.peer.close()


async def test_so_many_are_kept_and_each_that_is_taken_makes_room(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_IDLE", 2)
    kept = Connections(within=1, egress=Egress(), trust=None)
    first, second, third = [(await serve()).connection for _ in range(3)]
    for connection in (first, second, third):
        kept.keep(connection, KEY)
    assert [connection.serves_again() for connection in (first, second, third)] == [True, True, False]
    for _ in range(5):
        taken = kept.reuse(KEY)
        assert taken is second
        kept.keep(taken, KEY)
        assert taken.serves_again()
    kept.close()
    assert not first.serves_again()


async def test_nothing_is_kept_once_the_sender_has_ended(serve: Serve) -> None:
    kept = Connections(within=1, egress=Egress(), trust=None)
    kept.close()
    late = (await serve()).connection
    kept.keep(late, KEY)
    assert not late.serves_again()
    assert kept.reuse(KEY) is None


async def test_a_sweep_lets_go_of_what_the_server_has_closed(serve: Serve) -> None:
    kept = Connections(within=1, egress=Egress(), trust=None, keep_idle=60)
    ended, fresh = (await serve()).connection, (await serve()).connection
    for connection in (ended, fresh):
        kept.keep(connection, KEY)
    ended.close()
    kept._sweep()
    assert kept._idle == {KEY: [fresh]}
    assert kept._idle_count == 1
    kept.close()


async def test_one_that_has_been_idle_for_long_or_has_news_serves_nobody(serve: Serve) -> None:
    kept = Connections(within=1, egress=Egress(), trust=None, keep_idle=60)
    old, noisy, other = [await serve() for _ in range(3)]
    kept.keep(old.connection, KEY)
    old.connection.idle_since -= 60
    assert kept.reuse(KEY) is None
    kept.keep(noisy.connection, KEY)
    noisy.peer.send(b"x")
    assert kept.reuse(KEY) is None
    kept.keep(other.connection, KEY)
    assert kept.reuse(("another", KEY[1])) is None
    assert kept.reuse((KEY[0], "https://merchant.example/other")) is None
    assert kept.reuse(KEY) is other.connection
    other.connection.close()
    kept.close()


async def test_a_sweep_closes_what_is_idle_for_long_and_goes_on_while_any_is_left(serve: Serve) -> None:
    kept = Connections(within=1, egress=Egress(), trust=None, keep_idle=60)
    old, fresh = (await serve()).connection, (await serve()).connection
    for connection in (old, fresh):
        kept.keep(connection, KEY)
    old.idle_since -= 61
    kept._sweep()
    assert (old.serves_again(), fresh.serves_again(), kept._idle_count, bool(kept._sweep_timer)) == (
        False,
        True,
        1,
        True,
    )
    fresh.idle_since -= 61
    kept._sweep()
    assert (fresh.serves_again(), kept._idle_count, bool(kept._sweep_timer)) == (False, 0, False)
    kept.close()


async def test_a_sender_hands_its_times_on() -> None:
    async with Sender(version="0", deadline=8, keep_idle=9) as sender:
        assert (sender._connections._within, sender._connections._keep_idle) == (4, 9)
        assert sender._connections._names._within == 4


@pytest.mark.parametrize(
    ("received", "read"),
    [
        (b"HTTP/1.1 503 Busy\r\nretry-after: 5\r\n\r\n", (503, b"5")),
        (b"HTTP/1.1 503 Busy\r\nRetry-After :\r\n \t120\r\n\r\n", (503, b"120")),
        (b"HTTP/1.1 503 Busy\r\n\r\nbody\nretry-after: 5\r\n", (503, None)),
        (b"HTTP/1.1 503 Busy\r\nRetry-After:7", (503, b"7")),
        (b"HTTP/1.1 103 Hints\r\nretry-after: 5\r\n\r\nHTTP/1.1 200 OK\r\n", (200, None)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 410 Gone\r\n", (410, None)),
        (b"HTTP/1.1 101 Switching\r\n\r\n", (101, None)),
        (b"HTTP/1.1 103 Hints\r\nretry-after: 5\r\n", (None, None)),
        (b"HTTP/1.1 20", (None, None)),
        (b"HTTP/2 200 OK\r\n", (None, None)),
    ],
)
def test_of_a_malformed_answer_the_final_status_line_and_its_own_head_count(
    received: bytes, read: tuple[int | None, bytes | None]
) -> None:
    assert read_head(received) == read


@pytest.mark.parametrize(
    ("url", "family", "name"),
    [
        ("https://[2606:4700:4700::1111]:8443/", socket.AF_INET6, ("2606:4700:4700::1111", 8443, 0, 0)),
        ("https://1.1.1.1:8443/", socket.AF_INET, ("1.1.1.1", 8443)),
        ("https://1.1.1.1/", socket.AF_INET, ("1.1.1.1", 443)),
    ],
)
async def test_an_address_is_dialled_at_the_port_of_the_url(
    url: str, family: socket.AddressFamily, name: tuple[object, ...]
) -> None:
    kept = Connections(within=1, egress=Egress(), trust=None)
    ((dialled, _, _, _, to),) = await kept._addresses(read_url(url))
    assert (dialled, to) == (family, name)
    kept.close()


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" \t120\t ", 120),
        ("0" * 30 + "5", 5),
        ("999999999", 999_999_999),
        ("1790000000", None),  # a Unix time
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Sat, 21 Nov 2026 12:01:00 GMT", 60),
        ("Saturday, 21-Nov-26 12:01:00 GMT", 60),
        ("Sat Nov 21 12:01:00 2026", 60),
        ("Sat, 21 Nov 2026 11:59:00 GMT", -60),
        ("Sat, 21 Nov 2026 12:01:00 CET", None),
    ],
)
def test_a_pause_is_asked_for_in_seconds_or_by_a_date(header: str, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after.delay(header, now=NOW) == expected
