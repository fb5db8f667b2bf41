"""Differences planted in the rows behind the program's back, and the jobs that look for them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import text

from domain.reconciliation import Finding, FindingKind, JobName, Scope
from reconciliation import jobs
from reconciliation.catalog import Kept
from store.reconciliation.runs import Run
from tests.consumers.harness import RETENTION, Harness

Kinds = list[tuple[FindingKind, str, bool]]

KEPT = Kept(RETENTION, history=timedelta(days=180))


async def plant(harness: Harness, statement: str, **values: object) -> None:
    """Change rows as a script of a superuser does, without constraints and triggers."""
    async with harness.engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(statement), values)


class Done(NamedTuple):
    """A run that came to its end, with its findings and whether each was repaired."""

    run: Run
    findings: list[tuple[Finding, bool]]


async def run(harness: Harness, name: JobName, *, repairs: bool = True, **scope: Any) -> Done:
    report = await jobs.reconcile(harness.engine, name, KEPT, Scope(repairs, **scope))
    found = [one async for one in jobs.findings(harness.engine, report.run.id)]
    assert (report.findings, report.repaired) == (len(found), sum(is_repaired for _, is_repaired in found))
    return Done(report.run, found)


async def kinds(harness: Harness, name: JobName, *, repairs: bool = True, **scope: Any) -> Kinds:
    """Kind, subject by its name, and whether it was repaired, of each finding."""
    report = await run(harness, name, repairs=repairs, **scope)
    return [(finding.kind, harness.name_of(finding.subject), repaired) for finding, repaired in report.findings]


async def state(harness: Harness) -> Sequence[Any]:
    """Everything that a job could change."""
    return [
        await harness.exported(),
        *[
            (await harness.rows(f"SELECT * FROM {table} ORDER BY 1, 2")).__repr__()  # noqa: S608
            for table in ("lineage", "wallet_merchants", "events", "deliveries", "credentials")
        ],
    ]
