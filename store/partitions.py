"""One partition a day for finished deliveries, attempts and evidence: made ahead, and dropped whole when it is old.

A day whose rows came before its partition was made has them in the default partition, where they stay until they are
old.
"""

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store import horizons

Parent: TypeAlias = Literal["delivery_history", "attempts", "attempt_evidence"]

_DAYS_AHEAD = 3
# A statement that waits for an exclusive lock keeps all later ones waiting: this long at most.
_LOCK_TIMEOUT = "500ms"
# Rows of a default partition that are deleted in one transaction.
_SLICE = 10_000

# By parent, the column of its days.
_DAYS_OF: dict[Parent, str] = {
    "delivery_history": "finished_at",
    "attempts": "attempted_at",
    "attempt_evidence": "attempted_at",
}

_MISSING = text("""
    SELECT parent, parent || to_char(day, '_YYYYMMDD'),
           day AT TIME ZONE 'UTC', (day + interval '1 day') AT TIME ZONE 'UTC'
    FROM unnest(CAST(:parents AS text[])) AS parent,
         generate_series(
             date_trunc('day', coalesce(CAST(:now AS timestamptz), now()) AT TIME ZONE 'UTC') + interval '1 day',
             date_trunc('day', coalesce(CAST(:now AS timestamptz), now()) AT TIME ZONE 'UTC')
                 + make_interval(days => :ahead),
             interval '1 day') AS day
    WHERE to_regclass(parent || to_char(day, '_YYYYMMDD')) IS NULL
""")
_WAIT_BRIEFLY = text("SELECT set_config('lock_timeout', :timeout, true)")
_LOCK = text("SELECT pg_advisory_xact_lock(:lock)")
_PARTITIONS = 0x70617274  # "part"


async def make_ahead(connection: AsyncConnection, now: datetime | None = None) -> None:
    """Create the missing partitions of the three days after `now`, which is the database's time if it is left out.

    A day that has rows in the default partition (a clock was ahead) stays there: creating its partition would fail.
    """
    await connection.execute(_WAIT_BRIEFLY, {"timeout": _LOCK_TIMEOUT})
    await connection.execute(_LOCK, {"lock": _PARTITIONS})
    missing = await connection.execute(_MISSING, {"parents": list(_DAYS_OF), "ahead": _DAYS_AHEAD, "now": now})
    for parent, name, start, end in list(missing):
        day = {"start": start, "end": end}
        column = _DAYS_OF[parent]
        has_rows = text(f"SELECT EXISTS (SELECT FROM {parent}_default WHERE {column} >= :start AND {column} < :end)")
        if not await connection.scalar(has_rows, day):
            await connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {parent}"
                f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
            )


_OLDEST = text("""
    SELECT CAST(CAST(inhrelid AS regclass) AS text)
    FROM pg_inherits
    WHERE inhparent = CAST(:parent AS regclass)
      AND CAST(CAST(inhrelid AS regclass) AS text) ~ '_[0-9]{8}$'
      AND right(CAST(CAST(inhrelid AS regclass) AS text), 8) <
          to_char((coalesce(CAST(:now AS timestamptz), now()) - CAST(:keep AS interval)) AT TIME ZONE 'UTC', 'YYYYMMDD')
    ORDER BY 1
    LIMIT 1
""")


async def drop_oldest(
    connection: AsyncConnection, parent: Parent, *, keep: timedelta, now: datetime | None = None
) -> str | None:
    """Drop one day of `parent` that ended more than `keep` before `now`; its name, None if there is no such day.

    One day in each transaction, because dropping it locks the whole table.
    """
    name: str | None = await connection.scalar(_OLDEST, {"parent": parent, "keep": keep, "now": now})
    if name is not None:
        await connection.execute(_WAIT_BRIEFLY, {"timeout": _LOCK_TIMEOUT})
        await connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        await horizons.move(connection, parent, keep=keep, now=now)
    return name


async def delete_old_defaults(
    connection: AsyncConnection, parent: Parent, *, keep: timedelta, now: datetime | None = None
) -> int:
    """Delete up to 10,000 rows of the default partition that are older than `keep`; how many."""
    column = _DAYS_OF[parent]
    old = text(f"""
        DELETE FROM {parent}_default
        WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {parent}_default
            WHERE {column} < coalesce(CAST(:now AS timestamptz), now()) - CAST(:keep AS interval)
            LIMIT :most))
    """)
    deleted = int((await connection.execute(old, {"keep": keep, "now": now, "most": _SLICE})).rowcount)
    if deleted:
        await horizons.move(connection, parent, keep=keep, now=now)
    return deleted
