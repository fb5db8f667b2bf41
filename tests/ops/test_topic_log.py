"""The update topic as its broker has it: offsets, and the messages of a range."""

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from domain.reconciliation import FindingKind, JobName, Scope
from ops.settings import Settings
from ops.topic_log import topic_log
from reconciliation import jobs
from reconciliation.accounting import PartitionOffsets, TopicLog
from store.reconciliation.offsets import OffsetRange
from testbed.kafka import Broker
from tests.consumers.harness import Harness
from tests.consumers.test_troubles import remove_before
from tests.consumers.test_worker import Post, closings, taken_in, working
from tests.parts.until import until
from tests.reconciliation.drift import KEPT


@pytest.fixture
def post(kafka: str, topic: str, group: str) -> Post:
    return Post(kafka, topic, group)


def log_of(servers: str, topic: str, group: str) -> TopicLog:
    log = topic_log(Settings.model_validate({"kafka_topic": topic, "kafka_group": group}), servers)
    assert log is not None
    return log


async def set_group(post: Post, partition: int, offset: int) -> None:
    """As `kafka-consumer-groups --reset-offsets` does."""
    consumer = AIOKafkaConsumer(bootstrap_servers=post.servers, group_id=post.group, enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(post.topic, partition)
        consumer.assign([place])
        await consumer.commit({place: OffsetAndMetadata(offset, "")})
    finally:
        await consumer.stop()


async def test_offsets_and_messages_are_those_of_the_broker(post: Post) -> None:
    await post.send(*closings(3), None, *closings(2), partition=1, key=b"k")
    await set_group(post, 1, 4)
    log = log_of(post.servers, post.topic, post.group)
    found = await log.offsets()
    assert found is not None
    assert found.topic == post.topic
    assert {found.partitions[number] for number in (0, 1)} == {PartitionOffsets(0, None), PartitionOffsets(0, 4)}
    assert await log.messages(1, OffsetRange(1, 6)) == [1, 2, 4, 5]
    assert await log.messages(1, OffsetRange(3, 4)) == []
    assert await log.messages(0, OffsetRange(0, 4)) == []


async def test_a_broker_that_is_away_is_said_and_nothing_is_compared(engine: AsyncEngine) -> None:
    log = log_of("127.0.0.1:1", "updates", "group")
    with capture_logs() as lines:
        assert await log.offsets() is None
        assert await log.messages(0, OffsetRange(0, 1)) == ()
        report = await jobs.reconcile(engine, JobName.ACCOUNTING, KEPT, Scope(repairs=True), log=log)
    assert (report.findings, report.run.examined) == (0, 1)
    assert {line["reason"] for line in lines} == {"the broker cannot be reached"}


async def test_without_a_broker_there_is_nothing_to_ask() -> None:
    assert topic_log(Settings(), None) is None
    assert topic_log(Settings(), "") is None


async def test_a_group_that_was_reset_to_later_and_a_topic_that_lost_messages_are_found(
    engine: AsyncEngine, post: Post, broker: Broker
) -> None:
    harness = Harness(engine)
    log = log_of(post.servers, post.topic, post.group)

    async def account() -> list[tuple[FindingKind, str | None]]:
        report = await jobs.reconcile(engine, JobName.ACCOUNTING, KEPT, Scope(repairs=True), log=log)
        return [(finding.kind, finding.expected) async for finding, _ in jobs.findings(engine, report.run.id)]

    await post.send(*closings(6), partition=1)
    async with working(engine, post):
        await taken_in(harness, 6)
        await until(post.is_read_up)
    assert await account() == []
    await post.send(None, *closings(3), partition=1, key=b"k")
    assert await account() == []
    await set_group(post, 1, 9)
    assert await account() == [(FindingKind.MESSAGE_WITHOUT_OUTCOME, "an outcome of 2 messages at offsets 7 to 8")]
    if broker.real:
        await set_group(post, 1, 6)
        await remove_before(post, 1, 8)
        assert await account() == [(FindingKind.LOST_BEFORE_READ, "offset 6 to be read next")]
        async with working(engine, post):
            await until(post.is_read_up)
        assert await account() == []
