"""Where each partition is read on. Kafka is a script here: what it answers is written, what is asked of it is noted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from uuid import UUID

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from structlog.testing import capture_logs

from consumers.cluster import FetchedBatches, Topic, TopicRemade, Trouble
from consumers.halts import Halts
from consumers.ledger import Ledger
from consumers.partitions import Partitions
from consumers.records import Corrupt
from loops.waiting import Waiting
from store import skips
from store.topics import Incarnation, Loss
from tests.consumers.harness import Harness
from tests.consumers.test_records import WRONG, batch, damaged, marker
from tests.parts.records import sealed

TOPIC = Topic("updates", UUID(int=1), {0: 1, 1: 1, 2: 1})


def at(partition: int) -> TopicPartition:
    return TopicPartition("updates", partition)


@dataclass
class Consumer:
    """A member of the group with the partitions `assigned`; offsets are by partition."""

    assigned: set[int]
    committed_to: dict[int, int] = field(default_factory=dict)
    high: dict[int, int] = field(default_factory=dict)
    sought: dict[int, int] = field(default_factory=dict)
    paused: set[int] = field(default_factory=set)
    refusal: Exception | None = None

    def assignment(self) -> set[TopicPartition]:
        return {at(partition) for partition in sorted(self.assigned)}

    def _own(self, place: TopicPartition) -> int:
        if place.partition not in self.assigned:
            raise IllegalStateError(place)
        return int(place.partition)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.sought[self._own(place)] = offset

    def pause(self, place: TopicPartition) -> None:
        self.paused.add(self._own(place))

    def resume(self, place: TopicPartition) -> None:
        self.paused.discard(self._own(place))

    def highwater(self, place: TopicPartition) -> int | None:
        return self.high.get(self._own(place))

    async def committed(self, place: TopicPartition) -> int | None:
        return self.committed_to.get(place.partition)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.committed_to |= {place.partition: offset for place, offset in offsets.items()}


@dataclass
class Brokers:
    """`ends` and the batches of each partition, the latter from the position on."""

    ends_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    batches: dict[int, bytes] = field(default_factory=dict)
    aborted: tuple[tuple[int, int], ...] = ()
    asked: list[tuple[int, int]] = field(default_factory=list)
    is_remade: bool = False

    async def describe_again(self, topic: Topic) -> Topic:
        if self.is_remade:
            raise TopicRemade(topic.name)
        return replace(topic, leaders=dict.fromkeys(topic.leaders, 2))

    async def ends(self, topic: Topic, partition: int) -> tuple[int, int]:
        assert topic.name == "updates"
        return self.ends_of[partition]

    async def read(self, topic: Topic, partition: int, offset: int) -> FetchedBatches:
        assert topic.name == "updates"
        self.asked.append((partition, offset))
        return FetchedBatches(self.batches.get(partition, b""), self.aborted, 100)


class Scene:
    """The partitions of a member, over a ledger in the database."""

    def __init__(self, harness: Harness, *assigned: int, number: int = 0) -> None:
        self.consumer = Consumer(set(assigned))
        self.brokers = Brokers()
        self.halts = Halts("updates")
        self.ledger = Ledger(harness.engine, Waiting("the test"))
        self.incarnation = Incarnation("updates", number)
        self.committed: list[dict[int, int]] = []
        self.partitions = Partitions(
            self.consumer,
            ledger=self.ledger,
            cluster=cast(Any, self.brokers),
            halts=self.halts,
            topic=TOPIC,
            incarnation=self.incarnation,
            commit=self._commit,
        )

    async def _commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed.append({place.partition: offset for place, offset in offsets.items()})

    async def begun(self) -> set[int]:
        return await self.ledger.begun(self.incarnation, [0, 1, 2])

    async def past(self) -> dict[int, list[int]]:
        """The offsets that are given where aiokafka raised, by partition."""
        polled = await self.partitions.read_past(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))
        return {place.partition: [message.offset for message in given] for place, given in polled.items()}


def messages(*offsets: int, partition: int = 0) -> Any:
    return {
        at(partition): [
            ConsumerRecord("updates", partition, offset, 0, 0, None, b"{}", None, -1, 2, ()) for offset in offsets
        ],
    }


def strange(base: int) -> bytes:
    """A batch of one message with a header whose name is no UTF-8."""
    written = bytearray(batch(base, b"{", headers=[("@@@@", b"")]))
    place = written.index(b"@@@@")
    written[place : place + 4] = b"\xff\xfe\xfd\xfc"
    return sealed(written)


# --- positions ----------------------------------------------------------------------------------------------------


def test_a_partition_stands_behind_the_last_message_that_it_gave(harness: Harness) -> None:
    partitions = Scene(harness, 0).partitions
    partitions.note_positions(messages(3, 4, 7), is_current=True)
    assert partitions.positions == {at(0): 8}


def test_what_a_former_assignment_gave_says_nothing_of_where_this_one_stands(harness: Harness) -> None:
    """It may not have been taken in: what is behind it would be skipped over where a batch cannot be read."""
    partitions = Scene(harness, 0).partitions
    partitions.note_positions(messages(3) | messages(5, partition=1), is_current=True)
    partitions.note_positions(messages(8, 9), is_current=False)
    assert partitions.positions == {at(1): 6}


def test_what_is_unread_is_between_the_position_and_the_high_watermark(harness: Harness) -> None:
    scene = Scene(harness, 0, 1, 2)
    scene.consumer.high = {0: 10, 1: 3}
    scene.partitions.positions = {at(0): 4, at(1): 5, at(2): 6}
    scene.partitions.unread = {7: (1, 2)}
    scene.partitions.note_unread()
    assert scene.partitions.unread == {0: (4, 10), 1: (5, 5)}


# --- the beginning ------------------------------------------------------------------------------------------------


async def test_the_first_incarnation_begins_where_the_group_is(harness: Harness) -> None:
    scene = Scene(harness, 0, 2)
    await scene.partitions.begin()
    assert await scene.begun() == {0, 2}
    assert (scene.consumer.sought, scene.consumer.committed_to) == ({}, {})


async def test_a_later_incarnation_begins_at_its_first_offsets(harness: Harness) -> None:
    """What the group has committed is of the former one."""
    scene = Scene(harness, 0, 1, number=1)
    scene.consumer.committed_to = {0: 7, 1: 8}
    scene.brokers.ends_of = {0: (0, 9), 1: (3, 9), 2: (4, 9)}
    await scene.partitions.begin()
    assert scene.consumer.sought == scene.consumer.committed_to == {0: 0, 1: 3}
    assert await scene.begun() == {0, 1}
    scene.consumer.assigned.add(2)
    await scene.partitions.begin()
    assert scene.consumer.sought == scene.consumer.committed_to == {0: 0, 1: 3, 2: 4}
    assert await scene.begun() == {0, 1, 2}


async def test_a_partition_that_another_member_has_begun_goes_on(harness: Harness) -> None:
    scene = Scene(harness, 0, 1, number=1)
    await scene.ledger.begin(scene.incarnation, [0])
    scene.brokers.ends_of = {1: (3, 9)}
    await scene.partitions.begin()
    assert scene.consumer.sought == {1: 3}


async def test_a_partition_is_begun_once_by_a_member(harness: Harness) -> None:
    """Every poll asks for it, and the database is not asked each time."""
    scene = Scene(harness, 0)
    await scene.partitions.begin()
    await harness.rows("DELETE FROM topic_partitions")
    await scene.partitions.begin()
    assert await scene.begun() == set()


@pytest.mark.parametrize("refusal", [CommitFailedError(), IllegalStateError()], ids=lambda error: type(error).__name__)
async def test_a_partition_has_not_begun_while_its_first_offset_cannot_be_committed(
    harness: Harness, refusal: Exception
) -> None:
    scene = Scene(harness, 0, number=1)
    scene.brokers.ends_of = {0: (3, 9)}
    scene.consumer.refusal = refusal
    await scene.partitions.begin()
    assert await scene.begun() == set()
    scene.consumer.refusal = None
    await scene.partitions.begin()
    assert await scene.begun() == {0}
    assert scene.consumer.committed_to == {0: 3}


async def test_a_partition_that_went_to_another_member_meanwhile_is_begun_by_that_one(harness: Harness) -> None:
    scene = Scene(harness, 0, number=1)

    async def ends(topic: Topic, partition: int) -> tuple[int, int]:
        scene.consumer.assigned.clear()
        return (3, 9)

    scene.brokers.ends = ends  # type: ignore[method-assign]
    await scene.partitions.begin()
    assert await scene.begun() == set()
    assert scene.consumer.committed_to == {}


# --- an offset that is not there ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "taken_to", "position", "lost"),
    [
        pytest.param(None, 0, 5, (0, 5), id="a new group loses what retention took"),
        pytest.param(None, 3, 5, (3, 5), id="but not what was taken in"),
        pytest.param(None, 7, 5, None, id="nor anything if all of it was"),
        pytest.param(2, 0, 5, (2, 5), id="a group loses what is behind its offset"),
        pytest.param(2, 4, 5, (4, 5), id="but not what was taken in and not committed"),
        pytest.param(4, 5, 5, None, id="nor anything if all of it was taken in"),
        pytest.param(5, 0, 5, None, id="the first offset is there"),
        pytest.param(7, 0, 7, None, id="as one in between"),
        pytest.param(9, 0, 9, None, id="and the end"),
        pytest.param(10, 0, 5, None, id="behind the end nothing is"),
    ],
)
async def test_reading_goes_on_at_an_offset_that_is_there(
    harness: Harness, offset: int | None, taken_to: int, position: int, lost: tuple[int, int] | None
) -> None:
    scene = Scene(harness, 0, 1)
    scene.brokers.ends_of = {1: (5, 9)}
    if taken_to:
        message = harness.message(b"{", partition=1, offset=taken_to - 1)
        await harness.take_in([message])
    with capture_logs() as logs:
        assert await scene.partitions.reset(at(1), offset) == position
    assert scene.consumer.sought == {1: position}
    rows = await harness.rows("SELECT partition, from_offset, to_offset, reason FROM losses")
    assert [tuple(row) for row in rows] == ([(1, *lost, Loss.RETENTION)] if lost else [])
    assert scene.committed == ([{1: 5}] if lost else [])
    shorter = [line for line in logs if line["event"] == "partition is shorter than before"]
    assert [(line["partition"], line["offset"], line["end"]) for line in shorter] == (
        [(1, 10, 9)] if offset == 10 else []
    )


async def test_after_a_reset_the_leaders_are_asked_that_the_partitions_have_now(harness: Harness) -> None:
    scene = Scene(harness, 0, 1)
    scene.brokers.ends_of = {1: (5, 9)}
    await scene.partitions.reset(at(1), 7)
    assert scene.partitions.topic.leaders == {0: 2, 1: 2, 2: 2}


async def test_a_partition_of_another_member_is_not_reset(harness: Harness) -> None:
    scene = Scene(harness, 0)
    scene.brokers.ends_of = {1: (5, 9)}
    assert await scene.partitions.reset(at(1), 2) is None
    assert scene.committed == []


async def test_of_a_topic_made_anew_nothing_is_lost_at_a_reset(harness: Harness) -> None:
    scene = Scene(harness, 0)
    scene.brokers.is_remade = True
    with pytest.raises(TopicRemade):
        await scene.partitions.reset(at(0), 2)
    assert await harness.rows("SELECT * FROM losses") == []


# --- what cannot be read ------------------------------------------------------------------------------------------


async def test_a_message_that_aiokafka_cannot_read_is_given_and_all_others_go_back(harness: Harness) -> None:
    scene = Scene(harness, 0, 1, 2)
    scene.partitions.positions = {at(0): 4, at(1): 6}
    scene.consumer.committed_to = {0: 1, 2: 8}
    scene.brokers.batches = {0: batch(3, b"3", b"4") + strange(5), 1: batch(6, b"6"), 2: batch(8, b"8")}
    assert await scene.past() == {0: [4, 5]}
    assert sorted(scene.brokers.asked) == [(0, 4), (1, 6), (2, 8)]
    assert scene.consumer.sought == {0: 6, 1: 6, 2: 8}
    assert scene.partitions.positions == {at(0): 6, at(1): 6}


async def test_a_partition_without_an_offset_goes_back_to_its_beginning(harness: Harness) -> None:
    scene = Scene(harness, 0)
    scene.brokers.ends_of = {0: (3, 9)}
    scene.brokers.batches = {0: strange(3)}
    assert await scene.past() == {0: [3]}
    assert scene.brokers.asked == [(0, 3)]
    assert scene.consumer.sought == {0: 4}


async def test_what_stands_before_a_corrupt_batch_is_given_and_then_the_partition_is_halted(harness: Harness) -> None:
    scene = Scene(harness, 0, 1)
    scene.partitions.positions = {at(0): 3, at(1): 0}
    scene.brokers.batches = {0: batch(3, b"3") + damaged(batch(4, b"4", b"5"))}
    assert await scene.past() == {0: [3]}
    assert (scene.halts.items(), scene.consumer.paused) == ([], set())
    scene.brokers.batches = {0: damaged(batch(4, b"4", b"5"))}
    assert await scene.past() == {}
    assert scene.halts.items() == [(0, Corrupt(4, 6, WRONG))]
    assert scene.consumer.paused == {0}
    assert scene.partitions.positions[at(0)] == 4
    scene.brokers.asked.clear()
    await scene.past()
    assert scene.brokers.asked == [(1, 0)], "it is halted, and looked at no more"


async def test_what_no_message_is_of_is_passed_before_a_corrupt_batch(harness: Harness) -> None:
    """The end of a transaction, or what was aborted."""
    scene = Scene(harness, 0)
    scene.partitions.positions = {at(0): 3}
    scene.brokers.aborted = ((7, 3),)
    scene.brokers.batches = {0: batch(3, b"3", attributes=0x10, producer=7) + marker(4, 0, 7) + damaged(batch(5, b""))}
    assert await scene.past() == {}
    assert (scene.consumer.sought, scene.halts.items()) == ({0: 5}, [])


async def test_a_partition_that_went_to_another_member_while_it_was_read_gives_nothing(harness: Harness) -> None:
    scene = Scene(harness, 0, 1)
    scene.partitions.positions = {at(0): 3, at(1): 3}
    scene.brokers.batches = {0: strange(3), 1: damaged(batch(3, b"3"))}
    read = scene.brokers.read

    async def read_and_lose(topic: Topic, partition: int, offset: int) -> FetchedBatches:
        scene.consumer.assigned.discard(partition)
        return await read(topic, partition, offset)

    scene.brokers.read = read_and_lose  # type: ignore[method-assign]
    assert await scene.past() == {}
    assert scene.partitions.positions == {at(0): 3, at(1): 3}
    assert scene.halts.items() == []


async def test_one_that_went_to_another_member_before_is_not_read(harness: Harness) -> None:
    scene = Scene(harness, 0)
    scene.partitions.positions = {at(0): 3, at(1): 3}
    scene.consumer.assignment = lambda: {at(1)}  # type: ignore[method-assign]
    assert await scene.past() == {}
    assert scene.brokers.asked == []


async def test_what_nothing_explains_is_a_trouble_at_the_third_time_in_a_row(harness: Harness) -> None:
    scene = Scene(harness, 0)
    scene.partitions.positions = {at(0): 3}
    for _ in range(2):
        assert await scene.past() == {}
        assert await scene.past() == {}
        scene.partitions.note_positions(messages(2), is_current=True)
    for _ in range(2):
        assert await scene.past() == {}
    scene.brokers.batches = {0: strange(3)}
    assert await scene.past() == {0: [3]}
    scene.brokers.batches = {}
    for _ in range(2):
        assert await scene.past() == {}
    with pytest.raises(Trouble, match=r"^records cannot be read: UnicodeDecodeError$"):
        await scene.past()


# --- skips --------------------------------------------------------------------------------------------------------


async def skip(harness: Harness, partition: int, offset: int) -> None:
    async with harness.engine.begin() as connection:
        await skips.order(connection, Incarnation("updates", 0), partition, offset, "it is lost")


async def test_a_corrupt_batch_is_passed_once_that_is_ordered(harness: Harness) -> None:
    scene = Scene(harness, 0, 1)
    scene.halts.halt(0, Corrupt(4, 6, WRONG))
    scene.halts.halt(1, Corrupt(2, 3, WRONG))
    scene.consumer.paused = {0, 1}
    scene.partitions.positions = {at(0): 4, at(1): 2}
    await scene.partitions.obey_skips()
    assert [partition for partition, _ in scene.halts.items()] == [0, 1]
    await skip(harness, 0, 5)
    await scene.partitions.obey_skips()
    assert [partition for partition, _ in scene.halts.items()] == [1]
    assert scene.consumer.paused == {1}
    assert scene.consumer.sought == {0: 6}
    assert scene.partitions.positions == {at(0): 6, at(1): 2}
    assert scene.committed == [{0: 6}]


async def test_each_order_is_for_its_partition(harness: Harness) -> None:
    scene = Scene(harness, 0, 1)
    scene.halts.halt(0, Corrupt(4, 6, WRONG))
    scene.halts.halt(1, Corrupt(4, 7, WRONG))
    await skip(harness, 1, 4)
    await scene.partitions.obey_skips()
    assert scene.consumer.sought == {1: 7}


async def test_a_skip_of_another_member_s_partition_is_that_one_s(harness: Harness) -> None:
    scene = Scene(harness, 0)
    scene.halts.halt(1, Corrupt(4, 6, WRONG))
    await skip(harness, 1, 4)
    await scene.partitions.obey_skips()
    assert (scene.halts.items(), scene.committed, scene.partitions.positions) == ([], [], {})
