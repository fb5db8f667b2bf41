"""Finished deliveries that a person sends again: dead ones, and those that arrived."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.new_deliveries import NewDelivery
from store.replays import send_again
from store.selection import Selected, Selection

_NAMED = """
    (CAST(:ids AS bigint[]) IS NULL OR id = ANY(CAST(:ids AS bigint[])) OR event_id = ANY(CAST(:event_ids AS uuid[])))
    AND (CAST(:endpoint AS text) IS NULL OR endpoint_id = :endpoint)
    AND (CAST(:merchant AS text) IS NULL OR endpoint_id IN (SELECT id FROM endpoints WHERE merchant_id = :merchant))
    AND finished_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
    AND finished_at < coalesce(CAST(:until AS timestamptz), 'infinity')
    AND (SELECT removed_at IS NULL FROM endpoints WHERE endpoints.id = finished.endpoint_id)
    AND NOT EXISTS (
        SELECT FROM deliveries AS live
        WHERE live.endpoint_id = finished.endpoint_id AND live.wallet_id = finished.wallet_id
          AND live.sequence = finished.sequence)
"""
# A delivery whose event arrived meanwhile, by another replay, is not dead any more.
_DEAD = text(f"""
    SELECT id, event_id, endpoint_id
    FROM delivery_history AS finished
    WHERE status = 'DEAD' AND {_NAMED}
      AND NOT EXISTS (
          SELECT FROM delivery_history AS arrived
          WHERE arrived.event_id = finished.event_id AND arrived.endpoint_id = finished.endpoint_id
            AND arrived.status = 'DELIVERED')
    ORDER BY wallet_id, endpoint_id, sequence, id
""")
_DEAD_OR_DELIVERED = text(f"""
    SELECT id, event_id, endpoint_id
    FROM delivery_history AS finished
    WHERE status IN ('DEAD', 'DELIVERED') AND {_NAMED}
    ORDER BY wallet_id, endpoint_id, sequence, id
""")


async def select(connection: AsyncConnection, selection: Selection, *, delivered: bool = False) -> list[Selected]:
    """The dead deliveries that can be replayed, in the order in which their events must go out.

    With `delivered`, those that arrived, too. An event that was finished twice at one endpoint is included twice;
    `replay` sends it once.
    """
    rows = await connection.execute(_DEAD_OR_DELIVERED if delivered else _DEAD, selection.parameters)
    return [Selected._make(row) for row in rows]


_REPLAYABLE = text("""
    SELECT DISTINCT event_id, endpoint_id, wallet_id, sequence
    FROM (SELECT event_id, endpoint_id, wallet_id, sequence, status FROM delivery_history
          WHERE id = ANY(CAST(:ids AS bigint[])) OFFSET 0) AS finished
    WHERE (status = 'DEAD' OR status = 'DELIVERED' AND :delivered)
      AND (SELECT removed_at IS NULL FROM endpoints WHERE endpoints.id = endpoint_id)
""")


async def replay(connection: AsyncConnection, ids: Collection[int], *, delivered: bool = False) -> int:
    """Send dead deliveries again, and with `delivered` those that arrived: same events and bodies, in new deliveries.

    Return how many. Other deliveries, those that are on their way again, and those of removed endpoints are left out.
    """
    finished = [
        NewDelivery(row.event_id, row.endpoint_id, str(row.wallet_id), row.sequence)
        for row in await connection.execute(_REPLAYABLE, {"ids": list(ids), "delivered": delivered})
    ]
    return len(await send_again(connection, finished))
