"""`repoint vendors list|pause|resume`."""

from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ops import filters, parts, terminal
from ops.actor import who
from ops.commands.options import duration, masked
from ops.terminal import AsJson, DryRun, Failed
from schemas.views import VendorView
from store import audit, connectivity, vendors
from store.audit import Act
from store.vendors import VendorRow

app = typer.Typer(help="Vendors whose updates are held back.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="VENDOR", help="As `repoint inbox list` shows it.")]
Reason = Annotated[str, typer.Option(callback=masked, metavar="TEXT", help="Why, for `vendors list` and the audit.")]


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the vendors that were paused at some time, and how many messages are held for each."""

    async def work(engine: AsyncEngine) -> list[VendorRow]:
        async with connectivity.snapshot(engine) as connection:
            return await vendors.read(connection)

    views = [VendorView.of(row) for row in parts.on_database(parts.settings_of_a_command(), work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("vendor", "status", "since", "held", "by", "reason"),
        [(view.vendor, view.status, view.changed_at, view.held, view.actor, view.reason) for view in views],
    )


@app.command()
def pause(vendor: Name, *, reason: Reason, dry_run: DryRun = False) -> None:
    """Hold what comes of a vendor: its messages are kept, in their order, and change nothing until it is resumed.

    Messages of other vendors go on, also those of the same partitions. Batches that are under way are finished.
    """
    _require_reason(reason)

    async def work(engine: AsyncEngine) -> bool:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            await filters.require_vendor(connection, vendor)
            former = await vendors.read(connection, vendor)
            paused = await vendors.pause(connection, vendor, reason=reason, actor=who())
            if paused:
                await _record(connection, "vendor paused", vendor, reason, former)
            return paused

    paused = parts.on_database(parts.settings_of_a_command(), work)
    verb = "would pause" if dry_run else "paused"
    terminal.write_line(f"{verb} {vendor}" if paused else f"{vendor} is paused already")


@app.command()
def resume(
    vendor: Name,
    *,
    reason: Reason,
    unwatched: Annotated[
        timedelta,
        typer.Option(
            "--unwatched", metavar="DURATION", parser=duration, help="For how long it is not held by itself again."
        ),
    ] = "24h",  # type: ignore[assignment] # the parser reads the default, too
    dry_run: DryRun = False,
) -> None:
    """Take in what was held for a vendor, in the order in which it came, and then what comes.

    A process of role consume begins within a second. `vendors list` shows how many messages are still held.
    """
    _require_reason(reason)

    async def work(engine: AsyncEngine) -> list[VendorRow]:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            former = await vendors.read(connection, vendor)
            if await vendors.resume(connection, vendor, reason=reason, actor=who(), unwatched=unwatched):
                await _record(connection, "vendor resumed", vendor, reason, former)
            return former

    former = parts.on_database(parts.settings_of_a_command(), work)
    if not former:
        raise Failed(f"{terminal.printable(vendor)} is not paused")
    if former[0].status != "PAUSED":
        terminal.write_line(f"{vendor} is {former[0].status.lower()} already")
        return
    held = terminal.counted(former[0].held, "held message")
    terminal.write_line(f"{'would resume' if dry_run else 'resuming'} {vendor}, with {held}")


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise typer.BadParameter("expected a reason", param_hint="--reason")


async def _record(connection: AsyncConnection, action: str, vendor: str, reason: str, former: list[VendorRow]) -> None:
    before = {"status": former[0].status, "held": former[0].held} if former else {"status": "ACTIVE", "held": 0}
    await audit.record(connection, [Act(who(), action, vendor, reason, before=before)])
