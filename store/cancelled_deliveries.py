"""Cancelled deliveries: live ones that a person's command takes away before they arrive.

The command names them, or removes their endpoint.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store import deliveries, live_deliveries
from store.replays import lock_lines
from store.rows import LINE
from store.selection import Selected, Selection

_LIVE = text(live_deliveries.chosen("true"))


async def select(connection: AsyncConnection, selection: Selection) -> list[Selected]:
    """The live deliveries of the selection; its `since` and `until` are not read."""
    return await live_deliveries.select(connection, _LIVE, selection)


_LINES = text("SELECT DISTINCT endpoint_id, wallet_id FROM deliveries WHERE id = ANY(CAST(:ids AS bigint[]))")

# FOR UPDATE as `record` locks them: whoever finishes a head waits, and promotes after the commit. An older event that
# was replayed during an attempt at the head stands before it.
_LOCK_HEADS = text(f"""
    SELECT id FROM deliveries
    WHERE id = ANY(ARRAY(
        SELECT (SELECT id FROM deliveries
                WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id
                ORDER BY sequence
                LIMIT 1)
        FROM {LINE.array("lines")} AS line
        UNION
        SELECT live.id
        FROM {LINE.array("lines")} AS line
        JOIN deliveries AS live ON live.endpoint_id = line.endpoint_id AND live.wallet_id = line.wallet_id
        WHERE live.due_at IS NOT NULL))
    ORDER BY id
    FOR UPDATE
""")

# Of a delivery that an attempt is under way for nobody can say whether it arrives.
_MOVE = """cancelled AS (
        DELETE FROM deliveries
        WHERE id = ANY(ARRAY(SELECT id FROM mine)) AND (leased_until IS NULL OR leased_until <= now())
        RETURNING id, event_id, endpoint_id, wallet_id, sequence, attempt, created_at),
    history AS (
        INSERT INTO delivery_history
               (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)
        SELECT id, event_id, endpoint_id, wallet_id, sequence, 'CANCELLED', attempt, created_at, now()
        FROM cancelled)"""
"""Moves the deliveries of `mine`, which are locked, into the history."""

_CANCEL = text(f"""
    WITH mine AS MATERIALIZED (
        SELECT id FROM deliveries
        WHERE id = ANY(CAST(:ids AS bigint[])) AND (leased_until IS NULL OR leased_until <= now())
        ORDER BY id
        FOR UPDATE),
    {_MOVE}
    SELECT id, endpoint_id, wallet_id FROM cancelled
""")


async def cancel(connection: AsyncConnection, ids: Collection[int]) -> list[int]:
    """Take live deliveries away: they become CANCELLED, and the next of each line may go. Return their ids.

    A delivery that an attempt is under way for is left alone.
    """
    lines = [(row.endpoint_id, row.wallet_id) for row in await connection.execute(_LINES, {"ids": list(ids)})]
    await _lock(connection, lines)
    rows = (await connection.execute(_CANCEL, {"ids": list(ids)})).all()
    # later statements: what was enqueued behind a deleted row is visible now (see `store.deliveries.record`)
    cut = {(row.endpoint_id, row.wallet_id) for row in rows}
    await deliveries.promote(connection, await deliveries.headless(connection, cut))
    return [row.id for row in rows]


async def _lock(connection: AsyncConnection, lines: Sequence[deliveries.Line]) -> None:
    """Let nobody change the ends of these lines until the commit.

    `enqueue` relies on the last delivery of a line, which may go here although the line is not empty. `record` promotes
    the delivery behind the head that it finishes, which may go here at the same time.
    """
    await lock_lines(connection, [str(wallet_id) for _, wallet_id in lines])
    former: Sequence[int] | None = None
    # a head that we waited for has been finished: another one stands there now
    while (heads := (await connection.scalars(_LOCK_HEADS, {"lines": lines})).all()) != former:
        former = heads


# By the two partial indexes, as `endpoints.sort`, and as many at a time. SKIP LOCKED: a row that a dispatcher or a
# batch has locked is cancelled the next time. Every delivery of the endpoint goes, so no line needs a new head.
_CANCEL_REMOVED = text(f"""
    WITH mine AS MATERIALIZED (
        SELECT live.id
        FROM endpoints CROSS JOIN LATERAL (
            SELECT id FROM deliveries
            WHERE endpoint_id = endpoints.id AND status = 'PARKED' AND (leased_until IS NULL OR leased_until <= now())
            LIMIT 1000
            FOR UPDATE SKIP LOCKED) AS live
        WHERE removed_at IS NOT NULL AND (CAST(:endpoint AS text) IS NULL OR endpoints.id = :endpoint)
        UNION ALL
        SELECT live.id
        FROM endpoints CROSS JOIN LATERAL (
            SELECT id FROM deliveries
            WHERE endpoint_id = endpoints.id AND status = 'PENDING' AND (leased_until IS NULL OR leased_until <= now())
            LIMIT 1000
            FOR UPDATE SKIP LOCKED) AS live
        WHERE removed_at IS NOT NULL AND (CAST(:endpoint AS text) IS NULL OR endpoints.id = :endpoint)),
    {_MOVE}
    SELECT count(*) FROM cancelled
""")


async def cancel_removed(connection: AsyncConnection, endpoint_id: str | None = None) -> int:
    """Cancel live deliveries of removed endpoints, or of one of them; how many.

    A call cancels a limited number: call it until it cancels none. A delivery that an attempt is under way for is left
    alone until its lease ends or its result is recorded.
    """
    return int((await connection.execute(_CANCEL_REMOVED, {"endpoint": endpoint_id})).scalar_one())
