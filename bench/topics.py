"""A topic for as long as a measurement takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from testbed.kafka import Broker

PARTITIONS = 12


@asynccontextmanager
async def temporary(broker: Broker, name: str) -> AsyncIterator[None]:
    if not broker.real:  # it knows no administration, and makes a topic when it is asked for one
        yield
        return
    async with _admin(broker) as admin:
        await admin.create_topics([NewTopic(name, num_partitions=PARTITIONS, replication_factor=1)])
    yield
    async with _admin(broker) as admin:  # a broker hangs up on who was silent for ten minutes
        await admin.delete_topics([name])


@asynccontextmanager
async def _admin(broker: Broker) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
