"""A few messages onto their topics, now, and whether they arrived: for what is answered or deleted after that.

Without idempotence, which would have an outage's messages tried for ever: they may come twice, or out of order, and
neither matters here (the inbox knows a repetition, and no order of arrival changes what is made of updates).
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from schemas.intake import TopicMessage

log = structlog.get_logger()

NOT_ACKNOWLEDGED = Counter("repoint_publications_failed_total", "Attempts to put messages on a topic that failed")

# What a vendor waits for our answer is 10 s at least, and the request has to come and go in it, too.
_PATIENCE_SECONDS = 7.0
# A broker that has gone away is not waited for a second time.
_STOP_SECONDS = 5

_NO_SECURITY: Mapping[str, Any] = {}


class Publisher:
    """An async context manager over one connection, which is made when it is first needed, and anew when it is lost.

    `security` are aiokafka's arguments for TLS and SASL; `patience` is in seconds.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        topic: str,
        thin_topic: str,
        security: Mapping[str, Any] = _NO_SECURITY,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._settings = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": "repoint-intake",
            "acks": "all",
            "compression_type": "lz4",
            # whoever was told that they failed sends them again: they need not be tried for longer
            "request_timeout_ms": int(patience * 1000),
            **security,
        }
        self._topic = topic
        self._thin_topic = thin_topic
        self._patience = patience
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._waits_for: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            await _stop(self._producer)

    def ready(self) -> str | None:
        """Why nothing could be sent the last time; None if it could."""
        return self._waits_for

    async def send(self, messages: Sequence[TopicMessage]) -> bool:
        """Whether every one of them is acknowledged by every in-sync replica. If not, some may be all the same."""
        on_their_way: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(self._patience):
                producer = await self._connected()
                for message in messages:
                    topic = self._thin_topic if message.thin else self._topic
                    sent = producer.send(topic, message.value, key=message.key, headers=list(message.headers))
                    on_their_way.append(await sent)
                await asyncio.gather(*on_their_way)
        except (KafkaError, TimeoutError) as error:
            NOT_ACKNOWLEDGED.inc()
            self._waits_for = f"the broker: {type(error).__name__}"
            log.warning("not acknowledged", error=type(error).__name__, messages=len(messages))
            return False
        finally:
            for future in on_their_way:
                future.cancel()
        self._waits_for = None
        return True

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._settings)
                try:
                    await producer.start()
                    self._producer = producer
                finally:
                    if self._producer is None:
                        await _stop(producer)
            return self._producer


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except TimeoutError:
        log.warning("the producer did not end in time")
