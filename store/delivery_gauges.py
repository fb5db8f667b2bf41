"""What is measured of deliveries: how many are in each state, how old the oldest are, and whether their sum comes out.

One process measures at a time: the one that holds the lease. Each statement looks at a bounded number of rows, so
millions of parked deliveries make none of them slow.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

MOST_ROWS = 100_000
"""So many rows of each kind are counted, in an index."""

SAMPLE = 10_000
"""Rows of each kind that are read for their age."""

_LEAD = text("""
    INSERT INTO upkeep_leases (name, holder, held_until)
    VALUES ('delivery gauges', :holder, now() + CAST(:lease AS interval))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
    WHERE upkeep_leases.holder = excluded.holder OR upkeep_leases.held_until < now()
    RETURNING true
""")


async def lead(connection: AsyncConnection, holder: UUID, *, lease: timedelta) -> bool:
    """Whether the process `holder` is the one that measures, for `lease` from now."""
    return bool(await connection.scalar(_LEAD, {"holder": holder, "lease": lease}))


# As many rows as statements in an interval, unless no process has measured for long.
_FOLD = text("""
    WITH gone AS (
        DELETE FROM delivery_ledger
        WHERE ctid = ANY(ARRAY(SELECT ctid FROM delivery_ledger LIMIT :most))
        RETURNING accepted, delivered, dead, cancelled)
    INSERT INTO delivery_ledger (accepted, delivered, dead, cancelled)
    SELECT sum(accepted), sum(delivered), sum(dead), sum(cancelled) FROM gone HAVING count(*) > 0
""")


async def fold_ledger(connection: AsyncConnection) -> None:
    """Make one row of the ledger's rows."""
    await connection.execute(_FOLD, {"most": MOST_ROWS})


@dataclass(frozen=True, slots=True)
class DeliveryGauges:
    """Deliveries by state, ages in seconds (None: there is none), and endpoints.

    Counts end at MOST_ROWS. Ages are of the oldest among the SAMPLE oldest live deliveries and as many of each state.
    `unaccounted` are accepted deliveries that are neither finished nor live; None if too many are live to count.
    """

    pending: int
    parked: int
    dead: int
    oldest_due: float | None
    oldest_waiting: float | None
    oldest_parked: float | None
    unaccounted: int | None
    endpoints_disabled: int
    endpoints_held_back: int


# One statement, so that all of it is as of one moment. The oldest live deliveries have the lowest ids; where more than
# SAMPLE of another state are older, a sample of the state itself is what is left to look at.
_READ = text("""
    WITH sample AS (
        (SELECT status, due_at, endpoint_id, created_at FROM deliveries ORDER BY id LIMIT :sample)
        UNION ALL
        (SELECT status, due_at, endpoint_id, created_at FROM deliveries WHERE status = 'PENDING' LIMIT :sample)
        UNION ALL
        (SELECT status, due_at, endpoint_id, created_at FROM deliveries WHERE status = 'PARKED' LIMIT :sample)),
    held AS MATERIALIZED (
        SELECT coalesce(array_agg(id), '{}') AS ids FROM endpoints WHERE held_until > now()),
    sorted AS (
        SELECT created_at,
               CASE WHEN status = 'PARKED' THEN 'parked'
                    WHEN due_at IS NULL THEN 'behind another one'
                    WHEN due_at > now() OR endpoint_id = ANY(held.ids) THEN 'waiting'
                    ELSE 'due' END AS state
        FROM sample, held),
    oldest AS MATERIALIZED (
        SELECT min(created_at) FILTER (WHERE state = 'due') AS due,
               min(created_at) FILTER (WHERE state = 'waiting') AS waiting,
               min(created_at) FILTER (WHERE state = 'parked') AS parked
        FROM sorted),
    counted AS MATERIALIZED (
        SELECT (SELECT count(*) FROM (SELECT FROM deliveries WHERE status = 'PENDING' LIMIT :most) AS live) AS pending,
               (SELECT count(*) FROM (SELECT FROM deliveries WHERE status = 'PARKED' LIMIT :most) AS live) AS parked,
               (SELECT count(*) FROM (SELECT FROM delivery_history WHERE status = 'DEAD' LIMIT :most) AS dead) AS dead)
    SELECT counted.pending, counted.parked, counted.dead,
           CAST(extract(epoch FROM now() - oldest.due) AS float8),
           CAST(extract(epoch FROM now() - oldest.waiting) AS float8),
           CAST(extract(epoch FROM now() - oldest.parked) AS float8),
           CASE WHEN counted.pending < :most AND counted.parked < :most THEN
               (SELECT CAST(coalesce(sum(accepted - delivered - dead - cancelled), 0) AS bigint) FROM delivery_ledger)
               - counted.pending - counted.parked END,
           (SELECT count(*) FROM endpoints WHERE status = 'DISABLED' AND removed_at IS NULL),
           (SELECT count(*) FROM endpoints WHERE held_until > now())
    FROM oldest, counted
""")


async def read(connection: AsyncConnection) -> DeliveryGauges:
    """Measure, as of one moment."""
    row = (await connection.execute(_READ, {"most": MOST_ROWS, "sample": SAMPLE})).one()
    return DeliveryGauges(*row)
