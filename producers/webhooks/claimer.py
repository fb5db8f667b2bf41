"""The claimer: finds endpoints with due deliveries, and claims as many deliveries as the backlog lets it.

It claims as soon as there is a reason to: deliveries were written, attempts ended, or a look found endpoints. While a
claim is under way, further reasons gather. Deliveries that become due by the clock wait for the next look.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from math import inf

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.delivery.backlog import Backlog
from loops.waiting import event_or_timeout
from producers.webhooks.measures import CLAIM_SECONDS
from store import cancelled_deliveries, deliveries, endpoint_secrets, endpoints
from store.deliveries import ClaimedDelivery
from store.reused_connection import ReusedConnection

CLAIMED = Gauge("repoint_deliveries_claimed", "Deliveries claimed by this process and not attempted yet")

# Shortest and longest interval of looks for endpoints with due deliveries; it doubles while nothing is due.
_LOOK_SECONDS = (0.1, 0.5)
# The share of the time that looks may take, as far as the longest interval allows.
_LOOKS_SHARE = 0.02
# Interval of sweeps: they drop the watermarks, and park, un-park or cancel deliveries by the status of their endpoint.
_SWEEP_SECONDS = 5.0

OnClaimed = Callable[[Sequence[ClaimedDelivery], float], None]
"""Takes over claimed deliveries, with a monotonic time before which their lease did not begin."""


class Claimer:
    """Claims due deliveries for `lease`, within the quotas of `backlog`, and hands them to `on_claimed`.

    The statements on `connection` are transactions of their own.
    """

    def __init__(
        self, connection: ReusedConnection, backlog: Backlog, *, lease: timedelta, on_claimed: OnClaimed
    ) -> None:
        self._connection = connection
        self._backlog = backlog
        CLAIMED.set_function(lambda: backlog.outstanding)
        self._lease = lease
        self._on_claimed = on_claimed
        # By endpoint, the latest `due_at` that was claimed. Claims take the longest due first, so nothing older is
        # due, with three exceptions: deliveries put back, leases that ended, holds that ended. A sweep drops the
        # watermarks, and the next look sees those. Without watermarks a claim walks over the index entries of all
        # rows that were claimed before, for as long as any old transaction is open.
        self._watermarks: dict[str, datetime] = {}
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._look_interval = _LOOK_SECONDS[0]
        self._look_at = self._sweep_at = -inf

    def wake(self, due: Collection[str] | None = ()) -> None:
        """Claim now. `due` are endpoints with new deliveries; None if it is not known which endpoints have some."""
        if due is None:
            self._look_at = -inf
        else:
            self._backlog.add_due(due)
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more."""
        self._is_stopping = True
        self._wake.set()

    def begin_anew(self) -> None:
        """Let the next claim sweep and look first, as a new dispatcher's does."""
        self._look_at = self._sweep_at = -inf

    async def wait(self) -> None:
        """Wait until there is a reason to claim."""
        await event_or_timeout(self._wake, min(self._look_at, self._sweep_at) - time.monotonic())

    async def run_once(self) -> None:
        """Claim the quotas of the backlog; again, as long as it has much room."""
        self._wake.clear()
        async with self._connection.begin() as connection:
            if time.monotonic() >= self._sweep_at:
                # a sweep that moved deliveries may have left some: sweep again at once
                moved = await endpoints.sort(connection) + await cancelled_deliveries.cancel_removed(connection)
                await endpoint_secrets.end_overlaps(connection)
                self._sweep_at = -inf if moved else time.monotonic() + _SWEEP_SECONDS
                self._watermarks.clear()
                self._look_at = -inf
            if time.monotonic() >= self._look_at:
                await self._look(connection)
            while not self._is_stopping and (quotas := self._backlog.quotas()):
                leased_after = time.monotonic()
                try:
                    claimed = await deliveries.claim(connection, quotas, self._watermarks, lease=self._lease)
                except BaseException:
                    self._backlog.add_due(quotas)
                    raise
                CLAIM_SECONDS.observe([time.monotonic() - leased_after])
                self._hand_over(claimed, quotas, leased_after)
                if not self._backlog.has_much_room():
                    break

    async def _look(self, connection: AsyncConnection) -> None:
        # set before the look: a call of `wake` during it may ask for another look
        began = time.monotonic()
        self._look_at = began + self._look_interval
        self._backlog.begin_look()
        try:
            due = await deliveries.due(connection, self._watermarks)
        except BaseException:
            self._look_at = -inf
            raise
        self._backlog.list_due(due)
        shortest, longest = _LOOK_SECONDS
        if due:
            # a backlog makes looks slow, and claims find what they need without them
            took = time.monotonic() - began
            self._look_interval = min(max(shortest, took / _LOOKS_SHARE), longest)
        else:
            self._look_interval = min(2 * self._look_interval, longest)

    def _hand_over(self, claimed: Sequence[ClaimedDelivery], quotas: dict[str, int], leased_after: float) -> None:
        watermarks = self._watermarks
        for delivery in claimed:
            id_ = delivery.endpoint_id
            watermark = watermarks.get(id_)
            if watermark is None or watermark < delivery.due_at:
                watermarks[id_] = delivery.due_at
        self._backlog.note_claim(quotas, Counter([delivery.endpoint_id for delivery in claimed]))
        self._on_claimed(claimed, leased_after)
