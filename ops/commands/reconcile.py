"""`repoint reconcile [JOB…]`."""

from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import JobName, Scope
from ops import parts, terminal
from ops.commands import options
from ops.retention import kept
from ops.terminal import AsJson, DryRun, Failed
from reconciliation import jobs
from reconciliation.jobs import Report
from schemas.views import FindingView, ReportView
from store.reconciliation.runs import AlreadyRunning


def reconcile(
    names: Annotated[
        list[JobName] | None, typer.Argument(metavar="JOB", help=f"{', '.join(JobName)}; all if none.")
    ] = None,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            metavar="MOMENT",
            parser=options.since,
            help="Only what changed then or later: wallets about which events were made or vendors reported, deliveries"
            " that were made or died. `1h`, or 2026-11-20T09:14:00Z.",
        ),
    ] = None,
    replay_dead: Annotated[
        bool, typer.Option("--replay-dead", help="Send dead deliveries again; otherwise they are only reported.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find what is not as it should be, and repair it, beside all other work.

    Exits with 1 where something is left that a person must decide. A run goes through the rows in short transactions,
    while updates and deliveries go on. One that was interrupted goes on where it was, if it is asked for the same; with
    a `--since` of a duration it begins again. Repaired wallets are announced to merchants as any change is.
    """
    settings = parts.settings_of_a_command()
    scope = Scope(repairs=not dry_run, since=since, replays_dead=replay_dead)

    async def work(engine: AsyncEngine) -> list[Report]:
        reports = []
        for name in names or list(JobName):
            with terminal.progress(name, None) as advance:
                try:
                    reports.append(await jobs.reconcile(engine, name, kept(settings), scope, on_examined=advance))
                except AlreadyRunning:
                    raise Failed(f"{name}: another process is at it, or was a minute ago") from None
        return reports

    reports = parts.on_database(settings, work)
    views = [_view(report) for report in reports]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
    else:
        for view in views:
            _write(view, dry_run=dry_run)
    if left := sum(not finding.repaired for view in views for finding in view.findings):
        raise Failed(f"{terminal.counted(left, 'finding')} not repaired" + (" (--dry-run)" if dry_run else ""))


def _view(report: Report) -> ReportView:
    findings = tuple(FindingView(**finding._asdict(), repaired=is_repaired) for finding, is_repaired in report.findings)
    return ReportView(job=report.run.job, run=report.run.id, examined=report.run.examined, findings=findings)


def _write(view: ReportView, *, dry_run: bool) -> None:
    repaired = sum(finding.repaired for finding in view.findings)
    done = "" if dry_run or not view.findings else f", {repaired:,} repaired"
    number = terminal.counted(len(view.findings), "finding")
    terminal.write_line(f"{view.job}: {view.examined:,} examined, {number}{done}")
    if view.findings:
        terminal.write_table(
            ("kind", "subject", "expected", "is", "repaired"),
            [
                (finding.kind, finding.subject, finding.expected, finding.found, "yes" if finding.repaired else "no")
                for finding in view.findings
            ],
        )
