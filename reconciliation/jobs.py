"""A run of a job: page after page, each examined and repaired in a transaction of its own.

A page is examined again after its repair, because one difference can hide another, until nothing remains that can be
repaired. The run's row is moved on in the same transaction: a process that dies leaves the run where it was.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from domain.reconciliation import Finding, JobName
from store import connectivity
from store.failures import Failure, failure
from store.reconciliation import deliveries, lineage, links, runs
from store.reconciliation.page import Page
from store.reconciliation.runs import Run
from wallets import retelling, revising
from wallets.change import Retention

Examine: TypeAlias = Callable[[AsyncConnection, str, int], Awaitable[Page]]
Repair: TypeAlias = Callable[[AsyncConnection, Collection[Finding]], Awaitable[set[Finding]]]


class Job(NamedTuple):
    """How a job examines the page after a subject, and repairs findings; `repair` returns the repaired."""

    examine: Examine
    repair: Repair


@dataclass(frozen=True, slots=True)
class Kept:
    """How long rows are kept: knowledge that a repaired wallet gives away or takes on, and finished deliveries."""

    knowledge: Retention
    history: timedelta


def jobs(kept: Kept) -> Mapping[JobName, Job]:
    """All jobs."""

    async def repair_wallets(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
        await revising.resolve_again(connection, [finding.subject for finding in findings], kept.knowledge)
        return set(findings)

    return {
        JobName.LINKS: Job(links.examine, links.repair),
        JobName.LINEAGE: Job(lineage.examine, lineage.repair),
        JobName.WALLETS: Job(revising.examine, repair_wallets),
        JobName.DELIVERIES: Job(deliveries.examine, deliveries.repair),
        JobName.EVENTS: Job(
            partial(retelling.examine, kept_for=kept.history), partial(retelling.repair, kept_for=kept.history)
        ),
    }


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
    *,
    repairs: bool,
    on_examined: Callable[[int], None] = lambda _: None,
) -> Report:
    """Run a job to its end, or continue a run whose process died. `on_examined` is called with the size of each page.

    The report has the findings of the whole run.

    Raises:
        store.reconciliation.runs.AlreadyRunning: another process works on it.
    """
    job = jobs(kept)[name]
    async with engine.begin() as connection:
        run = await runs.begin(connection, name, repairs=repairs, lease=_LEASE)
        report = Report(run, await runs.findings(connection, run.id))
    is_over = False
    while not is_over:
        page, findings = await _page(engine, job, report.run)
        is_over = page.next_after is None
        run = replace(report.run, after=page.next_after or "", examined=report.run.examined + page.examined)
        report = Report(run, [*report.findings, *findings])
        on_examined(page.examined)
    return report


def _is_contended(error: BaseException) -> bool:
    return failure(error) is Failure.CONTENDED


# A batch holds the credentials of a page's wallets for some milliseconds.
@retry(retry=retry_if_exception(_is_contended), stop=stop_after_attempt(20), wait=wait_random(0, 0.5), reraise=True)
async def _page(engine: AsyncEngine, job: Job, run: Run) -> tuple[Page, list[tuple[Finding, bool]]]:
    """Examine and repair the next page. Return it, with each finding and whether it was repaired."""
    async with connectivity.transaction(engine, dry_run=False) as connection:
        page = await job.examine(connection, run.after, _PAGE)
        findings = await _repaired(connection, job, run, page) if run.repairs else dict.fromkeys(page.findings, False)
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
    subjects = {finding.subject for finding in page.findings}
    findings: dict[Finding, bool] = {}
    remaining = list(page.findings)
    for _ in range(_MOST_ROUNDS):
        repaired = await job.repair(connection, remaining) if remaining else set()
        findings.update((finding, finding in repaired) for finding in remaining)
        if not repaired:
            break
        again = await job.examine(connection, run.after, _PAGE)
        remaining = [finding for finding in again.findings if finding.subject in subjects and finding not in findings]
    return findings


def _true(findings: Mapping[Finding, bool]) -> Iterator[Finding]:
    return (finding for finding, is_repaired in findings.items() if is_repaired)
