"""A topic that refuses what other topics take."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from testbed.kafka import Broker


async def limit_batches(broker: Broker, topic: str, size: int) -> None:
    """Let the topic refuse batches of more than `size` bytes. Skips the test where the broker is the stand-in."""
    if not broker.real:
        pytest.skip("the stand-in broker takes messages of any length")
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.servers)
    await admin.start()
    try:
        config = {"max.message.bytes": str(size)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    finally:
        await admin.close()
