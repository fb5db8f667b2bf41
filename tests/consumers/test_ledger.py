"""What the ledger says while it cannot write: the real reason, which an operator acts upon."""

import asyncio
from hashlib import md5

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs

from consumers.ledger import Ledger
from consumers.records import Corrupt
from loops.waiting import Waiting
from store import skips
from store.topics import _LOCK, _SPACE, Incarnation, Loss
from tests.consumers.harness import Harness
from tests.parts.until import until


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("lock_timeout", "another worker was in the way: 55P03"),
        ("statement_timeout", "it is too much for one transaction: 57014"),
    ],
)
async def test_a_write_that_takes_too_long_is_not_called_a_database_that_is_away(
    harness: Harness, database_url: str, limit: str, reason: str
) -> None:
    engine = create_async_engine(database_url, connect_args={"server_settings": {limit: "50"}})
    waiting = Waiting("the test")
    async with harness.engine.begin() as connection:
        await connection.execute(_LOCK, {"space": _SPACE, "topic": "updates"})
        meeting = asyncio.create_task(Ledger(engine, waiting).meet("updates", None))

        async def waits() -> str | None:
            return waiting.missing

        assert await until(waits) == f"the state of the topic cannot be written: {reason}"
    assert (await meeting).number == 0
    await engine.dispose()


async def test_a_write_that_no_try_can_make_ends_it(harness: Harness) -> None:
    """Its rows do not grow with what is read, so a lock or a slow server is all that it waits out."""
    topic = "".join(md5(bytes([n])).hexdigest() for n in range(120))  # noqa: S324 - no secret; it cannot be compressed
    async with asyncio.timeout(20):
        with pytest.raises(DBAPIError):
            await Ledger(harness.engine, Waiting("test")).meet(topic, None)


@pytest.mark.parametrize("table", ["inbox", "dead_letters"])
async def test_the_last_offset_of_a_partition_is_one_index_probe(harness: Harness, table: str) -> None:
    """The offset stands right behind what is asked for, so its greatest value is an end of the index."""
    rows = await harness.rows(
        "SELECT indexdef FROM pg_indexes WHERE indexname = :name",
        name=f"uq_{table}_topic_partition_kafka_offset_digest",
    )
    assert rows[0].indexdef.endswith("(topic, partition, incarnation, kafka_offset, digest)")
    async with harness.engine.begin() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        lines = await connection.scalars(
            text(
                f"EXPLAIN (COSTS OFF) SELECT max(kafka_offset) + 1 FROM {table}"  # noqa: S608 - a name of ours
                " WHERE topic = 't' AND partition = 0 AND incarnation = 0"
            )
        )
        plan = "\n".join(lines)
    assert "Index Only Scan Backward" in plan
    assert "Limit" in plan


def metric(name: str, topic: str) -> float:
    return REGISTRY.get_sample_value(name, {"topic": topic, "partition": "2"}) or 0.0


async def test_messages_are_counted_as_lost_once_however_often_their_loss_is_noted(harness: Harness) -> None:
    ledger, of = Ledger(harness.engine, Waiting("test")), Incarnation("lost-once", 0)
    with capture_logs() as logs:
        for end, lost in ((10, 7), (10, 7), (12, 9)):
            await ledger.lose(of, 2, start=3, end=end, reason=Loss.RETENTION)
            assert metric("repoint_messages_lost_total", "lost-once") == lost
    assert logs[0] == {
        "event": "lost before it was read",
        "log_level": "warning",
        "topic": "lost-once",
        "partition": 2,
        "start": 3,
        "end": 10,
        "reason": "RETENTION",
    }


async def test_messages_are_counted_as_skipped_once_however_often_the_order_is_obeyed(harness: Harness) -> None:
    ledger, of = Ledger(harness.engine, Waiting("test")), Incarnation("skipped-once", 0)
    corrupt = Corrupt(4, 6, "the checksum is wrong")
    assert await ledger.obey_skip(of, 2, corrupt) is None
    assert metric("repoint_messages_skipped_total", "skipped-once") == 0
    async with harness.engine.begin() as connection:
        await skips.order(connection, of, 2, 5, "a disk was broken")
    with capture_logs() as logs:
        for _ in range(2):
            assert await ledger.obey_skip(of, 2, corrupt) == 6
            assert metric("repoint_messages_skipped_total", "skipped-once") == 2
    assert logs[0] == {
        "event": "corrupt batch skipped",
        "log_level": "warning",
        "topic": "skipped-once",
        "partition": 2,
        "start": 4,
        "end": 6,
        "reason": "a disk was broken",
    }
