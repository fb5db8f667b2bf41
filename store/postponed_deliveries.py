"""Postponed deliveries: heads of lines that wait for their next attempt, and are made due by a person's command."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store import live_deliveries
from store.selection import Selected, Selection

_POSTPONED = text(live_deliveries.chosen("status = 'PENDING' AND due_at > now()"))


async def select(connection: AsyncConnection, selection: Selection) -> list[Selected]:
    """The deliveries that wait for their next attempt; `since` and `until` of the selection are not read."""
    return await live_deliveries.select(connection, _POSTPONED, selection)


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
