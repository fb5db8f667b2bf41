"""The gauges of deliveries: read from the database at an interval, by one process of all that do upkeep.

The others have no such series, so that a sum over all processes is right.
"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import structlog
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from loops.waiting import Reminder, event_or_timeout
from store import delivery_gauges
from store.failures import DATABASE_ERRORS, passes
from store.ids import uuid7
from store.refusals import reason

log = structlog.get_logger()

EVERY_SECONDS = 15.0
# A process that has ended is succeeded after two intervals.
_LEASE = timedelta(seconds=2.5 * EVERY_SECONDS)

# By metric: what it is, its label, and the field of each value of the label.
_LABELLED = {
    "repoint_deliveries": (
        "Deliveries by status, 100,000 at most",
        "status",
        {"pending": "pending", "parked": "parked", "dead": "dead"},
    ),
    "repoint_delivery_oldest_seconds": (
        "Age of the oldest delivery that is due, waits for its next attempt, or is parked; 0 if there is none",
        "state",
        {"due": "oldest_due", "waiting": "oldest_waiting", "parked": "oldest_parked"},
    ),
    "repoint_endpoints": (
        "Endpoints to which nothing is sent: disabled, or held back as they asked for",
        "state",
        {"disabled": "endpoints_disabled", "held_back": "endpoints_held_back"},
    ),
}


class _Gauges(Collector):
    """The latest measurement; no series while this process does not measure."""

    def __init__(self) -> None:
        self.latest: delivery_gauges.DeliveryGauges | None = None
        REGISTRY.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A sample of each gauge that was measured."""
        yield from self._families()

    def _families(self) -> Iterator[GaugeMetricFamily]:
        for name, (documentation, label, fields) in _LABELLED.items():
            family = GaugeMetricFamily(name, documentation, labels=[label])
            if self.latest is not None:
                for value, field in fields.items():
                    family.add_metric([value], getattr(self.latest, field) or 0)
            yield family
        unaccounted = GaugeMetricFamily(
            "repoint_deliveries_unaccounted",
            "Deliveries accepted, less those delivered, dead, cancelled, parked and pending: 0 if none was lost",
        )
        if self.latest is not None and self.latest.unaccounted is not None:
            unaccounted.add_metric([], self.latest.unaccounted)
        yield unaccounted


GAUGES = _Gauges()


class Measuring:
    """Measures for this process's metrics, if no other process does."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._holder = uuid7()
        self._reminder = Reminder()

    async def run(self, stopping: asyncio.Event) -> None:
        """Measure every 15 s until `stopping` is set. While the database is away there are no series."""
        try:
            while not stopping.is_set():
                try:
                    await self.run_once()
                except DATABASE_ERRORS as error:
                    self._put_off(error)
                await event_or_timeout(stopping, EVERY_SECONDS)
        finally:
            GAUGES.latest = None

    async def run_once(self) -> None:
        """Measure, if no other process does."""
        async with self._engine.begin() as connection:
            leads = await delivery_gauges.lead(connection, self._holder, lease=_LEASE)
        if not leads:
            GAUGES.latest = None
            return
        async with self._engine.begin() as connection:
            await delivery_gauges.fold_ledger(connection)
        async with self._engine.begin() as connection:
            GAUGES.latest = await delivery_gauges.read(connection)

    def _put_off(self, error: BaseException) -> None:
        if not passes(error):
            raise error
        GAUGES.latest = None
        why = reason(error)
        if self._reminder.is_due(why):
            log.warning("deliveries are not measured", reason=why)
