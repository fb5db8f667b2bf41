"""A Kafka producer that connects when it is first needed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer

log = structlog.get_logger()

# Who sends has waited for a lost broker already.
_STOP_SECONDS = 5


class LazyProducer:
    """One producer with these arguments of aiokafka's. An attempt to connect that fails leaves none behind."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def connected(self) -> AIOKafkaProducer:
        """The producer. Raises what its start raises."""
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._arguments)
                try:
                    await producer.start()
                    self._producer = producer
                finally:
                    if self._producer is None:
                        await _stop(producer)
            return self._producer

    async def close(self) -> None:
        """Send what is on its way, and disconnect, for some seconds at most."""
        if self._producer is not None:
            await _stop(self._producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except TimeoutError:
        log.warning("the producer did not end in time")
