"""The dispatcher: claims due deliveries, posts them signed, and records the results in batches.

    Claimer ──> Poster ──> Recorder          claim: a lease, in a transaction of its own
                  ^            │             post: no transaction open
                  └── next ────┘             record: fenced by the attempt; claims the next of each finished line

A claim is a lease. The lease of a dispatcher that dies ends, and the next dispatcher to claim the delivery sends the
same id and the same bytes again. The attempt number fences a dispatcher that was only slow: its results are refused.
At a low rate no step waits for a timer: each begins when the one before has ended, with what has gathered until then.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from functools import partial
from typing import Literal, TypeAlias

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.backlog import Backlog
from domain.delivery.schedule import RETRY_SCHEDULE
from loops.progress import Progress
from loops.waiting import Reminder, retry
from producers.webhooks.claimer import Claimer
from producers.webhooks.destination import NO_DESTINATIONS, Destinations
from producers.webhooks.poster import AttemptPoint, Poster
from producers.webhooks.recorder import Recorder, RecordPoint
from producers.webhooks.sender import Sender
from schemas.sealing import BUILT_IN_KEYS, Keys
from schemas.signing_keys import NO_SIGNING_KEYS, SigningKeys
from store.deliveries import ClaimedDelivery
from store.failures import passes
from store.refusals import reason
from store.reused_connection import ReusedConnection

log = structlog.get_logger()

# While so many results wait for the database that nothing more is claimed, this is how often they are looked at.
_BEHIND_SECONDS = 0.05

DispatchPoint: TypeAlias = AttemptPoint | RecordPoint | Literal["sent"]
"""Where crash tests stop the process. The Sender reports `sent`."""


class Dispatcher:
    """One dispatcher of any number that share the live deliveries.

    `connections` requests run at a time. `lease` is longer than the sender's deadline: half of the difference is for
    waiting in this process, half for recording. `roll` in [0, 1) spreads the retries. At a stop, attempts under way
    have `drain_within` seconds. `on_point` is called with each point that a delivery passes.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        sender: Sender,
        *,
        schedule: Sequence[timedelta] = RETRY_SCHEDULE,
        connections: int = 100,
        lease: timedelta = timedelta(seconds=60),
        drain_within: float = 25,
        roll: Callable[[], float] = random.random,
        keys: Keys = BUILT_IN_KEYS,
        signing_keys: SigningKeys = NO_SIGNING_KEYS,
        destinations: Destinations = NO_DESTINATIONS,
        on_point: Callable[[DispatchPoint], None] | None = None,
    ) -> None:
        # listing endpoints and claiming are one statement each: a transaction around it costs two round trips
        self._claims = ReusedConnection(engine.execution_options(isolation_level="AUTOCOMMIT"))
        self._records = ReusedConnection(engine)
        self._drain_within = drain_within
        self._backlog = Backlog(connections)
        self._claimer = Claimer(self._claims, self._backlog, lease=lease, on_claimed=self._post)
        self._recorder = Recorder(
            self._records,
            self._backlog,
            schedule=schedule,
            lease=lease,
            roll=roll,
            on_claimed=self._post,
            on_due=self._claimer.wake,
            on_paused=self._put_paused_back,
            on_point=on_point,
        )
        patience = (lease.total_seconds() - sender.deadline) / 2
        self._poster = Poster(
            sender,
            self._backlog,
            self._recorder,
            keys=keys,
            signing_keys=signing_keys,
            destinations=destinations,
            connections=connections,
            patience=patience,
            on_point=on_point,
        )
        self._tasks: asyncio.TaskGroup
        self._stopping = asyncio.Event()
        self._has_claimed_last = False
        self._progress = Progress("the dispatcher")
        self._waits_for: str | None = "the database: not asked yet"
        self._reminder = Reminder()

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until `stopping` is set; then finish attempts under way, and put back deliveries not begun."""
        self._advance()
        self._stopping = stopping
        async with self._claims, self._records, asyncio.TaskGroup() as self._tasks:
            recording = self._tasks.create_task(self._record_results())
            waking = self._tasks.create_task(self._wake_to_stop())
            await self._claim_deliveries()
            self._has_claimed_last = True
            waking.cancel()
            await self._drain(recording)
        self._recorder.close()

    async def run_once(self) -> int:
        """Claim the due deliveries, attempt them, record the results; for tests. Returns the number of attempts."""
        self._claimer.begin_anew()
        async with self._claims, self._records:
            async with asyncio.TaskGroup() as self._tasks:
                await self._claimer.run_once()
                attempts = self._backlog.outstanding
            await self._recorder.run_once(claims_next=False)
        return attempts

    def wake(self, due: Collection[str] | None = None) -> None:
        """Claim now: deliveries of the endpoints `due` were written; None if it is not known of which endpoints."""
        self._claimer.wake(due)

    def ready(self) -> str | None:
        """What the dispatcher waits for before it can deliver; None if it waits for nothing."""
        return self._waits_for

    def stalled(self) -> str | None:
        """Why the process should be restarted; None while the dispatcher makes progress."""
        return self._progress.stalled()

    # --- the three steps --------------------------------------------------------------------------------------------

    async def _claim_deliveries(self) -> None:
        while not self._stopping.is_set():
            if self._recorder.is_behind():
                await asyncio.sleep(_BEHIND_SECONDS)
                continue
            self._poster.narrow_overdue()
            await self._retry(self._claimer.run_once, until=self._stopping)
            await self._claimer.wait()

    def _post(self, claimed: Sequence[ClaimedDelivery], leased_after: float) -> None:
        self._poster.add(claimed, leased_after, self._tasks)
        if self._stopping.is_set():
            self._poster.put_back()

    async def _record_results(self) -> None:
        while not (self._has_claimed_last and self._backlog.outstanding == 0 and self._recorder.is_empty()):
            await self._recorder.wait()
            claims_next = not self._stopping.is_set()
            await self._retry(partial(self._recorder.run_once, claims_next=claims_next))

    def _put_paused_back(self) -> None:
        self._poster.put_back(self._backlog.is_paused)

    # --- stopping and waiting ---------------------------------------------------------------------------------------

    async def _wake_to_stop(self) -> None:
        await self._stopping.wait()
        self._claimer.stop()

    async def _drain(self, recording: "asyncio.Task[None]") -> None:
        """Put back what is ready. Wait until the attempts under way have ended, and `recording` with them."""
        self._poster.put_back()
        self._recorder.wake()
        _, late = await asyncio.wait((recording,), timeout=self._drain_within)
        if late:
            log.warning(
                "attempts under way are abandoned: they are due again when their leases end",
                attempts=self._backlog.outstanding,
            )
            recording.cancel()
            self._poster.cancel()

    async def _retry(self, step: Callable[[], Awaitable[None]], *, until: asyncio.Event | None = None) -> None:
        """Repeat the step until it succeeds, however long the database is away, or until `until` is set."""
        await retry(step, passes, announce=self._announce_retry, until=until)
        self._advance()

    def _announce_retry(self, error: BaseException, tries: int) -> None:
        why = reason(error)
        self._advance(waits_for=why)
        if self._reminder.is_due(why):
            log.warning("deliveries wait", why=why, error=type(error).__name__, tries=tries)

    def _advance(self, waits_for: str | None = None) -> None:
        self._progress.advance()
        self._waits_for = waits_for
