"""A member of the group without its worker: nobody looks at the topic, so what the reader sees by itself shows."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from consumers.cluster import Cluster, Topic, TopicMissing, TopicRemade
from consumers.halts import Halts
from consumers.handover import Handover
from consumers.ledger import Ledger
from consumers.letters import Message
from consumers.reader import Reader
from loops.waiting import Waiting
from store.topics import Incarnation, Loss
from tests.consumers.harness import Harness
from tests.consumers.test_troubles import delete, make
from tests.consumers.test_worker import Post, closings, member, post  # noqa: F401 - a fixture
from tests.parts.until import until


@asynccontextmanager
async def reading(harness: Harness, post: Post) -> AsyncIterator[tuple[Reader, Topic]]:  # noqa: F811 - not the fixture
    """A reader that has joined the group, and the topic as it was then."""
    waiting, idle = Waiting("the test"), asyncio.Event()
    idle.set()
    ledger = Ledger(harness.engine, waiting)
    async with Cluster(bootstrap_servers=post.servers) as cluster:
        topic = await cluster.describe(post.topic)
        reader = Reader(
            bootstrap_servers=post.servers,
            group=post.group,
            session_timeout=20,
            security={},
            ledger=ledger,
            cluster=cluster,
            waiting=waiting,
            halts=Halts(post.topic),
            handover=Handover(asyncio.Event(), idle),
            topic=topic,
            incarnation=await ledger.meet(post.topic, topic.id),
        )
        async with reader:
            await reader.start()
            yield reader, topic


async def given(reader: Reader, count: int) -> list[Message]:
    """The next `count` messages."""
    messages: list[Message] = []

    async def are_given() -> bool:
        for batch in (await reader.get(0.1, count - len(messages))).values():
            messages.extend(batch)
        return len(messages) == count

    await until(are_given)
    return messages


def behind(messages: Sequence[Message]) -> dict[TopicPartition, int]:
    return {TopicPartition(message.topic, message.partition): message.offset + 1 for message in messages}


async def test_a_topic_made_anew_gives_nothing_to_who_read_the_former_one_further(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    await post.send(*closings(6))
    async with reading(harness, post) as (reader, _):
        await reader.commit(behind(await given(reader, 6)))
        await delete(post.servers, post.topic)
        await make(post.servers, post.topic)
        await post.send(*closings(3))

        async def is_noticed() -> bool:
            try:
                assert not await reader.get(0.1, 10)
            except TopicMissing:
                return False
            except TopicRemade:
                return True
            return False

        await until(is_noticed, within=60)


async def test_an_offset_that_is_not_there_is_a_reason_to_look_at_the_topic(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    await post.send(*closings(6))
    async with reading(harness, post) as (reader, _):
        await given(reader, 6)
        await delete(post.servers, post.topic)
        await make(post.servers, post.topic)
        with pytest.raises(TopicRemade):
            await reader._partitions.reset(TopicPartition(post.topic, 0), 2)


async def test_a_topic_made_anew_with_fewer_partitions_is_not_called_missing(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    async with reading(harness, post) as (reader, former):
        await delete(post.servers, post.topic)
        await make(post.servers, post.topic, 1)
        with pytest.raises(TopicRemade):
            await reader._naming_trouble(reader._cluster.ends(former, 2))


async def test_what_was_unread_is_noted_of_the_partitions_of_this_assignment_alone(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    await post.send(*closings(30))
    async with reading(harness, post) as (reader, _):
        await given(reader, 15)
        await reader.look()
        assert sum(end - start for start, end in reader.unread.values()) > 0
        async with reading(harness, post) as (other, _):

            async def are_shared() -> bool:
                await reader.get(0.05, 1)
                await other.get(0.05, 1)
                places = [each._consumer.assignment() for each in (reader, other)]
                return all(places) and not places[0] & places[1]

            await until(are_shared, within=60)
            await reader.look()
            mine = {place.partition for place in reader._consumer.assignment()}
            assert reader.unread.keys() <= mine < {0, 1, 2}


async def test_a_new_assignment_drops_what_was_unread(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    await post.send(*closings(30))
    async with reading(harness, post) as (reader, _):
        await given(reader, 10)
        await reader.look()
        assert reader.unread
        await reader._handover.on_partitions_revoked(set())
        await reader.get(0.05, 1)
        assert not reader.unread


async def test_a_new_assignment_drops_the_positions_of_the_former_one(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    """The next assignment begins at the committed offsets, and the positions may be beyond them."""
    await post.send(*closings(6))
    async with reading(harness, post) as (reader, _):
        await given(reader, 6)
        assert reader._partitions.positions
        await reader._handover.on_partitions_revoked(set())
        await reader._notice_assignment()
        assert not reader._partitions.positions


@pytest.mark.parametrize("number", [0, 1], ids=["before the latest one", "the latest one"])
async def test_an_incarnation_met_again_has_lost_nothing(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    number: int,
) -> None:
    """A broker that lags behind describes the former topic once more; and each new member meets the topic again."""
    worker = member(harness.engine, post)
    worker._unread = (Incarnation(post.topic, 1), {0: (2, 5)})
    await worker._lose_unread(Incarnation(post.topic, number))
    assert await harness.rows("SELECT * FROM losses") == []


async def test_what_was_read_after_the_latest_look_is_not_lost(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    worker = member(harness.engine, post)
    harness.topic = post.topic
    await harness.report(*closings(4))
    worker._unread = (Incarnation(post.topic, 0), {0: (2, 7), 1: (0, 3), 2: (5, 5)})
    await worker._lose_unread(Incarnation(post.topic, 1))
    rows = await harness.rows("SELECT partition, from_offset, to_offset, reason FROM losses ORDER BY partition")
    assert [tuple(row) for row in rows] == [(0, 4, 7, Loss.TOPIC_MADE_ANEW), (1, 0, 3, Loss.TOPIC_MADE_ANEW)]


async def test_nothing_to_commit_is_no_commit_that_failed(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    async with reading(harness, post) as (reader, _):
        with capture_logs() as logs:
            await reader.commit({})
    assert [line for line in logs if line["event"] == "offsets not committed"] == []


async def test_the_broker_is_asked_to_answer_with_the_first_message(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    async with reading(harness, post) as (reader, _):
        assert reader._consumer._fetcher._fetch_min_bytes == 1


async def test_a_member_neither_loses_nor_repeats_work_by_its_settings(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    """Aiokafka's defaults commit by themselves, begin at the end, read what is aborted, and give a batch 10 s."""
    async with reading(harness, post) as (reader, _):
        consumer = reader._consumer
        assert consumer._enable_auto_commit is False
        assert consumer._auto_offset_reset == "none"
        assert consumer._isolation_level == "read_committed"
        assert (consumer._session_timeout_ms, consumer._heartbeat_interval_ms) == (20_000, 1333)
        assert (consumer._rebalance_timeout_ms, consumer._max_poll_interval_ms) == (60_000, 300_000)
        assert consumer._client._request_timeout_ms == 90_000
        assert consumer._client._metadata_max_age_ms == 30_000
        assert (consumer._fetch_max_wait_ms, consumer._fetch_max_bytes) == (50, 16 * 1024 * 1024)
        assert [assignor.name for assignor in consumer._partition_assignment_strategy] == ["roundrobin"]
