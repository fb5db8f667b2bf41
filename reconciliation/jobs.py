"""A run of a job: page after page, each examined and repaired in a transaction of its own.

A page is examined again after its repair, because one difference can hide another, until nothing remains that can be
repaired. The run's row is moved on in the same transaction: a process that dies leaves the run where it was.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from domain.reconciliation import Finding, JobName, Scope
from reconciliation.catalog import Job, Kept, each_wallet, jobs
from store import connectivity
from store.failures import Failure, failure
from store.reconciliation import runs, subjects
from store.reconciliation.page import Page
from store.reconciliation.runs import Run

T = TypeVar("T")
AddSubjects: TypeAlias = Callable[[AsyncConnection, int, T], Awaitable[T | None]]
"""Write down the wallets of a run that stand after a place; the place of the last one, None if there are no more."""

# The wallets of a page's findings are locked until it commits.
_PAGE = 1000
# A page takes milliseconds. After this long without one, the process that worked on a run has died.
_LEASE = timedelta(minutes=1)
_MOST_ROUNDS = 5


@dataclass(frozen=True)
class Report:
    """The result of a run: subjects examined, and findings with whether each was repaired."""

    run: Run
    findings: list[tuple[Finding, bool]] = field(default_factory=list)


async def reconcile(
    engine: AsyncEngine,
    name: JobName,
    kept: Kept,
    scope: Scope,
    *,
    on_examined: Callable[[int], None] = lambda _: None,
) -> Report:
    """Run a job to its end, or continue a run whose process died. `on_examined` is called with the size of each page.

    The report has the findings of the whole run.

    Raises:
        store.reconciliation.runs.AlreadyRunning: another process works on it.
    """
    async with engine.begin() as connection:
        run = await runs.begin(connection, name, scope, lease=_LEASE)
        report = Report(run, await runs.findings(connection, run.id))
    job = await _limited(engine, jobs(kept, scope)[name], run)
    is_over = False
    while not is_over:
        page, findings = await _page(engine, job, report.run)
        is_over = page.next_after is None
        run = replace(report.run, after=page.next_after or "", examined=report.run.examined + page.examined)
        report = Report(run, [*report.findings, *findings])
        on_examined(page.examined)
    return report


async def _limited(engine: AsyncEngine, job: Job, run: Run) -> Job:
    """The job for the wallets that changed since the run's time, where it has one and the job is about wallets."""
    if run.scope.since is None or job.examine_wallets is None:
        return job
    if not run.after:
        await _write_subjects(engine, run, run.scope.since)
    return job._replace(examine=each_wallet(job.examine_wallets, partial(subjects.page_of_ids, run_id=run.id)))


async def _write_subjects(engine: AsyncEngine, run: Run, since: datetime) -> None:
    """Write down the wallets that changed since then."""
    async with engine.begin() as connection:
        first_update = await subjects.before_updates(connection, since)
    await _write_slices(engine, run, subjects.add_of_events, subjects.before_events(since))
    await _write_slices(engine, run, subjects.add_of_updates, first_update)


async def _write_slices(engine: AsyncEngine, run: Run, add: AddSubjects[T], start: T) -> None:
    """Write slice after slice, each in a transaction of its own, and keep the lease meanwhile."""
    after: T | None = start
    while after is not None:
        async with engine.begin() as connection:
            after = await add(connection, run.id, after)
            await runs.advance(connection, run, after=run.after, examined=0, lease=_LEASE)


def _is_contended(error: BaseException) -> bool:
    return failure(error) is Failure.CONTENDED


# A batch holds the credentials of a page's wallets for some milliseconds.
@retry(retry=retry_if_exception(_is_contended), stop=stop_after_attempt(20), wait=wait_random(0, 0.5), reraise=True)
async def _page(engine: AsyncEngine, job: Job, run: Run) -> tuple[Page, list[tuple[Finding, bool]]]:
    """Examine and repair the next page. Return it, with each finding and whether it was repaired."""
    async with connectivity.transaction(engine, dry_run=False) as connection:
        page = await job.examine(connection, run.after, _PAGE)
        repairs = run.scope.repairs
        findings = await _repaired(connection, job, run, page) if repairs else dict.fromkeys(page.findings, False)
        await runs.add(connection, run, list(findings), set(_true(findings)))
        after = run.after if page.next_after is None else page.next_after
        await runs.advance(connection, run, after=after, examined=page.examined, lease=_LEASE)
        if page.next_after is None:
            await runs.finish(connection, run)
    return page, list(findings.items())


async def _repaired(connection: AsyncConnection, job: Job, run: Run, page: Page) -> Mapping[Finding, bool]:
    """Repair the findings of a page, and those that come to light by it. Return whether each was repaired.

    What comes to light is about the same subjects, whose wallets are locked. What others changed meanwhile is left to
    the next run: to lock further wallets here, out of the order of their ids, is to wait for batches in a circle.
    """
    subject_ids = {finding.subject for finding in page.findings}
    findings: dict[Finding, bool] = {}
    remaining = list(page.findings)
    for _ in range(_MOST_ROUNDS):
        repaired = await job.repair(connection, remaining) if remaining else set()
        findings.update((finding, finding in repaired) for finding in remaining)
        if not repaired:
            break
        again = await job.examine(connection, run.after, _PAGE)
        remaining = [
            finding for finding in again.findings if finding.subject in subject_ids and finding not in findings
        ]
    return findings


def _true(findings: Mapping[Finding, bool]) -> Iterator[Finding]:
    return (finding for finding, is_repaired in findings.items() if is_repaired)
