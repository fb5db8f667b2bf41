"""Sends a few messages to their topics at once, and returns whether Kafka has them: the caller answers or deletes then.

An idempotent producer would retry for ever during an outage, so this one is not idempotent. Messages may arrive twice
or out of order: the inbox recognises repetitions, and the order of arrival does not change the resolution of updates.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from producers.lazy_producer import LazyProducer
from schemas.intake import TopicMessage

log = structlog.get_logger()

NOT_ACKNOWLEDGED = Counter("repoint_publications_failed_total", "Attempts to put messages on a topic that failed")

# Vendors wait 10 s at least for the answer, including the transfer of the request.
_PATIENCE_SECONDS = 7.0
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
        settings = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": "repoint-intake",
            "acks": "all",
            "compression_type": "lz4",
            # the caller sends failed messages again, so the producer need not try longer
            "request_timeout_ms": int(patience * 1000),
            **security,
        }
        self._topic = topic
        self._thin_topic = thin_topic
        self._patience = patience
        self._producer = LazyProducer(settings)
        self._waits_for: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.close()

    def ready(self) -> str | None:
        """Why the latest `send` failed; None if it succeeded."""
        return self._waits_for

    async def send(self, messages: Sequence[TopicMessage]) -> bool:
        """Send the messages. Returns whether every in-sync replica has all of them; if not, it may have some."""
        in_flight: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(self._patience):
                producer = await self._producer.connected()
                for message in messages:
                    topic = self._thin_topic if message.thin else self._topic
                    sending = producer.send(topic, message.value, key=message.key, headers=list(message.headers))
                    in_flight.append(await sending)
                await asyncio.gather(*in_flight)
        except (KafkaError, TimeoutError, OSError) as error:
            NOT_ACKNOWLEDGED.inc()
            self._producer.note_failure()
            self._waits_for = f"the broker: {type(error).__name__}"
            log.warning("not acknowledged", error=type(error).__name__, messages=len(messages))
            return False
        finally:
            for future in in_flight:
                future.cancel()
        self._producer.note_success()
        self._waits_for = None
        return True
