"""Kafka topics as endpoints, for readers inside the house: events as CloudEvents, keyed by their wallet."""

import asyncio
import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka.errors import (
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from domain.delivery.outcome import Outcome
from domain.refusal import Refused
from producers.lazy_producer import LazyProducer
from producers.webhooks.destination import OutgoingEvent
from producers.webhooks.sender import PostResult
from schemas.topic_url import SCHEME, read_topic

_NO_SECURITY: Mapping[str, Any] = {}

# What the topic is at fault for; everything else is the broker's.
_REFUSED = (
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)


class KafkaTopics:
    """An async context manager over a producer, which connects with the first event.

    An event is accepted once all in-sync replicas have it. `bootstrap_servers` is empty where no broker is set;
    `security` are aiokafka's arguments for TLS and SASL; `deadline` is in seconds.
    """

    scheme = SCHEME

    def __init__(
        self, *, bootstrap_servers: str, security: Mapping[str, Any] = _NO_SECURITY, deadline: float = 15.0
    ) -> None:
        self._has_broker = bool(bootstrap_servers)
        self._deadline = deadline
        self._producer = LazyProducer(
            {
                "bootstrap_servers": bootstrap_servers,
                "client_id": "repoint-events",
                "acks": "all",
                # an attempt that fails is made again by the schedule; a missing topic is named within the deadline
                "request_timeout_ms": int(deadline * 500),
                **security,
            }
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.close()

    async def send(self, url: str, event: OutgoingEvent) -> PostResult:
        """Put the event onto the topic of `url`, keyed by its line: a reader gets a wallet's events in their order."""
        started_at = time.perf_counter()
        try:
            outcome = await self._outcome(read_topic(url), event)
        except Refused:
            outcome = Outcome.URL_UNUSABLE
        return PostResult(outcome, time.perf_counter() - started_at)

    async def _outcome(self, topic: str, event: OutgoingEvent) -> Outcome:
        if not self._has_broker:
            return Outcome.BROKER_UNAVAILABLE
        try:
            async with asyncio.timeout(self._deadline):
                await self._send(topic, event)
        except _REFUSED:
            return Outcome.TOPIC_REFUSED
        except (KafkaError, TimeoutError, OSError):
            self._producer.note_failure()
            return Outcome.BROKER_UNAVAILABLE
        self._producer.note_success()
        return Outcome.ACCEPTED

    async def _send(self, topic: str, event: OutgoingEvent) -> None:
        producer = await self._producer.connected()
        headers = list(cloud_event(event).items())
        try:
            await producer.send_and_wait(topic, event.body, key=event.line.encode(), headers=headers)
        except UnknownTopicOrPartitionError:
            # aiokafka raises it as well if no broker says which topics there are
            if not await producer.client.force_metadata_update():
                raise KafkaConnectionError("no broker answers") from None
            raise


def cloud_event(event: OutgoingEvent) -> dict[str, bytes]:
    """The headers of the event as a CloudEvent 1.0 in Kafka's binary mode; the value is the webhook's body."""
    body = json.loads(event.body)
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_source": "repoint",
        "ce_type": body["name"],
        "ce_subject": event.line,
        "ce_time": body["createdAt"],
        "content-type": "application/json",
    }
    return {name: value.encode() for name, value in attributes.items()}
