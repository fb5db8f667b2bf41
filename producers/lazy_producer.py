"""A Kafka producer that connects when it is first needed, and anew when it has failed for a while."""

import asyncio
import struct
import time
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

log = structlog.get_logger()

# Who sends has waited for a lost broker already.
_STOP_SECONDS = 5

# A producer asks the brokers that it has learned of, and never the bootstrap servers again: it does not find a cluster
# that has moved. One whose own task has ended fails for ever.
_RENEW_SECONDS = 30.0

# What aiokafka raises where an answer is not Kafka's, or where the name of a server cannot be looked up.
_NOT_KAFKA = (AssertionError, LookupError, TypeError, ValueError, struct.error)


class LazyProducer:
    """One producer with these arguments of aiokafka's. An attempt to connect that fails leaves none behind.

    The caller notes what came of each use.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._failing_since: float | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def connected(self) -> AIOKafkaProducer:
        """The producer. Raises KafkaError or OSError if it cannot connect."""
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._arguments)
                try:
                    await producer.start()
                    self._producer = producer
                except _NOT_KAFKA as error:
                    raise KafkaConnectionError("what answers is no broker, or has no name") from error
                finally:
                    if self._producer is None:
                        await _stop(producer)
            return self._producer

    def note_success(self) -> None:
        """Note that a broker has acknowledged a message."""
        self._failing_since = None

    def note_failure(self) -> None:
        """Note that no broker has acknowledged a message. After half a minute of failures, let `connected` begin anew.

        What is on its way by the former producer ends as it does.
        """
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if self._producer is not None and now - self._failing_since >= _RENEW_SECONDS:
            ending = asyncio.create_task(self._producer.stop())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._producer = self._failing_since = None

    async def close(self) -> None:
        """Send what is on its way, and disconnect, for some seconds at most."""
        if self._producer is not None:
            await _stop(self._producer)
        if self._ending:
            _, late = await asyncio.wait(self._ending, timeout=_STOP_SECONDS)
            for ending in late:
                ending.cancel()


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except TimeoutError:
        log.warning("the producer did not end in time")
