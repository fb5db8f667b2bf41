"""Deliveries that died: a counter, and a log line that gathers those of an endpoint for a minute."""

import asyncio
from collections.abc import Iterable
from shlex import quote
from typing import NamedTuple

import structlog
from prometheus_client import Counter

from domain.delivery.outcome import Outcome
from loops.limited_log import EVERY_SECONDS, LimitedLog

log = structlog.get_logger()

DEAD = Counter("repoint_deliveries_dead_total", "Deliveries that were given up after their last attempt")


class _DeadDeliveries(NamedTuple):
    """Deliveries to one endpoint that are not in the log yet, and the outcome of the last attempt at the latest."""

    number: int
    outcome: Outcome | None


_NOTHING = _DeadDeliveries(0, None)


class DeadLog:
    """Writes the first dead deliveries of an endpoint at once, and later ones together, every `every` seconds."""

    def __init__(self, every: float = EVERY_SECONDS) -> None:
        self._every = every
        self._lines = LimitedLog(
            log.warning,
            "deliveries are dead: given up after their last attempt",
            every=every,
            list="repoint deliveries list --status DEAD",
        )
        # by endpoint that had a line within the last minute: what has gathered since
        self._gathered: dict[str, _DeadDeliveries] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def add(self, dead: Iterable[tuple[str, Outcome]]) -> None:
        """Count dead deliveries: the endpoint of each, and the outcome of its last attempt."""
        added: dict[str, _DeadDeliveries] = {}
        for endpoint_id, outcome in dead:
            added[endpoint_id] = _DeadDeliveries(added.get(endpoint_id, _NOTHING).number + 1, outcome)
        for endpoint_id, dead_deliveries in added.items():
            DEAD.inc(dead_deliveries.number)
            if endpoint_id in self._gathered:
                number = self._gathered[endpoint_id].number + dead_deliveries.number
                self._gathered[endpoint_id] = dead_deliveries._replace(number=number)
            else:
                self._write(endpoint_id, dead_deliveries)
                self._wait(endpoint_id)

    def close(self) -> None:
        """Write what has gathered, and gather nothing more."""
        for timer in self._timers.values():
            timer.cancel()
        for endpoint_id, gathered in self._gathered.items():
            if gathered.number:
                self._write(endpoint_id, gathered)
        self._gathered.clear()
        self._timers.clear()
        self._lines.close()

    def _wait(self, endpoint_id: str) -> None:
        self._gathered[endpoint_id] = _NOTHING
        self._timers[endpoint_id] = asyncio.get_running_loop().call_later(self._every, self._end, endpoint_id)

    def _end(self, endpoint_id: str) -> None:
        gathered = self._gathered.pop(endpoint_id)
        del self._timers[endpoint_id]
        if gathered.number:
            self._write(endpoint_id, gathered)
            self._wait(endpoint_id)

    def _write(self, endpoint_id: str, deliveries: _DeadDeliveries) -> None:
        endpoint = quote(endpoint_id)
        self._lines.write(
            events=deliveries.number,
            endpoint=endpoint_id,
            count=deliveries.number,
            last_outcome=deliveries.outcome,
            list=f"repoint deliveries list --status DEAD --endpoint {endpoint}",
            replay=f"repoint replay --endpoint {endpoint}",
        )
