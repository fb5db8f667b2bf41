"""The role reconcile: each job at its interval, one after another, in one process of all that have the role.

The runs of the database are the schedule: a job is due if no whole run of it began within its interval. The lease of a
run keeps others out, and a run that a stopped process left is continued.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import JobName, Scope
from loops.limited_log import LimitedLog
from loops.waiting import Reminder, event_or_timeout
from reconciliation import jobs
from reconciliation.accounting import TopicLog
from reconciliation.catalog import Kept
from reconciliation.jobs import Report
from store.failures import DATABASE_ERRORS, passes
from store.reconciliation import runs
from store.reconciliation.runs import AlreadyRunning
from store.refusals import reason

log = structlog.get_logger()

RUNS = Counter("repoint_reconciliation_runs_total", "Runs of a job of reconciliation that came to their end", ["job"])
FINDINGS = Counter("repoint_reconciliation_findings_total", "Differences that reconciliation found", ["job", "kind"])
REPAIRED = Counter("repoint_reconciliation_repaired_total", "Differences that it repaired", ["job", "kind"])
LAST_WHOLE_RUN = Gauge(
    "repoint_reconciliation_last_run_seconds", "Time since the latest whole run of a job ended, of any process", ["job"]
)

# A process that starts has other work at first.
_FIRST_SECONDS = 60.0
# Whether a job is due is one short statement.
_LOOK_SECONDS = 15.0

_SCOPE = Scope(repairs=True)


class Reconciling:
    """Runs jobs at their intervals; a job without an interval is not run."""

    def __init__(
        self,
        engine: AsyncEngine,
        kept: Kept,
        every: Mapping[JobName, timedelta],
        *,
        topic: TopicLog | None = None,
        first: float = _FIRST_SECONDS,
    ) -> None:
        self._engine = engine
        self._kept = kept
        self._every = every
        self._topic = topic
        self._first = first
        self._reminder = Reminder()
        self._log_findings = LimitedLog(log.warning, "reconciliation found")

    async def run(self, stopping: asyncio.Event) -> None:
        """Run jobs until `stopping` is set: the page at hand is the last one then."""
        await event_or_timeout(stopping, self._first)
        while not stopping.is_set():
            try:
                await self.run_once(stopping)
            except DATABASE_ERRORS as error:
                self._put_off(error)
            await event_or_timeout(stopping, _LOOK_SECONDS)
        self._log_findings.close()

    async def run_once(self, stopping: asyncio.Event) -> None:
        """Run the jobs that are due."""
        for name in await self._due():
            if stopping.is_set():
                return
            began = time.monotonic()
            try:
                report = await jobs.reconcile(
                    self._engine, name, self._kept, _SCOPE, log=self._topic, stopping=stopping
                )
            except AlreadyRunning:
                continue
            if report.is_over:
                self._report(report, seconds=time.monotonic() - began)

    async def _due(self) -> list[JobName]:
        async with self._engine.begin() as connection:
            latest = await runs.since_whole(connection)
        for name, whole in latest.items():
            if whole is not None:
                LAST_WHOLE_RUN.labels(name).set(whole.ended.total_seconds())
        return [name for name, every in self._every.items() if (whole := latest[name]) is None or whole.began >= every]

    def _report(self, report: Report, *, seconds: float) -> None:
        job, run = report.run.job, report.run.id
        RUNS.labels(job).inc()
        for kind, findings, repaired in report.counts:
            FINDINGS.labels(job, kind).inc(findings)
            REPAIRED.labels(job, kind).inc(repaired)
            self._log_findings.write(job=job.value, kind=kind.value, findings=findings, repaired=repaired, run=run)
        if not report.counts:
            log.info("reconciled", job=job.value, examined=report.run.examined, seconds=round(seconds, 1), run=run)

    def _put_off(self, error: BaseException) -> None:
        if not passes(error):
            raise error
        why = reason(error)
        if self._reminder.is_due(why):
            log.warning("reconciliation put off", reason=why)
