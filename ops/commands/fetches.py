"""`repoint fetches list`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import filters, parts, terminal
from ops.terminal import AsJson, Limit, moment
from store import listings, reach
from store.listings import FetchRow

app = typer.Typer(help="Thin events that wait until their vendor says what they are about.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    feed: Annotated[str | None, typer.Option(metavar="FEED", help="Only of this one.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """The one that is asked about next first. One that was given up is among the dead letters."""
    filters.require_feed(feed)

    async def work(engine: AsyncEngine) -> list[FetchRow]:
        async with reach.snapshot(engine) as connection:
            return await listings.fetches(connection, feed=feed, limit=limit)

    rows = parts.on_database(parts.settings_of_a_command(), work)
    if as_json:
        terminal.write_json([_written(row) for row in rows])
        return
    terminal.write_table(
        ("id", "feed", "received", "status", "failures", "failure", "next try"),
        [
            (row.id, row.feed, row.received_at, row.status, row.failures, row.failure, _next_try(row))
            for row in rows
        ],
    )  # fmt: skip


def _next_try(row: FetchRow) -> object:
    """When; None while it is being asked about, or at once."""
    return row.due_at if row.status == "PARKED" else None


def _written(row: FetchRow) -> dict[str, object]:
    return {
        "id": row.id,
        "feed": row.feed,
        "status": row.status,
        "told": row.times_received,
        "failures": row.failures,
        "failure": row.failure,
        "receivedAt": moment(row.received_at),
        "dueAt": moment(row.due_at),
        "topic": row.topic,
        "partition": row.partition,
        "offset": row.offset,
    }
