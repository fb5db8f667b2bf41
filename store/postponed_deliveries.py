"""Postponed deliveries: heads of lines that wait for their next attempt, and are made due by a person's command."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.dead_deliveries import Selected, Selection

# An event's deliveries are found by their line and number: no index has their `event_id`.
_POSTPONED = text("""
    SELECT id, event_id, endpoint_id
    FROM deliveries
    WHERE status = 'PENDING' AND due_at > now()
      AND (CAST(:ids AS bigint[]) IS NULL OR id = ANY(CAST(:ids AS bigint[])) OR id = ANY(ARRAY(
          SELECT live.id
          FROM events
          JOIN endpoints ON endpoints.merchant_id = events.merchant_id
          CROSS JOIN LATERAL (
              SELECT id FROM deliveries
              WHERE endpoint_id = endpoints.id AND wallet_id = coalesce(events.wallet_id, events.id)
                AND sequence = coalesce(events.sequence, 0)
              OFFSET 0) AS live
          WHERE events.id = ANY(CAST(:event_ids AS uuid[])))))
      AND (CAST(:endpoint AS text) IS NULL OR endpoint_id = :endpoint)
      AND (CAST(:merchant AS text) IS NULL OR endpoint_id IN (SELECT id FROM endpoints WHERE merchant_id = :merchant))
    ORDER BY id
""")


async def select(connection: AsyncConnection, selection: Selection) -> list[Selected]:
    """The deliveries that wait for their next attempt; `since` and `until` of the selection are not read."""
    named = selection.ids is not None or selection.event_ids is not None
    rows = await connection.execute(
        _POSTPONED,
        {
            "ids": list(selection.ids or ()) if named else None,
            "event_ids": list(selection.event_ids or ()),
            "endpoint": selection.endpoint,
            "merchant": selection.merchant,
        },
    )
    return [Selected._make(row) for row in rows]


# SKIP LOCKED: a transaction that has locked a head claims it, records its result or parks it.
_MAKE_DUE = text("""
    UPDATE deliveries SET due_at = now()
    WHERE id = ANY(ARRAY(
        SELECT id FROM deliveries
        WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'PENDING' AND due_at > now()
        ORDER BY id
        FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING id
""")


async def make_due(connection: AsyncConnection, ids: Collection[int]) -> int:
    """Make these deliveries due now, those that still wait for their next attempt; how many.

    The number of their attempts stays, so the schedule goes on where it was. The rest of each line stays behind them.
    """
    return len((await connection.scalars(_MAKE_DUE, {"ids": list(ids)})).all())
