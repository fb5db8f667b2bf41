"""The update topic as its broker has it, for the accounts: offsets, and the messages of a range."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from consumers import records
from consumers.cluster import Cluster, Topic, Trouble, trouble_of
from ops import kafka
from ops.settings import Settings
from reconciliation.accounting import PartitionOffsets, TopicLog, TopicOffsets
from store.reconciliation.offsets import OffsetRange

log = structlog.get_logger()

# Enough to see what was passed over; a person looks at the topic then.
_MOST_MESSAGES = 10_000


@dataclass(frozen=True, slots=True)
class _TopicAtBroker:
    """`security` are aiokafka's arguments for TLS and SASL."""

    servers: str
    security: Mapping[str, Any]
    topic: str
    group: str

    async def offsets(self) -> TopicOffsets | None:
        """The offsets now; None, and a line in the log, if the broker cannot be asked."""
        try:
            async with self._cluster() as cluster:
                topic = await cluster.describe(self.topic)
                firsts = {number: (await cluster.ends(topic, number))[0] for number in topic.leaders}
            committed = await self._committed(topic)
        except Trouble as trouble:
            log.warning("the topic's offsets are not compared", reason=str(trouble))
            return None
        partitions = {number: PartitionOffsets(first, committed.get(number)) for number, first in firsts.items()}
        return TopicOffsets(self.topic, topic.id, partitions)

    async def messages(self, partition: int, within: OffsetRange) -> Sequence[int]:
        """The offsets of the messages with a value; 10,000 at most. None of them if the broker cannot be asked."""
        try:
            async with self._cluster() as cluster:
                return await self._messages(cluster, partition, within)
        except Trouble as trouble:
            log.warning("messages are not looked for", reason=str(trouble), partition=partition, offset=within.start)
            return ()

    async def _messages(self, cluster: Cluster, partition: int, within: OffsetRange) -> list[int]:
        topic = await cluster.describe(self.topic)
        offsets: list[int] = []
        position = within.start
        while position < within.end and len(offsets) < _MOST_MESSAGES:
            fetched = await cluster.read(topic, partition, position)
            read = records.read(
                self.topic,
                partition,
                fetched.records,
                aborted=fetched.aborted,
                position=position,
                high_watermark=fetched.high_watermark,
            )
            offsets += [
                message.offset for message in read.messages if message.value is not None and message.offset < within.end
            ]
            if read.next_offset <= position:
                break
            position = read.next_offset
        return offsets[:_MOST_MESSAGES]

    async def _committed(self, topic: Topic) -> dict[int, int]:
        """The offset that the group reads next, for each partition of which it has read something."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.servers, **self.security)
        partitions = [TopicPartition(topic.name, number) for number in topic.leaders]
        try:
            await client.start()
            answers = await client.list_consumer_group_offsets(self.group, partitions=partitions)
        except (KafkaError, OSError) as error:
            raise trouble_of(error, topic.name, self.group) from error
        finally:
            await client.close()
        return {place.partition: committed.offset for place, committed in answers.items() if committed.offset >= 0}

    @asynccontextmanager
    async def _cluster(self) -> AsyncIterator[Cluster]:
        async with Cluster(bootstrap_servers=self.servers, security=self.security) as cluster:
            yield cluster


def topic_log(settings: Settings, servers: str | None) -> TopicLog | None:
    """The update topic at the brokers; None where no broker is known."""
    if not servers:
        return None
    broker = _TopicAtBroker(servers, kafka.security(settings), settings.kafka_topic, settings.kafka_group)
    return TopicLog(broker.offsets, broker.messages)
