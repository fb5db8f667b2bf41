"""Dead deliveries: given up after their last attempt, and sent again by a person's command."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import WalletId
from store import deliveries, new_deliveries
from store.rows import DELIVERY, LINE

# A delivery whose event arrived meanwhile, by another replay, is not dead any more.
_DEAD = text("""
    SELECT id, event_id, endpoint_id
    FROM delivery_history AS dead
    WHERE status = 'DEAD'
      AND (CAST(:ids AS bigint[]) IS NULL OR id = ANY(CAST(:ids AS bigint[]))
           OR event_id = ANY(CAST(:event_ids AS uuid[])))
      AND (CAST(:endpoint AS text) IS NULL OR endpoint_id = :endpoint)
      AND (CAST(:merchant AS text) IS NULL OR endpoint_id IN (SELECT id FROM endpoints WHERE merchant_id = :merchant))
      AND finished_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
      AND finished_at < coalesce(CAST(:until AS timestamptz), 'infinity')
      AND NOT EXISTS (
          SELECT FROM delivery_history AS arrived
          WHERE arrived.event_id = dead.event_id AND arrived.endpoint_id = dead.endpoint_id
            AND arrived.status = 'DELIVERED')
      AND (SELECT removed_at IS NULL FROM endpoints WHERE endpoints.id = dead.endpoint_id)
      AND NOT EXISTS (
          SELECT FROM deliveries AS live
          WHERE live.endpoint_id = dead.endpoint_id AND live.wallet_id = dead.wallet_id
            AND live.sequence = dead.sequence)
    ORDER BY wallet_id, endpoint_id, sequence, id
""")


class Selected(NamedTuple):
    """A delivery that a person's command is about."""

    id: int
    event_id: UUID
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Deliveries by what they have in common; None is any. Dead ones died at `since` or later, and before `until`.

    `ids` and `event_ids` are alternatives to each other; everything else narrows them.
    """

    ids: Collection[int] | None = None
    event_ids: Collection[UUID] | None = None
    endpoint: str | None = None
    merchant: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """As the statements that choose take them."""
        named = self.ids is not None or self.event_ids is not None
        return {
            "ids": list(self.ids or ()) if named else None,
            "event_ids": list(self.event_ids or ()),
            "endpoint": self.endpoint,
            "merchant": self.merchant,
            "since": self.since,
            "until": self.until,
        }


async def select(connection: AsyncConnection, selection: Selection) -> list[Selected]:
    """The dead deliveries that can be replayed, in the order in which their events must go out.

    An event that was given up twice at one endpoint is included twice; `replay` sends it once.
    """
    rows = await connection.execute(_DEAD, selection.parameters)
    return [Selected._make(row) for row in rows]


_REPLAYABLE = text("""
    SELECT DISTINCT event_id, endpoint_id, wallet_id, sequence
    FROM delivery_history
    WHERE status = 'DEAD' AND id = ANY(CAST(:ids AS bigint[]))
      AND (SELECT removed_at IS NULL FROM endpoints WHERE endpoints.id = endpoint_id)
""")

_LOCK_WALLETS = text("""
    SELECT id FROM wallets WHERE id = ANY(CAST(:wallet_ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")
# An event that speaks of no wallet's change is a line of its own.
_LOCK_EVENTS = text("""
    SELECT id FROM events WHERE id = ANY(CAST(:wallet_ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")


async def lock_lines(connection: AsyncConnection, wallet_ids: Collection[WalletId]) -> None:
    """Let no other transaction add to the lines of these wallets, or cancel deliveries of theirs, until the commit."""
    for lock in (_LOCK_WALLETS, _LOCK_EVENTS):
        await connection.execute(lock, {"wallet_ids": wallet_ids})


_LIVE = text(f"""
    SELECT live.event_id, live.endpoint_id
    FROM {DELIVERY.array("deliveries")} AS dead
    CROSS JOIN LATERAL (
        SELECT event_id, endpoint_id FROM deliveries
        WHERE endpoint_id = dead.endpoint_id AND wallet_id = dead.wallet_id AND sequence = dead.sequence
        OFFSET 0) AS live
""")

# A head that waits for a retry gives its place to an older event: otherwise that would go out after it, a day later
# perhaps. One that is leased is being attempted, and keeps its place. SKIP LOCKED: a transaction that has locked a
# head is about to lease or to finish it; and a recorder may wait for the end of a line of ours, so that waiting for it
# would be a deadlock.
_STEP_BACK = text(f"""
    UPDATE deliveries SET due_at = NULL
    WHERE id = ANY(ARRAY(
        SELECT head.id
        FROM {LINE.array("lines")} AS line
        CROSS JOIN LATERAL (
            SELECT id
            FROM deliveries
            WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id
              AND due_at IS NOT NULL AND leased_until IS NULL
              AND sequence > (SELECT min(sequence) FROM deliveries
                              WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id)
            FOR NO KEY UPDATE SKIP LOCKED) AS head))
    RETURNING endpoint_id, CAST(wallet_id AS text)
""")


async def replay(connection: AsyncConnection, ids: Collection[int]) -> int:
    """Send dead deliveries again: the same events and bodies, as new deliveries; how many.

    A delivery that is not dead, that is on its way again, or whose endpoint was removed, is left out. A replayed event
    is older than the others of its line, and goes out before them; after the head if an attempt at the head is under
    way.
    """
    dead = [
        new_deliveries.NewDelivery(row.event_id, row.endpoint_id, str(row.wallet_id), row.sequence)
        for row in await connection.execute(_REPLAYABLE, {"ids": list(ids)})
    ]
    await lock_lines(connection, [delivery.wallet_id for delivery in dead])
    live = {(row.event_id, row.endpoint_id) for row in await connection.execute(_LIVE, {"deliveries": dead})}
    replayed = [delivery for delivery in dead if (delivery.event_id, delivery.endpoint_id) not in live]
    await new_deliveries.enqueue(connection, replayed)
    await _overtake(connection, {(delivery.endpoint_id, delivery.wallet_id) for delivery in replayed})
    return len(replayed)


async def _overtake(connection: AsyncConnection, lines: Collection[tuple[str, WalletId]]) -> None:
    headless = [
        LINE.row(endpoint_id=endpoint_id, wallet_id=wallet_id)
        for endpoint_id, wallet_id in await connection.execute(_STEP_BACK, {"lines": list(lines)})
    ]
    await deliveries.promote(connection, headless)
