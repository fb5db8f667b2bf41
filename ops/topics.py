"""Administration of the topics on the brokers: making them, growing them, and finding corrupt record batches."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, NoError, TopicAlreadyExistsError, for_code

from consumers import records
from consumers.cluster import Cluster, TopicMissing, Trouble
from consumers.records import Corrupt
from ops.terminal import Failed

# Losing one broker loses nothing, and does not stop writing.
_REPLICAS, _IN_SYNC = 3, 2
# Every broker knows a new topic within a second or two.
_SEEN_SECONDS, _LOOK_SECONDS = 10, 0.1


class Action(StrEnum):
    """What is done to a topic, or would be done in a dry run."""

    CREATED = "created"
    GROWN = "grown"
    NOTHING = "there already"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic to be made. An existing topic keeps its settings, and grows to `at_least` partitions."""

    name: str
    partitions: int
    at_least: int


@dataclass(frozen=True, slots=True)
class TopicResult:
    """What was done to a topic; `replicas` is None for a topic that existed."""

    name: str
    partitions: int
    replicas: int | None
    action: Action


@dataclass(frozen=True, slots=True)
class Administration:
    """Administration of the brokers at `servers`. `security` are aiokafka's arguments for TLS and SASL."""

    servers: str
    security: Mapping[str, Any]

    async def create(
        self, wanted: list[Wanted], *, replicas: int | None, retention: timedelta, dry_run: bool
    ) -> list[TopicResult]:
        """Make missing topics; `replicas` None is three, or the number of brokers if there are fewer.

        Raises:
            Failed: the brokers cannot be reached or refuse it.
        """
        async with self._cluster() as cluster, self._client() as client:
            if replicas is None:
                replicas = min(_REPLICAS, len((await client.describe_cluster())["brokers"]))
            return [
                await self._create_or_grow(cluster, client, topic, replicas, retention, dry_run=dry_run)
                for topic in wanted
            ]

    async def _create_or_grow(
        self,
        cluster: Cluster,
        client: AIOKafkaAdminClient,
        wanted: Wanted,
        replicas: int,
        retention: timedelta,
        *,
        dry_run: bool,
    ) -> TopicResult:
        try:
            partitions = len((await cluster.describe(wanted.name)).leaders)
        except TopicMissing:
            await _require_controller(client)
            is_created = await _create(client, wanted, replicas, retention, dry_run=dry_run)
            if dry_run:
                return TopicResult(wanted.name, wanted.partitions, replicas, Action.CREATED)
            partitions = await _seen(cluster, wanted.name)
            if is_created:
                return TopicResult(wanted.name, partitions, replicas, Action.CREATED)
        if partitions >= wanted.at_least:
            return TopicResult(wanted.name, partitions, None, Action.NOTHING)
        await _require_controller(client)
        grown = {wanted.name: NewPartitions(wanted.at_least)}
        await client.create_partitions(grown, validate_only=dry_run)
        return TopicResult(wanted.name, wanted.at_least, None, Action.GROWN)

    async def corrupt_at(self, topic: str, partition: int, offset: int) -> Corrupt | None:
        """The corrupt batch that holds `offset`; None if the batch there can be read.

        Raises:
            Failed: there is no such place, or the brokers cannot be reached.
        """
        async with self._cluster() as cluster:
            described = await cluster.describe(topic)
            if partition not in described.leaders:
                raise Failed(f"{topic} has no partition {partition}")
            first, end = await cluster.ends(described, partition)
            if first == end:
                raise Failed(f"partition {partition} of {topic} is empty")
            if not first <= offset < end:
                raise Failed(f"partition {partition} of {topic} has offsets {first} to {end - 1}")
            fetched = await cluster.read(described, partition, offset)
        read = records.read(
            topic,
            partition,
            fetched.records,
            aborted=fetched.aborted,
            position=offset,
            high_watermark=fetched.high_watermark,
        )
        return read.corrupt if read.corrupt is not None and read.corrupt.first == offset else None

    @asynccontextmanager
    async def _cluster(self) -> AsyncIterator[Cluster]:
        try:
            async with Cluster(bootstrap_servers=self.servers, security=self.security) as cluster:
                yield cluster
        except Trouble as trouble:
            raise Failed(f"{self.servers}: {trouble}") from None

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[AIOKafkaAdminClient]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.servers, **self.security)
        try:
            await client.start()
            yield client
        except (KafkaConnectionError, TimeoutError):
            raise Failed(f"{self.servers}: the broker cannot be reached") from None
        except (KafkaError, NotImplementedError) as error:
            raise Failed(f"{self.servers}: the broker refuses it: {type(error).__name__}") from None
        finally:
            await client.close()


async def _require_controller(client: AIOKafkaAdminClient) -> None:
    """Raise Failed where the cluster has no controller, the broker that makes topics."""
    described = await client.describe_cluster()
    if described["controller_id"] not in {broker["node_id"] for broker in described["brokers"]}:
        raise Failed(
            "the brokers have no controller, so no topic can be made or grown there now; the embedded broker never has"
            " one, and makes a topic of four partitions for every name that it is asked for"
        )


async def _seen(cluster: Cluster, name: str) -> int:
    """The number of partitions, once the broker that is asked knows the topic."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while True:
        try:
            return len((await cluster.describe(name)).leaders)
        except Trouble:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_LOOK_SECONDS)


async def _create(
    client: AIOKafkaAdminClient, wanted: Wanted, replicas: int, retention: timedelta, *, dry_run: bool
) -> bool:
    """Make the topic. False if it exists: made by another process meanwhile, or too recently for every broker to know
    it.
    """
    settings = {
        # a compacted topic would lose all updates of a card but the latest
        "cleanup.policy": "delete",
        "retention.ms": str(retention // timedelta(milliseconds=1)),
        "min.insync.replicas": str(_IN_SYNC if replicas > _IN_SYNC else 1),
    }
    topic = NewTopic(wanted.name, wanted.partitions, replicas, topic_configs=settings)
    response = await client.create_topics([topic], validate_only=dry_run)
    ((_, error_code, *_),) = response.topic_errors
    error = for_code(error_code)
    if error not in {NoError, TopicAlreadyExistsError}:
        raise Failed(f"the broker does not make {wanted.name}: {error.__name__}")
    return error is NoError
