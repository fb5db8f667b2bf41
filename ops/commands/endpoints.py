"""`repoint endpoints list|enable|disable|test`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from merchants import endpoint_events
from merchants.endpoint_events import TestSent
from ops import parts, terminal
from ops.actor import who
from ops.terminal import AsJson, DryRun, Failed
from schemas.signature import event_id
from schemas.views import EndpointTestView, EndpointView
from store import audit, connectivity, endpoints
from store.audit import Act
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
        ("endpoint", "merchant", "status", "why", "circuit", "held until", "events", "url"),
        [
            (
                *(view.id, view.merchant_id, view.status, view.disabled_reason),
                *(view.circuit, view.held_until, view.event_types, view.url),
            )
            for view in views
        ],
    )


@app.command()
def enable(ids: Ids, *, dry_run: DryRun = False) -> None:
    """Send to endpoints again, parked deliveries first. Also ends a hold, and closes its circuit."""

    async def work(engine: AsyncEngine) -> None:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            former = await endpoints.read(connection, ids)
            _require_all(ids, [row.id for row in former])
            await endpoints.enable(connection, ids)
            await audit.record(connection, [_act("endpoint enabled", row) for row in former])

    parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(f"{'would enable' if dry_run else 'enabled'} {', '.join(ids)}")


@app.command()
def disable(
    ids: Ids,
    *,
    reason: Annotated[
        str, typer.Option(help="What `endpoints list` shows, and the merchant reads.")
    ] = "disabled by hand",
    dry_run: DryRun = False,
) -> None:
    """Stop sending to endpoints. Their deliveries are parked, and go out when the endpoints are enabled again.

    Other endpoints of the merchant that subscribed to ENDPOINT_DISABLED receive it.
    """

    async def work(engine: AsyncEngine) -> None:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            former = await endpoints.read(connection, ids)
            _require_all(ids, [row.id for row in former])
            disabled = await endpoints.disable(connection, ids, reason)
            acts = [_act("endpoint disabled", row, reason) for row in former if row.id in disabled]
            await audit.record(connection, acts)
            await endpoint_events.announce_disabled(connection, disabled)

    parts.on_database(parts.settings_of_a_command(), work)
    terminal.write_line(f"{'would disable' if dry_run else 'disabled'} {', '.join(ids)}")


@app.command("test")
def send_test(
    endpoint_id: Annotated[str, typer.Argument(metavar="ENDPOINT_ID", help="Its id.")],
    *,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send a signed ENDPOINT_TEST to an enabled endpoint, whatever it subscribed to."""

    async def work(engine: AsyncEngine) -> tuple[Endpoint, TestSent]:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            existing = await endpoints.read(connection, [endpoint_id])
            _require_all([endpoint_id], [row.id for row in existing])
            if existing[0].status != "ENABLED":
                raise Failed(
                    f"the endpoint {terminal.printable(endpoint_id)} is disabled ({existing[0].disabled_reason}):"
                    " `repoint endpoints enable` enables it"
                )
            return existing[0], await endpoint_events.send_test(connection, existing[0])

    endpoint, sent = parts.on_database(parts.settings_of_a_command(), work)
    if endpoint.held_until is not None and endpoint.held_until > datetime.now(UTC):
        terminal.remark(f"it waits: the endpoint is held back until {endpoint.held_until:%Y-%m-%dT%H:%M:%SZ}")
    if as_json:
        view = EndpointTestView(
            endpoint_id=endpoint_id,
            event_id=None if dry_run else sent.event_id,
            delivery_id=None if dry_run else sent.delivery_id,
        )
        terminal.write_json(view.as_json())
    elif dry_run:
        terminal.write_line(f"would send a test event to {endpoint_id}")
    else:
        terminal.write_line(
            f"sending the test event {event_id(sent.event_id)} to {endpoint_id}:"
            f" `repoint deliveries show {sent.delivery_id}` shows what came of it"
        )


def _act(action: str, former: Endpoint, reason: str | None = None) -> Act:
    """The act on an endpoint, for the audit, with the state that it ends."""
    before = {
        "status": former.status,
        "disabledReason": former.disabled_reason,
        "circuit": former.circuit,
        "failures": former.failures,
        "heldUntil": former.held_until,
    }
    return Act(who(), action, former.id, reason, before=before)


def _require_all(wanted: list[str], existing: list[str]) -> None:
    missing = set(wanted).difference(existing)
    if missing:
        raise Failed(f"nothing was changed: there is no endpoint {', '.join(sorted(missing))}")


async def _all(engine: AsyncEngine) -> list[Endpoint]:
    async with connectivity.snapshot(engine) as connection:
        return await endpoints.read(connection)
