"""Questions to the brokers about a topic, on a connection of their own, beside the group's consumer.

If a topic is missing, forbidden or made anew, aiokafka's consumer says nothing, or logs it ten times a second. Here
each question has an answer or raises `Trouble`, and nothing is logged.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
    StaleMetadata,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from consumers.metadata import TopicRequest, read_topic

T = TypeVar("T")

# A question is small: a broker that needs longer counts as away.
_ANSWER_SECONDS = 5
_EARLIEST, _LATEST = -2, -1
_NO_OFFSET = -1
_READ_COMMITTED = 1
# For each partition. A longer batch comes whole nevertheless.
_READ_BYTES = 1024 * 1024
_NO_SECURITY: Mapping[str, Any] = {}

NO_BROKER = "the broker cannot be reached"

_AWAY = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, StaleMetadata, OSError)


class Trouble(Exception):
    """Updates cannot be read at present; the text is the reason, for the log and /readyz. It may pass by itself."""


class TopicMissing(Trouble):
    """The topic does not exist."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"the topic {topic} is not there: `repoint topics create` makes it")


class TopicRemade(Trouble):
    """The topic was deleted and made anew: its offsets count from the beginning again."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"the topic {topic} was made anew: it is read from its beginning")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic; `id` is None if the broker has no ids. `leaders` has the leader of each partition, -1 for none."""

    name: str
    id: UUID | None
    leaders: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class FetchedBatches:
    """Record batches, encoded as in the log; `aborted` are (producer id, first offset) of aborted transactions."""

    records: bytes
    aborted: tuple[tuple[int, int], ...]
    high_watermark: int


def trouble_of(error: BaseException, topic: str, group: str = "") -> Trouble:
    """The trouble that an `error` of aiokafka means for a reader of `topic` in `group`."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error, UnknownTopicOrPartitionError):
        return TopicMissing(topic)
    if isinstance(error, TopicAuthorizationFailedError):
        return Trouble(f"the broker does not let us read the topic {topic}")
    if isinstance(error, GroupAuthorizationFailedError):
        return Trouble(f"the broker does not let us join the group {group}")
    if isinstance(error, InvalidTopicError):
        return Trouble(f"{topic} is no name that the broker allows for a topic")
    if isinstance(error, _AWAY):
        return Trouble(NO_BROKER)
    return Trouble(f"the broker cannot be used: {type(error).__name__}")


class Cluster:
    """An async context manager over one connection, which is made when it is first needed, and anew when it is lost.

    `security` are aiokafka's arguments for TLS and SASL. Every method raises `Trouble`.
    """

    def __init__(self, *, bootstrap_servers: str, security: Mapping[str, Any] = _NO_SECURITY) -> None:
        self._settings = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": "repoint-look",
            "request_timeout_ms": _ANSWER_SECONDS * 1000,
            **security,
        }
        self._client: AIOKafkaClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def describe(self, topic: str) -> Topic:
        """Describe the topic. Raises TopicMissing if it does not exist."""
        response = await self._answer(self._ask_any(TopicRequest(topic)), topic)
        error_code, topic_id, leaders = read_topic(response)
        if error_code:
            raise trouble_of(for_code(error_code)(), topic)
        return Topic(topic, topic_id, leaders)

    async def describe_again(self, topic: Topic) -> Topic:
        """Describe `topic` as it is now.

        Raises:
            TopicRemade: it was deleted and made anew since then. A broker without ids does not know that.
            TopicMissing: it was deleted.
        """
        described = await self.describe(topic.name)
        if None not in {described.id, topic.id} and described.id != topic.id:
            raise TopicRemade(topic.name)
        return described

    async def ends(self, topic: Topic, partition: int) -> tuple[int, int]:
        """The partition's first offset, and the offset after the last one that can be read now."""
        first = await self._answer(self._offset(topic, partition, _EARLIEST), topic.name)
        return first, await self._answer(self._offset(topic, partition, _LATEST), topic.name)

    async def offset_at(self, topic: Topic, partition: int, moment: datetime) -> int | None:
        """The first offset whose message is as old as `moment` or younger; None if all are older."""
        milliseconds = int(moment.timestamp() * 1000)
        offset = await self._answer(self._offset(topic, partition, milliseconds), topic.name)
        return None if offset == _NO_OFFSET else offset

    async def read(self, topic: Topic, partition: int, offset: int) -> FetchedBatches:
        """Fetch batches, from the one that has `offset` on."""
        return await self._answer(self._fetch(topic, partition, offset), topic.name)

    async def _offset(self, topic: Topic, partition: int, timestamp: int) -> int:
        request = OffsetRequest(-1, _READ_COMMITTED, [(topic.name, [(partition, timestamp)])])
        response = await self._ask(topic.leaders[partition], request)
        ((_, ((_, error_code, _, offset),)),) = response.topics
        if error_code:
            error = for_code(error_code)
            raise error(TopicPartition(topic.name, partition))
        return int(offset)

    async def _fetch(self, topic: Topic, partition: int, offset: int) -> FetchedBatches:
        topics = [(topic.name, [(partition, offset, _READ_BYTES)])]
        response = await self._ask(topic.leaders[partition], FetchRequest(0, 0, _READ_BYTES, _READ_COMMITTED, topics))
        ((_, ((_, error_code, high_watermark, *fields),)),) = response.topics
        if error_code:
            error = for_code(error_code)
            raise error(TopicPartition(topic.name, partition))
        # from version 11 on a preferred replica stands between the aborted transactions and the records
        aborted = fields[2] if response.API_VERSION > 10 else fields[-2]  # noqa: PLR2004 - see above
        return FetchedBatches(fields[-1] or b"", tuple(aborted or ()), high_watermark)

    async def _answer(self, question: Awaitable[T], topic: str) -> T:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await question
        except (KafkaError, NotImplementedError, KeyError, OSError) as error:
            # a timeout is an OSError, a broker that is too old for a request a NotImplementedError, an unknown
            # partition a KeyError
            await self._close()
            raise trouble_of(error, topic) from error

    async def _ask_any(self, request: Request[RequestStruct]) -> Response:
        client = await self._connected()
        return await self._ask(client.get_random_node(), request)

    async def _ask(self, node: int | None, request: Request[RequestStruct]) -> Response:
        client = await self._connected()
        if node is None or node == -1:
            raise KafkaConnectionError
        return await client.send(node, request)

    async def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            client = AIOKafkaClient(**self._settings)
            try:
                await client.bootstrap()
                self._client = client
            finally:
                if self._client is None:
                    await client.close()
        return self._client

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
