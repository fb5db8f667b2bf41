"""`repoint fetches list`."""

from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import filters, parts, terminal
from ops.terminal import AsJson, Limit
from schemas.views import FetchView
from store import connectivity, listings
from store.listings import FetchRow

app = typer.Typer(help="Thin events that wait for their vendor's answer.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    feed: Annotated[str | None, typer.Option(metavar="FEED", help="Only events of this feed.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List thin events that wait for their vendor's answer, the next one first.

    An event that was given up is among the dead letters.
    """
    filters.require_feed(feed)

    async def work(engine: AsyncEngine) -> list[FetchRow]:
        async with connectivity.snapshot(engine) as connection:
            return await listings.fetches(connection, feed=feed, limit=limit)

    views = [FetchView.of(row) for row in parts.on_database(parts.settings_of_a_command(), work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("id", "feed", "received", "status", "failures", "failure", "next try"),
        [
            (view.id, view.feed, view.received_at, view.status, view.failures, view.failure, _next_try(view))
            for view in views
        ],
    )  # fmt: skip


def _next_try(fetch: FetchView) -> datetime | None:
    """The time of the next question; None while the vendor is asked, or is asked at once."""
    return fetch.due_at if fetch.status == "PARKED" else None
