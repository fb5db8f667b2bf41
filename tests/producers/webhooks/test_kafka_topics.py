"""Endpoints that are Kafka topics: CloudEvents keyed by their wallet, in its order, and failures by name."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from aiokafka import AIOKafkaConsumer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from ops import embedded
from producers import lazy_producer
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


@pytest.mark.parametrize("servers", ["", "127.0.0.1:9", "kafka..example:9092"])
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


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """The address of a server that answers every request with the request's number and these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(1024)
        writer.write(struct.pack(">i", 4 + len(answer)) + request[8:12] + answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


@pytest.mark.parametrize("answer", [b"", b"\0" * 4, b"\0" * 200, b"\xff" * 200, b"\0\0\x7f\xff\xff\xff"])
async def test_what_is_no_broker_is_a_broker_that_is_away(answer: bytes) -> None:
    async with answering(answer) as servers, KafkaTopics(bootstrap_servers=servers, deadline=2) as topics:
        assert (await topics.send("kafka:updates", EVENT)).outcome is Outcome.BROKER_UNAVAILABLE


class Forwarder:
    """A fixed address that leads to the server at `upstream`, as the name of a cluster does."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.servers = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.upstream.partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        self._writers |= {writer, back}
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


async def test_a_cluster_that_has_moved_is_found_again_and_what_is_new_on_it_is_no_fault_of_a_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lazy_producer, "_RENEW_SECONDS", 0.0)
    with contextlib.ExitStack() as former:
        async with (
            Forwarder(former.enter_context(embedded.broker("a"))) as cluster,
            KafkaTopics(bootstrap_servers=cluster.servers, deadline=4) as topics,
        ):
            assert (await topics.send("kafka:a", EVENT)).outcome is Outcome.ACCEPTED
            former.close()
            assert (await topics.send("kafka:b", EVENT)).outcome is Outcome.BROKER_UNAVAILABLE
            with embedded.broker("a") as servers:
                cluster.upstream = servers
                assert (await topics.send("kafka:a", EVENT)).outcome is Outcome.ACCEPTED
                assert (await topics.send("kafka:b", EVENT)).outcome is Outcome.ACCEPTED
