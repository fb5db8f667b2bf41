"""The record of runs: how far each is, and what it found. A run whose process died is continued by the next."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

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


_FINDINGS = text("""
    SELECT kind, subject, expected, found, repaired FROM reconciliation_findings WHERE run_id = :id ORDER BY id
""")


async def findings(connection: AsyncConnection, run_id: int) -> list[tuple[Finding, bool]]:
    """The findings of a run in the order in which they were found, and whether each was repaired."""
    rows = await connection.execute(_FINDINGS, {"id": run_id})
    return [(Finding(FindingKind(kind), *values), repaired) for kind, *values, repaired in rows]
