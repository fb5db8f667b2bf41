"""Retention horizons: rows from before were removed for their age. One that is missing from then is not lost."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_MOVE = text("""
    INSERT INTO retention_horizons AS horizon (table_name, removed_before)
    VALUES (:table_name, coalesce(CAST(:now AS timestamptz), now()) - CAST(:keep AS interval))
    ON CONFLICT (table_name) DO UPDATE SET removed_before = greatest(horizon.removed_before, excluded.removed_before)
""")


async def move(connection: AsyncConnection, table_name: str, *, keep: timedelta, now: datetime | None) -> None:
    """Note that rows of a table which are older than `keep` are removed, in the transaction that removes some."""
    await connection.execute(_MOVE, {"table_name": table_name, "keep": keep, "now": now})
