"""The state of the work: leases, deliveries that are due, endpoints that get nothing, and updates that wait."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.checkup.work import DeliveryWork, Leases, RestrainedEndpoint, UpdateWork
from store import delivery_gauges, inbox
from store.dead_letters import open_defects

MOST_COUNTED = 1000

# Only heads of lines are leased, and a dispatcher holds some hundreds; a sample finds what nobody takes over.
_LEASES = text("""
    SELECT rows, count(*) FILTER (WHERE left_over < 0), coalesce(-min(left_over), 0), coalesce(max(left_over), 0)
    FROM (
        SELECT 'deliveries' AS rows, CAST(extract(epoch FROM leased_until - now()) AS float8) AS left_over
        FROM (SELECT leased_until FROM deliveries WHERE status = 'PENDING' LIMIT :sample) AS live
        WHERE leased_until IS NOT NULL
        UNION ALL
        SELECT 'fetches', CAST(extract(epoch FROM leased_until - now()) AS float8)
        FROM (SELECT leased_until FROM fetches LIMIT :sample) AS waiting
        WHERE leased_until IS NOT NULL
        UNION ALL
        SELECT 'upkeep', CAST(extract(epoch FROM held_until - now()) AS float8) FROM upkeep_leases) AS leases
    GROUP BY rows
    ORDER BY rows
""")


async def leases(connection: AsyncConnection) -> Sequence[Leases]:
    """Leases of deliveries, of fetches and of the process that does upkeep; a kind without any is left out."""
    return [Leases(*row) for row in await connection.execute(_LEASES, {"sample": delivery_gauges.MOST_ROWS})]


# One probe of an index for each endpoint that is well and takes as many as there are.
_OLDEST_DUE = text("""
    SELECT CAST(extract(epoch FROM now() - min(oldest.due_at)) AS float8)
    FROM endpoints
    CROSS JOIN LATERAL (
        SELECT due_at FROM deliveries
        WHERE endpoint_id = endpoints.id AND status = 'PENDING' AND due_at < now()
          AND (leased_until IS NULL OR leased_until < now())
        ORDER BY due_at LIMIT 1) AS oldest
    WHERE endpoints.status = 'ENABLED' AND circuit = 'CLOSED' AND max_per_second IS NULL
      AND (held_until IS NULL OR held_until < now())
""")


async def deliveries(connection: AsyncConnection) -> DeliveryWork:
    """How long the oldest delivery has been due at an endpoint that is well, and the difference to the ledger."""
    oldest = await connection.scalar(_OLDEST_DUE)
    return DeliveryWork(oldest, (await delivery_gauges.read(connection)).unaccounted)


_RESTRAINED = text("""
    SELECT id, status = 'DISABLED', disabled_reason, waiting
    FROM endpoints
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting
        FROM (SELECT FROM deliveries WHERE endpoint_id = endpoints.id LIMIT :most) AS live) AS counted
    WHERE removed_at IS NULL AND (circuit = 'OPEN' OR status = 'DISABLED' AND waiting > 0)
    ORDER BY waiting DESC, id
    LIMIT :most
""")


async def restrained_endpoints(connection: AsyncConnection) -> list[RestrainedEndpoint]:
    """Endpoints whose circuit is open, and disabled ones for which deliveries wait."""
    return [RestrainedEndpoint(*row) for row in await connection.execute(_RESTRAINED, {"most": MOST_COUNTED})]


_UPDATES = text("""
    SELECT (SELECT count(*) FROM (SELECT FROM inbox WHERE outcome = 'QUARANTINED' LIMIT :most) AS counted),
           (SELECT CAST(extract(epoch FROM now() - min(received_at)) AS float8)
            FROM unfinished_updates JOIN inbox ON inbox.id = inbox_id),
           (SELECT count(*) FROM (SELECT FROM dead_letters WHERE status = 'OPEN' LIMIT :most) AS counted),
           (SELECT CAST(extract(epoch FROM now() - min(due_at)) AS float8)
            FROM fetches
            WHERE NOT waits_for_address AND due_at < now() AND (leased_until IS NULL OR leased_until < now())),
           (SELECT count(*) FROM (SELECT FROM fetches WHERE waits_for_address LIMIT :most) AS counted),
           (SELECT CAST(coalesce(sum(to_offset - from_offset), 0) AS bigint)
            FROM losses WHERE noted_at > now() - interval '1 day')
""")


async def updates(connection: AsyncConnection, *, parked_for: timedelta) -> UpdateWork:
    """What waits of updates, dead letters and thin events."""
    quarantined, unfinished, letters, fetch, without_address, lost = (
        await connection.execute(_UPDATES, {"most": MOST_COUNTED})
    ).one()
    return UpdateWork(
        quarantined=quarantined,
        parked_overdue=await inbox.parked_overdue(connection, parked_for=parked_for),
        unfinished=unfinished,
        open_letters=letters,
        defects=await open_defects(connection),
        fetch_overdue=fetch,
        fetches_without_address=without_address,
        lost_within_a_day=lost,
    )
