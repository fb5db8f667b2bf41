"""The state of topics and of the groups that read them, as `repoint doctor` judges it. Nothing is written or made."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from consumers import records
from consumers.cluster import Cluster, Topic
from domain.checkup.broker import UNREAD_FAULT, UNREAD_WARNING, GroupState, Partition, TopicState

_NO_LEADER = -1
# A broker that needs longer for one answer counts as away; the client itself would wait for 40 s.
_ANSWER_MILLISECONDS = 5000

# Kafka makes the topic in which groups are kept at the first question about a group, and elects the coordinators after
# a broker has ended: some seconds, which are no fault.
_retried = retry(
    retry=retry_if_exception_type(
        (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
    ),
    wait=wait_fixed(0.25),
    stop=stop_after_delay(3),
    reraise=True,
)


@dataclass(frozen=True, slots=True)
class BrokerState:
    """Questions to the brokers, on connections of their own."""

    cluster: Cluster
    admin: AIOKafkaAdminClient

    async def servers(self) -> list[str]:
        """All brokers, as `host:port`."""
        described = await self.admin.describe_cluster()
        return [f"{broker['host']}:{broker['port']}" for broker in described["brokers"]]

    async def topic(self, name: str) -> TopicState:
        """A topic as it is. Raises consumers.cluster.TopicMissing."""
        await self.cluster.describe(name)  # some brokers would make a topic that the question below names
        (described,) = await self.admin.describe_topics([name])
        partitions = [
            Partition(
                number=partition["partition"],
                led=partition["leader"] != _NO_LEADER,
                replicas=len(partition["replicas"]),
                in_sync=len(partition["isr"]),
            )
            for partition in described["partitions"]
        ]
        return TopicState(name, partitions, await self._settings(name), len(await self.servers()))

    async def _settings(self, topic: str) -> Mapping[str, str] | None:
        (response,) = await self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        ((error_code, _, _, _, entries),) = response.resources
        return None if error_code else {name: value for name, value, *_ in entries}

    async def group(self, group: str, topic: str, now: datetime) -> GroupState:
        """The members of a group and what the topic has for it that is not read. Raises TopicMissing."""
        described = await self.cluster.describe(topic)
        committed = await self._committed(group, described)
        unread = [
            await self._unread(described, partition, committed.get(partition), now)
            for partition, leader in sorted(described.leaders.items())
            if leader != _NO_LEADER
        ]
        return GroupState(
            group,
            topic,
            partitions=len(described.leaders),
            members=await self._members(group),
            unread=sum(part.count for part in unread),
            waited=sum(part.waited for part in unread),
            waited_long=sum(part.waited_long for part in unread),
            removed=sum(part.removed for part in unread),
            corrupt=tuple((part.partition, part.corrupt) for part in unread if part.corrupt is not None),
        )

    @_retried
    async def _members(self, group: str) -> int:
        (response,) = await self.admin.describe_consumer_groups([group])
        ((_, _, _, _, _, members, *_),) = response.groups
        return len(members)

    @_retried
    async def _committed(self, group: str, topic: Topic) -> dict[int, int]:
        places = [TopicPartition(topic.name, partition) for partition in topic.leaders]
        offsets = await self.admin.list_consumer_group_offsets(group, partitions=places)
        return {place.partition: kept.offset for place, kept in offsets.items() if kept.offset >= 0}

    async def _unread(self, topic: Topic, partition: int, committed: int | None, now: datetime) -> "_Unread":
        first, end = await self.cluster.ends(topic, partition)
        removed = max(0, first - committed) if committed is not None else 0
        position = max(first, committed or 0)
        if position >= end:
            return _Unread(partition, 0, removed)
        fetched = await self.cluster.read(topic, partition, position)
        read = records.read(
            topic.name,
            partition,
            fetched.records,
            aborted=fetched.aborted,
            position=position,
            high_watermark=fetched.high_watermark,
        )
        if not read.messages and read.corrupt is None and read.next_offset >= end:
            return _Unread(partition, 0, removed)  # the end of a transaction: offsets without a message
        corrupt = read.corrupt.first if read.corrupt is not None and not read.messages else None
        waited = await self._older(topic, partition, position, end, now - UNREAD_WARNING)
        waited_long = await self._older(topic, partition, position, end, now - UNREAD_FAULT)
        return _Unread(partition, end - position, removed, waited, waited_long, corrupt)

    async def _older(self, topic: Topic, partition: int, position: int, end: int, moment: datetime) -> int:
        """How many of the offsets from `position` up to `end` are older than `moment`."""
        younger = await self.cluster.offset_at(topic, partition, moment)
        return max(0, (end if younger is None else min(younger, end)) - position)


@dataclass(frozen=True, slots=True)
class _Unread:
    """What is not read of a partition, see `GroupState`; `corrupt` is the offset of a corrupt batch that comes next."""

    partition: int
    count: int
    removed: int
    waited: int = 0
    waited_long: int = 0
    corrupt: int | None = None


@asynccontextmanager
async def opened(servers: str, security: Mapping[str, Any]) -> AsyncIterator[BrokerState]:
    """Connections to the brokers. Raises Trouble or KafkaError where there are none."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, request_timeout_ms=_ANSWER_MILLISECONDS, **security)
    try:
        await admin.start()
        async with Cluster(bootstrap_servers=servers, security=security) as cluster:
            yield BrokerState(cluster, admin)
    finally:
        await admin.close()
