"""How much is polled at a time, how long a poll waits, and how what came is shared out over the lanes."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from consumers.cluster import TopicMissing, TopicRemade, Trouble
from consumers.letters import Message
from consumers.partitions import Polled
from consumers.records import Corrupt
from consumers.worker import Worker, _age, _share_out
from loops.waiting import Stopped
from tests.consumers.harness import RETENTION

# What is here asks no database.
NOBODY = cast(Any, None)


def messages(partition: int, count: int, *, age: float = 0.0) -> dict[TopicPartition, list[Message]]:
    """`count` messages of a partition, made a second after each other, the first `age` seconds ago."""
    made = int((time.time() - age) * 1000)
    return {
        TopicPartition("updates", partition): [
            ConsumerRecord("updates", partition, at, made + 1000 * at, 0, None, b"{}", None, -1, 2, ())
            for at in range(count)
        ]
    }


class Script:
    """A reader that gives what is written, then nothing; `asked` are the numbers of messages that it was asked for."""

    def __init__(self, *polls: Polled) -> None:
        self.polls = list(polls)
        self.asked: list[int] = []

    async def get(self, patience: float, wanted: int) -> Polled:
        self.asked.append(wanted)
        if self.polls:
            return self.polls.pop(0)
        await asyncio.sleep(patience)
        return {}


def worker(topic: str = "updates", **more: Any) -> Worker:
    return Worker(NOBODY, bootstrap_servers="127.0.0.1:1", topic=topic, group="group", retention=RETENTION, **more)


async def polled(by: Worker, script: Script) -> Mapping[int, int]:
    """The number of messages by partition."""
    got = await by._poll(cast(Any, script))
    return {place.partition: len(given) for place, given in got.items()}


# --- a poll -------------------------------------------------------------------------------------------------------


async def test_a_lone_update_waits_for_no_other() -> None:
    script = Script(messages(0, 1), messages(0, 1))
    assert await polled(worker(batch_wait=30.0), script) == {0: 1}
    assert script.asked == [4000 * 2]


async def test_a_poll_that_brings_nothing_ends_by_itself() -> None:
    assert await polled(worker(), Script()) == {}


@pytest.mark.parametrize(("latest", "more"), [(49, 0), (50, 3)], ids=["a small poll", "a large one"])
async def test_only_after_a_large_poll_the_next_one_waits_to_fill_up(latest: int, more: int) -> None:
    polling = worker(batch_wait=0.3)
    await polled(polling, Script(messages(0, latest)))
    assert await polled(polling, Script(messages(0, 1), messages(1, 1), messages(1, 2))) == {0: 1} | (
        {1: more} if more else {}
    )


async def test_what_came_while_another_batch_was_in_hand_has_waited_already() -> None:
    polling = worker(batch_wait=30.0)
    await polled(polling, Script(messages(0, 50)))
    assert await polled(polling, Script(messages(0, 1) | messages(1, 1, age=31.0), messages(1, 2))) == {0: 1, 1: 1}


async def test_what_comes_meanwhile_does_not_prolong_the_wait() -> None:
    class Trickle(Script):
        async def get(self, patience: float, wanted: int) -> Polled:  # noqa: ARG002 - it comes by itself
            await asyncio.sleep(0.1)
            return messages(0, 1)

    polling = worker(batch_wait=0.3)
    await polled(polling, Script(messages(0, 50)))
    async with asyncio.timeout(30):
        assert 1 <= (await polled(polling, Trickle()))[0] <= 5


async def test_a_poll_takes_some_batches_for_each_lane_and_no_more() -> None:
    polling = worker(batch_size=10, lanes=3, batch_wait=30.0)
    await polled(polling, Script(messages(0, 50)))
    script = Script(messages(0, 200), messages(1, 40), messages(2, 5))
    assert await polled(polling, script) == {0: 200, 1: 40}
    assert script.asked == [240, 40]


async def test_a_poll_ends_when_the_worker_is_told_to_stop() -> None:
    stopping = worker()
    stopping._waiting.stopping.set()
    script = Script(messages(0, 1))
    assert await polled(stopping, script) == {}
    assert script.asked == []


def test_the_age_of_a_poll_is_that_of_its_oldest_message_and_never_negative() -> None:
    assert 9.5 < _age(messages(0, 3, age=2.0) | messages(1, 3, age=10.0)) < 60
    assert _age(messages(0, 1, age=-60.0)) == 0


# --- lanes --------------------------------------------------------------------------------------------------------


def shared(lanes: int, sizes: Mapping[int, int]) -> list[list[tuple[int, int]]]:
    """(partition, number of messages) of each lane, one after another as they stand in it."""
    everything: dict[TopicPartition, list[Message]] = {}
    for partition, count in sizes.items():
        everything |= messages(partition, count)
    runs: list[list[tuple[int, int]]] = []
    for lane in _share_out(everything, lanes):
        partitions = [message.partition for message in lane]
        runs.append([(partition, partitions.count(partition)) for partition in dict.fromkeys(partitions)])
        for partition in set(partitions):
            offsets = [message.offset for message in lane if message.partition == partition]
            assert offsets == list(range(len(offsets)))
    return runs


@pytest.mark.parametrize(
    ("lanes", "sizes", "expected"),
    [
        (1, {0: 2, 1: 5}, [[(1, 5), (0, 2)]]),
        (2, {0: 1, 1: 5, 2: 3, 3: 4}, [[(1, 5), (0, 1)], [(3, 4), (2, 3)]]),
        (3, {0: 7}, [[(0, 7)]]),
        (2, {}, []),
    ],
)
def test_a_partition_is_in_one_lane_and_the_lanes_are_about_as_long(
    lanes: int, sizes: Mapping[int, int], expected: Sequence[Sequence[tuple[int, int]]]
) -> None:
    assert shared(lanes, sizes) == expected


# --- trouble ------------------------------------------------------------------------------------------------------


class Sleeps:
    """Notes how long the worker would sleep, and lets it not."""

    def __init__(self, sleeping: Worker) -> None:
        self.seconds: list[float] = []
        sleeping._waiting.sleep_or_stop = self.sleep  # type: ignore[method-assign]

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_what_keeps_a_topic_from_being_read_is_tried_again_ever_later() -> None:
    troubled = worker("polls-later")
    sleeps = Sleeps(troubled)
    for _ in range(9):
        await troubled._wait_out(Trouble("the broker cannot be reached"))
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert all(most / 2 <= seconds <= most for seconds, most in zip(sleeps.seconds, longest, strict=True))
    assert troubled.ready() == "the broker cannot be reached"
    assert REGISTRY.get_sample_value("repoint_consumer_waiting", {"topic": "polls-later"}) == 1


async def test_a_topic_made_anew_is_read_at_once() -> None:
    troubled = worker()
    sleeps = Sleeps(troubled)
    with capture_logs() as logs:
        await troubled._wait_out(TopicRemade("updates"))
    assert sleeps.seconds == []
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("waiting", "the topic updates was made anew: it is read from its beginning")
    ]


async def test_only_the_lack_of_an_optional_topic_is_no_trouble() -> None:
    troubled = worker(optional=True)
    Sleeps(troubled)
    with capture_logs() as logs:
        await troubled._wait_out(TopicMissing("updates"))
        await troubled._wait_out(TopicMissing("updates"))
        assert troubled.ready() is None
        await troubled._wait_out(Trouble("the broker cannot be reached"))
    assert troubled.ready() == "the broker cannot be reached"
    assert [line["event"] for line in logs] == ["nothing is read while the topic is not there", "waiting"]


async def test_the_lack_of_any_other_topic_is_one() -> None:
    troubled = worker()
    Sleeps(troubled)
    await troubled._wait_out(TopicMissing("updates"))
    assert troubled.ready() == "the topic updates is not there: `repoint topics create` makes it"


async def test_who_waits_for_a_topic_stops_when_told() -> None:
    troubled = worker()
    troubled._waiting.stopping.set()
    with pytest.raises(Stopped):
        await troubled._wait_out(Trouble("the broker cannot be reached"))


def test_a_worker_is_ready_when_it_waits_for_nothing_and_no_partition_is_halted() -> None:
    ready = worker("polls-ready")
    assert ready.ready() == "the broker: not connected yet"
    ready._waiting.missing = None
    assert ready.ready() is None
    assert REGISTRY.get_sample_value("repoint_consumer_waiting", {"topic": "polls-ready"}) == 0
    ready._halts.halt(1, Corrupt(3, 4, "it is corrupt"))
    assert ready.ready() == (
        "partition 1 of polls-ready is halted at offset 3: it is corrupt"
        " (`repoint topics skip polls-ready 1 3 --reason …` passes it)"
    )
    ready._waiting.missing = "the database cannot be reached"
    assert ready.ready() == "the database cannot be reached"


# --- the end ------------------------------------------------------------------------------------------------------


def test_how_long_the_end_is_waited_for_hangs_on_what_is_in_hand() -> None:
    ending = worker(drain_within=12)
    ending._idle.clear()
    assert ending._drained_by(100.0) == 112.0
    ending._idle.set()
    ending._idle_since = 90.0
    assert ending._drained_by(100.0) == 102.0
    ending._idle_since = 105.0
    assert ending._drained_by(100.0) == 107.0
    ending._leaving_since = 106.0
    assert ending._drained_by(100.0) == 117.0
    ending._idle.clear()
    assert ending._drained_by(100.0) == 112.0
