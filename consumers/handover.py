"""The steps of a group member before its partitions go to another member, and after it was given some."""

import asyncio
from collections.abc import Collection
from contextlib import suppress

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition

log = structlog.get_logger()

# Half the rebalance timeout: after it the group goes on without this member.
_HANDOVER_SECONDS = 30


class Handover(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Before partitions go to another member, the batches in hand are finished and their offsets are committed.

    Messages that were polled behind them are read again: the next assignment begins at the committed offsets.
    `handing_over` asks the worker to take in no further batch; `idle` is set while it has no batch in hand.
    `assignments` counts how often partitions were given away.
    """

    def __init__(self, handing_over: asyncio.Event, idle: asyncio.Event) -> None:
        self._handing_over = handing_over
        self._idle = idle
        self.assignments = 0

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._handing_over.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_HANDOVER_SECONDS):
                await self._idle.wait()
        self.assignments += 1
        if revoked:
            log.info("partitions revoked", partitions=sorted(partition.partition for partition in revoked))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        log.info("partitions assigned", partitions=sorted(partition.partition for partition in assigned))
