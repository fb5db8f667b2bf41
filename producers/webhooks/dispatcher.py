"""The dispatcher: claims due deliveries, posts them signed, and records the results in batches.

    claim ──> ready ──> post, many at a time ──> results ──> record
      lease               no transaction open                  fenced by the attempt

A claim is a lease. The lease of a dispatcher that dies ends, and the next dispatcher to claim the delivery sends the
same id and the same bytes again. The attempt number fences a dispatcher that was only slow: its results are refused.
"""

import asyncio
import random
import time
from collections import Counter as Count
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from math import ceil, inf
from typing import Literal, TypeAlias, TypeVar

import structlog
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.circuit import hold, is_sluggish, room
from domain.delivery.outcome import Outcome
from domain.delivery.schedule import RETRY_SCHEDULE, after_attempt
from domain.delivery.states import Status
from loops.progress import Progress
from loops.waiting import Reminder, event_or_timeout, retry
from producers.webhooks.sender import PostResult, Sender
from schemas.signature import event_id, signature
from store import deliveries, endpoints
from store.deliveries import Attempted, ClaimedDelivery
from store.failures import passes
from store.refusals import reason
from store.reused_connection import ReusedConnection

log = structlog.get_logger()

ATTEMPTS = Counter("repoint_delivery_attempts_total", "Attempts at deliveries, by what came of them", ["outcome"])
LATE = Counter("repoint_delivery_results_late_total", "Results refused: their lease had passed to another claim")
DISABLED = Counter("repoint_endpoints_disabled_total", "Endpoints disabled because they answered 410")
CLAIMED = Gauge("repoint_deliveries_claimed", "Deliveries claimed by this process and not attempted yet")
ATTEMPT_SECONDS = Histogram("repoint_delivery_attempt_seconds", "Time of an attempt, name lookup to last byte")

T = TypeVar("T")

Point: TypeAlias = Literal["claimed", "sent", "read", "recorded"]
"""Where crash tests stop the process. The Sender reports `sent`, the Dispatcher the other points."""

# Interval of recording: long enough for large batches. The next delivery of a line waits no longer than this.
_RECORD_SECONDS = 0.05
# Interval of claims that find less than they ask for; then, shortest and longest, of claims that find nothing.
_CLAIM_SECONDS = 0.025
_IDLE_SECONDS = (0.1, 0.5)
# Greatest age of the list of endpoints with due deliveries: a backlog of some must not hide the other endpoints.
_LOOK_SECONDS = 0.25
# Interval of sweeps: they drop the watermarks, and park or un-park deliveries by the status of their endpoint.
_SWEEP_SECONDS = 5.0
# Deliveries claimed ahead for each connection: half of them keeps all connections busy during the next claim.
_CLAIMS_PER_CONNECTION = 8
# Waiting results for each connection at which claiming pauses: unrecorded deliveries would be sent again.
_RESULTS_PER_CONNECTION = 50


_Ready: TypeAlias = tuple[ClaimedDelivery, float]
"""A claimed delivery, and the monotonic time after which its attempt would outlast its lease."""


class Dispatcher:
    """One dispatcher of any number that share the live deliveries.

    `connections` requests run at a time. `lease` is longer than the sender's deadline: half of the difference is for
    waiting in this process, half for recording. `roll` in [0, 1) spreads the retries. At a stop, attempts under way
    have `drain_within` seconds. `at` is called with each point that a delivery passes.
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
        at: Callable[[Point], None] | None = None,
    ) -> None:
        # listing endpoints and claiming are one statement each: a transaction around it costs two round trips
        self._claims = ReusedConnection(engine.execution_options(isolation_level="AUTOCOMMIT"))
        self._records = ReusedConnection(engine)
        self._sender = sender
        self._schedule = schedule
        self._connections = connections
        self._lease = lease
        self._drain_within = drain_within
        self._roll = roll
        self._at = at

        # claimed deliveries: ready to be posted, or posted and not answered yet
        self._ready: deque[_Ready] = deque()
        self._outstanding = 0
        self._few = 0
        # not recorded yet: results, deliveries to put back, and what endpoints asked for
        self._results: list[Attempted] = []
        self._unsent: list[ClaimedDelivery] = []
        self._holds: dict[str, timedelta] = {}
        self._gone: set[str] = set()
        # by endpoint
        self._due: list[str] = []
        self._watermarks: dict[str, datetime] = {}
        self._held: defaultdict[str, int] = defaultdict(int)
        self._sluggish: set[str] = set()
        self._listed_at = self._swept_at = -inf

        self._recording = asyncio.Lock()
        self._more = asyncio.Event()
        self._fewer = asyncio.Event()
        self._kicked = asyncio.Event()
        self._stopping = asyncio.Event()
        self._progress = Progress("the dispatcher")
        self._waits_for: str | None = "the database: not asked yet"
        self._reminder = Reminder()

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until `stopping` is set; then finish attempts under way, and put back deliveries not begun."""
        self._stopping = stopping
        self._advance()
        async with self._claims, self._records, asyncio.TaskGroup() as tasks:
            waking = tasks.create_task(self._wake_to_stop())
            recording = tasks.create_task(self._record_loop())
            posting = [tasks.create_task(self._post_loop()) for _ in range(self._connections)]
            await self._claim_loop()
            await self._drain()
            for task in (waking, recording, *posting):
                task.cancel()

    async def run_once(self) -> int:
        """Claim the due deliveries, attempt them, record the results; for tests. Returns the number of attempts."""
        async with self._claims, self._records:
            await self._sweep()
            await self._claim()
            attempts, self._ready = self._ready, deque()
            await asyncio.gather(*(self._post(*attempt) for attempt in attempts))
            await self._record()
        return len(attempts)

    def kick(self) -> None:
        """Claim now: a delivery has become due."""
        self._kicked.set()

    def ready(self) -> str | None:
        """What the dispatcher waits for before it can deliver; None if it waits for nothing."""
        return self._waits_for

    def stalled(self) -> str | None:
        """Why the process should be restarted; None while the dispatcher makes progress."""
        return self._progress.stalled()

    # --- claiming -----------------------------------------------------------------------------------------------

    async def _claim_loop(self) -> None:
        idle = _IDLE_SECONDS[0]
        while not self._stopping.is_set():
            if time.monotonic() - self._swept_at > _SWEEP_SECONDS:
                await self._retry(self._sweep, until=self._stopping)
            wanted, claimed = await self._retry(self._claim, until=self._stopping) or (0, 0)
            if claimed and claimed == wanted:
                await event_or_timeout(self._fewer, _LOOK_SECONDS)
            elif claimed or self._outstanding:
                await asyncio.sleep(_CLAIM_SECONDS)
            else:
                await event_or_timeout(self._kicked, idle)
            idle = _IDLE_SECONDS[0] if claimed else min(2 * idle, _IDLE_SECONDS[1])

    async def _sweep(self) -> None:
        async with self._claims.begin() as connection:
            moved = await endpoints.sort(connection)
        self._watermarks.clear()
        self._listed_at = -inf
        # a sweep that moved deliveries may have left some: sweep again at once
        self._swept_at = time.monotonic() if moved == 0 else -inf

    async def _claim(self) -> tuple[int, int]:
        """Claim deliveries for all connections. Returns how many were asked for, and how many claimed."""
        begun = time.monotonic()
        self._kicked.clear()
        self._fewer.clear()
        async with self._claims.begin() as connection:
            if not self._due or begun - self._listed_at > _LOOK_SECONDS:
                self._list_due(await deliveries.due(connection, self._watermarks))
                self._listed_at = begun
            quotas = self._shares()
            claimed = await deliveries.claim(connection, quotas, self._watermarks, lease=self._lease) if quotas else []
        self._queue(claimed, quotas, begun)
        return sum(quotas.values()), len(claimed)

    def _list_due(self, due: Sequence[str]) -> None:
        """Update the list of endpoints: newly due ones come first, the others keep their order."""
        still, before = set(due), set(self._due)
        self._due = [id_ for id_ in due if id_ not in before] + [id_ for id_ in self._due if id_ in still]

    def _shares(self) -> dict[str, int]:
        """How many deliveries to claim for each endpoint: equal shares, bounded by the endpoint's room."""
        capacity = self._connections * _CLAIMS_PER_CONNECTION - self._outstanding
        if len(self._results) > self._connections * _RESULTS_PER_CONNECTION:
            return {}
        share = ceil(capacity / max(1, len(self._due)))
        sluggish = sum(self._held[id_] for id_ in self._sluggish)
        quotas = {}
        for id_ in self._due:
            is_slow = id_ in self._sluggish
            headroom = room(
                held=self._held[id_], sluggish=is_slow, held_by_sluggish=sluggish, connections=self._connections
            )
            if (granted := min(capacity, share, headroom)) > 0:
                quotas[id_] = granted
                capacity -= granted
                sluggish += granted if is_slow else 0
        return quotas

    def _queue(self, claimed: Sequence[ClaimedDelivery], quotas: dict[str, int], begun: float) -> None:
        begin_before = begun + (self._lease.total_seconds() - self._sender.deadline) / 2
        counts: dict[str, int] = {}
        # the endpoints take turns: two deliveries at a time to one host would need a second connection
        turns: list[list[_Ready]] = []
        for delivery in claimed:
            id_ = delivery.endpoint_id
            turn = counts.get(id_, 0)
            counts[id_] = turn + 1
            if turn == len(turns):
                turns.append([])
            turns[turn].append((delivery, begin_before))
            self._watermarks[id_] = delivery.due_at
        self._ready.extend(chain.from_iterable(turns))
        for id_, number in counts.items():
            self._held[id_] += number
        full = [id_ for id_, asked in quotas.items() if counts.get(id_) == asked]
        self._due = [id_ for id_ in self._due if id_ not in quotas] + full
        self._outstanding += len(claimed)
        self._few = self._outstanding // 2
        CLAIMED.set(self._outstanding)
        self._more.set()

    # --- posting ------------------------------------------------------------------------------------------------

    async def _post_loop(self) -> None:
        while True:
            while not self._ready:
                self._more.clear()
                await self._more.wait()
            await self._post(*self._ready.popleft())

    async def _post(self, claimed: ClaimedDelivery, begin_before: float) -> None:
        if time.monotonic() > begin_before or self._is_paused(claimed.endpoint_id):
            self._put_back(claimed)
            return
        if self._at:
            self._at("claimed")
        begun = time.time()
        headers = _headers(claimed, int(begun))
        if headers is None:
            answer = PostResult(Outcome.UNSIGNABLE, 0.0)
        else:
            answer = await self._sender.post(claimed.url, headers, claimed.body, endpoint=claimed.endpoint_id)
        if self._at:
            self._at("read")
        self._add_result(claimed, begun, answer)
        self._release(claimed.endpoint_id)

    def _add_result(self, claimed: ClaimedDelivery, begun: float, answer: PostResult) -> None:
        following = after_attempt(
            Status.PENDING, claimed.attempt, answer.outcome, schedule=self._schedule, roll=self._roll()
        )
        self._results.append(Attempted(claimed, answer.outcome, answer.status_code, answer.seconds, begun, following))
        id_ = claimed.endpoint_id
        if is_sluggish(answer.outcome, answer.seconds):
            self._sluggish.add(id_)
        else:
            self._sluggish.discard(id_)
        if answer.outcome is Outcome.GONE:
            self._gone.add(id_)
        elif held := hold(answer.outcome, answer.retry_after):
            self._holds[id_] = max(held, self._holds.get(id_, held))

    def _is_paused(self, endpoint_id: str) -> bool:
        """Whether the endpoint answered 410 or asked for a pause, and the database does not know it yet."""
        return bool(self._gone or self._holds) and (endpoint_id in self._gone or endpoint_id in self._holds)

    def _release(self, endpoint_id: str) -> None:
        self._outstanding -= 1
        self._held[endpoint_id] -= 1
        if self._outstanding <= self._few:
            self._fewer.set()

    # --- recording ----------------------------------------------------------------------------------------------

    async def _record_loop(self) -> None:
        while True:
            await asyncio.sleep(_RECORD_SECONDS)
            if self._results or self._unsent:
                await self._retry(self._record)

    async def _record(self) -> None:
        """Record all results so far. They stay in memory until the commit has succeeded."""
        async with self._recording:
            self._withdraw()
            await self._write_down()

    async def _write_down(self) -> None:
        results, unsent = self._results.copy(), self._unsent.copy()
        gone_endpoints, holds = self._gone.copy(), self._holds.copy()
        if not results and not unsent:
            return
        async with self._records.begin() as connection:
            mine = await deliveries.record(connection, results) if results else set()
            if unsent:
                await deliveries.put_back(connection, unsent)
            if holds:
                await endpoints.hold(connection, holds)
            disabled = (
                await endpoints.disable(connection, gone_endpoints, "answered 410 Gone") if gone_endpoints else []
            )
            if disabled:
                await endpoints.sort(connection)
        if self._at:
            self._at("recorded")
        self._withdraw()
        self._drop_recorded(len(results), len(unsent), gone_endpoints, holds)
        # a finished head makes the next delivery of its line due
        self.kick()
        _count(results, late=len(results) - len(mine), disabled=disabled)

    def _withdraw(self) -> None:
        """Put back the ready deliveries of endpoints that answered 410 or asked for a pause."""
        if not self._gone and not self._holds:
            return
        ready, self._ready = self._ready, deque()
        for claimed, begin_before in ready:
            if self._is_paused(claimed.endpoint_id):
                self._put_back(claimed)
            else:
                self._ready.append((claimed, begin_before))

    def _put_back(self, claimed: ClaimedDelivery) -> None:
        self._unsent.append(claimed)
        self._release(claimed.endpoint_id)

    def _drop_recorded(self, results: int, unsent: int, gone_endpoints: set[str], holds: dict[str, timedelta]) -> None:
        """Drop the recorded results; results added meanwhile stand behind them."""
        del self._results[:results]
        del self._unsent[:unsent]
        self._gone -= gone_endpoints
        self._holds = {id_: held for id_, held in self._holds.items() if holds.get(id_) != held}

    # --- stopping and waiting -----------------------------------------------------------------------------------

    async def _drain(self) -> None:
        while self._ready:
            self._put_back(self._ready.popleft()[0])
        self._few = 0
        try:
            async with asyncio.timeout(self._drain_within):
                while self._outstanding:
                    self._fewer.clear()
                    await self._fewer.wait()
                await self._retry(self._record)
        except TimeoutError:
            log.warning(
                "attempts under way are abandoned: they are due again when their leases end", attempts=self._outstanding
            )

    async def _wake_to_stop(self) -> None:
        await self._stopping.wait()
        self._kicked.set()
        self._fewer.set()

    async def _retry(self, step: Callable[[], Awaitable[T]], *, until: asyncio.Event | None = None) -> T | None:
        """Repeat the step until it succeeds, however long the database is away; None if `until` was set before."""
        result = await retry(step, passes, announce=self._announce_retry, until=until)
        self._advance()
        return result

    def _announce_retry(self, error: BaseException, tries: int) -> None:
        why = reason(error)
        self._advance(waits_for=why)
        if self._reminder.is_due(why):
            log.warning("deliveries wait", why=why, error=type(error).__name__, tries=tries)

    def _advance(self, waits_for: str | None = None) -> None:
        self._progress.advance()
        self._waits_for = waits_for


def _headers(claimed: ClaimedDelivery, timestamp: int) -> dict[str, str] | None:
    """The headers of a Standard Webhook; None if a secret of the endpoint cannot sign."""
    id_ = event_id(claimed.event_id)
    try:
        signed = signature(claimed.secrets, id_, timestamp, claimed.body)
    except ValueError:
        return None
    return {"webhook-id": id_, "webhook-timestamp": str(timestamp), "webhook-signature": signed}


def _count(results: Sequence[Attempted], *, late: int, disabled: Sequence[str]) -> None:
    for outcome, number in Count(result.outcome for result in results).items():
        ATTEMPTS.labels(outcome).inc(number)
    for result in results:
        ATTEMPT_SECONDS.observe(result.seconds)
    LATE.inc(late)
    DISABLED.inc(len(disabled))
    for id_ in disabled:
        log.warning("endpoint disabled: it answered 410", endpoint=id_)
