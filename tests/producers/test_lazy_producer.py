"""When a producer that fails is replaced by a new one, and who notes that it has failed."""

import asyncio
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError

from domain.delivery.outcome import Outcome
from producers.lazy_producer import LazyProducer
from producers.topic.publisher import Publisher
from producers.webhooks.destination import OutgoingEvent
from producers.webhooks.kafka_topics import KafkaTopics
from schemas.intake import TopicMessage


class Failing:
    """In place of a producer that has connected."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()

    async def stop(self) -> None:
        self.stopped.set()


def make(monkeypatch: pytest.MonkeyPatch) -> tuple[LazyProducer, Failing, list[float]]:
    """A lazy producer that has connected, its connection, and the time."""
    now, lazy, failing = [100.0], LazyProducer({}), Failing()
    lazy._producer = cast(Any, failing)
    monkeypatch.setattr("producers.lazy_producer.time.monotonic", lambda: now[0])
    return lazy, failing, now


async def test_it_is_replaced_once_it_has_failed_for_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy, failing, now = make(monkeypatch)
    for now[0] in (100.0, 115.0, 129.9):
        lazy.note_failure()
        assert lazy._producer is not None
    now[0] = 130.0
    lazy.note_failure()
    assert lazy._producer is None
    await lazy.close()
    assert failing.stopped.is_set()


async def test_a_success_in_between_begins_the_half_minute_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy, _, now = make(monkeypatch)
    lazy.note_failure()
    lazy.note_success()
    for now[0] in (131.0, 160.0):
        lazy.note_failure()
        assert lazy._producer is not None
    now[0] = 161.0
    lazy.note_failure()
    assert lazy._producer is None
    await lazy.close()


async def test_the_half_minute_of_the_next_one_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy, _, now = make(monkeypatch)
    for now[0] in (100.0, 130.0):
        lazy.note_failure()
    following = Failing()
    lazy._producer = cast(Any, following)
    for now[0] in (131.0, 160.9):
        lazy.note_failure()
        assert lazy._producer is following
    await lazy.close()
    assert following.stopped.is_set()


class Noting:
    """In place of a lazy producer that fails at first."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    async def connected(self) -> "Noting":
        if not self.noted:
            raise KafkaConnectionError
        return self

    async def send(self, *_: object, **__: object) -> "asyncio.Future[None]":
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent

    async def send_and_wait(self, *_: object, **__: object) -> None:
        pass

    def note_failure(self) -> None:
        self.noted.append("failure")

    def note_success(self) -> None:
        self.noted.append("success")


async def test_a_publisher_notes_what_came_of_each_use() -> None:
    publisher = Publisher(bootstrap_servers="127.0.0.1:1", topic="updates", thin_topic="thin")
    noting = publisher._producer = cast(Any, Noting())
    assert [await publisher.send([TopicMessage(b"key", b"{}", ())]) for _ in range(2)] == [False, True]
    assert noting.noted == ["failure", "success"]


async def test_topics_as_endpoints_note_what_came_of_each_use() -> None:
    topics = KafkaTopics(bootstrap_servers="127.0.0.1:1")
    noting = topics._producer = cast(Any, Noting())
    event = OutgoingEvent("evt_1", "w", b'{"name": "n", "createdAt": "2026-11-20T09:14:00.000Z"}')
    outcomes = [(await topics.send("kafka:updates", event)).outcome for _ in range(2)]
    assert outcomes == [Outcome.BROKER_UNAVAILABLE, Outcome.ACCEPTED]
    assert noting.noted == ["failure", "success"]
