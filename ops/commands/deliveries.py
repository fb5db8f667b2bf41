"""`repoint deliveries list`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.states import Status
from ops import filters, parts, terminal
from ops.terminal import AsJson, Limit, moment
from schemas.signature import event_id
from store import listings, reach
from store.listings import DeliveryRow

app = typer.Typer(help="Events on their way to endpoints, and those that arrived or did not.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    status: Annotated[Status | None, typer.Option(help="Only these.", case_sensitive=False)] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT_ID", help="Only to this one.")] = None,
    merchant: Annotated[str | None, typer.Option(metavar="MERCHANT_ID", help="Only to this one.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Live ones first, then finished ones; the newest of each first."""

    async def work(engine: AsyncEngine) -> list[DeliveryRow]:
        async with reach.snapshot(engine) as connection:
            await filters.require_endpoint(connection, endpoint)
            await filters.require_merchant(connection, merchant)
            wanted = None if status is None else status.value
            return await listings.deliveries(
                connection, status=wanted, endpoint=endpoint, merchant=merchant, limit=limit
            )

    rows = parts.on_database(parts.settings_of_a_command(), work)
    if as_json:
        terminal.write_json([_written(row) for row in rows])
        return
    terminal.write_table(
        ("id", "event", "#", "merchant", "endpoint", "status", "attempts", "due", "finished"),
        [
            (row.id, row.name, row.sequence, row.merchant_id, row.endpoint_id, row.status, row.attempts, row.due_at,
             row.finished_at)
            for row in rows
        ],
    )  # fmt: skip


def _written(row: DeliveryRow) -> dict[str, object]:
    return {
        "id": row.id,
        "eventId": event_id(row.event_id),
        "name": row.name,
        "merchantId": row.merchant_id,
        "endpointId": row.endpoint_id,
        "walletId": row.wallet_id,
        "sequence": row.sequence,
        "status": row.status,
        "attempts": row.attempts,
        "dueAt": moment(row.due_at),
        "createdAt": moment(row.created_at),
        "finishedAt": moment(row.finished_at),
    }
