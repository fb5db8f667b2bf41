"""Endpoints that are Kafka topics: CloudEvents keyed by their wallet, in its order, and failures by name."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from producers.webhooks.destination import OutgoingEvent
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.kafka_topics import KafkaTopics
from producers.webhooks.sender import Sender
from tests.producers.webhooks.conftest import AT_ONCE
from tests.store.outbox import Outbox

BODY = {"id": "evt_1", "name": "PAYMENT_METHOD_DELETED", "createdAt": "2026-11-20T09:14:00.000Z", "payload": {}}
EVENT = OutgoingEvent("evt_1", "w", json.dumps(BODY).encode())


@pytest.fixture
async def topics(kafka: str) -> AsyncIterator[KafkaTopics]:
    async with KafkaTopics(bootstrap_servers=kafka, deadline=10) as topics:
        yield topics


async def read(kafka: str, topic: str, count: int) -> list[Any]:
    """The first messages of the topic."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


async def test_an_event_is_a_cloud_event_with_the_body_of_the_webhook(
    kafka: str, topic: str, topics: KafkaTopics
) -> None:
    assert (await topics.send(f"kafka:{topic}", EVENT)).outcome is Outcome.ACCEPTED
    (message,) = await read(kafka, topic, 1)
    assert (message.key, message.value) == (b"w", EVENT.body)
    assert dict(message.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"evt_1",
        "ce_source": b"repoint",
        "ce_type": b"PAYMENT_METHOD_DELETED",
        "ce_subject": b"w",
        "ce_time": b"2026-11-20T09:14:00.000Z",
        "content-type": b"application/json",
    }


async def test_the_events_of_a_wallet_arrive_in_order_as_its_webhooks_do(
    outbox: Outbox, sender: Sender, kafka: str, topic: str, topics: KafkaTopics
) -> None:
    await outbox.add_endpoint("ledger", f"kafka:{topic}")
    wallet = await outbox.add_wallet()
    events = await outbox.tell("ledger", wallet, 3)
    body = json.dumps(BODY).encode()
    await outbox.execute("UPDATE events SET body = :body", body=body)
    dispatcher = Dispatcher(outbox.engine, sender, schedule=AT_ONCE, destinations={topics.scheme: topics})
    for _ in events:
        assert await dispatcher.run_once() == 1
    messages = await read(kafka, topic, 3)
    assert [dict(message.headers)["ce_id"].decode() for message in messages] == [f"evt_{id_.hex}" for id_ in events]
    assert {message.key for message in messages} == {wallet.encode()}
    assert [(status, attempts) for _, status, attempts in await outbox.history()] == [("DELIVERED", 1)] * 3


async def test_a_topic_that_is_missing_or_too_small_refuses(topic: str, topics: KafkaTopics) -> None:
    assert (await topics.send("kafka:no-such-topic", EVENT)).outcome is Outcome.TOPIC_REFUSED
    large = EVENT._replace(body=json.dumps({**BODY, "payload": "x" * 2_000_000}).encode())
    assert (await topics.send(f"kafka:{topic}", large)).outcome is Outcome.TOPIC_REFUSED
    assert (await topics.send(f"kafka:{topic}", EVENT)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("servers", ["", "127.0.0.1:9"])
async def test_a_broker_that_is_away_is_no_fault_of_the_topic(servers: str) -> None:
    async with KafkaTopics(bootstrap_servers=servers, deadline=2) as topics:
        assert (await topics.send("kafka:updates", EVENT)).outcome is Outcome.BROKER_UNAVAILABLE


async def test_no_url_raises() -> None:
    async with KafkaTopics(bootstrap_servers="127.0.0.1:9") as topics:
        for url in ("kafka:", "kafka:..", "kafka:a/b", "kafka:" + "a" * 250):
            assert (await topics.send(url, EVENT)).outcome is Outcome.URL_UNUSABLE


async def test_a_broker_that_is_away_uses_up_no_try_and_is_asked_again(
    engine: AsyncEngine, outbox: Outbox, sender: Sender
) -> None:
    await outbox.add_endpoint("ledger", "kafka:ledger")
    await outbox.tell("ledger", await outbox.add_wallet())
    async with KafkaTopics(bootstrap_servers="") as topics:
        dispatcher = Dispatcher(engine, sender, schedule=(), destinations={topics.scheme: topics})
        for _ in range(2):
            assert await dispatcher.run_once() == 1
            await outbox.make_due()
    assert [outcome for _, outcome, _ in await outbox.attempts()] == ["broker_unavailable"] * 2
    assert [row.status for row in await outbox.live()] == ["PENDING"]
