"""`repoint replay start|list|pause|resume|cancel`: jobs that send events again, at a rate."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.delivery.replay import ReplayScope, ReplayStatus
from ops import filters, parts, terminal
from ops.actor import who
from ops.chosen_deliveries import read_name
from ops.commands.options import masked, moment
from ops.terminal import AsJson, DryRun, Failed, Limit
from schemas.duration import spell
from schemas.event import EventName
from schemas.signature import event_id
from schemas.views import ReplayJobView
from store import audit, connectivity, endpoints, replay_jobs
from store.audit import Act
from store.replay_jobs import ReplayJob, ReplayRequest

JobId = Annotated[int, typer.Argument(metavar="JOB", min=1, max=2**63 - 1, help="Its number in `replay list`.")]
Reason = Annotated[str | None, typer.Option("--reason", callback=masked, help="Why, for `audit list`.")]


def start(
    *,
    ids: Annotated[list[str] | None, typer.Argument(metavar="EVENT", help="Only these events (evt_…).")] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT_ID", help="To this endpoint.")] = None,
    merchant: Annotated[
        str | None, typer.Option(metavar="MERCHANT_ID", help="To all endpoints of this merchant.")
    ] = None,
    scope: Annotated[
        ReplayScope,
        typer.Option(
            case_sensitive=False,
            help="dead: given up. missing: without a delivery, as from before the endpoint was added. delivered: they"
            " arrived. all: these three.",
        ),
    ] = ReplayScope.DEAD,
    since: Annotated[
        datetime | None, typer.Option(metavar="MOMENT", parser=moment, help="Only events of then or later.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(metavar="MOMENT", parser=moment, help="Only events from before.")
    ] = None,
    names: Annotated[list[EventName] | None, typer.Option("--event", help="Only events of this name.")] = None,
    per_second: Annotated[
        float, typer.Option("--rate", min=0.01, max=10_000, help="Deliveries a second, at most.")
    ] = 50,
    reason: Reason = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Start a job that sends events again: same ids and bodies, each wallet's in order, with the whole retry schedule.

    The events are selected now, and enqueued by the processes that deliver, at the rate of the job. What is on its way
    is left alone, and so is what a person cancelled. A job goes on where it was after a crash.
    """
    if (endpoint is None) == (merchant is None):
        raise typer.BadParameter("expected --endpoint or --merchant")
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("expected --since to be before --until")
    event_ids = [name for name in map(read_name, ids or ()) if not isinstance(name, int)]
    if len(event_ids) < len(ids or ()):
        raise typer.BadParameter("expected ids of events (evt_…); `repoint replay now` takes deliveries by number")
    settings = parts.settings_of_a_command()
    event_names = [name.value for name in names or ()]
    selection = _selection(
        endpoint=endpoint,
        merchant=merchant,
        events=[event_id(id_) for id_ in event_ids],
        since=terminal.moment(since),
        until=terminal.moment(until),
        names=event_names,
    )

    async def work(engine: AsyncEngine) -> ReplayJob:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            request = ReplayRequest(
                scope=scope,
                endpoint_ids=await _endpoints(connection, endpoint, merchant),
                per_second=per_second,
                kept_for=settings.history_for,
                event_ids=event_ids or None,
                names=event_names or None,
                since=since,
                until=until,
            )
            job = await replay_jobs.start(connection, request, selection)
            if not job.selected:
                raise Failed("nothing to send again: no such event, or all are on their way; no job was started")
            await audit.record(connection, [_act("replay started", job, reason)])
            return job

    job = parts.on_database(settings, work)
    if as_json:
        terminal.write_json(ReplayJobView.of(job).as_json())
        return
    number = terminal.counted(job.selected, "delivery")
    if dry_run:
        terminal.write_line(f"would send {number} again, in about {_duration(job)}")
        return
    terminal.write_line(f"replay {job.id} sends {number} again, in about {_duration(job)}")
    terminal.remark("`repoint replay list` shows how far it is; pause, resume and cancel take its number")


def list_(
    *,
    status: Annotated[ReplayStatus | None, typer.Option(help="Only jobs of this status.", case_sensitive=False)] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List replay jobs, the newest first, with how far they are."""

    async def work(engine: AsyncEngine) -> list[ReplayJob]:
        async with connectivity.snapshot(engine) as connection:
            return await replay_jobs.jobs(connection, status=status, limit=limit)

    rows = parts.on_database(parts.settings_of_a_command(), work)
    if as_json:
        terminal.write_json([ReplayJobView.of(row).as_json() for row in rows])
        return
    terminal.write_table(
        ("job", "status", "scope", "selection", "enqueued", "left alone", "of", "a second", "ends in", "started"),
        [
            (row.id, row.status, row.scope, ", ".join(f"{name}={value}" for name, value in row.selection.items()),
             row.enqueued, row.left_alone, row.selected, f"{row.per_second:g}",
             _duration(row) if row.status == ReplayStatus.RUNNING else None, row.created_at)
            for row in rows
        ],
    )  # fmt: skip


def pause(job_id: JobId, *, reason: Reason = None) -> None:
    """Pause a running job: it enqueues nothing until it is resumed. What it has enqueued goes out."""
    _change(job_id, ReplayStatus.RUNNING, ReplayStatus.PAUSED, "replay paused", reason)


def resume(job_id: JobId, *, reason: Reason = None) -> None:
    """Let a paused job go on."""
    _change(job_id, ReplayStatus.PAUSED, ReplayStatus.RUNNING, "replay resumed", reason)


def cancel(job_id: JobId, *, reason: Reason = None) -> None:
    """End a job. What it has enqueued goes out: `repoint deliveries cancel` takes it away."""
    _change(job_id, None, ReplayStatus.CANCELLED, "replay cancelled", reason)


def _change(job_id: int, expected: ReplayStatus | None, status: ReplayStatus, action: str, reason: str | None) -> None:
    """Change a job that is `expected`, or not over yet where that is None."""

    async def work(engine: AsyncEngine) -> ReplayJob:
        async with connectivity.transaction(engine, dry_run=False) as connection:
            job = await replay_jobs.lock(connection, job_id)
            if job is None:
                raise Failed(f"there is no replay {job_id}: `repoint replay list`")
            if job.finished_at is not None or (expected is not None and job.status != expected):
                raise Failed(f"replay {job_id} is {job.status}" + (f", not {expected}" if expected else ""))
            await replay_jobs.change(connection, job_id, status)
            await audit.record(connection, [_act(action, job, reason)])
            return job

    job = parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(
        f"replay {job_id} is {status}: {terminal.counted(job.enqueued, 'delivery')} of {job.selected:,} enqueued"
    )


async def _endpoints(connection: AsyncConnection, endpoint: str | None, merchant: str | None) -> list[str]:
    await filters.require_endpoint(connection, endpoint)
    await filters.require_merchant(connection, merchant)
    if endpoint is not None:
        return [endpoint]
    assert merchant is not None
    return [row.id for row in (await endpoints.of_merchants(connection, [merchant])).get(merchant, ())]


def _selection(**asked: Any) -> Mapping[str, Any]:  # noqa: ANN401 - options of any type
    return {name: value for name, value in asked.items() if value}


def _act(action: str, job: ReplayJob, reason: str | None) -> Act:
    after = {"scope": job.scope, **job.selection, "selected": job.selected, "enqueued": job.enqueued}
    return Act(who(), action, f"replay {job.id}", reason, after=after)


def _duration(job: ReplayJob) -> str:
    """How long the rest of a job takes at its rate, in seconds, minutes or hours."""
    seconds = max(1, ceil(job.remaining / job.per_second))
    unit = next(unit for unit in (3600, 60, 1) if unit == 1 or seconds > 3 * unit)
    return spell(timedelta(seconds=ceil(seconds / unit) * unit))
