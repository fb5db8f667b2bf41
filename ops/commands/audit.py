"""`repoint audit list`."""

import json
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import parts, terminal
from ops.terminal import AsJson, Limit
from schemas.views import ActView
from store import audit, connectivity
from store.audit import AuditRow

# An act may name thousands of deliveries, and a cell that is wider than a screen makes every line of the table so wide.
_WIDEST = 120

app = typer.Typer(help="What people did: who, why, and what stood there before and after.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    subject: Annotated[
        str | None, typer.Option(metavar="ENDPOINT_ID", help="Only acts on this endpoint and its deliveries.")
    ] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List acts of people, the newest first. The table cuts what is long; --json shows all of it."""

    async def work(engine: AsyncEngine) -> list[AuditRow]:
        async with connectivity.snapshot(engine) as connection:
            return await audit.acts(connection, subject=subject, limit=limit)

    views = [ActView.of(row) for row in parts.on_database(parts.settings_of_a_command(), work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("at", "who", "action", "subject", "reason", "before", "after"),
        [
            (view.at, view.actor, view.action, view.subject, view.reason, _short(view.before), _short(view.after))
            for view in views
        ],
    )


def _short(value: object) -> str | None:
    if value is None:
        return None
    text = json.dumps(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
