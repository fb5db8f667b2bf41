"""Deliveries: one event on its way to one endpoint. A live one is a row of `deliveries`, a finished one is
history.

The live deliveries of one wallet to one endpoint are a *line*: they go out one after another. Exactly one of
a line has a `due_at`; the others have none and wait until it is finished. Whoever enqueues locks that one
first, and whoever finishes it looks for the next in a statement of its own after the deletion, so that
neither can miss the other.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.delivery import Next, Outcome, Status
from domain.wallet import WalletId


class NewDelivery(NamedTuple):
    """An event for an endpoint; `sequence` is the event's."""

    event_id: UUID
    endpoint_id: str
    wallet_id: WalletId
    sequence: int


# The last of a line, for it alone cannot go without the line being empty: were the head locked, it could be recorded
# while we wait for it, and the next one after it before we commit. KEY SHARE keeps it from being deleted, not released.
_LOCK_LASTS = text("""
    SELECT id
    FROM deliveries
    WHERE id = ANY(ARRAY(
        SELECT (SELECT id FROM deliveries
                WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id
                ORDER BY sequence DESC
                LIMIT 1)
        FROM unnest(CAST(:lines AS line_row[])) AS line))
    ORDER BY id
    FOR KEY SHARE
""")

# Scalar subqueries in place of joins: their plan is an index probe a row whatever the statistics say.
_ENQUEUE = text("""
    INSERT INTO deliveries (event_id, endpoint_id, wallet_id, sequence, status, due_at)
    SELECT event_id, endpoint_id, wallet_id, sequence,
           CASE (SELECT status FROM endpoints WHERE id = endpoint_id)
               WHEN 'ENABLED' THEN 'PENDING' ELSE 'PARKED' END,
           CASE WHEN place = 1 AND (
               SELECT min(live.sequence) FROM deliveries AS live
               WHERE live.endpoint_id = new.endpoint_id AND live.wallet_id = new.wallet_id) IS NULL
           THEN now() END
    FROM (SELECT event_id, endpoint_id, wallet_id, sequence,
                 row_number() OVER (PARTITION BY endpoint_id, wallet_id ORDER BY sequence) AS place
          FROM unnest(CAST(:deliveries AS delivery_row[]))) AS new
    ORDER BY wallet_id, endpoint_id, sequence
""")


async def enqueue(connection: AsyncConnection, deliveries: Sequence[NewDelivery]) -> None:
    """Put deliveries at the end of their lines, in two statements whatever their number.

    For the transaction that inserts the events, with their wallets locked: nobody else may add to a line of
    theirs meanwhile. Waits for a dispatcher that is just finishing a line's head.
    """
    if not deliveries:
        return
    lines = {(delivery.endpoint_id, delivery.wallet_id) for delivery in deliveries}
    await connection.execute(_LOCK_LASTS, {"lines": list(lines)})
    await connection.execute(_ENQUEUE, {"deliveries": deliveries})


# Endpoints number thousands, so a probe of each costs milliseconds and needs no bookkeeping. A mark keeps the
# probe from walking the index entries of rows that were claimed before, which stay there while any old
# transaction is open.
_DUE = text("""
    SELECT endpoints.id
    FROM endpoints
    LEFT JOIN unnest(CAST(:endpoint_ids AS text[]), CAST(:marks AS timestamptz[])) AS known(id, mark)
      ON known.id = endpoints.id
    WHERE endpoints.status = 'ENABLED'
      AND (endpoints.held_until IS NULL OR endpoints.held_until <= now())
      AND (SELECT true
           FROM deliveries
           WHERE endpoint_id = endpoints.id AND status = 'PENDING'
             AND due_at <= now() AND due_at > coalesce(known.mark - interval '2 seconds', '-infinity')
             AND (leased_until IS NULL OR leased_until <= now())
           ORDER BY due_at
           LIMIT 1)
""")


async def due(connection: AsyncConnection, marks: Mapping[str, datetime]) -> list[str]:
    """The ids of endpoints that may be sent to and have deliveries due, after their marks where they have one."""
    ids = await connection.scalars(_DUE, {"endpoint_ids": list(marks), "marks": list(marks.values())})
    return list(ids)


class Claimed(NamedTuple):
    """A delivery for the claimer alone until its lease ends. A mark is made of `due_at`."""

    id: int
    attempt: int
    event_id: UUID
    endpoint_id: str
    wallet_id: UUID
    due_at: datetime
    leased_until: datetime
    body: bytes
    url: str
    secrets: Sequence[str]


# This form of claiming kept its plan where joins flipped theirs: the ids are collected first, by an index probe for
# each endpoint, whatever the statistics say. Neither it nor giving back changes an indexed column.
_CLAIM = text("""
    WITH due AS MATERIALIZED (
        SELECT delivery.id, url, secrets
        FROM unnest(CAST(:endpoint_ids AS text[]), CAST(:most AS int[]), CAST(:marks AS timestamptz[]))
             AS wanted(id, most, mark)
        JOIN endpoints ON endpoints.id = wanted.id AND endpoints.status = 'ENABLED'
                      AND (held_until IS NULL OR held_until <= now())
        CROSS JOIN LATERAL (
            SELECT id
            FROM deliveries
            WHERE endpoint_id = wanted.id AND status = 'PENDING'
              AND due_at <= now() AND due_at > coalesce(wanted.mark - interval '2 seconds', '-infinity')
              AND (leased_until IS NULL OR leased_until <= now())
            ORDER BY due_at
            LIMIT wanted.most
            FOR NO KEY UPDATE SKIP LOCKED) AS delivery),
    claimed AS (
        UPDATE deliveries SET attempt = attempt + 1, leased_until = now() + CAST(:lease AS interval)
        WHERE id = ANY(ARRAY(SELECT id FROM due))
        RETURNING id, attempt, event_id, endpoint_id, wallet_id, due_at, leased_until)
    SELECT claimed.id, attempt, event_id, endpoint_id, wallet_id, due_at, leased_until,
           (SELECT body FROM events WHERE events.id = event_id), url, secrets
    FROM claimed JOIN due ON due.id = claimed.id
""")


async def claim(
    connection: AsyncConnection,
    most: Mapping[str, int],
    marks: Mapping[str, datetime],
    *,
    lease: timedelta,
) -> list[Claimed]:
    """Begin an attempt of due deliveries, at most so many of each endpoint, for `lease` from now.

    Whoever does not record a result within the lease loses the delivery to the next claim, which counts as a
    further attempt.
    """
    rows = await connection.execute(
        _CLAIM,
        {
            "endpoint_ids": list(most),
            "most": list(most.values()),
            "marks": [marks.get(endpoint_id) for endpoint_id in most],
            "lease": lease,
        },
    )
    return [Claimed._make(row) for row in rows]


class Attempted(NamedTuple):
    """What came of an attempt begun `at`, in Unix seconds, that `took` so many seconds; and what follows."""

    claimed: Claimed
    outcome: Outcome
    status_code: int | None
    took: float
    at: float
    next: Next


# Due is the head alone; a result that comes so late that a replayed event has taken its place makes no second one.
# One statement, so one look at the rows: what `mine` has locked in id order is what the rest acts on. One JSON text is
# encoded in a third of the time of eight arrays, and read by the server on another core.
_RECORD = text("""
    WITH result AS MATERIALIZED (
        SELECT id, attempt, coalesce(becomes, 'DELIVERED') AS becomes, coalesce(delay, 0) AS delay,
               coalesce(outcome, 'ACCEPTED') AS outcome, status_code, took, to_timestamp(at) AS at
        FROM jsonb_to_recordset(CAST(:results AS jsonb))
             AS result(id bigint, attempt int, becomes text, delay float8, outcome text, status_code smallint,
                       took int, at float8)),
    mine AS MATERIALIZED (
        SELECT result.*
        FROM deliveries JOIN result ON result.id = deliveries.id
        WHERE deliveries.attempt = result.attempt AND deliveries.id = ANY(ARRAY(SELECT id FROM result))
        ORDER BY deliveries.id
        FOR UPDATE OF deliveries),
    finished AS (
        DELETE FROM deliveries
        WHERE id = ANY(ARRAY(SELECT id FROM mine WHERE becomes IN ('DELIVERED', 'DEAD')))
        RETURNING id, event_id, endpoint_id, wallet_id, sequence, attempt, created_at),
    history AS (
        INSERT INTO delivery_history
               (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)
        SELECT finished.id, event_id, endpoint_id, wallet_id, sequence, becomes, finished.attempt, created_at, now()
        FROM finished JOIN mine ON mine.id = finished.id),
    postponed AS (
        UPDATE deliveries SET due_at = now() + mine.delay * interval '1 second', leased_until = NULL
        FROM mine
        WHERE deliveries.id = mine.id AND due_at IS NOT NULL
          AND deliveries.id = ANY(ARRAY(SELECT id FROM mine WHERE becomes IN ('PENDING', 'PARKED')))),
    noted AS (
        INSERT INTO attempts (delivery_id, number, outcome, status_code, took_ms, attempted_at)
        SELECT id, attempt, outcome, status_code, took, at FROM mine
        ON CONFLICT DO NOTHING)
    SELECT id FROM mine
""")

# After the deletion, in a statement of its own: what was enqueued behind the deleted row is visible now.
_RELEASE = text("""
    UPDATE deliveries SET due_at = now()
    WHERE due_at IS NULL AND id = ANY(ARRAY(
        SELECT (SELECT id FROM deliveries
                WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id
                ORDER BY sequence
                LIMIT 1)
        FROM unnest(CAST(:lines AS line_row[])) AS line))
""")

_FINISHED = frozenset({Status.DELIVERED, Status.DEAD})


async def record(connection: AsyncConnection, results: Sequence[Attempted]) -> set[int]:
    """Write attempts down and move their deliveries on; the ids of those that were still the recorder's.

    Of an attempt whose lease has passed to another claim nothing is written. Recording the same results again
    (the first COMMIT's answer was lost) changes nothing.
    """
    recorded = await connection.scalars(_RECORD, {"results": _json(results)})
    mine = set(recorded)
    finished = [result.claimed for result in results if result.claimed.id in mine and result.next.status in _FINISHED]
    if finished:
        lines = [(claimed.endpoint_id, claimed.wallet_id) for claimed in finished]
        await connection.execute(_RELEASE, {"lines": lines})
    return mine


def _json(results: Sequence[Attempted]) -> str:
    return "[" + ",".join([_json_row(result) for result in results]) + "]"


def _json_row(result: Attempted) -> str:
    """Of most attempts there are only numbers to tell; what is left out has its default in the statement."""
    claimed, outcome, status_code, took, at, following = result
    numbers = (
        f'{{"id":{claimed.id},"attempt":{claimed.attempt},"took":{took * 1000:.0f},"at":{at:.3f},'
        f'"status_code":{"null" if status_code is None else status_code}'
    )
    if following.status is Status.DELIVERED:
        return numbers + "}"
    delay = 0.0 if following.delay is None else following.delay.total_seconds()
    return f'{numbers},"outcome":"{outcome}","becomes":"{following.status}","delay":{delay}}}'


_PUT_BACK = text("""
    UPDATE deliveries SET attempt = deliveries.attempt - 1, leased_until = NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:attempts AS int[]), CAST(:leases AS timestamptz[]))
         AS unsent(id, attempt, leased_until)
    WHERE deliveries.id = unsent.id AND deliveries.attempt = unsent.attempt
      AND deliveries.leased_until = unsent.leased_until
      AND deliveries.id = ANY(CAST(:ids AS bigint[]))
""")


async def put_back(connection: AsyncConnection, unsent: Sequence[Claimed]) -> None:
    """Give up claims that nothing was sent for: due at once, and not counted as attempts.

    A claim whose lease is not the latest any more is left alone, also where this is done twice.
    """
    await connection.execute(
        _PUT_BACK,
        {
            "ids": [claimed.id for claimed in unsent],
            "attempts": [claimed.attempt for claimed in unsent],
            "leases": [claimed.leased_until for claimed in unsent],
        },
    )


# What arrived in the meantime, by another replay, is dead no more.
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
      AND NOT EXISTS (
          SELECT FROM deliveries AS live
          WHERE live.endpoint_id = dead.endpoint_id AND live.wallet_id = dead.wallet_id
            AND live.sequence = dead.sequence)
    ORDER BY wallet_id, endpoint_id, sequence, id
""")


class Dead(NamedTuple):
    """A delivery that was given up, and did not arrive since and is not on its way again."""

    id: int
    event_id: UUID
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead deliveries by what they have in common; None is any. They died at `since` or later, and before `until`.

    `ids` and `event_ids` are alternatives to each other; everything else narrows them.
    """

    ids: Collection[int] | None = None
    event_ids: Collection[UUID] | None = None
    endpoint: str | None = None
    merchant: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def dead(connection: AsyncConnection, wanted: Selection) -> list[Dead]:
    """Those that can be replayed, in the order in which their events must go out.

    An event that was given up twice at one endpoint is there twice; `replay` takes it once.
    """
    named = wanted.ids is not None or wanted.event_ids is not None
    rows = await connection.execute(
        _DEAD,
        {
            "ids": list(wanted.ids or ()) if named else None,
            "event_ids": list(wanted.event_ids or ()),
            "endpoint": wanted.endpoint,
            "merchant": wanted.merchant,
            "since": wanted.since,
            "until": wanted.until,
        },
    )
    return [Dead._make(row) for row in rows]


_REPLAYABLE = text("""
    SELECT DISTINCT event_id, endpoint_id, wallet_id, sequence
    FROM delivery_history
    WHERE status = 'DEAD' AND id = ANY(CAST(:ids AS bigint[]))
""")

_LOCK_WALLETS = text("""
    SELECT id FROM wallets WHERE id = ANY(CAST(:wallet_ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")

_LIVE = text("""
    SELECT event_id, endpoint_id
    FROM deliveries
    WHERE (endpoint_id, wallet_id, sequence) IN (
        SELECT endpoint_id, wallet_id, sequence FROM unnest(CAST(:deliveries AS delivery_row[])))
""")

# A head that waits for a retry gives its place to an older event: otherwise that would go out after it, a day later
# perhaps. One that is leased is being attempted, and keeps its place. SKIP LOCKED, for whoever is at a head is about
# to lease it or to finish it; and waiting for a recorder, which may wait for the end of a line of ours, is a deadlock.
_STEP_BACK = text("""
    UPDATE deliveries SET due_at = NULL
    WHERE id = ANY(ARRAY(
        SELECT head.id
        FROM unnest(CAST(:lines AS line_row[])) AS line
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

    `ids` are those of the dead ones. One that is not dead, or that is on its way again already, is left out.
    A replayed event is older than what its line still holds, and goes out before it; unless an attempt at the
    line's head is under way just then: after that one.
    """
    dead = [
        NewDelivery(row.event_id, row.endpoint_id, str(row.wallet_id), row.sequence)
        for row in await connection.execute(_REPLAYABLE, {"ids": list(ids)})
    ]
    # as the batch does it: nobody else adds to a line of these wallets meanwhile
    await connection.execute(_LOCK_WALLETS, {"wallet_ids": [one.wallet_id for one in dead]})
    live = {(row.event_id, row.endpoint_id) for row in await connection.execute(_LIVE, {"deliveries": dead})}
    again = [one for one in dead if (one.event_id, one.endpoint_id) not in live]
    await enqueue(connection, again)
    await _overtake(connection, {(one.endpoint_id, one.wallet_id) for one in again})
    return len(again)


async def _overtake(connection: AsyncConnection, lines: Collection[tuple[str, WalletId]]) -> None:
    headless = [tuple(line) for line in await connection.execute(_STEP_BACK, {"lines": list(lines)})]
    if headless:
        await connection.execute(_RELEASE, {"lines": headless})
