"""`repoint endpoints list|enable|disable`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import parts, terminal
from ops.terminal import AsJson, DryRun, Failed
from schemas.views import EndpointView
from store import connectivity, endpoints
from store.endpoints import Endpoint

app = typer.Typer(help="The URLs that webhooks go to, and whether they are enabled.", no_args_is_help=True)

Ids = Annotated[list[str], typer.Argument(metavar="ENDPOINT_ID…", help="Their ids.")]


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List all endpoints, without their secrets."""
    views = [EndpointView.of(row) for row in parts.on_database(parts.settings_of_a_command(), _all)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("endpoint", "merchant", "status", "why", "held until", "events", "url"),
        [
            (view.id, view.merchant_id, view.status, view.disabled_reason, view.held_until, view.event_types, view.url)
            for view in views
        ],
    )


@app.command()
def enable(ids: Ids, *, dry_run: DryRun = False) -> None:
    """Send to endpoints again, parked deliveries first. Also ends a hold that a Retry-After asked for."""

    async def work(engine: AsyncEngine) -> None:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            _require_all(ids, [row.id for row in await endpoints.read(connection, ids)])
            await endpoints.enable(connection, ids)

    parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(f"{'would enable' if dry_run else 'enabled'} {', '.join(ids)}")


@app.command()
def disable(
    ids: Ids,
    *,
    reason: Annotated[str, typer.Option(help="The reason that `endpoints list` shows.")] = "disabled by hand",
    dry_run: DryRun = False,
) -> None:
    """Stop sending to endpoints. Their deliveries are parked, and go out when the endpoints are enabled again."""

    async def work(engine: AsyncEngine) -> None:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            _require_all(ids, [row.id for row in await endpoints.read(connection, ids)])
            await endpoints.disable(connection, ids, reason)

    parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(f"{'would disable' if dry_run else 'disabled'} {', '.join(ids)}")


def _require_all(wanted: list[str], existing: list[str]) -> None:
    missing = set(wanted).difference(existing)
    if missing:
        raise Failed(f"nothing was changed: there is no endpoint {', '.join(sorted(missing))}")


async def _all(engine: AsyncEngine) -> list[Endpoint]:
    async with connectivity.snapshot(engine) as connection:
        return await endpoints.read(connection)
