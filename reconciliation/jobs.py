"""A run of a job: page after page, each examined in a snapshot and repaired in a transaction of its own.

A page is examined again after its repair, because one difference can hide another, until nothing remains that can be
repaired. The run's row is moved on in the same transaction: a process that dies leaves the run where it was.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.reconciliation import Finding, JobName, Scope
from reconciliation.accounting import TopicLog
from reconciliation.catalog import Job, Kept, each_wallet, jobs
from reconciliation.contention import retried
from store import connectivity
from store.reconciliation import runs, sizes, subjects
from store.reconciliation.page import Page
from store.reconciliation.runs import FindingCount, Run

T = TypeVar("T")
AddSubjects: TypeAlias = Callable[[AsyncConnection, int, T], Awaitable[T | None]]
"""Write down the wallets of a run that stand after a place; the place of the last one, None if there are no more."""

# The wallets of a page's findings are locked until it commits.
_PAGE = 1000
# A page takes milliseconds. After this long without one, the process that worked on a run has died.
_LEASE = timedelta(minutes=1)
_MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run: subjects examined, and the number of findings of each kind.

    `is_over` is false if the process was to stop before the last page.
    """

    run: Run
    counts: Sequence[FindingCount]
    is_over: bool

    @property
    def findings(self) -> int:
        return sum(count.findings for count in self.counts)

    @property
    def repaired(self) -> int:
        return sum(count.repaired for count in self.counts)


class RunProgress(NamedTuple):
    """Called as a run goes on: with about how many subjects it has (None: not known), and with the size of each page.

    A run that is continued has examined some before; they are a page of their own.
    """

    on_begun: Callable[[int | None], None] = lambda _: None
    on_examined: Callable[[int], None] = lambda _: None


_NO_PROGRESS = RunProgress()


async def reconcile(
    engine: AsyncEngine,
    name: JobName,
    kept: Kept,
    scope: Scope,
    *,
    log: TopicLog | None = None,
    progress: RunProgress = _NO_PROGRESS,
    stopping: asyncio.Event | None = None,
) -> Report:
    """Run a job to its end, or until `stopping` is set; or continue a run whose process died.

    The findings are rows of `reconciliation_findings`; the report counts those of the whole run. `log` is the update
    topic, for the accounts.

    Raises:
        store.reconciliation.runs.AlreadyRunning: another process works on it.
    """
    async with engine.begin() as connection:
        run = await runs.begin(connection, name, scope, lease=_LEASE)
    job = jobs(kept, scope, log)[name]
    is_limited = scope.since is not None and job.examine_wallets is not None
    if is_limited:
        job = await _limited(engine, job, run)
    async with engine.begin() as connection:
        size = sizes.of_subjects(connection, run.id) if is_limited else sizes.of_table(connection, job.table)
        progress.on_begun(await size)
    if run.examined:
        progress.on_examined(run.examined)
    next_after: str | None = run.after
    while next_after is not None and not (stopping is not None and stopping.is_set()):
        page = await _page(engine, job, run)
        next_after = page.next_after
        run = replace(run, after=next_after or "", examined=run.examined + page.examined)
        progress.on_examined(page.examined)
    async with engine.begin() as connection:
        if next_after is not None:
            await runs.release(connection, run)
        return Report(run, await runs.counts(connection, run.id), is_over=next_after is None)


async def findings(engine: AsyncEngine, run_id: int) -> AsyncIterator[tuple[Finding, bool]]:
    """The findings of a run, in the order in which they were found, and whether each was repaired."""
    after = 0
    while True:
        async with engine.begin() as connection:
            page = await runs.findings(connection, run_id, after=after)
        for _, finding, is_repaired in page:
            yield finding, is_repaired
        if not page:
            return
        after = page[-1][0]


async def _limited(engine: AsyncEngine, job: Job, run: Run) -> Job:
    """The job for the wallets that changed since the run's time, which are written down first."""
    assert job.examine_wallets is not None
    assert run.scope.since is not None
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


@retried
async def _page(engine: AsyncEngine, job: Job, run: Run) -> Page:
    """Examine and repair the next page. Return it as it was before.

    It is examined as of one moment: rows that a batch writes together are seen together.
    """
    async with connectivity.snapshot(engine) as connection:
        page = await job.examine(connection, run.after, _PAGE)
    async with connectivity.transaction(engine, dry_run=False) as connection:
        repairs = run.scope.repairs
        findings = await _repaired(connection, job, run, page) if repairs else dict.fromkeys(page.findings, False)
        await runs.add(connection, run, list(findings), set(_true(findings)))
        after = run.after if page.next_after is None else page.next_after
        await runs.advance(connection, run, after=after, examined=page.examined, lease=_LEASE)
        if page.next_after is None:
            await runs.finish(connection, run)
    return page


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
