"""The parts that every other test stands on."""

import asyncio
import re

import aiohttp
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from testbed.kafka import Broker
from testbed.postgres import Databases
from tests.parts.proxy import Proxy
from tests.parts.receiver import Answer, Receiver, gzip_bomb, redirect, unavailable
from tests.parts.until import until


async def test_each_test_has_a_migrated_database_of_its_own(engine: AsyncEngine, databases: Databases) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE only_here ()"))
        tables = await connection.scalar(text("SELECT count(*) FROM pg_tables WHERE tablename = 'alembic_version'"))
    assert tables == 1
    other = await databases.create()
    assert other != str(engine.url)
    await databases.drop(other)


@pytest.mark.partitions(5)
async def test_a_message_goes_round_through_the_broker(broker: Broker, kafka: str, topic: str, group: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        assert len(await producer.partitions_for(topic)) == (5 if broker.real else 4)
        await producer.send_and_wait(topic, b"hello", key=b"vau:tok_A")
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, group_id=group, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(30):
        record = await consumer.getone()
    assert record.value == b"hello"


async def test_the_receiver_answers_as_told(receiver: Receiver) -> None:
    receiver.answer("/a", unavailable("7"), redirect("http://elsewhere.invalid/"), Answer(204))
    receiver.answer("/cut", Answer(cut="silently"))
    receiver.answer("/half", Answer(cut="mid-status"))
    receiver.answer("/bomb", gzip_bomb(1 << 20))
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        statuses = []
        for _ in range(4):
            async with client.post(receiver.url("/a"), data=b"{}", allow_redirects=False) as response:
                statuses.append((response.status, response.headers.get("Retry-After")))
        for path in ("/cut", "/half"):
            with pytest.raises(aiohttp.ClientError):
                await client.post(receiver.url(path), data=b"{}")
        async with client.post(receiver.url("/bomb"), data=b"{}") as response:
            assert len(await response.read()) < 10_000
    assert statuses == [(503, "7"), (302, None), (204, None), (204, None)]
    assert [request.body for request in await receiver.arrived(4, "/a")] == [b"{}"] * 4


async def test_a_dripping_receiver_never_ends(receiver: Receiver) -> None:
    receiver.answer("/drip", Answer(drip=0.01))
    async with aiohttp.ClientSession() as client:
        response = await client.post(receiver.url("/drip"), data=b"{}")
        assert await response.content.readexactly(5) == b"....."
        assert not response.content.at_eof()
        response.close()


async def test_awaiting_what_never_comes_says_what_came(receiver: Receiver) -> None:
    async with aiohttp.ClientSession() as client:
        await client.post(receiver.url("/b"))
    with pytest.raises(TimeoutError, match=r"2 requests to /b awaited; seen: {'/b': 1}"):
        await receiver.arrived(2, "/b", within=0.05)


async def test_a_proxy_can_lose_the_answer_to_a_commit_that_happened(engine: AsyncEngine, database_url: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE kept (answer int)"))
    async with Proxy(database_url) as proxy:
        through = await asyncpg.connect(proxy.url.replace("+asyncpg", ""))
        try:
            proxy.mute()
            commit = asyncio.ensure_future(through.execute("INSERT INTO kept VALUES (42)"))
            async with engine.connect() as connection:
                await until(lambda: connection.scalar(text("SELECT answer FROM kept")))
            assert not commit.done()
            proxy.refuse()
            with pytest.raises(asyncpg.ConnectionDoesNotExistError):
                await commit
            with pytest.raises(ConnectionError):
                await asyncpg.connect(proxy.url.replace("+asyncpg", ""))
            proxy.pass_on()
            again = await asyncpg.connect(proxy.url.replace("+asyncpg", ""))
            assert await again.fetchval("SELECT answer FROM kept") == 42
            await again.close()
        finally:
            through.terminate()


async def test_waiting_for_what_never_becomes_true_says_what_is() -> None:
    async def told() -> list[int]:
        return []

    with pytest.raises(AssertionError, match=re.escape("still [] after 0.05 s")):
        await until(told, within=0.05)
