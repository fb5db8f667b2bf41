"""Replay jobs: a selection of events, written down when the job starts, and enqueued at a rate in short transactions.

A transaction takes the next events off the job's list, enqueues them and counts them. A process that dies in between
leaves the list as it was, so every event is enqueued once, whichever process continues.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.delivery.replay import ReplayScope, ReplayStatus, part_of
from store import schema
from store.ids import first_at
from store.new_deliveries import NewDelivery
from store.replays import send_again
from store.rows import columns_of, selected


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What a person wants to have sent again, and how fast. `event_ids`, `names` and `until` are None for any.

    Events were made at `since` or later, and before `until`; None is as long ago as `kept_for`, for which it is known
    what was delivered.
    """

    scope: ReplayScope
    endpoint_ids: Collection[str]
    per_second: float
    kept_for: timedelta
    event_ids: Collection[UUID] | None = None
    names: Collection[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """A row of `replay_jobs`. `selection` is what the person asked for."""

    id: int
    created_at: datetime
    scope: str
    selection: Mapping[str, Any]
    per_second: float
    status: str
    selected: int
    enqueued: int
    left_alone: int
    finished_at: datetime | None

    @property
    def remaining(self) -> int:
        """How many deliveries are still to be enqueued; 0 of a job that is over."""
        return 0 if self.finished_at is not None else self.selected - self.enqueued - self.left_alone


_COLUMNS = selected(columns_of(schema.replay_jobs, without=["next_at"]))
"""As `_job` takes them."""


def _job(id_: int, created_at: datetime, scope: str, selection: str, *others: Any) -> ReplayJob:  # noqa: ANN401 - columns
    return ReplayJob(id_, created_at, scope, json.loads(selection), *others)


_ADD = text("""
    INSERT INTO replay_jobs (scope, selection, per_second)
    VALUES (:scope, CAST(:selection AS jsonb), :per_second)
    RETURNING id
""")

# An event's state at an endpoint is its best one: what arrived once has arrived. The place of an event is that of the
# newest event before it in its line, so that each line keeps its order whatever the clocks of two writers say. An event
# whose writer's clock is ahead is finished before it was made.
_SELECT = text("""
    WITH finished AS (
        SELECT event_id, endpoint_id,
               CASE WHEN bool_or(status = 'DELIVERED') THEN 'DELIVERED'
                    WHEN bool_or(status = 'CANCELLED') THEN 'CANCELLED'
                    ELSE 'DEAD' END AS state
        FROM delivery_history
        WHERE endpoint_id = ANY(CAST(:endpoint_ids AS text[]))
          AND finished_at >= coalesce(CAST(:since AS timestamptz), now() - CAST(:kept_for AS interval))
                             - CAST(:clocks_apart AS interval)
        GROUP BY event_id, endpoint_id),
    wanted AS (
        SELECT events.id AS event_id, endpoints.id AS endpoint_id,
               coalesce(events.wallet_id, events.id) AS wallet_id, coalesce(events.sequence, 0) AS sequence,
               events.created_at
        FROM endpoints
        JOIN events ON events.merchant_id = endpoints.merchant_id
        LEFT JOIN finished ON finished.event_id = events.id AND finished.endpoint_id = endpoints.id
        WHERE endpoints.id = ANY(CAST(:endpoint_ids AS text[])) AND endpoints.removed_at IS NULL
          AND (CAST(:event_ids AS uuid[]) IS NULL OR events.id = ANY(CAST(:event_ids AS uuid[])))
          AND (CAST(:names AS text[]) IS NULL OR events.name = ANY(CAST(:names AS text[])))
          AND events.id >= :first_id
          AND events.created_at >= coalesce(CAST(:since AS timestamptz), now() - CAST(:kept_for AS interval))
          AND events.created_at < coalesce(CAST(:until AS timestamptz), 'infinity')
          AND CASE WHEN state IS NULL
              THEN :missing AND events.wallet_id IS NOT NULL AND events.name = ANY(endpoints.event_types)
                   AND events.created_at >= coalesce(
                       (SELECT removed_before FROM retention_horizons WHERE table_name = 'delivery_history'),
                       '-infinity')
              ELSE state = ANY(CAST(:states AS text[])) END)
    INSERT INTO replay_job_events (job_id, place, event_id, endpoint_id)
    SELECT :job_id, row_number() OVER (ORDER BY newest, wallet_id, endpoint_id, sequence), event_id, endpoint_id
    FROM (SELECT *, max(created_at) OVER (PARTITION BY endpoint_id, wallet_id ORDER BY sequence) AS newest
          FROM wanted
          WHERE NOT EXISTS (
              SELECT FROM deliveries AS live
              WHERE live.endpoint_id = wanted.endpoint_id AND live.wallet_id = wanted.wallet_id
                AND live.sequence = wanted.sequence)) AS placed
""")
_COUNT_SELECTED = text(f"UPDATE replay_jobs SET selected = :selected WHERE id = :id RETURNING {_COLUMNS}")

# Ids of events begin with their time, by the clock of the process that made them.
_CLOCKS_APART = timedelta(days=1)

_STATES: Mapping[ReplayScope, tuple[str, ...]] = {
    ReplayScope.DEAD: ("DEAD",),
    ReplayScope.MISSING: (),
    ReplayScope.DELIVERED: ("DELIVERED",),
    ReplayScope.ALL: ("DEAD", "DELIVERED"),
}


async def start(connection: AsyncConnection, request: ReplayRequest, selection: Mapping[str, Any]) -> ReplayJob:
    """Write a RUNNING job with the events that it sends again.

    `selection` is the request in the person's terms, for listings.
    """
    row = {"scope": request.scope, "selection": json.dumps(selection), "per_second": request.per_second}
    job_id: int = (await connection.execute(_ADD, row)).scalar_one()
    wanted = {
        "job_id": job_id,
        "endpoint_ids": list(request.endpoint_ids),
        "event_ids": None if request.event_ids is None else list(request.event_ids),
        "names": None if request.names is None else list(request.names),
        "first_id": UUID(int=0) if request.since is None else first_at(request.since - _CLOCKS_APART),
        "since": request.since,
        "until": request.until,
        "kept_for": request.kept_for,
        "clocks_apart": _CLOCKS_APART,
        "missing": request.scope in {ReplayScope.MISSING, ReplayScope.ALL},
        "states": list(_STATES[request.scope]),
    }
    number = (await connection.execute(_SELECT, wanted)).rowcount
    return _job(*(await connection.execute(_COUNT_SELECTED, {"id": job_id, "selected": number})).one())


_LIST = text(f"""
    SELECT {_COLUMNS}
    FROM replay_jobs
    WHERE (CAST(:status AS text) IS NULL OR status = :status)
    ORDER BY id DESC
    LIMIT :limit
""")


async def jobs(connection: AsyncConnection, *, status: ReplayStatus | None = None, limit: int = 100) -> list[ReplayJob]:
    """The newest first; a status that is None matches all."""
    rows = await connection.execute(_LIST, {"status": status, "limit": limit})
    return [_job(*row) for row in rows]


_FIND = text(f"SELECT {_COLUMNS} FROM replay_jobs WHERE id = :id FOR NO KEY UPDATE")
# The time that a job was paused is not caught up on.
_CHANGE = text("""
    UPDATE replay_jobs
    SET status = :status, next_at = now(),
        finished_at = CASE WHEN CAST(:status AS text) IN ('DONE', 'CANCELLED') THEN now() END
    WHERE id = :id
""")
_FORGET = text("DELETE FROM replay_job_events WHERE job_id = :id")


async def lock(connection: AsyncConnection, job_id: int) -> ReplayJob | None:
    """A job, locked until the commit: no process enqueues for it meanwhile. None if there is none."""
    row = (await connection.execute(_FIND, {"id": job_id})).one_or_none()
    return None if row is None else _job(*row)


async def change(connection: AsyncConnection, job_id: int, status: ReplayStatus) -> None:
    """Give a locked job another status. The list of a cancelled one is dropped."""
    await connection.execute(_CHANGE, {"id": job_id, "status": status})
    if status is ReplayStatus.CANCELLED:
        await connection.execute(_FORGET, {"id": job_id})


_NEXT_JOB = text("""
    SELECT id, scope, per_second, next_at - now() AS wait
    FROM replay_jobs
    WHERE status = 'RUNNING'
    ORDER BY next_at
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
""")
# An event that has arrived since the job started is not sent again, unless the job wants delivered events. An event
# that a person has cancelled since then is left alone, unless it has also arrived and the job wants delivered events.
_TAKE = text("""
    WITH taken AS (
        DELETE FROM replay_job_events
        WHERE job_id = :job_id AND place = ANY(ARRAY(
            SELECT place FROM replay_job_events WHERE job_id = :job_id ORDER BY place LIMIT :number))
        RETURNING place, event_id, endpoint_id)
    SELECT taken.event_id, endpoints.id, CAST(coalesce(events.wallet_id, events.id) AS text),
           coalesce(events.sequence, 0)
    FROM taken
    LEFT JOIN endpoints ON endpoints.id = taken.endpoint_id AND endpoints.removed_at IS NULL
    LEFT JOIN events ON events.id = taken.event_id AND coalesce((
        SELECT bool_or(status = 'DELIVERED') AND :delivered OR bool_and(status = 'DEAD')
        FROM delivery_history AS finished
        WHERE finished.event_id = taken.event_id AND finished.endpoint_id = taken.endpoint_id), true)
    ORDER BY place
""")
# A job that is late, because its database or all dispatchers were away, catches up on a second at most.
_COUNT = text("""
    UPDATE replay_jobs
    SET enqueued = enqueued + :enqueued, left_alone = left_alone + :left_alone,
        next_at = greatest(next_at, now() - interval '1 second')
                  + :taken / CAST(per_second AS double precision) * interval '1 second',
        status = CASE WHEN :is_over THEN 'DONE' ELSE status END,
        finished_at = CASE WHEN :is_over THEN now() END
    WHERE id = :id
""")


class Enqueued(NamedTuple):
    """What one transaction did for a job: the endpoints that have deliveries by it, and whether it was the last."""

    job_id: int
    endpoint_ids: frozenset[str]
    is_over: bool


async def enqueue_next(connection: AsyncConnection) -> Enqueued | timedelta | None:
    """Enqueue the next deliveries of the job that is due; else return how long until a job is due; None without a job.

    A job at which another process is counts as none.
    """
    job = (await connection.execute(_NEXT_JOB)).one_or_none()
    if job is None:
        return None
    if job.wait > timedelta(0):
        wait: timedelta = job.wait
        return wait
    number = part_of(job.per_second)
    delivered = job.scope in {ReplayScope.DELIVERED, ReplayScope.ALL}
    rows = (await connection.execute(_TAKE, {"job_id": job.id, "number": number, "delivered": delivered})).all()
    wanted = [NewDelivery(*row) for row in rows if None not in row]
    enqueued = await send_again(connection, wanted) if wanted else []
    counts = {"enqueued": len(enqueued), "left_alone": len(rows) - len(enqueued), "taken": len(rows)}
    is_over = len(rows) < number
    await connection.execute(_COUNT, {"id": job.id, "is_over": is_over, **counts})
    return Enqueued(job.id, frozenset(delivery.endpoint_id for delivery in enqueued), is_over)
