"""`repoint reconcile [JOB…]`, and the files that are reconciled."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.core import TyperGroup

from domain.reconciliation import JobName, Scope
from ops import parts, terminal
from ops.actor import who
from ops.commands import options, reconcile_feed, reconcile_merchant
from ops.retention import kept
from ops.terminal import AsJson, DryRun, Failed
from ops.topic_log import topic_log
from reconciliation import jobs
from reconciliation.accounting import TopicLog
from reconciliation.catalog import Kept
from reconciliation.jobs import Report, RunProgress
from schemas.views import FindingView, ReportView
from store import audit
from store.audit import Act
from store.reconciliation.runs import AlreadyRunning


class _JobsByDefault(TyperGroup):
    """`reconcile links` is `reconcile jobs links`, and `reconcile` alone is all jobs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer names no class of click's
        if not args or args[0] not in {*self.commands, "--help"}:
            args = ["jobs", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_JobsByDefault,
    help="Find what is not as it should be, and repair it, beside all other work.\n\n"
    "`reconcile` with the names of jobs, or with none, is `reconcile jobs`.",
)


@app.command("jobs")
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
        log = topic_log(settings, parts.known_broker(settings))
        if log is None and JobName.ACCOUNTING in (names or JobName):
            terminal.remark(
                "no broker is known: the topic's offsets are not compared (REPOINT_KAFKA_BOOTSTRAP_SERVERS)"
            )
        if replay_dead and not dry_run and JobName.DELIVERIES in (names or JobName):
            async with engine.begin() as connection:
                after = {"since": terminal.moment(since)}
                await audit.record(connection, [Act(who(), "dead deliveries replayed", "reconcile", after=after)])
        reports = [await _run(engine, name, kept(settings), scope, log) for name in names or list(JobName)]
        await (_write_json(engine, reports) if as_json else _write(engine, reports))
        return reports

    reports = parts.on_database(settings, work)
    if unrepaired := sum(report.findings - report.repaired for report in reports):
        raise Failed(f"{terminal.counted(unrepaired, 'finding')} not repaired" + (" (--dry-run)" if dry_run else ""))


app.command("merchant")(reconcile_merchant.merchant)
app.command("feed")(reconcile_feed.feed)


async def _run(engine: AsyncEngine, name: JobName, kept_for: Kept, scope: Scope, log: TopicLog | None) -> Report:
    with terminal.steps(name, "row") as steps:
        progress = RunProgress(steps.begin, steps.advance)
        try:
            return await jobs.reconcile(engine, name, kept_for, scope, log=log, progress=progress)
        except AlreadyRunning:
            raise Failed(f"{name}: another process is at it, or was a minute ago") from None


async def _write_json(engine: AsyncEngine, reports: Sequence[Report]) -> None:
    written = terminal.JsonItems()
    for report in reports:
        written.begin(
            ReportView(job=report.run.job, run=report.run.id, examined=report.run.examined).as_json(), "findings"
        )
        async for finding, is_repaired in jobs.findings(engine, report.run.id):
            written.item(FindingView(**finding._asdict(), repaired=is_repaired).as_json())
        written.end()
    written.close()


async def _write(engine: AsyncEngine, reports: Sequence[Report]) -> None:
    for report in reports:
        done = "" if not report.run.scope.repairs or not report.findings else f", {report.repaired:,} repaired"
        number = terminal.counted(report.findings, "finding")
        terminal.write_line(f"{report.run.job}: {report.run.examined:,} examined, {number}{done}")
        if report.findings:
            await _write_findings(engine, report)


# So many a person reads at most; and a table holds all of its rows to find how wide they are.
_MOST_SHOWN = 1000


async def _write_findings(engine: AsyncEngine, report: Report) -> None:
    rows: list[tuple[object, ...]] = []
    async for finding, is_repaired in jobs.findings(engine, report.run.id):
        if len(rows) == _MOST_SHOWN:
            break
        repaired = "yes" if is_repaired else "no"
        rows.append((finding.kind, finding.subject, finding.expected, finding.found, repaired))
    terminal.write_table(("kind", "subject", "expected", "is", "repaired"), rows)
    if report.findings > len(rows):
        terminal.remark(f"{terminal.counted(report.findings - len(rows), 'finding')} more: --json writes all of them")
