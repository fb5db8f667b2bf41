"""What a member of the group does when partitions go to another member, or come to it."""

import asyncio
from collections.abc import Collection
from contextlib import suppress

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition

log = structlog.get_logger()

# Half the rebalance timeout: after it the group goes on without this member.
_HANDOVER_SECONDS = 30


class Handover(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Before partitions go to another member, the batches at hand are finished and their offsets are committed.

    What was polled behind them is read again: the next assignment begins at what is committed. `enough` asks the
    worker to take no further batch in; `idle` is set while it has none in hand. `assignments` counts how often
    partitions were given away.
    """

    def __init__(self, enough: asyncio.Event, idle: asyncio.Event) -> None:
        self._enough = enough
        self._idle = idle
        self.assignments = 0

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._enough.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_HANDOVER_SECONDS):
                await self._idle.wait()
        self.assignments += 1
        if revoked:
            log.info("partitions revoked", partitions=sorted(partition.partition for partition in revoked))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        log.info("partitions assigned", partitions=sorted(partition.partition for partition in assigned))
