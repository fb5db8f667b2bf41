"""Events that are sent again: new deliveries of events that may be older than others of their line."""

from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import WalletId
from store import deliveries, new_deliveries, wallets
from store.new_deliveries import NewDelivery
from store.rows import DELIVERY, LINE

# An event that speaks of no wallet's change is a line of its own.
_LOCK_EVENTS = text("""
    SELECT id FROM events WHERE id = ANY(CAST(:wallet_ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")


async def lock_lines(connection: AsyncConnection, wallet_ids: Collection[WalletId]) -> None:
    """Let no other transaction add to the lines of these wallets, or cancel deliveries of theirs, until the commit."""
    await wallets.lock_by_id(connection, wallet_ids)
    await connection.execute(_LOCK_EVENTS, {"wallet_ids": wallet_ids})


_LIVE = text(f"""
    SELECT live.event_id, live.endpoint_id
    FROM {DELIVERY.array("deliveries")} AS wanted
    CROSS JOIN LATERAL (
        SELECT event_id, endpoint_id FROM deliveries
        WHERE endpoint_id = wanted.endpoint_id AND wallet_id = wanted.wallet_id AND sequence = wanted.sequence
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


# An event that retention removes just now is not there when the lock is given; its delivery would have no event.
_STAYING = text("""
    SELECT id FROM events WHERE id = ANY(CAST(:event_ids AS uuid[])) ORDER BY id FOR KEY SHARE
""")


async def send_again(connection: AsyncConnection, wanted: Sequence[NewDelivery]) -> list[NewDelivery]:
    """Enqueue these deliveries with the whole retry schedule, but for those that are on their way. Return the enqueued.

    An event that is older than the others of its line goes out before them; after the head if an attempt at the head
    is under way. Locks the wallets until the commit.
    """
    await lock_lines(connection, [delivery.wallet_id for delivery in wanted])
    staying = set(await connection.scalars(_STAYING, {"event_ids": [delivery.event_id for delivery in wanted]}))
    live = {(row.event_id, row.endpoint_id) for row in await connection.execute(_LIVE, {"deliveries": wanted})}
    new = [
        delivery
        for delivery in wanted
        if (delivery.event_id, delivery.endpoint_id) not in live and delivery.event_id in staying
    ]
    await new_deliveries.enqueue(connection, new)
    await _overtake(connection, {(delivery.endpoint_id, delivery.wallet_id) for delivery in new})
    return new


async def _overtake(connection: AsyncConnection, lines: Collection[deliveries.Line]) -> None:
    headless = [
        LINE.row(endpoint_id=endpoint_id, wallet_id=wallet_id)
        for endpoint_id, wallet_id in await connection.execute(_STEP_BACK, {"lines": list(lines)})
    ]
    await deliveries.promote(connection, headless)
