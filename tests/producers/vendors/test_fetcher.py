"""Vendors are asked what their thin events are about, and nothing that they answer is lost on its way."""

import asyncio
import inspect
import json
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from consumers import thin as taking
from consumers.worker import Worker
from producers.egress import parse_networks
from producers.topic.publisher import Publisher
from producers.vendors import client as asking
from producers.vendors.client import VendorAddress, VendorClient
from producers.vendors.fetcher import Fetcher, FetchPoint, _Lease, _LeaseLost
from schemas import thin
from schemas.canonical import parse
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge, Fetch
from schemas.intake import TopicMessage
from schemas.url import read_url
from store import fetches
from store.fetches import NewFetch
from testbed.kafka import Broker
from tests.api.posting import make_topic, on_topic
from tests.parts.receiver import Answer, Receiver, gzip_bomb, redirect
from tests.parts.until import until
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import messages
from wallets.change import Retention

SAMPLES = Path(__file__).parents[3] / "examples" / "feeds"
LOOPBACK = parse_networks(["127.0.0.0/8"])
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PAN = "4539578763621486"
# Of the sample's first event.
TOKEN = b"M5N7TQ4TG5PFWR50"
# Fast-forwarded: what failed is due again by the next look.
AT_ONCE = (timedelta(0), timedelta(0))


def thin_events(feed: str) -> list[TopicMessage]:
    """The sample's events that leave something to be asked for."""
    records = [json.loads(line) for line in (SAMPLES / f"{feed}.jsonl").read_text().splitlines()]
    updates = [each for record in records for each in messages(FEEDS[feed], record, Edge(NOW))]
    return [each for each in updates if each.thin]


def answer(feed: str) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(ANSWERS[feed]).encode())


class Harness:
    """A vendor that answers, events that are waiting, and the topic that the answers go to."""

    def __init__(self, engine: AsyncEngine, servers: str, topic: str, vendor: Receiver) -> None:
        self.engine = engine
        self.servers = servers
        self.topic = topic
        self.vendor = vendor

    async def waiting(self, *events: TopicMessage, feed: str = "adyen") -> None:
        new = [
            NewFetch(feed, thin.parse(event.value).digest, event.value, "thin", 0, offset)
            for offset, event in enumerate(events)
        ]
        async with self.engine.begin() as connection:
            await fetches.keep(connection, new)

    async def rows(self) -> list[Any]:
        async with self.engine.connect() as connection:
            found = await connection.execute(
                text("SELECT feed, failures, failure, attempt, due_at <= now() FROM fetches")
            )
            return [tuple(row) for row in found]

    async def dead_letters(self) -> list[Any]:
        async with self.engine.connect() as connection:
            found = await connection.execute(text("SELECT topic, reason, body FROM dead_letters ORDER BY id"))
            return [tuple(row) for row in found]

    async def updates(self) -> list[Any]:
        return [json.loads(one.value or b"") for one in await on_topic(self.servers, self.topic)]

    @asynccontextmanager
    async def fetcher(
        self,
        *,
        at: Callable[[FetchPoint], None] = lambda _: None,
        schedule: Sequence[timedelta] = AT_ONCE,
        deadline: float = 5.0,
        lease: timedelta = timedelta(minutes=1),
        allow: Any = LOOPBACK,
        servers: str | None = None,
        digit_ids: DigitIds = NO_DIGIT_IDS,
        drain_within: float = 25,
        **address: Any,
    ) -> AsyncIterator[Fetcher]:
        where = VendorAddress(self.vendor.url("/v71"), f"Basic {b64encode(b'u:p').decode()}", allow)
        asked = dict.fromkeys(("adyen", "apple-pay", "google-pay", "visa-tms"), where) | address
        async with (
            VendorClient(asked, version="0", deadline=deadline) as vendors,
            Publisher(
                bootstrap_servers=servers or self.servers, topic=self.topic, thin_topic="thin", patience=3
            ) as publisher,
        ):
            yield Fetcher(
                self.engine,
                vendors,
                FEEDS,
                send=publisher.send,
                edge=partial(Edge, digit_ids=digit_ids),
                digit_ids=digit_ids,
                schedule=schedule,
                lease=lease,
                drain_within=drain_within,
                on_point=at,
            )


@pytest.fixture
async def harness(engine: AsyncEngine, kafka: str, topic: str, receiver: Receiver) -> Harness:
    return Harness(engine, kafka, topic, receiver)


@pytest.mark.parametrize("feed", ["adyen", "apple-pay", "google-pay", "visa-tms"])
async def test_what_the_vendor_answers_is_told_and_the_event_is_done_with(harness: Harness, feed: str) -> None:
    events = thin_events(feed)
    harness.vendor._answers.clear()
    for event in events:
        harness.vendor.answer("/v71/" + json.loads(event.value)["path"].partition("?")[0], answer(feed))
    await harness.waiting(*events, feed=feed)
    async with harness.fetcher() as fetcher:
        while await fetcher.run_once():
            pass
    assert await harness.rows() == []
    assert await harness.dead_letters() == []
    updates = await harness.updates()
    assert {update["vendor"] for update in updates} == {feed}
    assert [parse(json.dumps(update).encode()) for update in updates]
    for request in harness.vendor.requests:
        assert request.headers["Authorization"] == f"Basic {b64encode(b'u:p').decode()}"
        assert request.method == ("POST" if feed == "google-pay" else "GET")
    questions = [body for event in events if (body := json.loads(event.value).get("body")) is not None]
    assert [json.loads(request.body) for request in harness.vendor.requests if request.body] == questions
    assert bool(questions) is (feed == "google-pay")


async def test_an_answer_newer_than_the_event_is_told_once_for_both_that_came(harness: Harness) -> None:
    """And an event that comes again while its answer is on the way is asked about again: that answer may be older."""
    [event] = thin_events("adyen")[:1]
    await harness.waiting(event)
    harness.vendor.answer("/v71/storedPaymentMethods", answer("adyen"))
    again: list[FetchPoint] = []

    def comes_again(point: FetchPoint) -> None:
        if point == "answered" and not again:
            again.append(point)
            more.set()

    more = asyncio.Event()
    async with harness.fetcher() as fetcher:
        produced = asyncio.Event()

        async def held(messages: Sequence[TopicMessage]) -> bool:
            await more.wait()
            await harness.waiting(event)
            fetcher._send = send
            produced.set()
            return await send(messages)

        send, fetcher._send, fetcher._on_point = fetcher._send, held, comes_again
        assert await fetcher.run_once() == 1
        assert len(await harness.rows()) == 1
        newer = json.loads(json.dumps(ANSWERS["adyen"]))
        for method in newer["storedPaymentMethods"]:
            method["expiryYear"] = "2039"
        harness.vendor.answer("/v71/storedPaymentMethods", Answer(200, {}, json.dumps(newer).encode()))
        assert await fetcher.run_once() == 1
    assert await harness.rows() == []
    updates = await harness.updates()
    assert max(update["new"]["expiryYear"] for update in updates) == 2039
    assert len({update["id"] for update in updates}) == 2
    assert len({update["occurredAt"] for update in updates}) == 1


FAILURES = [
    (Answer(500), 3, "the vendor answered 500"),
    (Answer(503), 3, "the vendor answered 503"),
    (Answer(404), 1, "the vendor answered 404"),
    (Answer(401), 1, "the vendor answered 401"),
    (Answer(429), 1, "the vendor answered 429"),
    (redirect("/elsewhere"), 1, "the vendor answered 302"),
    (Answer(200, body=b"<html>"), 1, "answer: expected JSON"),
    (Answer(200, body=b"[]"), 1, "answer: expected a JSON object"),
    (Answer(200, body=b"{}"), 1, "storedPaymentMethods: expected the one that the event is about"),
    (Answer(200, body=b" " * 1_000_001), 1, "the vendor's answer is longer than 1,000,000 bytes"),
    (gzip_bomb(1 << 20), 1, "the vendor's answer is packed, and was not asked to be"),
    (Answer(cut="silently"), 3, "the connection to the vendor failed (RemoteProtocolError)"),
    (Answer(cut="mid-status"), 3, "the connection to the vendor failed (RemoteProtocolError)"),
    (Answer(200, body=b"{", drip=0.2), 1, "answer: expected JSON"),
    (Answer(200, drip=0.2), 3, "the vendor did not answer in time"),
    (Answer(200, delay=30), 3, "the vendor did not answer in time"),
]


@pytest.mark.parametrize(("said", "tries", "failed"), FAILURES, ids=lambda value: str(value)[:40])
async def test_what_fails_is_named_parked_and_asked_again(
    harness: Harness, said: Answer, tries: int, failed: str
) -> None:
    [event] = thin_events("adyen")[:1]
    await harness.waiting(event)
    harness.vendor.answer("/v71/storedPaymentMethods", said)
    async with harness.fetcher(schedule=[timedelta(hours=1)], deadline=1) as fetcher:
        assert await fetcher.run_once() == 1
        assert await harness.rows() == [("adyen", 1, failed, 1, False)]
        assert len(harness.vendor.at("/v71/storedPaymentMethods")) == tries
        assert harness.vendor.at("/elsewhere") == []
        assert await fetcher.run_once() == 0
        async with harness.engine.begin() as connection:
            await connection.execute(text("UPDATE fetches SET due_at = now()"))
        harness.vendor.answer("/v71/storedPaymentMethods", answer("adyen"))
        assert await fetcher.run_once() == 1
    assert await harness.rows() == []
    assert len(await harness.updates()) == 1


async def test_what_failed_for_a_second_is_tried_again_at_once(harness: Harness) -> None:
    await harness.waiting(*thin_events("adyen")[:1])
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(502), Answer(cut="silently"), answer("adyen"))
    async with harness.fetcher() as fetcher:
        await fetcher.run_once()
    assert (await harness.rows(), len(await harness.updates()), len(harness.vendor.requests)) == ([], 1, 3)


async def test_after_the_last_time_it_is_a_dead_letter_that_says_what_failed(harness: Harness) -> None:
    [event] = thin_events("adyen")[:1]
    await harness.waiting(event)
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(403))
    async with harness.fetcher() as fetcher:
        for _ in AT_ONCE:
            assert await fetcher.run_once() == 1
            assert await harness.dead_letters() == []
        assert await fetcher.run_once() == 1
        assert await fetcher.run_once() == 0
    assert await harness.rows() == []
    assert await harness.dead_letters() == [("thin", "fetch: the vendor answered 403", event.value)]


async def test_the_dead_letter_of_an_event_has_its_place_and_its_feed(harness: Harness) -> None:
    first, second = (replace(event, path) for event, path in zip(thin_events("adyen")[:1] * 2, "ab", strict=True))
    await harness.waiting(first, second)
    harness.vendor.answer("/v71/b", Answer(403))
    harness.vendor.answer("/v71/a", answer("adyen"))
    before = counted("given up")
    async with harness.fetcher(schedule=()) as fetcher:
        assert await fetcher.run_once() == 2
    async with harness.engine.connect() as connection:
        rows = await connection.execute(text("SELECT partition, kafka_offset, headers FROM dead_letters"))
        assert [tuple(row) for row in rows] == [(0, 1, [["repoint-feed", "adyen"]])]
    assert counted("given up") == before + 1


def replace(event: TopicMessage, path: str) -> TopicMessage:
    return event._replace(value=json.dumps(json.loads(event.value) | {"path": path}).encode())


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("repoint_fetches_total", {"feed": "adyen", "outcome": outcome}) or 0.0


@pytest.mark.parametrize(("failures", "hours"), [(0, 1), (1, 6), (2, 24)])
async def test_the_wait_after_each_failure_is_that_of_its_place_in_the_schedule(
    harness: Harness, failures: int, hours: int
) -> None:
    await harness.waiting(*thin_events("adyen")[:1])
    async with harness.engine.begin() as connection:
        for _ in range(failures):
            [claimed] = await fetches.claim(connection, {"adyen": 1}, lease=timedelta(0))
            await fetches.postpone(connection, claimed, timedelta(0), "answered 500")
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(403))
    before = counted("failed")
    async with harness.fetcher(schedule=[timedelta(hours=hours) for hours in (1, 6, 24)]) as fetcher:
        assert await fetcher.run_once() == 1
    async with harness.engine.connect() as connection:
        waits = await connection.scalar(text("SELECT due_at - now() FROM fetches"))
    # a tenth of it spreads the retries
    assert timedelta(hours=hours * 0.99) < waits <= timedelta(hours=hours * 1.1)
    assert counted("failed") == before + 1


async def test_a_vendor_that_answers_late_is_asked_no_more_questions_meanwhile(harness: Harness) -> None:
    event = thin_events("adyen")[0]
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(200, {}, answer("adyen").body, delay=0.3))
    async with harness.engine.begin() as connection:
        new = [NewFetch("adyen", bytes([number] * 16), event.value, "thin", 0, number) for number in range(6)]
        await fetches.keep(connection, new)
    before = counted("answered")
    async with harness.fetcher() as fetcher:
        asking = asyncio.create_task(fetcher.run_once())
        await harness.vendor.arrived(4)
        assert await fetcher.run_once() == 0
        assert await asking == 4
        assert await fetcher.run_once() == 2
    assert counted("answered") == before + 6


def test_a_lease_outlasts_three_tries_and_a_send_and_the_schedule_a_night_and_a_morning() -> None:
    def default(kind: type, name: str) -> Any:
        return inspect.signature(kind).parameters[name].default

    longest = 3 * default(VendorClient, "deadline") + default(Publisher, "patience")
    assert default(Fetcher, "lease") > timedelta(seconds=longest)
    minutes = [delay / timedelta(minutes=1) for delay in default(Fetcher, "schedule")]
    assert minutes == [1, 10, 60, 6 * 60, 24 * 60]


async def test_a_lease_is_extended_whenever_a_third_of_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now, extended = [1000.0], list[float]()

    async def extend() -> bool:
        extended.append(now[0])
        return now[0] < 1200

    monkeypatch.setattr("producers.vendors.fetcher.time.monotonic", lambda: now[0])
    lease = _Lease(timedelta(minutes=3), extend)
    for now[0] in (1060.0, 1061.0, 1120.0, 1122.0):
        await lease.keep()
    assert extended == [1061.0, 1122.0]
    now[0] = 1200.0
    with pytest.raises(_LeaseLost):
        await lease.keep()


async def test_a_vendor_that_asks_for_a_pause_has_it(harness: Harness) -> None:
    await harness.waiting(*thin_events("adyen")[:1])
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(429, {"Retry-After": "3600"}))
    async with harness.fetcher() as fetcher:
        assert (await fetcher.run_once(), await fetcher.run_once()) == (1, 0)
    async with harness.engine.connect() as connection:
        waits = await connection.scalar(text("SELECT due_at - now() FROM fetches"))
    assert waits > timedelta(minutes=59)


@pytest.mark.parametrize("asked", ["0", "1", "Thu, 01 Jan 1970 00:00:00 GMT"])
async def test_a_vendor_that_asks_for_less_than_the_schedule_waits_is_not_asked_sooner(
    harness: Harness, asked: str
) -> None:
    await harness.waiting(*thin_events("adyen")[:1])
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(429, {"Retry-After": asked}))
    async with harness.fetcher(schedule=(timedelta(hours=1),)) as fetcher:
        assert (await fetcher.run_once(), await fetcher.run_once()) == (1, 0)
    async with harness.engine.connect() as connection:
        waits = await connection.scalar(text("SELECT due_at - now() FROM fetches"))
    assert waits > timedelta(minutes=59)


@pytest.mark.parametrize(
    ("url", "allow", "failed"),
    [
        ("http://127.0.0.1:1/", (), "the vendor's address is not one that may be reached"),
        ("http://localhost:1/", (), "the vendor's address is not one that may be reached"),
        ("https://127.0.0.1:1/", (), "the vendor's address is not one that may be reached"),
        ("http://[::ffff:127.0.0.1]:1/", (), "the vendor's address is not one that may be reached"),
        ("http://2130706433:1/", (), "the vendor's address cannot be used"),
        ("http://169.254.169.254/", LOOPBACK, "the vendor's address is not one that may be reached"),
        ("http://127.0.0.1:1/", LOOPBACK, "the connection to the vendor failed (ConnectError)"),
        (
            "https://vendor.invalid/",
            LOOPBACK,
            "the name of the vendor's host is not known, or its name server did not answer",
        ),
    ],
)
async def test_no_address_is_dialled_that_is_not_public_or_allowed(
    harness: Harness, url: str, allow: Any, failed: str
) -> None:
    await harness.waiting(*thin_events("adyen")[:1])
    async with harness.fetcher(schedule=[timedelta(hours=1)], adyen=VendorAddress(url, None, allow)) as fetcher:
        await fetcher.run_once()
    assert [row[2] for row in await harness.rows()] == [failed]


async def test_without_an_address_it_waits_for_one(harness: Harness) -> None:
    """However long that takes: the schedule is not begun, and one warning says why nothing is asked."""
    await harness.waiting(*thin_events("adyen")[:1])
    async with (
        VendorClient({}, version="0") as vendors,
        Publisher(bootstrap_servers=harness.servers, topic=harness.topic, thin_topic="thin") as publisher,
    ):
        fetcher = Fetcher(harness.engine, vendors, FEEDS, send=publisher.send, edge=Edge, schedule=AT_ONCE)
        with capture_logs() as logs:
            for _ in range(len(AT_ONCE) + 2):
                await fetcher.run_once()
                async with harness.engine.begin() as connection:
                    await connection.execute(text("UPDATE fetches SET due_at = now()"))
    assert [(entry["log_level"], entry["feed"]) for entry in logs] == [("warning", "adyen")]
    async with harness.engine.begin() as connection:
        await connection.execute(text("UPDATE fetches SET due_at = now() + interval '1 hour'"))
    assert [row[1:3] + row[4:] for row in await harness.rows()] == [
        (0, "no address is set for this feed (REPOINT_FEED_FETCH)", False)
    ]
    assert await harness.dead_letters() == []
    harness.vendor.answer("/v71/storedPaymentMethods", answer("adyen"))
    async with harness.fetcher() as configured:
        assert await configured.run_once() == 1
    assert (await harness.rows(), len(await harness.updates())) == ([], 1)


@pytest.mark.parametrize("point", ["claimed", "answered", "produced", "finished"])
async def test_killed_anywhere_it_is_asked_again_and_the_same_is_told(
    harness: Harness, database_url: str, point: FetchPoint
) -> None:
    await harness.waiting(*thin_events("adyen")[:1])
    harness.vendor.answer("/v71/storedPaymentMethods", answer("adyen"))
    words = (database_url, harness.servers, harness.topic, harness.vendor.url("/v71"), point)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.producers.vendors.dying_fetcher", *words
    )
    assert await process.wait() == -signal.SIGKILL
    assert len(await harness.rows()) == (0 if point == "finished" else 1)
    async with harness.fetcher() as fetcher:
        assert await fetcher.run_once() == (0 if point == "finished" else 1)
    assert await harness.rows() == []
    updates = await harness.updates()
    assert len(updates) == (2 if point == "produced" else 1)
    assert len({json.dumps(update) for update in updates}) == 1


async def test_one_who_was_slower_than_his_lease_deletes_nothing(harness: Harness) -> None:
    [event] = thin_events("adyen")[:1]
    await harness.waiting(event)
    async with harness.engine.begin() as connection:
        [slow] = await fetches.claim(connection, {"adyen": 4}, lease=timedelta(0))
    async with harness.engine.begin() as connection:
        [fast] = await fetches.claim(connection, {"adyen": 4}, lease=timedelta(hours=1))
        assert fast.attempt == slow.attempt + 1
        await fetches.finish(connection, slow)
        await fetches.postpone(connection, slow, timedelta(days=9), "too late")
        assert not await fetches.give_up(connection, slow)
        assert await fetches.claim(connection, {"adyen": 4}, lease=timedelta(0)) == []
    assert await harness.rows() == [("adyen", 0, None, 2, True)]


async def test_one_who_was_slower_than_his_lease_gives_nothing_up(harness: Harness) -> None:
    """Another one asks by then, and may have an answer."""
    await harness.waiting(*thin_events("adyen")[:1])
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(403, delay=2))
    async with harness.fetcher(schedule=(), lease=timedelta(0)) as fetcher:
        slow = asyncio.create_task(fetcher.run_once())
        await harness.vendor.arrived(1)
        async with harness.engine.begin() as connection:
            [fast] = await fetches.claim(connection, {"adyen": 4}, lease=timedelta(hours=1))
        assert await slow == 1
    assert await harness.dead_letters() == []
    assert await harness.rows() == [("adyen", 0, None, fast.attempt, True)]


async def test_while_kafka_is_away_no_answer_is_lost_and_no_failure_counted(harness: Harness) -> None:
    await harness.waiting(*thin_events("adyen")[:1])
    harness.vendor.answer("/v71/storedPaymentMethods", answer("adyen"))
    async with harness.fetcher(servers="127.0.0.1:1") as fetcher:
        assert await fetcher.run_once() == 1
    assert await harness.rows() == [("adyen", 0, None, 1, False)]
    assert await harness.updates() == []


REPORT = (
    "Payment Method Token,Update Type,New Last 4,New Expiration Date,Card Type\n"
    "tok1,New Expiration Date,,12/29,Visa\n"
    "tok2,Eaten,,,\n"
    f"tok3,Eaten by {PAN},,,\n"
    "tok4,Account Closed,,,\n"
)


async def test_a_report_is_read_as_a_file_of_its_feed(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """At an address of the event's own: without credentials, and not on this machine."""
    fetch = Fetch("https://assets.braintreegateway.com/report.csv?key=x", {}, file_at=NOW)
    event = TopicMessage(None, thin.written("braintree", fetch, NOW + timedelta(days=3)), thin=True)
    await harness.waiting(event, feed="braintree")
    async with harness.fetcher() as fetcher:
        request = fetcher._vendors._request("braintree", fetch)
        assert (request.url, request.headers, request.allow) == (read_url(fetch.path), {}, ())
        here = asking._Request("GET", read_url(harness.vendor.url("/report.csv")), {}, None, LOOPBACK)
        monkeypatch.setattr(fetcher._vendors, "_request", lambda _feed, _fetch: here)
        harness.vendor.answer(
            "/report.csv", Answer(200, body=b"<html>\nLater.\n</html>"), Answer(200, body=REPORT.encode())
        )
        assert await fetcher.run_once() == 1
        assert [row[2].partition(";")[0] for row in await harness.rows()] == ["file: no line can be used"]
        assert await fetcher.run_once() == 1
    assert await harness.rows() == []
    found = await on_topic(harness.servers, harness.topic)
    assert sorted(len(one.headers) for one in found) == [0, 0, 2, 2]
    assert [one for one in found if PAN.encode() in (one.value or b"")] == []
    updates = [json.loads(one.value or b"") for one in found if not one.headers]
    assert {update["type"] for update in updates} == {"EXPIRY_UPDATED", "CLOSED"}
    assert {update["occurredAt"][:16] for update in updates} == {"2026-11-21T12:00"}, "the report's time"


async def test_no_number_of_an_answer_gets_anywhere(harness: Harness, capfd: pytest.CaptureFixture[str]) -> None:
    for canary in (PAN, "4539 5787 6362 1486", "4539-5787-6362-1486", f"https://x.example/{PAN}"):
        for name in ("id", "lastFour", "brand", "expiryMonth", "name", canary):
            await harness.waiting(*thin_events("adyen")[:1])
            said = json.loads(json.dumps(ANSWERS["adyen"]))
            for method in said["storedPaymentMethods"]:
                method[name] = canary
            harness.vendor.answer("/v71/storedPaymentMethods", Answer(200, {}, json.dumps(said).encode()))
            async with harness.fetcher(schedule=[]) as fetcher:
                await fetcher.run_once()
    seen = json.dumps(await harness.updates()) + repr(await harness.rows()) + repr(await harness.dead_letters())
    captured = capfd.readouterr()
    seen += captured.out + captured.err
    assert "4539" not in seen


async def test_it_runs_until_told_to_stop_and_finishes_what_is_under_way(harness: Harness) -> None:
    stopping = asyncio.Event()
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(200, {}, answer("adyen").body, delay=1))
    async with harness.fetcher() as fetcher:
        work = asyncio.create_task(fetcher.run(stopping))
        await harness.waiting(*thin_events("adyen")[:1])
        await harness.vendor.arrived(1)
        stopping.set()
        await work
        assert fetcher.stalled() is None
    assert (await harness.rows(), len(await harness.updates())) == ([], 1)


async def test_what_takes_longer_than_the_drain_is_left_for_another_process(harness: Harness) -> None:
    stopping = asyncio.Event()
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(200, {}, answer("adyen").body, delay=60))
    await harness.waiting(*thin_events("adyen")[:1])
    async with harness.fetcher(deadline=60, drain_within=0.1) as fetcher, asyncio.timeout(40):
        work = asyncio.create_task(fetcher.run(stopping))
        await harness.vendor.arrived(1)
        stopping.set()
        await work
    assert [row[:3] for row in await harness.rows()] == [("adyen", 0, None)]


async def test_what_waits_for_an_address_is_asked_about_once_a_process_starts_with_one(harness: Harness) -> None:
    await harness.waiting(*thin_events("adyen")[:1])

    async def send(_: object) -> bool:
        return True

    async with VendorClient({}, version="0") as nobody:
        await Fetcher(harness.engine, nobody, FEEDS, send=send, edge=Edge).run_once()
    harness.vendor.answer("/v71/storedPaymentMethods", answer("adyen"))
    stopping = asyncio.Event()
    async with harness.fetcher() as fetcher:
        work = asyncio.create_task(fetcher.run(stopping))
        await harness.vendor.arrived(1)
        stopping.set()
        await work
    assert await harness.rows() == []


async def test_a_vendor_is_asked_four_questions_at_a_time(harness: Harness) -> None:
    (event,) = thin_events("adyen")[:1]
    harness.vendor.answer("/v71/storedPaymentMethods", answer("adyen"))
    async with harness.engine.begin() as connection:
        new = [NewFetch("adyen", bytes([number] * 16), event.value, "thin", 0, number) for number in range(5)]
        await fetches.keep(connection, new)
    async with harness.fetcher() as fetcher:
        assert [await fetcher.run_once() for _ in range(3)] == [4, 1, 0]
    assert await harness.rows() == []


# --- and onto the table -------------------------------------------------------------------------------------------


@asynccontextmanager
async def taking_in(harness: Harness, topic: str) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    retention = Retention(known=timedelta(days=1), unknown=timedelta(days=1))
    worker = Worker(
        harness.engine,
        bootstrap_servers=harness.servers,
        topic=topic,
        group=f"{topic}-thin",
        retention=retention,
        take_in=taking.take_in,
    )
    work = asyncio.create_task(worker.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await work


async def test_events_off_the_topic_wait_once_each_and_what_is_none_is_a_dead_letter(
    harness: Harness, broker: Broker
) -> None:
    topic = await make_topic(broker.servers, real=broker.real)
    events = thin_events("adyen") + thin_events("adyen")
    junk = [
        b"no JSON",
        b"\xff",
        b'{"feed": "adyen"}',
        events[0].value.replace(b'"adyen"', b'"stripe"'),
        events[0].value.replace(b'"record"', f'"note": "{PAN}", "record"'.encode()),
    ]
    async with AIOKafkaProducer(bootstrap_servers=broker.servers) as producer:
        for value in [*(event.value for event in events), *junk]:
            await producer.send_and_wait(topic, value)
    async with taking_in(harness, topic):
        await until(lambda: _has(harness, len(junk)), within=60)
    distinct = {thin.parse(event.value).digest for event in events}
    rows = await harness.rows()
    assert len(rows) == len(distinct)
    letters = await harness.dead_letters()
    assert {letter[0] for letter in letters} == {topic}
    assert PAN not in repr(letters)


async def _has(harness: Harness, letters: int) -> bool:
    return len(await harness.dead_letters()) == letters and len(await harness.rows()) > 0


async def test_an_event_about_a_token_of_digits_is_kept_and_asked_about_where_the_settings_say_so(
    harness: Harness,
) -> None:
    digit_ids = frozenset({"adyen", "stripe"})
    event = thin_events("adyen")[0].value.replace(TOKEN, PAN.encode())
    letter = event.replace(b'"adyen"', b'"stripe"')
    messages = [
        ConsumerRecord("thin", 0, offset, 0, 0, None, value, None, -1, len(value), ())
        for offset, value in enumerate((event, letter))
    ]
    await taking.take_in(
        harness.engine, messages, Retention(known=timedelta(days=800), unknown=timedelta(days=3)), digit_ids=digit_ids
    )
    [(_, _, kept)] = await harness.dead_letters()
    assert kept == letter
    body = json.dumps(ANSWERS["adyen"]).encode().replace(TOKEN, PAN.encode())
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(200, {}, body))
    async with harness.fetcher(digit_ids=digit_ids) as fetcher:
        assert await fetcher.run_once() == 1
    [update] = await harness.updates()
    assert update["old"]["token"] == PAN


async def test_an_event_about_a_token_of_digits_that_is_given_up_keeps_it_where_the_settings_say_so(
    harness: Harness,
) -> None:
    digit_ids = frozenset({"adyen"})
    event = thin_events("adyen")[0].value.replace(TOKEN, PAN.encode())
    new = NewFetch("adyen", thin.parse(event, digit_ids=digit_ids).digest, event, "thin", 0, 0)
    async with harness.engine.begin() as connection:
        await fetches.keep(connection, [new])
    harness.vendor.answer("/v71/storedPaymentMethods", Answer(403))
    async with harness.fetcher(schedule=(), digit_ids=digit_ids) as fetcher:
        assert await fetcher.run_once() == 1
    assert await harness.dead_letters() == [("thin", "fetch: the vendor answered 403", event)]
