"""A message counts as sent once every in-sync replica has it: seen in what is asked of the broker."""

import json
import random
import struct
from collections.abc import AsyncIterator, Iterator

from domain.delivery.outcome import Outcome
from producers.topic import stream
from producers.topic.publisher import Publisher
from producers.topic.stream import FeedLine
from producers.webhooks.destination import OutgoingEvent
from producers.webhooks.kafka_topics import KafkaTopics
from schemas.intake import TopicMessage
from testbed.kafka import Broker
from tests.consumers.test_worker import broker_on_a_leash, make_topic
from tests.parts.small_batches import limit_batches

_EVERY_REPLICA = -1
_PRODUCE = 0


def acknowledgements_asked(stream: bytes) -> Iterator[int]:
    """The `acks` of each produce request among the requests of one connection."""
    at = 0
    while at < len(stream):
        size, key, _version, _number, name = struct.unpack_from(">ihhih", stream, at)
        if key == _PRODUCE:
            # behind the client's name stand the transactional id and acks
            place = at + 14 + max(name, 0)
            (transaction,) = struct.unpack_from(">h", stream, place)
            yield struct.unpack_from(">h", stream, place + 2 + max(transaction, 0))[0]
        at += 4 + size


async def test_every_replica_must_acknowledge_what_is_sent() -> None:
    """Also what is too long for a batch, which another producer sends, and an event for a topic."""
    update = json.dumps({"id": "1"}).encode()
    long = b'"' + b"x" * 200_000 + b'"'

    async def lines() -> AsyncIterator[FeedLine]:
        for number, value in enumerate((update, long), 1):
            yield FeedLine(number, 0, (TopicMessage(b"key", value, ()),))

    async with broker_on_a_leash() as (proxy, servers):
        proxy.pass_on()
        await make_topic(servers, "updates")
        sent = await stream.send(lines(), bootstrap_servers=servers, topic="updates")
        assert sent.acknowledged == 2
        asked = [acks for stream in proxy.asked.values() for acks in acknowledgements_asked(bytes(stream))]
        assert asked == [_EVERY_REPLICA] * 2
        async with Publisher(bootstrap_servers=servers, topic="updates", thin_topic="thin") as publisher:
            assert await publisher.send([TopicMessage(b"key", update, ())])
        async with KafkaTopics(bootstrap_servers=servers) as topics:
            event = OutgoingEvent("evt_1", "w", b'{"name": "n", "createdAt": "2026-11-20T09:14:00.000Z"}')
            assert (await topics.send("kafka:updates", event)).outcome is Outcome.ACCEPTED
        asked = [acks for stream in proxy.asked.values() for acks in acknowledgements_asked(bytes(stream))]
        assert asked == [_EVERY_REPLICA] * 4


async def test_a_publisher_is_not_ready_from_a_failure_until_the_next_acknowledgement(kafka: str, topic: str) -> None:
    update = TopicMessage(b"key", b"{}", ())
    async with Publisher(
        bootstrap_servers=kafka, topic=topic, thin_topic=f"{topic}-is-missing", patience=5
    ) as publisher:
        assert publisher.ready() is None
        assert not await publisher.send([update._replace(thin=True)])
        assert (publisher.ready() or "").startswith("the broker: ")
        assert await publisher.send([update])
        assert publisher.ready() is None


async def test_one_message_that_the_broker_refuses_is_a_failure_of_all(broker: Broker, topic: str) -> None:
    """The vendor posts the whole body again."""
    await limit_batches(broker, topic, 1_000)
    short, long = (TopicMessage(b"key", random.randbytes(size), ()) for size in (10, 5_000))
    async with Publisher(bootstrap_servers=broker.servers, topic=topic, thin_topic="thin") as publisher:
        assert await publisher.send([short])
        assert not await publisher.send([short, long])
        assert publisher.ready() == "the broker: MessageSizeTooLargeError"
