"""Hold a vendor by itself that replaces payment methods in too many wallets within an hour (`domain.vendor_hold`).

Each process adds up what its batches replaced, and writes it down every few seconds. What a process has not written
when it dies is not counted.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping

import structlog
from prometheus_client import Counter as Metric
from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.vendor_hold import is_held
from loops.waiting import event_or_timeout
from store import audit, vendors
from store.audit import Act
from store.failures import DATABASE_ERRORS, Failure, failure
from store.refusals import reason

log = structlog.get_logger()

PAUSED = Gauge("repoint_vendor_paused", "1 while updates of the vendor are held", ["vendor"])
HELD = Metric("repoint_vendors_held_total", "Vendors that were held by themselves", ["vendor"])

# Some thousands of wallets are replaced in this time at the top rate.
_EVERY_SECONDS = 5
_ACTOR = "repoint"


class VendorWatch:
    """Counts what vendors replace, and holds one that replaces methods in more than `share` of all wallets an hour."""

    def __init__(self, engine: AsyncEngine, share: float) -> None:
        self._engine = engine
        self._share = share
        self._counts: Counter[str] = Counter()
        self._shown: set[str] = set()

    def add(self, replaced: Mapping[str, int]) -> None:
        """Add the wallets in which each vendor's facts replaced a payment method."""
        self._counts.update(replaced)

    async def run(self, stopping: asyncio.Event) -> None:
        """Write down and look every few seconds, until `stopping` is set."""
        while not stopping.is_set():
            await event_or_timeout(stopping, _EVERY_SECONDS)
            try:
                await self.run_once()
            except DATABASE_ERRORS as error:
                kind = failure(error)
                if kind is None or kind is Failure.REFUSED:
                    raise
                log.warning("vendors are not watched", reason=reason(error))

    async def run_once(self) -> None:
        """Write down what was counted, and hold the vendors that have replaced too much."""
        counts = self._counts.copy()
        async with self._engine.begin() as connection:
            if counts:
                await vendors.add_replacements(connection, counts)
            held = await self._hold(connection) if self._share else []
            paused = await vendors.paused(connection)
        self._counts.subtract(counts)
        self._counts += Counter()  # drop what is zero
        for vendor, replaced, wallets in held:
            HELD.labels(vendor).inc()
            log.error(
                "vendor held",
                vendor=vendor,
                replaced=replaced,
                wallets=wallets,
                share=self._share,
                resume=f"repoint vendors resume {vendor} --reason …",
                undo=f"repoint facts retract --vendor {vendor} --since … --reason …",
            )
        self._show(paused)

    async def _hold(self, connection: AsyncConnection) -> list[tuple[str, int, int]]:
        counts, wallets = await vendors.replacements_in_an_hour(connection)
        held = []
        for vendor, replaced in sorted(counts.items()):
            if not is_held(replaced, wallets, self._share):
                continue
            why = f"it replaced payment methods in {replaced} of {wallets} wallets within an hour"
            if await vendors.pause(connection, vendor, reason=why, actor=_ACTOR, only_watched=True):
                await audit.record(connection, [Act(_ACTOR, "vendor paused", vendor, why)])
                held.append((vendor, replaced, wallets))
        return held

    def _show(self, paused: list[str]) -> None:
        for vendor in self._shown.difference(paused):
            PAUSED.labels(vendor).set(0)
        for vendor in paused:
            PAUSED.labels(vendor).set(1)
        self._shown = set(paused)
