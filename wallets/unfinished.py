"""Resolve the remaining wallets of unfinished updates: more wallets may know a credential than fit in one transaction.

The update's own transaction writes a row with the last wallet that it resolved. Each transaction here resolves the next
wallets, in the order of their ids, and moves the row on. The last one deletes it. A process that dies in between leaves
the row as it is. A wallet that changes in another way meanwhile is resolved by everything known, this update included.
Then nothing remains to do for it here.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.decide import decide
from domain.update import Outcome
from domain.wallet import Key
from loops.waiting import Reminder, event_or_timeout
from store import connectivity, inbox, knowledge, unfinished, wallets
from store.failures import DATABASE_ERRORS, Failure, failure, was_cancelled
from store.knowledge import Contended
from store.refusals import reason
from store.unfinished import Unfinished
from wallets.announcements import EVENTS, Announced, OnDue
from wallets.change import Retention, carry_out, method_ids
from wallets.loading import ORDINARY, Loaded, within

log = structlog.get_logger()

UNFINISHED = Gauge("repoint_updates_unfinished", "Updates that some wallets are still to be resolved by")

# The pause between two looks for unfinished updates.
_LOOK_SECONDS = 1
# Wallets of one transaction. If they are too much for it, the next one takes a tenth of them, down to a single one.
_WALLETS = 1000
_FEWER = 10


@dataclass
class _Pace:
    """How many wallets the next transaction resolves, and which further credentials it locks.

    `failed` are the updates by which a single wallet could not be resolved, and why: that wallet is passed over.
    """

    at_once: int = _WALLETS
    within_reach: frozenset[Key] = frozenset()
    claimed: Sequence[Unfinished] = ()
    failed: tuple[Sequence[Unfinished], str] | None = None

    def grow(self) -> None:
        self.at_once, self.within_reach = min(_WALLETS, self.at_once * _FEWER), frozenset()

    def shrink(self, why: str) -> None:
        if self.at_once == 1:
            self.failed = (self.claimed, why)
        self.at_once = max(1, self.at_once // _FEWER)


async def run(
    engine: AsyncEngine,
    retention: Retention,
    *,
    stopping: asyncio.Event,
    on_due: OnDue = lambda _: None,
) -> None:
    """Resolve unfinished updates until `stopping` is set. Wait for the database while it is away or too slow."""
    pace, reminder = _Pace(), Reminder()
    while not stopping.is_set():
        announced, begun = None, time.monotonic()
        try:
            if pace.failed is not None:
                await _pass_over(engine, *pace.failed)
                pace.failed = None
            announced = await run_once(engine, retention, pace)
            pace.grow()
        except Contended as error:
            pace.within_reach |= error.keys
        except DATABASE_ERRORS as error:
            why = await _put_off(engine, error, pace, seconds=time.monotonic() - begun)
            if reminder.is_due(why):
                log.warning("wallets left for later are put off", reason=why)
        if announced is not None and announced.due:
            on_due(announced.due)
        if announced is None:
            await event_or_timeout(stopping, _LOOK_SECONDS)


async def _put_off(engine: AsyncEngine, error: BaseException, pace: _Pace, *, seconds: float) -> str:
    """Return why the transaction of `seconds` failed. If its wallets are at fault, the next one has fewer.

    The wallets are not at fault if an administrator cancelled a statement, or if the server is too slow for any row.
    """
    kind = failure(error)
    if kind is None:
        raise error
    why = reason(error)
    if kind is Failure.REFUSED:
        pace.shrink(why)
    elif kind is Failure.TOO_MUCH and not was_cancelled(error, after=seconds, limit=ORDINARY.seconds):
        slow = await connectivity.keeps_up(engine)
        if slow is not None:
            return slow
        pace.shrink(why)
    return why


async def _pass_over(engine: AsyncEngine, failed: Sequence[Unfinished], why: str) -> None:
    """Skip the next wallet of `failed`, which cannot be resolved. A later report about it resolves it.

    Do nothing if another process has claimed or moved the updates on meanwhile.
    """
    async with engine.begin() as connection:
        claimed = await unfinished.claim(connection)
        if claimed != list(failed) or not claimed:
            return
        ids = await wallets.lock(connection, claimed[0].update.keys, limit=1, after=claimed[0].after)
        if ids:
            log.error("a wallet is passed over", wallet=ids[0], reason=why)
            await unfinished.move_on(connection, claimed, after=ids[0])


async def run_once(engine: AsyncEngine, retention: Retention, pace: _Pace | None = None) -> Announced | None:
    """Resolve the next wallets of the oldest unfinished update; return what was announced, None if there is no update.

    Raises:
        store.knowledge.Contended: do it again, with these credentials within reach.
        TooMuch: do it again with fewer wallets.
    """
    pace = pace or _Pace()
    async with engine.begin() as connection:
        UNFINISHED.set(await unfinished.count(connection))
        claimed = pace.claimed = await unfinished.claim(connection)
        if not claimed:
            return None
        await inbox.enter(connection, within=ORDINARY.seconds)
        keys = set(claimed[0].update.keys) | pace.within_reach
        await knowledge.lock(connection, keys, keep=retention.unknown)
        ids = await wallets.lock(connection, claimed[0].update.keys, limit=pace.at_once, after=claimed[0].after)
        affected = await wallets.load(connection, ids)
        loaded = await within(connection, affected, keys)
        announced = await _resolve(connection, claimed, loaded, retention)
        if len(ids) < pace.at_once:
            await unfinished.finish(connection, claimed)
        else:
            await unfinished.move_on(connection, claimed, after=ids[-1])
    EVENTS.inc(announced.events)
    return announced


async def _resolve(
    connection: AsyncConnection, claimed: Sequence[Unfinished], loaded: Loaded, retention: Retention
) -> Announced:
    """Resolve the wallets, and give the updates the outcome that follows; return what was announced."""
    waiting = {update.inbox_id for update in loaded.waiting}
    updates = [*loaded.waiting, *(row.update for row in claimed if row.update.inbox_id not in waiting)]
    decision = decide((), loaded.wallets, loaded.knowledge, updates, method_ids())
    announced = await carry_out(connection, decision, loaded, retention)
    followed = [(update, verdict) for update, verdict in decision.waiting if update.inbox_id in waiting]
    if followed:
        await inbox.update_outcomes(connection, followed)
    # The claimed updates have an outcome from the wallets before. It can only become APPLIED.
    applied = [(update, verdict) for update, verdict in decision.waiting if verdict.outcome is Outcome.APPLIED]
    if applied:
        await inbox.update_outcomes(connection, applied)
    return announced
