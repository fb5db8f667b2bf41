"""Deliveries: an event on its way to an endpoint. A live one is a row of `deliveries`, a finished one is history.

The live deliveries of one wallet to one endpoint are a *line*: they go out one after another. The *head* of a line has
a `due_at`; the others have none and wait until it is finished. `store.lines` locks the last row of the
line (FOR KEY SHARE). `record` deletes the finished head, then promotes the next delivery in a second statement. So a
concurrent enqueue and finish never leave a line without a head.
"""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from domain.wallet import WalletId
from store.rows import ATTEMPT_RESULT, CLAIMED_DELIVERY, DELIVERY_CLAIM, LINE, WATERMARK

Line: TypeAlias = tuple[str, WalletId | UUID]
"""The live deliveries of one wallet to one endpoint: (endpoint, wallet)."""


# Endpoints number thousands, so a probe of each costs milliseconds and needs no bookkeeping. A watermark keeps the
# probe from walking the index entries of rows that were claimed before, which stay there while any old
# transaction is open. An endpoint without a watermark is looked at from the beginning.
_DUE = text(f"""
    SELECT endpoints.id
    FROM endpoints
    LEFT JOIN {WATERMARK.array("watermarks")} AS known ON known.endpoint_id = endpoints.id
    WHERE endpoints.status = 'ENABLED'
      AND (endpoints.held_until IS NULL OR endpoints.held_until <= now())
      AND (endpoints.paced_until IS NULL OR endpoints.paced_until <= now() + interval '1 second')
      AND (SELECT true
           FROM deliveries
           WHERE endpoint_id = endpoints.id AND status = 'PENDING'
             AND due_at <= now() AND due_at > coalesce(known.watermark - interval '2 seconds', '-infinity')
             AND (leased_until IS NULL OR leased_until <= now())
           ORDER BY due_at
           LIMIT 1)
""")


async def due(connection: AsyncConnection, watermarks: Mapping[str, datetime]) -> list[str]:
    """The ids of endpoints that may be sent to and have deliveries due, after their watermarks where they have one."""
    ids = await connection.scalars(_DUE, {"watermarks": list(watermarks.items())})
    return list(ids)


class ClaimedEndpoint(NamedTuple):
    """What an endpoint's row said when deliveries of it were claimed.

    `retry_schedule` is its own. `is_failing`: it has failed and not succeeded since; `is_probe`: its circuit is open.
    """

    url: str
    sealed_secrets: Sequence[str]
    sealed_headers: str | None = None
    retry_schedule: Sequence[timedelta] | None = None
    is_failing: bool = False
    is_probe: bool = False

    def __repr__(self) -> str:
        """Without the secrets and the URL, which may hold some."""
        return f"ClaimedEndpoint(is_failing={self.is_failing}, is_probe={self.is_probe})"


class ClaimedDelivery(NamedTuple):
    """A delivery for the claimer alone until its lease ends. A watermark is made of `due_at`.

    `tries` were used up before. Deliveries of one endpoint that were claimed together share their `endpoint`.
    """

    id: int
    attempt: int
    event_id: UUID
    endpoint_id: str
    wallet_id: UUID
    due_at: datetime
    leased_until: datetime
    body: bytes
    tries: int
    endpoint: ClaimedEndpoint

    def __repr__(self) -> str:
        """Without the body."""
        return f"ClaimedDelivery(id={self.id}, attempt={self.attempt}, endpoint_id={self.endpoint_id!r})"


# A claim returns two kinds of rows, so that what the deliveries of an endpoint share is sent and read once. The row of
# a delivery has NULL in the columns after `tries`. The row of an endpoint has NULL in all columns up to `tries`, except
# `endpoint_id`, which is its id. `_PROMOTE_AND_CLAIM` adds a third kind: the id of an endpoint with other new heads.
_DELIVERIES = """
    SELECT id, attempt, event_id, endpoint_id, wallet_id, due_at, leased_until,
           (SELECT body FROM events WHERE events.id = event_id), tries,
           NULL AS url, NULL AS sealed_secrets, NULL AS sealed_headers, NULL AS retry_schedule,
           NULL AS is_failing, NULL AS is_probe
    FROM claimed
"""
_ENDPOINTS = """
    SELECT NULL, NULL, NULL, id, NULL, NULL, NULL, NULL, NULL,
           url, sealed_secrets, sealed_headers, retry_schedule, is_failing, is_probe
    FROM allowed
"""
# Columns by their places: to read one by its name takes SQLAlchemy eight times as long.
_ID, _ENDPOINT_ID = (ClaimedDelivery._fields.index(name) for name in ("id", "endpoint_id"))
_URL = len(ClaimedDelivery._fields) - 1


def _claimed(rows: Sequence[Row[Any]]) -> list[ClaimedDelivery]:
    """The deliveries among the rows of a claim."""
    endpoints = {
        row[_ENDPOINT_ID]: ClaimedEndpoint._make(row[_URL:])
        for row in rows
        if row[_ID] is None and row[_URL] is not None
    }
    return [ClaimedDelivery._make((*row[:_URL], endpoints[row[_ENDPOINT_ID]])) for row in rows if row[_ID] is not None]


# This form of claiming kept its plan where joins flipped theirs: the ids are collected first, by an index probe for
# each endpoint, whatever the statistics say. Neither it nor giving back changes an indexed column.
#
# Endpoints with an open circuit or a rate are `restrained`: dispatchers share what they allow, so that a claim locks
# their rows and writes down what it took. An open circuit that allowed a probe is held for as long as the lease. A rate
# allows what has accrued since `paced_until`, and a fifth of a second's deliveries at most.
_CLAIM = text(f"""
    WITH wanted AS MATERIALIZED (SELECT * FROM {DELIVERY_CLAIM.array("wanted")}),
    restrained AS MATERIALIZED (
        SELECT id, url, sealed_secrets, sealed_headers, retry_schedule,
               failing_since IS NOT NULL AS is_failing, circuit = 'OPEN' AS is_probe,
               least(CASE circuit WHEN 'OPEN' THEN 1 END,
                     1 + floor(max_per_second * extract(epoch FROM
                         now() + interval '0.2 seconds' - greatest(paced_until, now())))) AS most
        FROM endpoints
        WHERE id = ANY(ARRAY(SELECT endpoint_id FROM wanted)) AND status = 'ENABLED'
          AND (held_until IS NULL OR held_until <= now())
          AND (paced_until IS NULL OR paced_until <= now() + interval '0.2 seconds')
          AND (circuit = 'OPEN' OR max_per_second IS NOT NULL)
        FOR NO KEY UPDATE SKIP LOCKED),
    allowed AS MATERIALIZED (
        SELECT id, url, sealed_secrets, sealed_headers, retry_schedule,
               failing_since IS NOT NULL AS is_failing, false AS is_probe, wanted.most, watermark
        FROM wanted
        JOIN endpoints ON id = wanted.endpoint_id AND status = 'ENABLED' AND circuit = 'CLOSED'
                      AND max_per_second IS NULL AND (held_until IS NULL OR held_until <= now())
        UNION ALL
        SELECT id, url, sealed_secrets, sealed_headers, retry_schedule, is_failing, is_probe,
               CAST(least(wanted.most, restrained.most) AS int), watermark
        FROM wanted JOIN restrained ON id = wanted.endpoint_id),
    due AS MATERIALIZED (
        SELECT delivery.id, allowed.id AS endpoint_id
        FROM allowed
        CROSS JOIN LATERAL (
            SELECT id
            FROM deliveries
            WHERE endpoint_id = allowed.id AND status = 'PENDING'
              AND due_at <= now() AND due_at > coalesce(allowed.watermark - interval '2 seconds', '-infinity')
              AND (leased_until IS NULL OR leased_until <= now())
            ORDER BY due_at
            LIMIT allowed.most
            FOR NO KEY UPDATE SKIP LOCKED) AS delivery),
    claimed AS (
        UPDATE deliveries SET attempt = attempt + 1, leased_until = now() + CAST(:lease AS interval)
        WHERE id = ANY(ARRAY(SELECT id FROM due))
        RETURNING id, attempt, event_id, endpoint_id, wallet_id, due_at, leased_until, tries),
    taken AS (
        UPDATE endpoints
        SET held_until = CASE WHEN circuit = 'OPEN' THEN now() + CAST(:lease AS interval) END,
            paced_until = greatest(paced_until, now()) + (
                SELECT count(*) FROM due WHERE due.endpoint_id = endpoints.id) * interval '1 second' / max_per_second
        WHERE id = ANY(ARRAY(SELECT endpoint_id FROM due)) AND id = ANY(ARRAY(SELECT id FROM restrained)))
    {_DELIVERIES}
    UNION ALL
    {_ENDPOINTS} WHERE EXISTS (SELECT FROM due)
""")


async def claim(
    connection: AsyncConnection,
    quotas: Mapping[str, int],
    watermarks: Mapping[str, datetime],
    *,
    lease: timedelta,
) -> list[ClaimedDelivery]:
    """Begin an attempt of due deliveries, at most `quotas` of each endpoint, for `lease` from now.

    A claimer that records no result within the lease loses the delivery to the next claim, which counts as a further
    attempt.
    """
    rows = await connection.execute(
        _CLAIM,
        {
            "wanted": [
                DELIVERY_CLAIM.row(endpoint_id=endpoint_id, most=count, watermark=watermarks.get(endpoint_id))
                for endpoint_id, count in quotas.items()
            ],
            "lease": lease,
        },
    )
    return _claimed(rows.all())


class AttemptResult(NamedTuple):
    """The result of an attempt that began at `started_at` (Unix seconds) and lasted `seconds`.

    `next_state` is the state of the delivery after it.
    """

    delivery: ClaimedDelivery
    outcome: Outcome
    status_code: int | None
    seconds: float
    started_at: float
    next_state: NextState


# Due is the head alone; a result that comes so late that a replayed event has taken its place makes no second one.
# One statement, so one look at the rows: what `mine` has locked in id order is what the rest acts on.
_RECORD = text(f"""
    WITH result AS MATERIALIZED (
        SELECT id, attempt, outcome, status_code, took_ms, attempted_at, becomes, delay, tries
        FROM {ATTEMPT_RESULT.array("results")}),
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
               (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at,
                last_outcome, last_status_code, last_took_ms, last_attempted_at)
        SELECT finished.id, event_id, endpoint_id, wallet_id, sequence, becomes, finished.attempt, created_at, now(),
               outcome, status_code, took_ms, to_timestamp(attempted_at)
        FROM finished JOIN mine ON mine.id = finished.id),
    postponed AS (
        UPDATE deliveries
        SET due_at = now() + mine.delay, leased_until = NULL, tries = deliveries.tries + mine.tries
        FROM mine
        WHERE deliveries.id = mine.id AND due_at IS NOT NULL AND leased_until IS NOT NULL
          AND deliveries.id = ANY(ARRAY(SELECT id FROM mine WHERE becomes IN ('PENDING', 'PARKED')))),
    noted AS (
        INSERT INTO attempts (delivery_id, number, outcome, status_code, took_ms, attempted_at)
        SELECT id, attempt, outcome, status_code, took_ms, to_timestamp(attempted_at) FROM mine
        WHERE becomes IN ('PENDING', 'PARKED')
        ON CONFLICT DO NOTHING)
    SELECT ARRAY(SELECT id FROM mine)
""")

# Both come after the deletion, as statements of their own: what was enqueued behind the deleted row is visible now.
_PROMOTE = text(f"""
    UPDATE deliveries SET due_at = now()
    WHERE due_at IS NULL AND id = ANY(ARRAY(
        SELECT delivery.id
        FROM {LINE.array("lines")} AS line
        CROSS JOIN LATERAL (
            SELECT id
            FROM deliveries
            WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id
            ORDER BY sequence
            LIMIT 1) AS delivery))
    RETURNING endpoint_id
""")
_PROMOTE_AND_CLAIM = text(f"""
    WITH allowed AS MATERIALIZED (
        SELECT id, url, sealed_secrets, sealed_headers, retry_schedule,
               failing_since IS NOT NULL AS is_failing, false AS is_probe
        FROM endpoints
        WHERE id = ANY(ARRAY(SELECT DISTINCT endpoint_id FROM {LINE.array("lines")}))
          AND status = 'ENABLED' AND circuit = 'CLOSED' AND max_per_second IS NULL
          AND (held_until IS NULL OR held_until <= now())),
    head AS MATERIALIZED (
        SELECT delivery.id, status = 'PENDING' AND line.endpoint_id IN (SELECT id FROM allowed) AS is_claimed
        FROM {LINE.array("lines")} AS line
        CROSS JOIN LATERAL (
            SELECT id, status
            FROM deliveries
            WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id
            ORDER BY sequence
            LIMIT 1) AS delivery),
    claimed AS (
        UPDATE deliveries
        SET due_at = now(), attempt = attempt + 1, leased_until = now() + CAST(:lease AS interval)
        WHERE due_at IS NULL AND id = ANY(ARRAY(SELECT id FROM head WHERE is_claimed))
        RETURNING id, attempt, event_id, endpoint_id, wallet_id, due_at, leased_until, tries),
    promoted AS (
        UPDATE deliveries SET due_at = now()
        WHERE due_at IS NULL AND id = ANY(ARRAY(SELECT id FROM head WHERE NOT is_claimed))
        RETURNING endpoint_id)
    {_DELIVERIES}
    UNION ALL
    {_ENDPOINTS} WHERE EXISTS (SELECT FROM claimed)
    UNION ALL
    SELECT NULL, NULL, NULL, endpoint_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM promoted GROUP BY endpoint_id
""")

FINISHED = (Status.DELIVERED, Status.DEAD)
"""What ends a delivery's life here. A tuple with the usual one first: hashing an enum's member costs more."""


class RecordResult(NamedTuple):
    """What `record` did: `ids` of the deliveries that were still the recorder's, and the new heads of finished lines.

    The heads are those `claimed` for the recorder, and the others, by endpoint, which are `due` for any claim.
    """

    ids: AbstractSet[int]
    claimed: Sequence[ClaimedDelivery]
    due: AbstractSet[str]


NOTHING_RECORDED = RecordResult(frozenset(), (), frozenset())


async def record(
    connection: AsyncConnection,
    results: Sequence[AttemptResult],
    *,
    to_claim: Collection[Line] = (),
    lease: timedelta = timedelta(0),
) -> RecordResult:
    """Write attempts down and move their deliveries on. Where a head is finished, the next of its line takes its place.

    The next deliveries of the lines `to_claim` come back claimed for `lease`, if their endpoint may be sent to.
    Of an attempt whose lease has passed to another claim nothing is written. Recording the same results again
    (the first COMMIT's answer was lost) changes nothing.
    """
    ids = set(await connection.scalar(_RECORD, {"results": [_result_row(result) for result in results]}))
    lines = [
        (result.delivery.endpoint_id, result.delivery.wallet_id)
        for result in results
        if result.next_state.status in FINISHED and result.delivery.id in ids
    ]
    claimed, due = await promote(connection, lines, to_claim=to_claim, lease=lease)
    return RecordResult(ids, claimed, due)


async def promote(
    connection: AsyncConnection,
    lines: Collection[Line],
    *,
    to_claim: Collection[Line] = (),
    lease: timedelta = timedelta(0),
) -> tuple[list[ClaimedDelivery], set[str]]:
    """Make the first delivery of each line its head: due now, and claimed where the line is also one `to_claim`.

    Return the claimed heads, and the endpoints of the other new heads.
    """
    lines_to_claim: Collection[Line] = ()
    other_lines = lines
    if to_claim:
        wanted = set(to_claim)
        lines_to_claim = [line for line in lines if line in wanted]
        other_lines = [line for line in lines if line not in wanted]
    claimed: list[ClaimedDelivery] = []
    due: set[str] = set()
    if other_lines:
        due.update(await connection.scalars(_PROMOTE, {"lines": other_lines}))
    if lines_to_claim:
        result = await connection.execute(_PROMOTE_AND_CLAIM, {"lines": lines_to_claim, "lease": lease})
        rows = result.all()
        claimed = _claimed(rows)
        due.update(row[_ENDPOINT_ID] for row in rows if row[_ID] is None and row[_URL] is None)
    return claimed, due


_HEADLESS = text(f"""
    SELECT endpoint_id, wallet_id
    FROM {LINE.array("lines")} AS line
    WHERE NOT EXISTS (SELECT FROM deliveries AS live
                      WHERE live.endpoint_id = line.endpoint_id AND live.wallet_id = line.wallet_id
                        AND live.due_at IS NOT NULL)
""")


async def headless(connection: AsyncConnection, lines: Collection[Line]) -> list[Line]:
    """Those of the lines without a head.

    A head need not be the first: an older event that was replayed during the attempt at the head stands before it.
    """
    rows = await connection.execute(_HEADLESS, {"lines": list(lines)})
    return [(row.endpoint_id, row.wallet_id) for row in rows]


# A delivery that is live again without a delay is due as soon as its endpoint is enabled.
_AT_ONCE = timedelta(0)


def _result_row(result: AttemptResult) -> tuple[Any, ...]:
    delivery, outcome, status_code, seconds, started_at, next_state = result
    delay = next_state.delay
    if delay is None and next_state.status is not Status.PENDING:
        delay = _AT_ONCE
    # by the places of ATTEMPT_RESULT's attributes: their names would double the time of the call
    return ATTEMPT_RESULT.row(
        delivery.id,
        delivery.attempt,
        status_code,
        round(seconds * 1000),
        outcome,
        started_at,
        next_state.status,
        delay,
        int(next_state.uses_a_try),
    )


_PUT_BACK = text(f"""
    UPDATE deliveries SET attempt = deliveries.attempt - 1, leased_until = NULL
    FROM {CLAIMED_DELIVERY.array("unsent")} AS unsent
    WHERE deliveries.id = unsent.id AND deliveries.attempt = unsent.attempt
      AND deliveries.leased_until = unsent.leased_until
      AND deliveries.id = ANY(CAST(:ids AS bigint[]))
""")


async def put_back(connection: AsyncConnection, unsent: Sequence[ClaimedDelivery]) -> None:
    """Give up claims that nothing was sent for: due at once, and not counted as attempts.

    A claim whose lease is not the latest any more is left alone, also where this is done twice.
    """
    rows = [
        CLAIMED_DELIVERY.row(id=claimed.id, attempt=claimed.attempt, leased_until=claimed.leased_until)
        for claimed in unsent
    ]
    await connection.execute(_PUT_BACK, {"unsent": rows, "ids": [claimed.id for claimed in unsent]})
