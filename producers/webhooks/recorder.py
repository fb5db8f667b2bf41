"""The recorder: writes the results of attempts in batches, and claims the next delivery of each finished line.

A batch has the results that gathered while the batch before was written. Results stay in memory until their COMMIT has
succeeded. The attempt number fences them: a result is refused if the lease has passed to another dispatcher.
"""

import asyncio
import time
from collections import Counter as Count
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.delivery.backlog import Backlog
from domain.delivery.outcome import ACCEPTED
from domain.delivery.schedule import after_attempt
from domain.delivery.states import Status
from merchants import endpoint_events
from producers.webhooks import measures, restraints
from producers.webhooks.claimer import OnClaimed
from producers.webhooks.dead_log import DeadLog
from producers.webhooks.evidence import Evidence
from producers.webhooks.restraints import NOTHING_WRITTEN, RestraintLog, Restraints
from producers.webhooks.sender import PostResult
from store import deliveries, endpoints, evidence
from store.deliveries import FINISHED, AttemptResult, ClaimedDelivery, Line
from store.evidence import KeptAnswer
from store.reused_connection import ReusedConnection

ATTEMPTS = Counter("repoint_delivery_attempts_total", "Attempts at deliveries, by what came of them", ["outcome"])
LATE = Counter("repoint_delivery_results_late_total", "Results refused: their lease had passed to another claim")

# After a batch of so many results the recorder waits for more; with fewer, waiting would save nothing.
_MANY = 20
# So long it waits then, for a larger batch.
_GATHER_SECONDS = 0.01
# Unrecorded results at which claiming pauses: after a crash their deliveries are sent again.
_MOST_RESULTS = 5000

_ACCEPTED = after_attempt(Status.PENDING, 0, ACCEPTED, schedule=(), roll=0.0)
"""Made once: nearly every attempt ends so."""

RecordPoint: TypeAlias = Literal["recorded"]
"""Where crash tests stop a recorder: after its COMMIT."""


class Recorder:
    """Records results on `connection`, and hands the next deliveries of finished lines to `on_claimed`.

    `schedule` and `roll` are of `domain.delivery.schedule.after_attempt`. `on_due` is called with the endpoints that
    have deliveries due which were not claimed. `on_paused` is called while some endpoint is paused: ready deliveries
    of paused endpoints are to be put back.
    """

    def __init__(
        self,
        connection: ReusedConnection,
        backlog: Backlog,
        *,
        schedule: Sequence[timedelta],
        lease: timedelta,
        roll: Callable[[], float],
        on_claimed: OnClaimed,
        on_due: Callable[[Collection[str]], None],
        on_paused: Callable[[], None],
        on_point: Callable[[RecordPoint], None] | None = None,
    ) -> None:
        self._connection = connection
        self._backlog = backlog
        self._schedule = schedule
        self._lease = lease
        self._roll = roll
        self._on_claimed = on_claimed
        self._on_due = on_due
        self._on_paused = on_paused
        self._on_point = on_point
        self._dead_log = DeadLog()
        self._restraint_log = RestraintLog()
        # not recorded yet: results, deliveries to put back, and what follows for their endpoints
        self._results: list[AttemptResult] = []
        # by delivery and attempt
        self._evidence: dict[tuple[int, int], Evidence] = {}
        self._unsent: list[ClaimedDelivery] = []
        self._restraints = Restraints(backlog)
        self._added = asyncio.Event()
        self._latest_size = 0

    # --- results of attempts ----------------------------------------------------------------------------------------

    def add(
        self, delivery: ClaimedDelivery, started_at: float, result: PostResult, kept: Evidence | None = None
    ) -> None:
        """Take the result of an attempt that began at `started_at` (Unix seconds), and what is kept of its answer."""
        id_ = delivery.endpoint_id
        outcome, seconds = result.outcome, result.seconds
        free_delay = self._restraints.add(delivery, result)
        if outcome is ACCEPTED:
            next_state = _ACCEPTED
        else:
            next_state = after_attempt(
                Status.PENDING,
                delivery.tries,
                outcome,
                free_delay=free_delay,
                schedule=self._schedule if (own := delivery.endpoint.retry_schedule) is None else own,
                roll=self._roll(),
            )
        self._results.append(AttemptResult(delivery, outcome, result.status_code, seconds, started_at, next_state))
        if kept is not None:
            self._evidence[delivery.id, delivery.attempt] = kept
        self._backlog.note_answer(id_, outcome, seconds)
        self._release(id_)

    def put_back(self, delivery: ClaimedDelivery) -> None:
        """Take back a delivery that was claimed and not sent."""
        self._unsent.append(delivery)
        self._release(delivery.endpoint_id)

    def is_behind(self) -> bool:
        """Whether so many results wait that nothing more is to be claimed."""
        return len(self._results) + len(self._unsent) > _MOST_RESULTS

    def _release(self, endpoint_id: str) -> None:
        self._added.set()
        if self._backlog.release(endpoint_id):
            self._on_due(())

    # --- recording --------------------------------------------------------------------------------------------------

    async def wait(self) -> None:
        """Wait until there is something to record. After a large batch, wait a little longer for the next large one."""
        await self._added.wait()
        if self._latest_size >= _MANY:
            await asyncio.sleep(_GATHER_SECONDS)

    def wake(self) -> None:
        """End a wait, though there may be nothing to record."""
        self._added.set()

    def is_empty(self) -> bool:
        """Whether nothing waits to be recorded."""
        return not self._results and not self._unsent

    async def run_once(self, *, claims_next: bool = True) -> None:
        """Record what has gathered.

        With `claims_next`, the next delivery of each finished line is claimed in the same transaction.
        """
        self._added.clear()
        if self._restraints.pauses():
            self._on_paused()
        results, unsent = self._results.copy(), self._unsent.copy()
        self._latest_size = len(results)
        gathered = self._restraints.gathered()
        if not results and not unsent:
            return
        leased_after = time.monotonic()
        recorded, written = deliveries.NOTHING_RECORDED, NOTHING_WRITTEN
        announced: AbstractSet[str] = frozenset()
        async with self._connection.begin() as connection:
            if unsent:
                await deliveries.put_back(connection, unsent)
            if results:
                to_claim = self._next_to_claim(results) if claims_next else ()
                recorded = await deliveries.record(connection, results, to_claim=to_claim, lease=self._lease)
                await self._keep_evidence(connection, results, recorded.ids)
            if gathered:
                # last: whoever records failures of the same endpoints waits for the locks on their rows
                written = await restraints.write(connection, gathered)
            if written.disabled:
                announced = await endpoint_events.announce_disabled(connection, written.disabled)
                await endpoints.sort(connection)
        measures.RECORD_SECONDS.observe([time.monotonic() - leased_after])
        if self._on_point:
            self._on_point("recorded")
        self._restraints.pause(written.opened)
        if self._restraints.pauses() or written.opened:
            self._on_paused()
        del self._results[: len(results)]
        del self._unsent[: len(unsent)]
        for result in results if self._evidence else ():
            self._evidence.pop((result.delivery.id, result.delivery.attempt), None)
        self._restraints.drop(gathered, written.opened)
        self._hand_on(recorded, leased_after, announced)
        self._measure(results, recorded.ids)
        self._restraint_log.add(written)

    def _measure(self, results: Sequence[AttemptResult], ids: AbstractSet[int]) -> None:
        measures.observe(results, ids)
        failures = [result for result in results if result.outcome is not ACCEPTED]
        self._dead_log.add(
            (result.delivery.endpoint_id, result.outcome)
            for result in failures
            if result.next_state.status is Status.DEAD and result.delivery.id in ids
        )
        ATTEMPTS.labels(ACCEPTED).inc(len(results) - len(failures))
        for outcome, number in Count(failure.outcome for failure in failures).items():
            ATTEMPTS.labels(outcome).inc(number)
        LATE.inc(len(results) - len(ids))

    def close(self) -> None:
        """Write what has gathered for the log."""
        self._dead_log.close()
        self._restraint_log.close()

    async def _keep_evidence(
        self, connection: AsyncConnection, results: Sequence[AttemptResult], ids: AbstractSet[int]
    ) -> None:
        """Keep the evidence of those `results` whose deliveries, `ids`, were still this recorder's."""
        if not self._evidence:
            return
        answers = [
            KeptAnswer(delivery.id, delivery.attempt, datetime.fromtimestamp(started_at, UTC), *kept)
            for delivery, _, _, _, started_at, _ in results
            if delivery.id in ids and (kept := self._evidence.get((delivery.id, delivery.attempt))) is not None
        ]
        if answers:
            await evidence.keep(connection, answers)

    def _next_to_claim(self, results: Sequence[AttemptResult]) -> list[Line]:
        """The lines whose next delivery may be claimed at once: their endpoint has room, and no other line waits."""
        rooms: dict[str, int] = {}
        lines: list[Line] = []
        for result in results:
            if result.next_state.status in FINISHED:
                id_ = result.delivery.endpoint_id
                if (room := rooms.get(id_)) is None:
                    room = 0 if self._backlog.is_paused(id_) else self._backlog.room_for_next(id_)
                if room > 0:
                    lines.append((id_, result.delivery.wallet_id))
                rooms[id_] = room - 1
        return lines

    def _hand_on(self, recorded: deliveries.RecordResult, leased_after: float, announced: AbstractSet[str]) -> None:
        for delivery in recorded.claimed:
            self._backlog.add_outstanding(delivery.endpoint_id)
        if recorded.claimed:
            self._on_claimed(recorded.claimed, leased_after)
        if due := recorded.due | announced:
            self._on_due(due)
