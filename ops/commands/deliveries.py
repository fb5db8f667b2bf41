"""`repoint deliveries list`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.states import Status
from ops import filters, parts, terminal
from ops.terminal import AsJson, Limit
from schemas.views import DeliveryView
from store import connectivity, listings
from store.listings import DeliveryRow

app = typer.Typer(help="Events on their way to endpoints, and those that arrived or did not.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    status: Annotated[Status | None, typer.Option(help="Only deliveries of this status.", case_sensitive=False)] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT_ID", help="Only to this endpoint.")] = None,
    merchant: Annotated[str | None, typer.Option(metavar="MERCHANT_ID", help="Only to this merchant.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List live deliveries, then finished ones, each newest first."""

    async def work(engine: AsyncEngine) -> list[DeliveryRow]:
        async with connectivity.snapshot(engine) as connection:
            await filters.require_endpoint(connection, endpoint)
            await filters.require_merchant(connection, merchant)
            wanted = None if status is None else status.value
            return await listings.deliveries(
                connection, status=wanted, endpoint=endpoint, merchant=merchant, limit=limit
            )

    views = [DeliveryView[int].of(row) for row in parts.on_database(parts.settings_of_a_command(), work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("id", "event", "#", "merchant", "endpoint", "status", "attempts", "due", "finished"),
        [
            (view.id, view.name, view.sequence, view.merchant_id, view.endpoint_id, view.status, view.attempts,
             view.due_at, view.finished_at)
            for view in views
        ],
    )  # fmt: skip
