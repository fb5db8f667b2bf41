"""`repoint topics rewind`: after a restored backup, what was taken in since is read again, and what is known is not."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from testbed.kafka import Broker
from tests.acceptance.program import Program
from tests.consumers.harness import Harness
from tests.consumers.test_worker import Post, working
from tests.domain.build import live, method, replaced, wallet
from tests.parts.until import until


@pytest.fixture
def program(tmp_path: Path, database_url: str, kafka: str, topic: str, group: str) -> Program:
    return Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        KAFKA_THIN_TOPIC=f"{topic}-thin",
        KAFKA_GROUP=group,
    )


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)


@pytest.fixture(autouse=True)
def needs_times(broker: Broker) -> None:
    if not broker.real:
        pytest.skip("needs Apache Kafka: the broker of librdkafka finds no offsets by time")


async def committed(servers: str, group: str, topic: str) -> list[int | None]:
    consumer: AIOKafkaConsumer[bytes, bytes] = AIOKafkaConsumer(
        bootstrap_servers=servers, group_id=group, enable_auto_commit=False
    )
    consumer.assign([TopicPartition(topic, partition) for partition in range(3)])
    await consumer.start()
    try:
        return [await consumer.committed(TopicPartition(topic, partition)) for partition in range(3)]
    finally:
        await consumer.stop()


async def test_what_was_read_since_a_time_is_read_again(
    program: Program, harness: Harness, kafka: str, topic: str, group: str
) -> None:
    await harness.import_wallets(wallet(method("A")), wallet(method("Q"), customer="e2"))
    post = Post(kafka, topic, group)
    before = datetime.now(UTC) - timedelta(hours=1)
    await post.send(replaced("A", "B", on=1), partition=0, timestamp_ms=int(before.timestamp() * 1000))
    await post.send(replaced("Q", "R", on=2), partition=0)
    await post.send(replaced("X", "Y", on=3), partition=1)
    async with working(harness.engine, post):
        await until(lambda: _is(harness, 3))
        refused = await program("topics", "rewind", "--to", before.isoformat(), "--reason", "r")
        assert (refused.code, "stop all processes of role consume first" in refused.err) == (1, True)
    await until(lambda: _idle(program, before))
    # the backup was taken between the two
    await harness.rows("DELETE FROM inbox WHERE update_id <> 'vau-1'")
    await harness.rows("TRUNCATE replacement_facts, credentials, wallets CASCADE")
    await harness.import_wallets(wallet(method("A")), wallet(method("Q"), customer="e2"))
    to = (before + timedelta(minutes=30)).isoformat()
    rewind = ("topics", "rewind", "--to", to, "--reason", "a restored backup")
    assert await committed(kafka, group, topic) == [2, 1, None]
    would = (await program(*rewind, "--dry-run")).well().out
    assert would.splitlines() == [
        f"{topic} partition 0: 1 message would be read again, from 1 on",
        f"{topic} partition 1: 1 message would be read again, from 0 on",
    ]
    assert await committed(kafka, group, topic) == [2, 1, None]
    assert [
        (each["partition"], each["former"], each["offset"]) for each in (await program(*rewind, "--json")).json()
    ] == [
        (0, 2, 1),
        (1, 1, 0),
    ]
    assert await committed(kafka, group, topic) == [1, 0, None]
    assert (await program(*rewind)).well().out.startswith("nothing was read since")
    async with working(harness.engine, post):
        await until(lambda: _is(harness, 3))
    assert live(await harness.wallet("e2")).keys() == {"R"}
    (act,) = (await program("audit", "list", "--json")).json()
    assert (act["action"], act["reason"]) == ("topics rewound", "a restored backup")
    assert act["after"]["partitions"] == [[topic, 0, 2, 1], [topic, 1, 1, 0]]


async def _is(harness: Harness, count: int) -> bool:
    return len(await harness.outcomes()) == count


async def _idle(program: Program, at: datetime) -> bool:
    await asyncio.sleep(0.2)
    return (await program("topics", "rewind", "--to", at.isoformat(), "--reason", "r", "--dry-run")).code == 0
