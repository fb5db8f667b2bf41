"""`repoint inbox list|show|release|discard|accounts`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.update import Outcome
from ops import filters, parts, terminal
from ops.commands import inbox_judgements, inbox_show, options
from ops.settings import Settings
from ops.terminal import AsJson, Limit
from schemas.views import AccountsView, HourlyAccountsView, InboxView
from store import accounting, connectivity, listings
from store.accounting import HourlyCount, Totals, take_stock
from store.listings import InboxRow

app = typer.Typer(help="Vendor updates that came in, with their outcomes.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    outcome: Annotated[
        Outcome | None, typer.Option(help="Only updates with this outcome.", case_sensitive=False)
    ] = None,
    vendor: Annotated[str | None, typer.Option(help="Only updates from this vendor.")] = None,
    update_id: Annotated[str | None, typer.Option("--id", help="Only with this id of the vendor's.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List vendor updates, the newest first. QUARANTINED ones wait for a person."""

    async def work(engine: AsyncEngine) -> list[InboxRow]:
        async with connectivity.snapshot(engine) as connection:
            await filters.require_vendor(connection, vendor)
            await filters.require_update(connection, update_id)
            wanted = None if outcome is None else outcome.value
            return await listings.inbox(connection, outcome=wanted, vendor=vendor, update_id=update_id, limit=limit)

    views = [InboxView.of(row) for row in parts.on_database(parts.settings_of_a_command(), work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("id", "vendor", "update", "type", "outcome", "reason", "occurred", "received"),
        [
            (view.id, view.vendor, view.update_id, view.type, view.outcome, view.reason, view.occurred_at,
             view.received_at)
            for view in views
        ],
    )  # fmt: skip


app.command()(inbox_show.show)
app.command()(inbox_judgements.release)
app.command()(inbox_judgements.discard)


@app.command()
def accounts(
    *,
    hourly: Annotated[bool, typer.Option("--hourly", help="By hour (UTC) and vendor, of the latest day.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option(metavar="MOMENT", parser=options.since, help="With --hourly: from then on. `1h`, or a moment."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count what became of all messages of the update topic: the sum is what was produced, as far as it was read.

    Every row is counted, so it takes a while on a large database.
    """
    if since is not None and not hourly:
        raise typer.BadParameter("expected --since with --hourly")
    settings = parts.settings_of_a_command()
    if hourly:
        _write_hours(settings, since or datetime.now(UTC) - _DAY, as_json=as_json)
        return

    async def work(engine: AsyncEngine) -> Totals:
        async with connectivity.snapshot(engine) as connection:
            return await take_stock(connection, settings.kafka_topic)

    totals = parts.on_database(settings, work)
    if as_json:
        terminal.write_json(_view(totals).as_json())
        return
    for name, count in {**totals.lines, "sum": totals.received}.items():
        terminal.write_line(f"{name:<24}{count:>12,}")


_DAY = timedelta(days=1)


def _write_hours(settings: Settings, since: datetime, *, as_json: bool) -> None:
    async def work(engine: AsyncEngine) -> list[HourlyCount]:
        async with connectivity.snapshot(engine) as connection:
            return await accounting.hourly(connection, settings.kafka_topic, since=since)

    hours: dict[tuple[datetime, str | None], dict[str, int]] = {}
    for count in parts.on_database(settings, work):
        name = "unreadable" if count.outcome is None else count.outcome.lower()
        hours.setdefault((count.hour, count.vendor), dict.fromkeys(_COUNTED, 0))[name] = count.number
    views = [
        HourlyAccountsView(hour=hour, vendor=vendor, **counts, sum=sum(counts.values()))
        for (hour, vendor), counts in hours.items()
    ]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
    else:
        terminal.write_table(
            ("hour", "vendor", *_COUNTED, "sum"),
            [
                (f"{view.hour:%Y-%m-%d %H:00}", view.vendor, *(getattr(view, name) for name in _COUNTED), view.sum)
                for view in views
            ],
        )


_COUNTED = (*(outcome.value.lower() for outcome in Outcome), "unreadable")


def _view(totals: Totals) -> AccountsView:
    outcomes = {outcome.value.lower(): totals.outcomes.get(outcome.value, 0) for outcome in Outcome}
    return AccountsView(
        **outcomes,
        unreadable=totals.unreadable,
        empty=totals.empty,
        skipped=totals.skipped,
        lost=totals.lost,
        sum=totals.received,
    )
