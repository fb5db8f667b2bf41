"""The record of runs: how far each is, and what it found. A run whose process died is continued by the next."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind, JobName, Scope
from store.reconciliation import subjects
from store.rows import RECONCILIATION_FINDING


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a job. `after` is the last subject that was examined."""

    id: int
    job: JobName
    scope: Scope
    after: str
    examined: int


class AlreadyRunning(Exception):
    """Another process works on a run of this job."""


# What a dry run has passed was not repaired. A run that is held for longer than the lease was begun by a clock that was
# ahead; its own clock, because `now()` is that of a transaction that may have waited for another one's.
_BEGIN = text("""
    INSERT INTO reconciliation_runs AS run (job, repairs, since, replays_dead, held_until)
    VALUES (:job, :repairs, :since, :replays_dead, now() + CAST(:lease AS interval))
    ON CONFLICT (job) WHERE status = 'RUNNING'
    DO UPDATE SET held_until = excluded.held_until, repairs = excluded.repairs, since = excluded.since,
                  replays_dead = excluded.replays_dead,
                  (after, examined) = (
                      SELECT run.after, run.examined
                      WHERE (run.repairs, run.since, run.replays_dead)
                            IS NOT DISTINCT FROM (excluded.repairs, excluded.since, excluded.replays_dead)
                      UNION ALL SELECT '', 0
                      LIMIT 1)
    WHERE run.held_until < now() OR run.held_until > clock_timestamp() + CAST(:lease AS interval)
    RETURNING id, after, examined
""")
_FORGET = text("DELETE FROM reconciliation_findings WHERE run_id = :id AND NOT repaired")


async def begin(connection: AsyncConnection, job: JobName, scope: Scope, *, lease: timedelta) -> Run:
    """Begin a run of a job, or continue the one whose process died; from the beginning if its scope was another.

    Raises:
        AlreadyRunning: another process works on one.
    """
    row = (await connection.execute(_BEGIN, {"job": job, "lease": lease} | scope._asdict())).one_or_none()
    if row is None:
        raise AlreadyRunning(job)
    if not row.after:
        await connection.execute(_FORGET, {"id": row.id})
        await subjects.forget(connection, row.id)
    return Run(row.id, job, scope, row.after, row.examined)


_ADVANCE = text("""
    UPDATE reconciliation_runs
    SET after = :after, examined = examined + :examined, held_until = now() + CAST(:lease AS interval)
    WHERE id = :id AND status = 'RUNNING' AND after = :former
    RETURNING true
""")
_FINISH = text("UPDATE reconciliation_runs SET status = 'DONE', finished_at = now() WHERE id = :id")
_ADD = text(RECONCILIATION_FINDING.insert("reconciliation_findings", "findings"))


async def advance(connection: AsyncConnection, run: Run, *, after: str, examined: int, lease: timedelta) -> None:
    """Note that a page was examined, in its transaction.

    Raises:
        AlreadyRunning: another process has examined it meanwhile.
    """
    values = {"id": run.id, "former": run.after, "after": after, "examined": examined, "lease": lease}
    if not await connection.scalar(_ADVANCE, values):
        raise AlreadyRunning(run.job)


async def finish(connection: AsyncConnection, run: Run) -> None:
    await connection.execute(_FINISH, {"id": run.id})
    await subjects.forget(connection, run.id)


async def add(
    connection: AsyncConnection, run: Run, findings: Sequence[Finding], repaired: Collection[Finding]
) -> None:
    """Write down what a page found, and which of it was repaired."""
    if findings:
        rows = [RECONCILIATION_FINDING.row(run.id, *finding, finding in repaired) for finding in findings]
        await connection.execute(_ADD, {"findings": rows})


_RELEASE = text("UPDATE reconciliation_runs SET held_until = now() WHERE id = :id AND status = 'RUNNING'")


async def release(connection: AsyncConnection, run: Run) -> None:
    """Let another process continue the run at once."""
    await connection.execute(_RELEASE, {"id": run.id})


class FindingCount(NamedTuple):
    """How many findings of a kind a run has, and how many of them were repaired."""

    kind: FindingKind
    findings: int
    repaired: int


_COUNTS = text("""
    SELECT kind, count(*), count(*) FILTER (WHERE repaired)
    FROM reconciliation_findings WHERE run_id = :id GROUP BY kind ORDER BY min(id)
""")
_FINDINGS = text("""
    SELECT id, kind, subject, expected, found, repaired
    FROM reconciliation_findings WHERE run_id = :run_id AND id > :after ORDER BY id LIMIT :limit
""")


async def counts(connection: AsyncConnection, run_id: int) -> list[FindingCount]:
    """The findings of a run by kind, in the order in which the kinds were found."""
    rows = await connection.execute(_COUNTS, {"id": run_id})
    return [FindingCount(FindingKind(kind), *numbers) for kind, *numbers in rows]


async def findings(
    connection: AsyncConnection, run_id: int, *, after: int = 0, limit: int = 1000
) -> list[tuple[int, Finding, bool]]:
    """The next findings of a run after the id `after`, as they were found, and whether each was repaired."""
    rows = await connection.execute(_FINDINGS, {"run_id": run_id, "after": after, "limit": limit})
    return [(id_, Finding(FindingKind(kind), *values), repaired) for id_, kind, *values, repaired in rows]


# A run that is limited, or only reports, is no whole one. NULL: there is none.
_LATEST = text("""
    SELECT wanted.job, now() - whole.started_at, now() - whole.finished_at
    FROM unnest(CAST(:jobs AS text[])) AS wanted(job)
    LEFT JOIN LATERAL (
        SELECT started_at, finished_at FROM reconciliation_runs
        WHERE job = wanted.job AND status = 'DONE' AND repairs AND since IS NULL
        ORDER BY finished_at DESC
        LIMIT 1) AS whole ON true
""")


class SinceWhole(NamedTuple):
    """How long ago the latest whole run of a job began and ended."""

    began: timedelta
    ended: timedelta


async def since_whole(connection: AsyncConnection) -> dict[JobName, SinceWhole | None]:
    """For each job, how long ago its latest whole run was; None if there was none."""
    rows = await connection.execute(_LATEST, {"jobs": list(JobName)})
    return {JobName(job): None if began is None else SinceWhole(began, ended) for job, began, ended in rows}


_OLD = "status = 'DONE' AND finished_at < now() - CAST(:keep AS interval)"
_DELETE_FINDINGS = text(f"""
    DELETE FROM reconciliation_findings WHERE id = ANY(ARRAY(
        SELECT finding.id
        FROM (SELECT id FROM reconciliation_runs WHERE {_OLD} OFFSET 0) AS old
        CROSS JOIN LATERAL (
            SELECT id FROM reconciliation_findings WHERE run_id = old.id LIMIT :most) AS finding
        LIMIT :most))
""")
_DELETE_RUNS = text(f"""
    DELETE FROM reconciliation_runs WHERE {_OLD}
      AND (SELECT true FROM reconciliation_findings WHERE run_id = reconciliation_runs.id LIMIT 1) IS NULL
""")
# Rows of one statement: a fraction of a second.
_MOST = 10_000


async def forget(connection: AsyncConnection, *, keep: timedelta) -> int:
    """Delete findings of runs that ended longer than `keep` ago, 10,000 at most, and those runs without any.

    Return how many findings.
    """
    deleted = int((await connection.execute(_DELETE_FINDINGS, {"keep": keep, "most": _MOST})).rowcount)
    await connection.execute(_DELETE_RUNS, {"keep": keep})
    return deleted
