"""`repoint run --role api`: vendors post, and need neither a database nor luck when it ends."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from store import dead_letters
from store.dead_letters import DeadLetter
from testbed.kafka import Broker
from tests.acceptance.program import Going, Program
from tests.api import test_authentication as vendors
from tests.api.posting import SECRETS, FeedClient, make_topic, on_topic
from tests.api.test_feeds import CANARIES, FORBIDDEN, planted
from tests.parts.receiver import Answer, Receiver
from tests.parts.until import until
from tests.schemas.feeds.answering import ANSWERS
from tests.schemas.feeds.reading import messages

SECRET = "whsec_never-to-be-seen"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PASSWORD = "correct-horse-battery-staple"
EXAMPLES = Path(__file__).parents[2] / "examples" / "feeds"
EVENT = (EXAMPLES / "stripe.jsonl").read_bytes().splitlines()[0]


@pytest.fixture
async def program(tmp_path: Path, broker: Broker, topic: str) -> Program:
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"stripe": [SECRET, "whsec_former_of_these_tests"], "vgs": "a-token-of-vgs-now"}))
    return Program(
        tmp_path,
        KAFKA_BOOTSTRAP_SERVERS=broker.servers,
        KAFKA_TOPIC=topic,
        KAFKA_THIN_TOPIC=await make_topic(broker.servers, real=broker.real),
        FEED_SECRETS=str(secrets),
        API_PORT="0",
        HTTP_PORT="0",
        LOG_FORMAT="json",
        LOG_LEVEL="DEBUG",
    )


async def ports(going: Going) -> tuple[int, int]:
    """Of feeds, and of health."""
    [listening] = await going.says("listening for feeds")
    [running] = await going.says('"running"')
    return json.loads(listening)["port"], json.loads(running)["port"]


def signed(body: bytes) -> dict[str, str]:
    return {**vendors.stripe(SECRET, body, at=time.time()).headers, "Content-Type": "application/json"}


async def test_what_is_under_way_when_it_is_told_to_stop_is_answered_and_kept(
    program: Program, kafka: str, topic: str
) -> None:
    begun, told_to_stop = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        begun.set()
        yield EVENT[:100]
        await told_to_stop.wait()
        yield EVENT[100:]

    async with program.going("run", "--role", "api") as going, aiohttp.ClientSession() as session:
        feeds, health = await ports(going)
        address = f"http://127.0.0.1:{feeds}/v1/feeds/stripe"
        async with session.post(address, data=EVENT, headers=signed(EVENT)) as answer:
            assert answer.status == 202
        async with session.get(f"http://127.0.0.1:{health}/readyz") as answer:
            assert (answer.status, (await answer.json())["feeds"]) == (200, "ok")
        # its body is asked for by an answer of 100, so the request is there before the signal
        posting = asyncio.create_task(session.post(address, data=slowly(), headers=signed(EVENT), expect100=True))
        await begun.wait()
        async with session.get(f"http://127.0.0.1:{health}/metrics") as answer:
            metrics = await answer.text()
        assert 'repoint_feed_requests_total{feed="stripe",status="202"} 1.0' in metrics
        going.process.terminate()
        await nobody_listens(feeds)
        told_to_stop.set()
        async with await posting as answer:
            assert answer.status == 202
        assert await going.end() == 0
        shown = "".join(going.lines)
    assert len(await on_topic(kafka, topic)) == 2
    [*_, line] = [json.loads(one) for one in shown.splitlines() if '"feed posted"' in one]
    assert (line["feed"], line["status"], line["accepted"], line["refused"]) == ("stripe", 202, 1, 0)
    assert [secret for secret in (SECRET, "whsec_former_of_these_tests", "a-token-of-vgs-now") if secret in shown] == []
    assert "aNewCardFpr1nt" not in shown


async def nobody_listens(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                continue  # it stopped listening while this connection waited to be accepted
            writer.close()
            await asyncio.sleep(0.02)


async def test_a_thin_event_that_is_posted_or_ingested_is_asked_about_and_taken_in(
    program: Program, database_url: str, receiver: Receiver
) -> None:
    """By the whole program: what the vendor answers ends in the inbox, under whose name it was asked for."""
    samples = (EXAMPLES / "adyen.jsonl").read_text().splitlines()
    posted = next(event for line in samples if (event := json.loads(line))["type"] == "recurring.token.updated")
    token = posted["data"]["storedPaymentMethodId"]
    receiver.answer("/v71/storedPaymentMethods", Answer(503), Answer(200, {}, json.dumps(ANSWERS["adyen"]).encode()))
    fetch = {"adyen": {"url": receiver.url("/v71"), "user": "ws", "password": PASSWORD, "allow": ["127.0.0.0/8"]}}
    program.settings |= {
        "DATABASE_URL": database_url,
        "KAFKA_GROUP": f"group-of-{program.settings['KAFKA_TOPIC']}",
        "FEED_SECRETS": json.dumps({"adyen": "ab" * 32}),
        "FEED_FETCH": json.dumps(fetch),
    }
    body = json.dumps(posted).encode()
    headers = {**vendors.adyen("ab" * 32, body).headers, "Content-Type": "application/json"}

    async def inbox() -> list[Any]:
        return [one for one in (await program("inbox", "list", "--json")).json() if one["vendor"] == "adyen"]

    async def two() -> bool:
        return len(await inbox()) >= 2

    async with program.going("run") as going, aiohttp.ClientSession() as session:
        port, _ = await ports(going)
        async with session.post(f"http://127.0.0.1:{port}/v1/feeds/adyen", data=body, headers=headers) as answer:
            assert answer.status == 202
        await until(inbox, within=60)
        assert len(receiver.at("/v71/storedPaymentMethods")) == 2
        later = posted | {"createdAt": "2026-11-21T09:14:13+01:00"}
        (await program("ingest", "--format", "adyen", program.write("adyen.jsonl", later))).well()
        await until(two, within=60)
        assert await going.stop() == 0
        shown = "".join(going.lines)
    assert {one["type"] for one in await inbox()} == {"DETAILS_UPDATED"}
    assert (await program("dead-letters", "list", "--json")).json() == []
    assert [said for said in (PASSWORD, "ab" * 32, token, posted["data"]["shopperReference"]) if said in shown] == []


async def test_ingesting_thin_events_needs_their_topic_and_says_so(program: Program) -> None:
    events = (EXAMPLES / "adyen.jsonl").read_text()
    (program.directory / "adyen.jsonl").write_text(events)
    ended = await program("ingest", "--format", "adyen", "adyen.jsonl", KAFKA_THIN_TOPIC="nobody-made-it")
    assert ended.code == 1
    assert "topic nobody-made-it" in ended.err
    assert "REPOINT_KAFKA_THIN_TOPIC" in ended.err


@pytest.fixture
def with_database(program: Program, database_url: str) -> Program:
    program.settings |= {"DATABASE_URL": database_url, "KAFKA_GROUP": f"group-of-{program.settings['KAFKA_TOPIC']}"}
    return program


async def test_a_dead_letter_of_a_thin_event_is_replayed_onto_the_topic_of_thin_events(
    with_database: Program, engine: AsyncEngine, kafka: str, topic: str
) -> None:
    thin_topic = with_database.settings["KAFKA_THIN_TOPIC"]
    samples = [json.loads(line) for line in (EXAMPLES / "adyen.jsonl").read_text().splitlines()]
    event = next(one for sample in samples for one in messages(FEEDS["adyen"], sample, Edge(NOW)) if one.thin)
    bodies = [event.value, b"no event"]
    letters = [
        DeadLetter(thin_topic, 0, at, bytes([at]), "fetch: the vendor answered 403", None, body)
        for at, body in enumerate(bodies)
    ]
    async with engine.begin() as connection:
        await dead_letters.keep(connection, letters)
        first, second = [one.id for one in await dead_letters.page(connection)]
    (await with_database("dead-letters", "replay", str(first))).well()
    assert [one.value for one in await on_topic(kafka, thin_topic)] == [event.value]
    assert await on_topic(kafka, topic) == []
    refused = await with_database("dead-letters", "replay", str(second))
    assert (refused.code, "message: expected JSON" in refused.err) == (1, True)


async def test_no_card_number_that_is_posted_is_kept_or_shown_anywhere(
    with_database: Program, database_url: str, kafka: str, topic: str
) -> None:
    """Everything that there is afterwards: answers, both topics, all tables, the log."""
    thin_topic = with_database.settings["KAFKA_THIN_TOPIC"]
    feeds = ("gocardless", "stripe", "vgs", "visa-tms", "worldpay", "adyen")
    secrets = {feed: SECRETS[feed] for feed in feeds}
    program, seen = with_database, ""
    async with program.going("run", FEED_SECRETS=json.dumps(secrets)) as going, aiohttp.ClientSession() as session:
        port, _ = await ports(going)
        client = FeedClient(session, f"http://127.0.0.1:{port}")
        for feed in feeds:
            for canary in CANARIES:
                answer = await client.post(feed, [one for one in planted(feed, canary) if isinstance(one, dict)])
                assert answer.status in {202, 422}
                answer = await client.post(feed, [each for one in planted(feed, canary) for each in _flat(one)])
                assert answer.status in {202, 422}
                seen += json.dumps(answer.body)
        produced, thin = await on_topic(kafka, topic), await on_topic(kafka, thin_topic)
        assert len(produced) > 100
        assert thin

        async def all_taken_in() -> bool:
            rows = await everything(database_url)
            waiting = await offsets(kafka, f"group-of-{topic}-thin", thin_topic)
            return len(rows["inbox"]) + len(rows["dead_letters"]) >= len(produced) and waiting == len(thin)

        await until(all_taken_in, within=90)
        assert await going.stop() == 0
        seen += "".join(going.lines)
    tables = await everything(database_url)
    assert tables["dead_letters"]
    assert tables["fetches"]
    seen += repr(tables) + repr([(one.key, one.value, one.headers) for one in [*produced, *thin]])
    assert [shown for shown in FORBIDDEN if shown in seen] == []


def _flat(posted: object) -> list[object]:
    return posted if isinstance(posted, list) else [posted]


async def offsets(kafka: str, group: str, topic: str) -> int:
    """How many messages of the topic the group is done with."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka, group_id=None) as consumer:
        partitions = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic) or ()]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        done = await admin.list_consumer_group_offsets(group, partitions=partitions)
    finally:
        await admin.close()
    return sum(max(one.offset, 0) for one in done.values())


async def everything(database_url: str) -> dict[str, list[Any]]:
    """All rows of all tables."""
    connection = await asyncpg.connect(
        make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {
            name: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {name}")]  # noqa: S608
            for (name,) in names
        }
    finally:
        await connection.close()


async def test_what_it_needs_is_said_at_the_start(program: Program) -> None:
    ended = await program("run", "--role", "api", FEED_SECRETS="")
    assert (ended.code, "REPOINT_FEED_SECRETS" in ended.err) == (2, True)
    async with program.going("run", "--role", "api") as going:
        port, _ = await ports(going)
        ended = await program("run", "--role", "api", API_PORT=str(port))
        assert ended.code == 1
        assert f"feeds cannot be listened for on 127.0.0.1:{port} (REPOINT_API_HOST, REPOINT_API_PORT)" in ended.err
    wrong = await program("run", "--role", "api", FEED_SECRETS='{"vgs": "guess-me"}')
    assert wrong.code == 2
    assert "REPOINT_FEED_SECRETS: vgs: expected 16 characters or more" in wrong.err
    assert "guess-me" not in wrong.err
