"""Feeds as vendors post them, to a listener before a real broker."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import aiohttp
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from api.feeds import FeedIntake
from api.listener import Listener
from ops import edge
from producers.topic.publisher import Publisher
from schemas.feeds import FEEDS
from schemas.feeds.feed import Edge
from schemas.fingerprint import Fingerprints, Key
from tests.api import test_authentication as vendors

ADYEN, VISA = "AB" * 32, "bmV3bmV3bmV3bmV3bmV3bmV3bmV3"
SECRETS = {
    "adyen": [ADYEN],
    "apple-pay": ["in-the-url-of-apple"],
    "braintree": ["public:private-key-of-tests"],
    "gocardless": ["gc-secret-of-the-tests"],
    "nmi": ["nmi-secret-of-the-tests"],
    "stripe": ["whsec_new_for_the_tests", "whsec_old_for_the_tests"],
    "vau": ["a-token-of-vau-now"],
    "vgs": ["a-token-of-vgs-now"],
    "visa-tms": [VISA],
    "worldpay": ["a-token-of-worldpay"],
}
SIGN: Mapping[str, vendors.Sign] = {
    "adyen": vendors.adyen,
    "gocardless": vendors.gocardless,
    "nmi": vendors.nmi,
    "stripe": vendors.stripe,
    "visa-tms": vendors.cybersource,
}
FINGERPRINTS = Fingerprints(Key("v1", bytes(range(32))))

Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class FeedClient:
    """`post` signs as the feed's vendor does."""

    session: aiohttp.ClientSession
    address: str

    async def post(self, feed: str, content: object, *, secret: str | None = None) -> Answer:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        used = SECRETS[feed][0] if secret is None else secret
        headers = dict(SIGN.get(feed, vendors.bearer)(used, body, at=time.time()).headers)
        return await self.send(feed, body, headers | {"Content-Type": "application/json"})

    async def send(self, feed: str, body: Any, headers: Mapping[str, str], *, query: str = "") -> Answer:
        async with self.session.post(f"{self.address}/v1/feeds/{feed}{query}", data=body, headers=headers) as answer:
            text = await answer.text()
            body = json.loads(text) if answer.content_type.endswith("json") else text
            return Answer(answer.status, body, answer.headers)


@asynccontextmanager
async def listening(
    servers: str, topic: str, thin_topic: str = "thin", *, patience: float = 7.0
) -> AsyncIterator[FeedClient]:
    async with Publisher(bootstrap_servers=servers, topic=topic, thin_topic=thin_topic, patience=patience) as publisher:
        intake = FeedIntake(
            FEEDS, SECRETS, edge=lambda: Edge(datetime.now(UTC), FINGERPRINTS), send=publisher.send, rows=edge.rows
        )
        async with (
            Listener(intake, "127.0.0.1", 0, drain_within=5) as listener,
            aiohttp.ClientSession() as session,
        ):
            yield FeedClient(session, f"http://127.0.0.1:{listener.port}")


async def make_topic(servers: str, *, real: bool = True) -> str:
    name = f"thin-{secrets.token_hex(6)}"
    if real:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
        finally:
            await admin.close()
    return name


async def on_topic(servers: str, topic: str) -> list[Record]:
    """What is there now."""
    found: list[Record] = []
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while sum(ends.values()) > len(found):
            found += [one for each in (await consumer.getmany(timeout_ms=500)).values() for one in each]
    return found
