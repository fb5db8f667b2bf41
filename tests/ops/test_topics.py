"""`repoint topics` on a real broker: what is missing is made, and what is corrupt is ordered to be skipped."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from store.engine import connect
from testbed import kafka as kafka_part
from testbed.kafka import Opened
from tests.acceptance.program import Program
from tests.consumers.harness import Harness
from tests.consumers.test_troubles import is_well, received, says
from tests.consumers.test_worker import Post, closings, working
from tests.parts import records
from tests.parts.until import until


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    if lacking := kafka_part.missing():
        pytest.skip(f"needs an Apache Kafka of its own, but {lacking}")
    with kafka_part.apache_opened(tmp_path_factory.mktemp("kafka")) as opened:
        yield opened


@pytest.fixture
def names() -> tuple[str, str]:
    end = secrets.token_hex(4)
    return f"updates-{end}", f"thin-{end}"


@pytest.fixture
def program(tmp_path: Path, database_url: str, opened: Opened, names: tuple[str, str]) -> Program:
    return Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=opened.servers,
        KAFKA_TOPIC=names[0],
        KAFKA_THIN_TOPIC=names[1],
    )


async def test_topics_are_made_once_and_grow_where_it_is_asked_for(
    program: Program, opened: Opened, names: tuple[str, str]
) -> None:
    updates, thin = names
    dry = await program("topics", "create", "--dry-run")
    assert dry.out.splitlines() == [
        f"{updates} would be created: 8 partitions, 1 replica each",
        f"{thin} would be created: 2 partitions, 1 replica each",
    ]
    made = await program("topics", "create", "--json")
    assert made.json() == [
        {"topic": updates, "partitions": 8, "replicas": 1, "action": "CREATED"},
        {"topic": thin, "partitions": 2, "replicas": 1, "action": "CREATED"},
    ]
    again = (await program("topics", "create")).well()
    assert again.out == f"{updates} is there already, with 8 partitions\n{thin} is there already, with 2 partitions\n"
    dry = await program("topics", "create", "--thin-partitions", "4", "--dry-run")
    assert dry.out == f"{updates} is there already, with 8 partitions\n{thin} would be grown: 4 partitions\n"
    assert (await program("topics", "create")).out == again.out
    grown = await program("topics", "create", "--thin-partitions", "4", "--partitions", "3")
    assert grown.out == f"{updates} is there already, with 8 partitions\n{thin} grown: 4 partitions\n"
    assert await settings_of(opened, updates) >= {
        ("cleanup.policy", "delete"),
        ("min.insync.replicas", "1"),
        ("retention.ms", str(28 * 24 * 3600 * 1000)),
    }


async def settings_of(opened: Opened, topic: str) -> set[tuple[str, str]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=opened.servers)
    await admin.start()
    try:
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    ((_, _, _, _, entries),) = response.resources
    return {(name, value) for name, value, *_ in entries}


async def test_what_the_broker_refuses_is_said_in_one_line(program: Program, names: tuple[str, str]) -> None:
    ended = await program("topics", "create", "--replicas", "7")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"repoint: the broker does not make {names[0]}: InvalidReplicationFactorError\n"


async def test_a_broker_that_is_away_is_said_in_one_line(tmp_path: Path, database_url: str) -> None:
    program = Program(tmp_path, DATABASE_URL=database_url, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    for arguments in (("create",), ("skip", "vendor.thin-events", "0", "0", "--reason", "r")):
        ended = await program("topics", *arguments)
        assert (ended.code, ended.err) == (1, "repoint: 127.0.0.1:1: the broker cannot be reached\n")


async def test_a_corrupt_batch_is_skipped_by_order_and_nothing_else_is(
    program: Program, opened: Opened, database_url: str, names: tuple[str, str]
) -> None:
    topic = names[0]
    assert (await program("topics", "create", "--partitions", "3")).code == 0
    # fewer than a new topic would have, but nobody asked for more
    assert f"{topic} is there already, with 3 partitions\n" in (await program("topics", "create")).well().out
    corrupt = records.batch([(b"flip this", ()), (b"{", ())])
    await records.put(opened.servers, topic, 1, corrupt, records.batch([(b"[", ())]))
    records.flip(opened.log, topic, 1, b"flip this")
    engine = connect(database_url)
    harness = Harness(engine)
    post = Post(opened.servers, topic, "repoint")
    await post.send(*closings(2), partition=0)
    async with working(engine, post) as worker:
        await until(lambda: says(worker, f"repoint topics skip {topic} 1 0"))
        for place, why in (
            (("1", "2"), "offset 2 of partition 1 of {} can be read: there is nothing to skip"),
            (("1", "3"), "partition 1 of {} has offsets 0 to 2"),
            (("2", "0"), "partition 2 of {} is empty"),
            (("3", "0"), "{} has no partition 3"),
        ):
            refused = await program("topics", "skip", topic, *place, "--reason", "broken disk")
            assert (refused.code, refused.err) == (1, f"repoint: {why.format(topic)}\n")
        dry = await program("topics", "skip", topic, "1", "1", "--reason", "broken disk", "--dry-run")
        assert "that holds offset 1 and ends before 2 would be skipped: the checksum" in dry.out
        assert await harness.rows("SELECT id FROM skips") == []
        assert worker.ready() is not None
        why = "broken disk, with 4111 1111 1111 1111"
        ordered = await program("topics", "skip", topic, "1", "1", "--reason", why, "--json")
        assert ordered.json()["end"] == 2
        assert await harness.rows("SELECT reason FROM skips") == [("broken disk, with **** **** **** ****",)]
        await received(harness, 5)
        await until(lambda: is_well(worker))
    await engine.dispose()
    accounts = (await program("inbox", "accounts", "--json")).json()
    assert {name: count for name, count in accounts.items() if count} == {
        "parked": 2,
        "unreadable": 1,
        "skipped": 2,
        "sum": 5,
    }
    assert "lost before it was read" in (await program("inbox", "accounts")).out


async def test_a_skip_needs_a_reason(program: Program) -> None:
    for reason in ([], ["--reason", "  "]):
        assert (await program("topics", "skip", "updates", "0", "0", *reason)).code == 2
