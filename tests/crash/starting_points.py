"""Where runs begin: the stream on a topic, a database with the wallets imported, and one with the stream consumed."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from domain.wallet import Wallet
from schemas.merchant import read_merchant
from schemas.wallet import read_wallet
from store import merchants
from store.engine import connect
from testbed.kafka import Broker
from testbed.postgres import Databases
from tests.crash.checks import Look, check_consumed, export, look_of
from tests.crash.child import RETENTION, ProcessPlan
from tests.crash.processes import ForkServer, WorkerProcess
from tests.crash.runs import Fed, Run, copied, run_from, run_on
from tests.crash.stream import MESSAGES, WALLETS, merchants_at
from tests.store.outbox import sealed
from wallets.importing import import_wallets

# Seconds: the shortest that a child on a busy machine keeps up with. A broker may insist on more.
_SESSION = 2.0


@dataclass(frozen=True)
class StartingPoints:
    """Where runs begin: before anything was consumed, or after all was and before anything was delivered."""

    databases: Databases
    fork_server: ForkServer
    fed: Fed
    imported: str
    consumed: str
    uninterrupted: Look

    def to_consume(self) -> AbstractAsyncContextManager[Run]:
        return run_from(self.imported, self.databases, self.fed)

    def running(self, plan: ProcessPlan) -> AbstractAsyncContextManager[WorkerProcess]:
        return self.fork_server.running(plan)

    def to_deliver(self) -> AbstractAsyncContextManager[Run]:
        return run_from(self.consumed, self.databases, self.fed)


async def feed(broker: Broker) -> Fed:
    topic = f"crash-{secrets.token_hex(6)}"
    session_timeout = await _make(topic, broker) if broker.real else _SESSION
    async with AIOKafkaProducer(bootstrap_servers=broker.servers, acks="all") as producer:
        sent = [await producer.send(topic, value, key) for key, value in MESSAGES]
        places = [await message for message in sent]
    return Fed(
        broker.servers,
        topic,
        frozenset((place.partition, place.offset) for place in places),
        session_timeout,
    )


async def _make(topic: str, broker: Broker) -> float:
    """Make the topic; the session timeout that the broker lets a test have."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1)])
        name = "group.min.session.timeout.ms"
        node = str(admin._client.cluster.controller.nodeId)
        told = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, node, {name: None})])
        (entry,) = [entry for answer in told for resource in answer.resources for entry in resource[4]]
        assert entry[0] == name
        return max(_SESSION, int(entry[1]) / 1000)
    finally:
        await admin.close()


async def begin(databases: Databases, fork_server: ForkServer, fed: Fed) -> StartingPoints:
    imported = await databases.create()
    await _import(imported)
    consumed = await copied(imported, databases)
    async with run_on(consumed, fed) as run:
        async with fork_server.running(run.plan("uninterrupted", "consume")) as worker:
            await run.all_consumed()
            await worker.end()
        look = look_of(await export(run))
        await check_consumed(run, look)
    return StartingPoints(databases, fork_server, fed, imported, consumed, look)


async def _import(url: str) -> None:
    lines = [read_merchant(json.dumps(line)) for line in merchants_at("http://127.0.0.1/")]
    endpoints = [
        merchants.NewEndpoint(each.id, line.id, each.url, sealed(each.secret, each.id), each.event_types)
        for line in lines
        for each in line.endpoints
    ]
    engine = connect(url)
    async with engine.begin() as connection:
        await merchants.put(connection, [(line.id, line.name) for line in lines], endpoints)
        await import_wallets(connection, _as_one([read_wallet(json.dumps(line)) for line in WALLETS]), RETENTION)
    await engine.dispose()


async def _as_one(batch: list[Wallet]) -> AsyncIterator[list[Wallet]]:
    yield batch
