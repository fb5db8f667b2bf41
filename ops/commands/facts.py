"""`repoint facts retract`: take back what a vendor alone reported in a span of time."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import filters, parts, terminal
from ops.actor import who
from ops.commands.options import masked, moment
from ops.retention import retention
from ops.terminal import AsJson, DryRun, Failed
from schemas.views import RetractionView
from store import audit, connectivity
from store.audit import Act
from store.retractions import ReportSpan
from wallets import retracting
from wallets.retracting import Retracted

app = typer.Typer(help="What vendors reported that credentials were replaced by.", no_args_is_help=True)


@app.command()
def retract(
    *,
    vendor: Annotated[str, typer.Option(metavar="VENDOR", help="Whose replacements.")],
    since: Annotated[
        datetime, typer.Option(metavar="MOMENT", parser=moment, help="Received then or later; UTC without a zone.")
    ],
    until: Annotated[
        datetime | None, typer.Option(metavar="MOMENT", parser=moment, help="Received before. [default: now]")
    ] = None,
    reason: Annotated[str, typer.Option(callback=masked, metavar="TEXT", help="Why, for the audit.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take back the replacements that only this vendor reported in this time, as after a wrong file.

    Wallets become as if these reports had not come, and merchants are told. A payment method that was replaced is not
    revived: its credential gets a new method. What another update reported as well stays; so do expiries, statuses and
    details. Pause the vendor first (`repoint vendors pause`). An interrupted command is called again.
    """
    if not reason.strip():
        raise typer.BadParameter("expected a reason", param_hint="--reason")
    until = until or datetime.now(UTC)
    if since >= until:
        raise typer.BadParameter("expected --since before --until")
    span = ReportSpan(vendor, since, until)
    settings = parts.settings_of_a_command()

    async def work(engine: AsyncEngine) -> Retracted:
        async with connectivity.snapshot(engine) as connection:
            await filters.require_vendor(connection, vendor)
        if not dry_run:
            await _record(engine, _act("facts retraction begun", span, reason))
        with terminal.progress(f"updates of {vendor}", None) as advance:
            retracted = await retracting.retract(
                engine, span, retention(settings), dry_run=dry_run, on_updates=lambda count: _advance(advance, count)
            )
        if not dry_run:
            await _record(engine, _act("facts retracted", span, reason)._replace(after=_view(retracted).as_json()))
        return retracted

    retracted = parts.on_database(settings, work)
    view = _view(retracted)
    if as_json:
        terminal.write_json(view.as_json())
    else:
        _write(view, dry_run=dry_run)
    if retracted.refused:
        raise Failed(
            f"{terminal.counted(len(retracted.refused), 'update')} not taken back: more wallets know the credential"
            f" than one transaction changes ({', '.join(str(update.inbox_id) for update in retracted.refused[:10])})"
        )


def _advance(advance: terminal.Advance, count: int) -> None:
    for _ in range(count):
        advance(1)


async def _record(engine: AsyncEngine, act: Act) -> None:
    async with connectivity.transaction(engine, dry_run=False) as connection:
        await audit.record(connection, [act])


def _act(action: str, span: ReportSpan, reason: str) -> Act:
    before = {"since": terminal.moment(span.since), "until": terminal.moment(span.until)}
    return Act(who(), action, span.vendor, reason, before=before)


def _view(retracted: Retracted) -> RetractionView:
    return RetractionView(
        updates=retracted.updates,
        facts=len(retracted.facts),
        wallets=len(retracted.wallets),
        payment_methods=retracted.methods,
        events=retracted.events,
        without_other_reports=retracted.alone,
        refused=tuple(update.inbox_id for update in retracted.refused),
    )


def _write(view: RetractionView, *, dry_run: bool) -> None:
    verb = "would take back" if dry_run else "took back"
    counts = ", ".join(
        terminal.counted(count, noun)
        for count, noun in (
            (view.facts, "replacement fact"),
            (view.updates, "update"),
            (view.wallets, "wallet"),
            (view.payment_methods, "payment method"),
            (view.events, "event"),
        )
    )
    terminal.write_line(f"{verb} {counts}")
    if view.without_other_reports:
        facts = terminal.counted(view.without_other_reports, "fact")
        terminal.write_line(f"{facts} from before all reports were kept: other updates may have reported the same")
