"""Set the offsets of a consumer group back to a time, while no member of it runs.

After a restored backup the database lacks what was taken in since. What it has is recognised when it is read again.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from consumers.cluster import Cluster, TopicMissing, Trouble
from ops.terminal import Failed

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class RewoundPartition:
    """A partition whose group reads on at `offset`, formerly at `former`."""

    topic: str
    partition: int
    former: int
    offset: int


@dataclass(frozen=True, slots=True)
class Rewinding:
    """Rewinding at the brokers `servers`. `security` are aiokafka's arguments for TLS and SASL."""

    servers: str
    security: Mapping[str, Any]

    async def rewind(self, topic: str, group: str, at: datetime, *, dry_run: bool) -> list[RewoundPartition] | None:
        """Have `group` read `topic` from the first messages of `at` or later on; None if there is no such topic.

        A partition is never set forward. One without such messages, or that the group has not read, stays.

        Raises:
            Failed: a member of the group runs, or the brokers cannot be reached.
        """
        partitions = await self._partitions(topic)
        if partitions is None:
            return None
        await self._require_idle(group)
        async with self._consumer(group) as consumer:
            consumer.assign(partitions)
            first_offsets = await consumer.offsets_for_times(dict.fromkeys(partitions, (at - _EPOCH) // _MILLISECOND))
            rewound = []
            for place in partitions:
                former, first = await consumer.committed(place), first_offsets.get(place)
                if former is not None and first is not None and first.offset < former:
                    rewound.append(RewoundPartition(topic, place.partition, former, first.offset))
            if rewound and not dry_run:
                await consumer.commit({TopicPartition(topic, back.partition): back.offset for back in rewound})
        return rewound

    async def _partitions(self, topic: str) -> list[TopicPartition] | None:
        try:
            async with Cluster(bootstrap_servers=self.servers, security=self.security) as cluster:
                described = await cluster.describe(topic)
        except TopicMissing:
            return None
        except Trouble as trouble:
            raise Failed(f"{self.servers}: {trouble}") from None
        return [TopicPartition(topic, partition) for partition in sorted(described.leaders)]

    async def _require_idle(self, group: str) -> None:
        """Raise Failed if the group has members: they would commit their own offsets over these."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers, **self.security)
        async with self._failures():
            await admin.start()
            try:
                (response,) = await admin.describe_consumer_groups([group])
            finally:
                await admin.close()
        members = [member for described in response.groups for member in described[5]]
        if members:
            raise Failed(
                f"the group {group} has {len(members)} running members: stop all processes of role consume first"
            )

    @asynccontextmanager
    async def _consumer(self, group: str) -> "AsyncIterator[AIOKafkaConsumer[bytes, bytes]]":
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers, group_id=group, enable_auto_commit=False, **self.security
        )
        async with self._failures():
            try:
                await consumer.start()
                yield consumer
            finally:
                await consumer.stop()

    @asynccontextmanager
    async def _failures(self) -> AsyncIterator[None]:
        try:
            yield
        except (KafkaConnectionError, TimeoutError):
            raise Failed(f"{self.servers}: the broker cannot be reached") from None
        except KafkaError as error:
            raise Failed(f"{self.servers}: the broker refuses it: {type(error).__name__}") from None
