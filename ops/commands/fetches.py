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

    found = parts.on_database(parts.settings_of_a_command(), work)
    if as_json:
        terminal.write_json([_written(one) for one in found])
        return
    terminal.write_table(
        ("id", "feed", "received", "status", "failures", "failure", "next try"),
        [
            (one.id, one.feed, one.received_at, one.status, one.failures, one.failure, _next_try(one))
            for one in found
        ],
    )  # fmt: skip


def _next_try(one: FetchRow) -> object:
    """When; None while it is being asked about, or at once."""
    return one.due_at if one.status == "PARKED" else None


def _written(one: FetchRow) -> dict[str, object]:
    return {
        "id": one.id,
        "feed": one.feed,
        "status": one.status,
        "told": one.told,
        "failures": one.failures,
        "failure": one.failure,
        "receivedAt": moment(one.received_at),
        "dueAt": moment(one.due_at),
        "topic": one.topic,
        "partition": one.partition,
        "offset": one.offset,
    }
