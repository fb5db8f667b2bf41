"""A report is read while it arrives: its length changes neither the memory that it takes nor what becomes of it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.refusal import RefusalCode, Refused
from producers.egress import parse_networks
from producers.vendors import reports
from producers.vendors.client import LONGEST_WAIT, Unanswered, VendorAddress, VendorClient, _parse_url, _Request
from producers.vendors.fetcher import Fetcher
from schemas import thin
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Fetch
from schemas.intake import TopicMessage
from store import fetches
from store.fetches import NewFetch

BRAINTREE = FEEDS["braintree"]
AT = datetime(2026, 11, 20, tzinfo=UTC)
NAMES = b"Payment Method Token,Update Type,New Last 4,New Expiration Date,Card Type\n"
CLOSED = b"tok1,Account Closed,,,\n"
LOOPBACK = parse_networks(["127.0.0.0/8"])
CHUNK = 64 * 1024


def pieces(*lines: tuple[bytes, int]) -> Iterator[bytes]:
    """A report of each line so many times, cut anywhere."""
    yield NAMES
    for line, times in lines:
        at_once = CHUNK // len(line)
        for begin in range(0, times, at_once):
            yield line * min(at_once, times - begin)


@dataclass
class Site:
    """What is served by path, with the length that is announced, and the lines by which it was asked."""

    url: str = ""
    served: dict[str, tuple[Iterable[bytes] | AsyncIterator[bytes], int | None]] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    vendor = Site()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.split(b"\r\n", 1)[0]
            vendor.asked.append(line)
            path = line.split()[1].decode().split("?")[0].rpartition("/")[2]
            content, length = vendor.served.get(path, ([NAMES], None))
            announced = b"" if length is None else b"Content-Length: %d\r\n" % length
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + announced + b"\r\n")
            async for piece in _in_turn(content):
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    vendor.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield vendor
    finally:
        server.close()


async def _in_turn(content: Iterable[bytes] | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(content, AsyncIterator):
        async for piece in content:
            yield piece
    else:
        for piece in content:
            yield piece


async def read(vendors: VendorClient, path: str = "report.csv") -> list[TopicMessage]:
    found: list[TopicMessage] = []
    async with vendors.open_file("braintree", Fetch(path, {}, file_at=AT)) as chunks:
        try:
            async for batch in reports.batches(BRAINTREE, chunks, Edge(AT)):
                assert len(batch) <= reports.MESSAGES_AT_ONCE + reports._REFUSED_AT_FIRST
                found += batch
        except Refused:
            assert found == [], "messages were given before the file was refused"
            raise
    return found


@asynccontextmanager
async def asking(url: str, *, deadline: float = 15, longest_wait: float = LONGEST_WAIT) -> AsyncIterator[VendorClient]:
    braintree = VendorAddress(url, None, LOOPBACK)
    async with VendorClient(
        {"braintree": braintree}, version="0", deadline=deadline, longest_wait=longest_wait
    ) as vendors:
        yield vendors


async def test_memory_does_not_grow_with_the_report() -> None:
    """Of lines as short as they can be, each of which is a message for the dead letters: 350 MB a megabyte at once."""
    async with serving() as vendor:
        vendor.served = {
            "short.csv": (pieces((CLOSED, 2_000), (b"x\n", 2_000)), None),
            "long.csv": (pieces((CLOSED, 2_000), (b"x\n", 150_000)), None),
        }
        words = (sys.executable, "-m", "tests.producers.vendors.report_reader", vendor.url)
        child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        out, _ = await child.communicate()
    messages, megabytes = map(int, out.split())
    assert messages == 152_000
    assert megabytes < 25


async def test_every_line_is_told_in_its_order_however_the_report_arrives() -> None:
    lines = b"".join(b"tok%d,Account Closed,,,\n" % number for number in range(1_200)) + b"tok,Eaten,,,\n"
    async with serving() as vendor, asking(vendor.url) as vendors:
        vendor.served["report.csv"] = ((NAMES + lines)[at : at + 777] for at in range(0, len(NAMES + lines), 777)), None
        found = await read(vendors)
    assert [message.key for message in found[:-1]] == [b"braintree:tok%d" % number for number in range(1_200)]
    assert (len(found), len(found[-1].headers)) == (1_201, 2)


NO_REPORTS = [
    ([b"<html>\nLater.\n</html>\n"], "file: no line can be used; the first one: line of names"),
    (list(pieces((b"x\n", 999))), "file: no line can be used; the first one: line: expected 5 columns"),
    (
        list(pieces((b"x\n", 1_000), (CLOSED, 1))),
        "file: none of its first 1,000 lines can be used; the first one: line",
    ),
    ([b"\xef\xbb\xbf", b'[{"a":', b"1}]"], "file: expected CSV with a line of names"),
    ([b"\n \n", b"{}"], "file: expected CSV with a line of names"),
    ([b"a" * 2_000_000], "file: no line can be used; the first one: line: expected 1,000,000 bytes at most"),
]


@pytest.mark.parametrize(("content", "expected"), NO_REPORTS, ids=range(len(NO_REPORTS)))
async def test_what_is_no_report_makes_no_message(content: list[bytes], expected: str) -> None:
    async with serving() as vendor, asking(vendor.url) as vendors:
        vendor.served["report.csv"] = (content, None)
        with pytest.raises(Refused, match="file: ") as refused:
            await read(vendors)
    assert str(refused.value).startswith(expected)


async def test_a_report_that_cannot_be_read_to_its_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.lines.MOST_BLANK", 100)
    async with serving() as vendor, asking(vendor.url) as vendors:
        vendor.served["report.csv"] = ([NAMES + CLOSED + b"\n" * 200], None)
        with pytest.raises(Refused, match=r"^file: .*blank lines") as refused:
            await read(vendors)
    assert refused.value.refusal.code is RefusalCode.INCOMPLETE


async def test_a_report_that_begins_with_lines_that_cannot_be_used_is_one_all_the_same() -> None:
    async with serving() as vendor, asking(vendor.url) as vendors:
        vendor.served["report.csv"] = (pieces((b"x\n", 999), (CLOSED, 1), (b"x\n", 1_500)), None)
        found = await read(vendors)
    assert (len(found), [len(message.headers) for message in found].count(0)) == (2_500, 1)


async def test_a_report_that_is_broken_off_or_never_ends_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as vendor, asking(vendor.url) as vendors:
        vendor.served["report.csv"] = (pieces((CLOSED, 10)), 1_000_000)
        with pytest.raises(Unanswered, match="the connection to the vendor failed"):
            await read(vendors)
        assert len(vendor.asked) == 1
        monkeypatch.setattr("producers.vendors.client.LONGEST_FILE", 300_000)
        vendor.served["report.csv"] = (pieces((CLOSED, 100_000)), None)
        with pytest.raises(Unanswered, match="longer than 300,000 bytes"):
            await read(vendors)


async def test_a_report_that_stands_still_is_no_answer() -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + NAMES)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stuck, "127.0.0.1", 0)
    async with asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", deadline=0.2) as vendors:
        with pytest.raises(Unanswered, match="did not answer in time"):
            await read(vendors)
    server.close()


@pytest.mark.parametrize(
    "target",
    [
        "/a/../b%2Fc.csv?sig=aB%2FcD%2BeF%3D&x='%27",
        "/%7Euser/./day.csv?a=%e2&b=%E2&&c",
        "/day.csv?",
        "/?sp=%2Ftriggers%2Fmanual",
        "/a//b.csv;v=1?u=https://x/y@z,w:q",
    ],
)
async def test_the_address_of_a_report_is_asked_for_byte_for_byte(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as vendor, asking(vendor.url) as vendors:
        here = _Request("GET", _parse_url(f"{vendor.url}{target}#fragment"), {}, None, LOOPBACK)
        monkeypatch.setattr(vendors, "_request", lambda _feed, _fetch: here)
        await read(vendors)
        assert vendor.asked == [b"GET %s HTTP/1.1" % target.encode()]


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/\u00e4", "/\x7f"])
async def test_no_address_can_write_a_second_line(target: str) -> None:
    async with asking("http://127.0.0.1:1") as vendors:
        with pytest.raises(Unanswered, match="the vendor's address cannot be used"):
            await read(vendors, f"https://vendor.example{target}")


# --- and the event that it is of ------------------------------------------------------------------------------------


async def waiting(engine: AsyncEngine) -> None:
    event = thin.written("braintree", Fetch("report.csv", {}, file_at=AT), AT)
    async with engine.begin() as connection:
        await fetches.keep(connection, [NewFetch("braintree", thin.parse(event).digest, event, "thin", 0, 0)])


async def left(engine: AsyncEngine) -> list[tuple[int, int]]:
    async with engine.connect() as connection:
        return [(row.attempt, row.failures) for row in await connection.execute(text("SELECT * FROM fetches"))]


async def test_a_report_without_a_row_is_done_with_and_counted_as_irrelevant(engine: AsyncEngine) -> None:
    def counted() -> list[float]:
        labels = ({"feed": "braintree", "outcome": outcome} for outcome in ("irrelevant", "answered"))
        return [REGISTRY.get_sample_value("repoint_fetches_total", named) or 0.0 for named in labels]

    async def send(messages: Sequence[TopicMessage]) -> bool:
        assert not messages
        return True

    await waiting(engine)
    irrelevant, answered = counted()
    async with serving() as vendor, asking(vendor.url) as vendors:
        assert await Fetcher(engine, vendors, FEEDS, send=send, edge=Edge).run_once() == 1
    assert await left(engine) == []
    assert counted() == [irrelevant + 1, answered]


async def test_a_long_report_keeps_its_lease_while_it_is_read(engine: AsyncEngine) -> None:
    """And one that is claimed by another meanwhile is left to that one."""
    await waiting(engine)
    others: list[int] = []
    sent = 0
    lease = timedelta(0)  # to be extended after every batch

    async def send(messages: object) -> bool:
        nonlocal sent
        sent += 1
        if sent == 3:  # then another claims it
            async with engine.begin() as connection:
                await connection.execute(text("UPDATE fetches SET leased_until = now()"))
                others.extend(each.attempt for each in await fetches.claim(connection, {"braintree": 1}, lease=lease))
        return True

    async with serving() as vendor, asking(vendor.url) as vendors:
        vendor.served["report.csv"] = (pieces((CLOSED, 5_000)), None)
        fetcher = Fetcher(engine, vendors, FEEDS, send=send, edge=Edge, lease=lease)
        assert await fetcher.run_once() == 1
    assert (sent, others) == (3, [2])
    assert await left(engine) == [(2, 0)]


async def test_a_report_that_arrives_slowly_keeps_its_lease_before_its_first_batch(engine: AsyncEngine) -> None:
    """And the one that loses it sends nothing: the chunks before never filled a batch."""
    await waiting(engine)
    sent: list[object] = []
    others: list[int] = []
    lease = timedelta(0)

    async def send(messages: object) -> bool:
        sent.append(messages)
        return True

    async def drips() -> AsyncIterator[bytes]:
        yield NAMES + CLOSED
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE fetches SET leased_until = now()"))
            others.extend(each.attempt for each in await fetches.claim(connection, {"braintree": 1}, lease=lease))
        for _ in range(3):
            yield CLOSED

    async with serving() as vendor, asking(vendor.url) as vendors:
        vendor.served["report.csv"] = (drips(), None)
        fetcher = Fetcher(engine, vendors, FEEDS, send=send, edge=Edge, lease=lease)
        assert await fetcher.run_once() == 1
    assert (sent, others) == ([], [2])
    assert await left(engine) == [(2, 0)]


async def test_a_report_that_drips_for_too_long_is_a_failure_of_the_vendor(engine: AsyncEngine) -> None:
    await waiting(engine)
    ended = asyncio.Event()

    async def drips() -> AsyncIterator[bytes]:
        yield NAMES
        while not ended.is_set():
            await asyncio.sleep(0.05)
            yield CLOSED

    async def send(messages: object) -> bool:
        return True

    async with serving() as vendor, asking(vendor.url, longest_wait=0.5) as vendors:
        vendor.served["report.csv"] = (drips(), None)
        fetcher = Fetcher(engine, vendors, FEEDS, send=send, edge=Edge)
        try:
            async with asyncio.timeout(20):
                assert await fetcher.run_once() == 1
        finally:
            ended.set()
    assert await left(engine) == [(1, 1)]


async def test_a_lease_is_extended_by_its_holder_alone(engine: AsyncEngine) -> None:
    await waiting(engine)
    async with engine.begin() as connection:
        [mine] = await fetches.claim(connection, {"braintree": 1}, lease=timedelta(0))
    async with engine.begin() as connection:
        assert await fetches.extend(connection, mine, timedelta(hours=1))
    async with engine.begin() as connection:
        assert await fetches.claim(connection, {"braintree": 1}, lease=timedelta(0)) == []
        await fetches.extend(connection, mine, timedelta(0))
    async with engine.begin() as connection:
        [theirs] = await fetches.claim(connection, {"braintree": 1}, lease=timedelta(hours=1))
        assert not await fetches.extend(connection, mine, timedelta(hours=1))
        assert await fetches.extend(connection, theirs, timedelta(hours=1))


async def test_while_kafka_is_away_a_report_is_asked_for_again_from_its_beginning(engine: AsyncEngine) -> None:
    await waiting(engine)
    taken: list[object] = []

    async def send(messages: object) -> bool:
        taken.append(messages)
        return len(taken) != 2

    async with serving() as vendor, asking(vendor.url) as vendors:
        vendor.served["report.csv"] = (list(pieces((CLOSED, 1_600))), None)
        fetcher = Fetcher(engine, vendors, FEEDS, send=send, edge=Edge)
        assert await fetcher.run_once() == 1
        assert await left(engine) == [(1, 0)]
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE fetches SET due_at = now()"))
        assert await fetcher.run_once() == 1
    assert await left(engine) == []
    assert len(vendor.asked) == 2
    assert taken[0] == taken[2]
