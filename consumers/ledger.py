"""Records about a topic that is read, outside of the batches: each in a transaction of its own.

Each write waits while the database is away, as a batch does. It also waits after a lock or a statement that took too
long: each write has one row, or one for each partition, so the cause is another transaction or a slow server, which
passes. `/readyz` names the reason meanwhile. A row that the database refuses ends the worker.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumers.records import Corrupt
from loops.waiting import Stopped, Waiting
from store import skips, topics
from store.failures import Failure, failure, passes
from store.refusals import reason
from store.topics import Incarnation, Loss

log = structlog.get_logger()

LOST = Counter("repoint_messages_lost_total", "Offsets that were gone before they were read", ["topic", "partition"])
SKIPPED = Counter("repoint_messages_skipped_total", "Offsets that an operator had skipped", ["topic", "partition"])

T = TypeVar("T")


def _reason(error: BaseException) -> str:
    """Why a write failed which will be tried again."""
    if failure(error) in (Failure.CONTENDED, Failure.TOO_MUCH):
        return f"the state of the topic cannot be written: {reason(error)}"
    return reason(error)


class Ledger:
    """The functions of `store.topics` and `store.skips`, with a log line and a count for messages that are not read.

    Every method raises `Stopped` if the worker is stopped while the database is away.
    """

    def __init__(self, engine: AsyncEngine, waiting: Waiting) -> None:
        self._engine = engine
        self._waiting = waiting

    async def meet(self, topic: str, topic_id: UUID | None) -> Incarnation:
        return await self._write(lambda connection: topics.meet(connection, topic, topic_id))

    async def begun(self, of: Incarnation, partitions: Collection[int]) -> set[int]:
        return await self._write(lambda connection: topics.begun(connection, of, partitions))

    async def begin(self, of: Incarnation, partitions: Collection[int]) -> None:
        await self._write(lambda connection: topics.begin(connection, of, partitions))

    async def taken_to(self, of: Incarnation, partition: int) -> int:
        return await self._write(lambda connection: topics.taken_to(connection, of, partition))

    async def lose(self, of: Incarnation, partition: int, *, start: int, end: int, reason: Loss) -> None:
        """Note that the messages from `start` to before `end` were lost before they were read."""
        lost = await self._write(
            lambda connection: topics.lose(connection, of, partition, start=start, end=end, reason=reason)
        )
        LOST.labels(of.topic, partition).inc(lost)
        log.warning(
            "lost before it was read",
            topic=of.topic,
            partition=partition,
            start=start,
            end=end,
            reason=reason.value,
        )

    async def obey_skip(self, of: Incarnation, partition: int, corrupt: Corrupt) -> int | None:
        """The offset after the corrupt batch if an operator ordered to skip it; None otherwise."""
        obeyed = await self._write(
            lambda connection: skips.obey(connection, of, partition, start=corrupt.first, end=corrupt.end)
        )
        if obeyed is None:
            return None
        if obeyed.is_new:
            SKIPPED.labels(of.topic, partition).inc(obeyed.end - corrupt.first)
        log.warning(
            "corrupt batch skipped",
            topic=of.topic,
            partition=partition,
            start=corrupt.first,
            end=obeyed.end,
            reason=obeyed.reason,
        )
        return obeyed.end

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async for attempt in self._waiting.attempts(passes, _reason):
            with attempt:
                async with self._engine.begin() as connection:
                    return await work(connection)
        raise Stopped
