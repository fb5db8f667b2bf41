"""A topic that refuses what other topics take."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from testbed.kafka import Broker
from tests.parts.until import until


async def limit_batches(broker: Broker, topic: str, size: int) -> None:
    """Let the topic refuse batches of more than `size` bytes. Skips the test where the broker is the stand-in."""
    if not broker.real:
        pytest.skip("the stand-in broker takes messages of any length")
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.servers)
    await admin.start()
    try:
        config = {"max.message.bytes": str(size)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])

        async def is_in_force() -> bool:
            (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
            ((*_, entries),) = response.resources
            return ("max.message.bytes", str(size)) in {(name, value) for name, value, *_ in entries}

        # the broker learns of it from the controller, and then sets it for the partitions
        await until(is_in_force)
        await asyncio.sleep(0.2)
    finally:
        await admin.close()
