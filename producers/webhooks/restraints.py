"""What endpoints bring upon themselves by their answers, gathered until the database knows it.

An endpoint that answered 410, that asked for a pause or whose circuit opens is paused in this process until its row
says so. What an endpoint brings upon itself is decided in `domain.delivery.circuit`.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import NamedTuple

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.delivery.backlog import Backlog
from domain.delivery.circuit import OWN_FAULT_PAUSE, Failures, Restraint, free_delay, hold_after, restraint, until_probe
from domain.delivery.outcome import ACCEPTED, NOT_THE_ENDPOINTS, Outcome
from loops.limited_log import LimitedLog
from producers.webhooks.sender import PostResult
from store import endpoints
from store.deliveries import ClaimedDelivery

log = structlog.get_logger()

DISABLED = Counter(
    "repoint_endpoints_disabled_total", "Endpoints disabled: they answered 410, or had no success for days"
)
OPENED = Counter("repoint_endpoint_circuits_opened_total", "Circuits opened: their endpoints failed for a minute")


class Gathered(NamedTuple):
    """What endpoints bring upon themselves by their latest answers.

    `attempts` of endpoints that have failed: whether one succeeded, and how many have failed since. `probed` are those
    whose probe failed.
    """

    to_disable: Collection[str]
    holds: Mapping[str, timedelta]
    attempts: Mapping[str, tuple[bool, int]]
    probed: Collection[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.to_disable or self.holds or self.attempts)


class Written(NamedTuple):
    """What the database knows now: endpoints `disabled`, by why, and those whose circuits have `opened`."""

    disabled: Mapping[str, str] = {}
    opened: Collection[str] = ()


NOTHING_WRITTEN = Written()


class Restraints:
    """Gathers what endpoints bring upon themselves, and pauses them in `backlog` meanwhile."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._to_disable: set[str] = set()
        self._holds: dict[str, timedelta] = {}
        self._attempts: dict[str, tuple[bool, int]] = {}
        self._probed: set[str] = set()
        # have failed, as far as this process has seen
        self._failing: set[str] = set()

    def add(self, delivery: ClaimedDelivery, result: PostResult) -> timedelta | None:
        """Take the result of an attempt.

        Return when the delivery is due again if it failed and used up no try; else None.
        """
        id_, outcome = delivery.endpoint_id, result.outcome
        if outcome is ACCEPTED:
            if delivery.endpoint.is_failing or id_ in self._failing:
                self._failing.discard(id_)
                if delivery.endpoint.is_probe:
                    log.info("endpoint works again: a probe was accepted, and its circuit closes", endpoint=id_)
                self._attempts[id_] = (True, 0)
            return None
        if outcome not in NOT_THE_ENDPOINTS:
            self._failing.add(id_)
            succeeded, failures = self._attempts.get(id_, (False, 0))
            self._attempts[id_] = (succeeded, failures + 1)
            if delivery.endpoint.is_probe:
                self._probed.add(id_)
        elif self._backlog.has_smallest_window(id_) and not self._backlog.is_paused(id_):
            self._backlog.pause(id_)
            asyncio.get_running_loop().call_later(OWN_FAULT_PAUSE.total_seconds(), self._end_pause, id_)
        hold = hold_after(outcome, result.retry_after)
        if outcome is Outcome.GONE:
            self._to_disable.add(id_)
            self._backlog.pause(id_)
        elif hold is not None:
            self._holds[id_] = max(hold, self._holds.get(id_, hold))
            self._backlog.pause(id_)
        return free_delay(outcome, hold, is_probe=delivery.endpoint.is_probe)

    def _end_pause(self, endpoint_id: str) -> None:
        """End a pause for a fault of our own, unless the endpoint has brought another one upon itself meanwhile."""
        if endpoint_id not in self._to_disable and endpoint_id not in self._holds:
            self._backlog.resume(endpoint_id)

    def pauses(self) -> bool:
        """Whether some endpoint is paused until its 410 or its hold is recorded."""
        return bool(self._to_disable or self._holds)

    def gathered(self) -> Gathered:
        """A copy of what was gathered, to be written and then dropped."""
        return Gathered(self._to_disable.copy(), self._holds.copy(), self._attempts.copy(), frozenset(self._probed))

    def drop(self, gathered: Gathered, opened: Collection[str]) -> None:
        """Drop what was written; what was added meanwhile stays. The database says now who may be claimed of.

        The endpoints whose circuits were `opened` have been paused for as long as it took to put back what was ready.
        """
        self._to_disable.difference_update(gathered.to_disable)
        self._probed.difference_update(gathered.probed)
        self._holds = {id_: hold for id_, hold in self._holds.items() if gathered.holds.get(id_) != hold}
        self._attempts = {
            id_: _since(gathered.attempts.get(id_), counts)
            for id_, counts in self._attempts.items()
            if gathered.attempts.get(id_) != counts
        }
        for id_ in {*gathered.to_disable, *gathered.holds, *opened}.difference(self._to_disable, self._holds):
            self._backlog.resume(id_)

    def pause(self, endpoint_ids: Collection[str]) -> None:
        """Pause endpoints until `drop` is called with them."""
        for id_ in endpoint_ids:
            self._backlog.pause(id_)


def _since(written: tuple[bool, int] | None, counts: tuple[bool, int]) -> tuple[bool, int]:
    """What has happened since `written`."""
    succeeded, failures = counts
    if written is None or (succeeded and not written[0]) or failures < written[1]:
        return counts
    return False, failures - written[1]


async def write(connection: AsyncConnection, gathered: Gathered) -> Written:
    """Write down, in the caller's transaction, what endpoints bring upon themselves."""
    disabled: dict[str, str] = {}
    opened: list[str] = []
    await endpoints.lock(connection, {*gathered.to_disable, *gathered.holds, *gathered.attempts})
    reasons = dict.fromkeys(gathered.to_disable, "answered 410 Gone")
    if gathered.attempts:
        counted = await endpoints.count_attempts(connection, gathered.attempts)
        restraints = {id_: restraint(failures) for id_, (failures, _) in counted.items()}
        open_ = {id_: until_probe(counted[id_][0]) for id_, kind in restraints.items() if kind is Restraint.OPEN}
        if open_:
            await endpoints.open_circuits(connection, open_, probed=gathered.probed)
            opened = [id_ for id_ in open_ if not counted[id_][1]]
        reasons |= {
            id_: _without_a_success(counted[id_][0])
            for id_, kind in restraints.items()
            if kind is Restraint.DISABLE and id_ not in reasons
        }
    # after the attempts: a success among them ends former holds alone
    if gathered.holds:
        await endpoints.hold(connection, gathered.holds)
    for reason in sorted(set(reasons.values())):
        ids = [id_ for id_, why in reasons.items() if why == reason]
        disabled |= dict.fromkeys(await endpoints.disable(connection, ids, reason), reason)
    return Written(disabled, opened)


def _without_a_success(failures: Failures) -> str:
    return f"{failures.number:,} attempts failed within {failures.duration.days} days, and none succeeded"


class RestraintLog:
    """Logs and counts, after the commit, what was written."""

    def __init__(self) -> None:
        self._disabled = LimitedLog(log.warning, "endpoint disabled", list="repoint endpoints list")
        self._opened = LimitedLog(
            log.warning,
            "endpoint fails: its deliveries wait, and one at a time is a probe",
            list="repoint endpoints list",
        )

    def add(self, written: Written) -> None:
        """Write a line for each endpoint, ten a minute of each kind."""
        DISABLED.inc(len(written.disabled))
        OPENED.inc(len(written.opened))
        for id_, reason in written.disabled.items():
            self._disabled.write(endpoint=id_, why=reason)
        for id_ in written.opened:
            self._opened.write(endpoint=id_)

    def close(self) -> None:
        """Write how many were counted and not written."""
        self._disabled.close()
        self._opened.close()
