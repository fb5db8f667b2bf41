"""Take in what was held for vendors that are resumed, in the order in which it came.

One process is at a vendor at a time, by a lease in the vendor's row. It takes the held messages in as batches of a
topic: their rows are deleted and recorded anew in the batch's transaction, with the outcome that they have now. What
comes meanwhile is held behind them. When nothing is held any more, the gate is closed for a moment, so that no batch is
under way that saw the vendor as paused; then the vendor's messages are taken in as they come.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchPoint, BatchResult, Place
from consumers.halving import BatchIntake, TakeIn
from consumers.letters import Message
from loops.waiting import Reminder, Stopped, Waiting, event_or_timeout
from schemas.digit_ids import NO_DIGIT_IDS, DigitIds
from store import vendors, wallets
from store.failures import DATABASE_ERRORS, failure
from store.refusals import reason
from store.vendors import HeldMessage
from wallets.announcements import OnDue
from wallets.change import Retention

log = structlog.get_logger()

# The pause between two looks for resumed vendors.
_LOOK_SECONDS = 1
# A batch takes a second at most, as a rule; after this long without one, its process has died.
_LEASE = timedelta(minutes=2)


class HeldIntake:
    """Takes in held messages. The arguments are those of the worker that held them."""

    def __init__(
        self,
        engine: AsyncEngine,
        retention: Retention,
        take_in: TakeIn,
        *,
        batch_size: int = 500,
        digit_ids: DigitIds = NO_DIGIT_IDS,
        on_due: OnDue = lambda _: None,
        on_point: Callable[[BatchPoint], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._take_in = take_in
        self._batch_size = batch_size
        self._held: Mapping[Place, int] = {}
        self._waiting = Waiting("held updates", None)
        self._intake = BatchIntake(
            engine,
            retention,
            self._take_in_held,
            self._waiting,
            on_due=on_due,
            on_point=on_point,
            digit_ids=digit_ids,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Take in what was held for resumed vendors, until `stopping` is set."""
        self._waiting.stopping = stopping
        reminder = Reminder()
        while not stopping.is_set():
            self._waiting.progress.advance()
            try:
                vendor = await self.run_once()
            except Stopped:
                return
            except DATABASE_ERRORS as error:
                if failure(error) is None:
                    raise
                vendor = None
                if reminder.is_due(why := reason(error)):
                    log.warning("held updates wait", reason=why)
            if vendor is None:
                await event_or_timeout(stopping, _LOOK_SECONDS)

    def stalled(self) -> str | None:
        """Why the process should be restarted; None while the loop makes progress."""
        return self._waiting.progress.stalled()

    async def run_once(self) -> str | None:
        """Take in all that is held for one resumed vendor; None if there is none.

        Raises:
            Stopped: it was stopped meanwhile.
        """
        async with self._engine.begin() as connection:
            vendor = await vendors.claim(connection, lease=_LEASE)
        if vendor is None:
            return None
        count = 0
        while rows := await self._next(vendor):
            for (_, incarnation), of_one in groupby(rows, key=attrgetter("topic", "incarnation")):
                await self._take_in_rows(list(of_one), incarnation)
            count += len(rows)
        if await self._end(vendor):
            log.info("vendor resumed", vendor=vendor, taken_in=count)
        return vendor

    async def _next(self, vendor: str) -> list[HeldMessage]:
        """The next held messages of a claimed vendor; none if it was paused again."""
        self._waiting.progress.advance()
        async with self._engine.begin() as connection:
            if not await vendors.extend(connection, vendor, lease=_LEASE):
                return []
            return await vendors.held(connection, vendor, limit=self._batch_size)

    async def _take_in_rows(self, rows: Sequence[HeldMessage], incarnation: int) -> None:
        self._held = {(row.topic, row.partition, row.offset): row.inbox_id for row in rows}
        self._intake.incarnation = incarnation
        await self._intake.take_in([_message(row) for row in rows])
        # what is still there was set aside as a dead letter
        async with self._engine.begin() as connection:
            await vendors.let_go(connection, self._held.values())

    async def _take_in_held(self, *arguments: Any, **named: Any) -> BatchResult:  # noqa: ANN401 - those of `take_in`
        return await self._take_in(*arguments, **named, held=self._held)

    async def _end(self, vendor: str) -> bool:
        async with self._engine.begin() as connection:
            await wallets.close_the_gate(connection)
            return await vendors.end(connection, vendor)


def _message(held: HeldMessage) -> Message:
    """The message as it was read."""
    return ConsumerRecord(
        held.topic, held.partition, held.offset, 0, 0, held.key, held.value, None, 0, 0, tuple(held.headers)
    )
