"""A member of the group without its worker: nobody looks at the topic, so what the reader sees by itself shows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    NoOffsetForPartitionError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from consumers.cluster import NO_BROKER, Cluster, FetchedBatches, Topic, TopicMissing, TopicRemade, Trouble
from consumers.halts import Halts
from consumers.handover import Handover
from consumers.ledger import Ledger
from consumers.letters import Message
from consumers.reader import Reader
from consumers.records import Corrupt
from loops.waiting import Stopped, Waiting
from store.topics import Incarnation, Loss
from tests.consumers.harness import Harness
from tests.consumers.test_troubles import delete, make
from tests.consumers.test_worker import Post, closings, member, post  # noqa: F401 - a fixture
from tests.parts.until import until


@asynccontextmanager
async def reading(
    harness: Harness,
    post: Post,  # noqa: F811 - not the fixture
    *,
    asked: type[Cluster] = Cluster,
    waiting: Waiting | None = None,
    halts: Halts | None = None,
) -> AsyncIterator[tuple[Reader, Topic]]:
    """A reader that has joined the group, and the topic as it was then."""
    waiting, idle = waiting or Waiting("the test"), asyncio.Event()
    idle.set()
    ledger = Ledger(harness.engine, waiting)
    async with asked(bootstrap_servers=post.servers) as cluster:
        topic = await cluster.describe(post.topic)
        reader = Reader(
            bootstrap_servers=post.servers,
            group=post.group,
            session_timeout=20,
            security={},
            ledger=ledger,
            cluster=cluster,
            waiting=waiting,
            halts=halts or Halts(post.topic),
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


# --- a look at the topic ------------------------------------------------------------------------------------------


class Described(Cluster):
    """Brokers that describe the topic as the test says; as it is if it says nothing."""

    answer: ClassVar[Callable[[Topic], Topic] | Trouble | None] = None

    async def describe(self, topic: str) -> Topic:
        answer = type(self).answer
        if isinstance(answer, Trouble):
            raise answer
        as_it_is = await super().describe(topic)
        return as_it_is if answer is None else answer(as_it_is)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> type[Described]:
    monkeypatch.setattr(Described, "answer", None)
    return Described


async def test_a_broker_that_is_away_at_a_look_is_waited_for_and_changes_nothing(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    asked: type[Described],
) -> None:
    await post.send(*closings(30))
    waiting = Waiting("the test")

    def missing() -> str | None:
        return waiting.missing

    async with reading(harness, post, asked=asked, waiting=waiting) as (reader, _):
        await given(reader, 10)
        await reader.look()
        unread = dict(reader.unread)
        await given(reader, 5)
        asked.answer = Trouble(NO_BROKER)
        await reader.look()
        assert missing() == NO_BROKER
        assert reader.unread == unread, "nothing is known of the topic, so the former note stays"
        asked.answer = Trouble("the broker does not let us read the topic")
        with pytest.raises(Trouble, match="does not let us"):
            await reader.look()
        asked.answer = None
        await reader.look()
        assert missing() is None
        assert reader.unread != unread


async def test_a_halted_partition_is_named_again_at_a_look_a_minute_later(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    halts, now = Halts(post.topic), [1000.0]
    monkeypatch.setattr("loops.waiting.time", SimpleNamespace(monotonic=lambda: now[0]))
    async with reading(harness, post, halts=halts) as (reader, _):
        await given(reader, 0)
        with capture_logs() as logs:
            halts.halt(2, Corrupt(7, 9, "the checksum is wrong"))
            for _ in range(2):
                now[0] += 31
                await reader.look()
    assert [line["partition"] for line in logs if line["event"] == "partition halted"] == [2, 2]


async def test_a_topic_that_got_an_id_is_known_by_it_from_then_on(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    asked: type[Described],
) -> None:
    """Older brokers have no ids."""
    asked.answer = partial(replace, id=None)
    async with reading(harness, post, asked=asked) as (reader, _):
        await given(reader, 0)
        for id_ in (None, UUID(int=1), UUID(int=1)):
            asked.answer = partial(replace, id=id_)
            await reader.look()
        asked.answer = partial(replace, id=UUID(int=2))
        with pytest.raises(TopicRemade):
            await reader.look()


async def test_batches_are_asked_of_the_leaders_that_a_look_found(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    asked: type[Described],
    failing: "type[Failing]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaders = []

    async def read(_: Cluster, topic: Topic, partition: int, _offset: int) -> FetchedBatches:
        leaders.append(topic.leaders[partition])
        return FetchedBatches(b"", (), 0)

    monkeypatch.setattr(asked, "read", read)
    await post.send(*closings(6))
    async with reading(harness, post, asked=asked) as (reader, _):
        await given(reader, 6)
        asked.answer = partial(replace, leaders=dict.fromkeys(range(3), 9))
        await reader.look()
        failing.errors = [CorruptRecordException()]
        assert await reader.get(0.1, 1) == {}
    assert leaders == [9] * 3


async def test_what_an_open_transaction_holds_is_counted_at_a_look_until_the_group_is_left(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    def held() -> float | None:
        labels = {"topic": post.topic, "partition": "1"}
        return REGISTRY.get_sample_value("repoint_partition_held_messages", labels)

    producer = AIOKafkaProducer(bootstrap_servers=post.servers, transactional_id=f"open-{post.topic}")
    await producer.start()
    try:
        await post.send(*closings(6))
        async with reading(harness, post) as (reader, _):
            await given(reader, 6)
            await producer.begin_transaction()
            await producer.send_and_wait(post.topic, b"{", partition=1)

            async def is_held() -> bool:
                await reader.get(0.1, 1)
                await reader.look()
                return held() == 1

            await until(is_held)
        assert held() == 0
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def test_a_halt_ends_with_the_assignment_in_which_it_began(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    halts = Halts(post.topic)
    await post.send(*closings(6))
    async with reading(harness, post, halts=halts) as (reader, _):
        await given(reader, 6)
        halts.halt(2, Corrupt(7, 9, "the checksum is wrong"))
        await reader.get(0.1, 1)
        assert 2 in halts
        reader._handover.assignments += 1  # another member has left
        await reader.get(0.1, 1)
        assert 2 not in halts


async def test_what_is_not_read_is_counted_at_a_look_until_the_group_is_left(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lag() -> list[float | None]:
        labels = [{"topic": post.topic, "partition": str(partition)} for partition in range(3)]
        return [REGISTRY.get_sample_value("repoint_consumer_lag_messages", one) for one in labels]

    await post.send(*closings(6))
    async with reading(harness, post) as (reader, _):
        await given(reader, 6)
        await reader.look()
        assert lag() == [0, 0, 0]
        # as the broker's answers say when more has come: two messages of each partition have been read
        monkeypatch.setattr(AIOKafkaConsumer, "highwater", lambda _, place: 5 + place.partition)
        await reader.look()
        assert lag() == [3, 4, 5]
    assert lag() == [None, None, None]


# --- what aiokafka raises -----------------------------------------------------------------------------------------


class Failing(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka has no types
    """A consumer that raises `errors`, one after another, before it polls. What is in `hangs` does not end."""

    errors: ClassVar[list[BaseException]] = []
    hangs: ClassVar[set[str]] = set()

    async def getmany(self, *places: TopicPartition, **limits: int) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return await super().getmany(*places, **limits)

    async def start(self) -> None:
        if "start" in self.hangs:
            await asyncio.Event().wait()
        await super().start()

    async def commit(self, offsets: Any = None) -> None:
        if "commit" in self.hangs:
            await asyncio.Event().wait()
        await super().commit(offsets)

    async def stop(self) -> None:
        await super().stop()
        if "stop" in self.hangs:
            await asyncio.Event().wait()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    Failing.errors, Failing.hangs = [], set()
    monkeypatch.setattr("consumers.reader.AIOKafkaConsumer", Failing)
    return Failing


@pytest.mark.parametrize(
    "error",
    [CorruptRecordException(), UnsupportedCodecError(), UnicodeDecodeError("utf-8", b"", 0, 1, "?"), ValueError()],
    ids=lambda error: type(error).__name__,
)
async def test_after_an_error_of_decoding_each_partition_is_read_from_its_position_on(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    failing: type[Failing],
    error: Exception,
) -> None:
    await post.send(*closings(12))
    async with reading(harness, post) as (reader, _):
        first = await given(reader, 5)
        failing.errors = [error]
        assert await reader.get(0.1, 1) == {}
        rest = await given(reader, 7)
    places = sorted((message.partition, message.offset) for message in [*first, *rest])
    assert places == [(partition, offset) for partition in range(3) for offset in range(4)]


async def test_any_other_error_is_a_trouble(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    failing: type[Failing],
) -> None:
    async with reading(harness, post) as (reader, _):
        failing.errors = [NotLeaderForPartitionError()]
        with pytest.raises(Trouble, match="the broker cannot be used: NotLeaderForPartitionError"):
            await reader.get(0.1, 1)


async def test_each_partition_whose_offset_is_not_there_goes_to_one_that_is(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    failing: type[Failing],
) -> None:
    await post.send(*closings(9))
    async with reading(harness, post) as (reader, _):
        await given(reader, 9)
        places = [TopicPartition(post.topic, partition) for partition in range(3)]
        failing.errors = [OffsetOutOfRangeError(dict.fromkeys(places, 50))]
        assert await reader.get(0.1, 1) == {}
        again = await given(reader, 9)
        assert sorted((message.partition, message.offset) for message in again) == [
            (partition, offset) for partition in range(3) for offset in range(3)
        ]
        failing.errors = [NoOffsetForPartitionError(places[1])]
        assert await reader.get(0.1, 1) == {}
        assert [message.partition for message in await given(reader, 3)] == [1] * 3


# --- what does not end --------------------------------------------------------------------------------------------


async def test_a_commit_that_does_not_end_is_given_up(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    failing: type[Failing],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumers.reader.COMMIT_SECONDS", 0.2)
    await post.send(*closings(3))
    async with reading(harness, post) as (reader, _):
        offsets = behind(await given(reader, 3))
        failed = REGISTRY.get_sample_value("repoint_offset_commits_failed_total") or 0.0
        failing.hangs = {"commit"}
        with capture_logs() as logs:
            async with asyncio.timeout(5):
                await reader.commit(offsets)
        failing.hangs = set()
        assert [(line["event"], line["error"]) for line in logs] == [("offsets not committed", "TimeoutError")]
        assert REGISTRY.get_sample_value("repoint_offset_commits_failed_total") == failed + 1
        await reader.commit(offsets)
        assert await post.committed() == dict.fromkeys(range(3), 1)


async def test_a_group_that_is_left_without_an_end_is_left_unannounced(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    failing: type[Failing],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with capture_logs() as logs:
        async with asyncio.timeout(20):
            async with reading(harness, post):
                failing.hangs = {"stop"}
                monkeypatch.setattr("consumers.reader.COMMIT_SECONDS", 0.2)
    assert [line["error"] for line in logs if line["event"] == "left the group unannounced"] == ["TimeoutError"]


async def test_a_group_that_cannot_be_joined_is_waited_for_and_then_a_trouble(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    failing: type[Failing],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumers.reader._JOINING_SECONDS", 0.1)
    monkeypatch.setattr("consumers.reader._JOINED_SECONDS", 0.6)
    failing.hangs = {"start"}
    waiting = Waiting("the test")
    async with asyncio.timeout(20):
        with pytest.raises(Trouble, match=f"the group {post.group} cannot be joined"):
            async with reading(harness, post, waiting=waiting):
                pass
    assert waiting.missing == f"the group {post.group} is not joined yet"


async def test_who_joins_a_group_stops_when_told(
    harness: Harness,
    post: Post,  # noqa: F811 - the fixture
    failing: type[Failing],
) -> None:
    failing.hangs = {"start"}
    waiting = Waiting("the test")
    waiting.stopping.set()
    async with asyncio.timeout(20):
        with pytest.raises(Stopped):
            async with reading(harness, post, waiting=waiting):
                pass
