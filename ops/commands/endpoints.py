"""`repoint endpoints list|add|remove|enable|disable|test|rotate-secret`."""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.refusal import Refused
from merchants import endpoint_changes, endpoint_events
from merchants import secrets as sealed_secrets
from merchants.endpoint_changes import NotAdded
from merchants.endpoint_events import TestSent
from ops import endpoint_urls, loop, parts, secret_keys, terminal
from ops.actor import who
from ops.commands.options import duration, masked
from ops.settings import Settings
from ops.terminal import AsJson, DryRun, Failed
from schemas import once, signature
from schemas.event import EventName
from schemas.merchant import EndpointLine, read_endpoint
from schemas.signature import event_id
from schemas.views import AddedEndpointView, EndpointTestView, EndpointView, RemovedEndpointView, RotatedSecretView
from store import audit, connectivity, endpoint_secrets, endpoints
from store.audit import Act
from store.endpoints import Endpoint
from store.ids import uuid7

_ABOUT_METHODS = [name.value for name in EventName if name.value.startswith("PAYMENT_METHOD_")]

app = typer.Typer(help="The URLs that webhooks go to, and whether they are enabled.", no_args_is_help=True)

SecretFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A file with the new secret, whsec_…; one is made if not given.")
]
Ids = Annotated[list[str], typer.Argument(metavar="ENDPOINT_ID", help="Their ids.")]


@app.command("list")
def list_(
    *,
    removed: Annotated[bool, typer.Option("--removed", help="Only those that were removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List all endpoints, without their secrets; removed ones with --removed alone."""

    async def work(engine: AsyncEngine) -> list[Endpoint]:
        async with connectivity.snapshot(engine) as connection:
            rows = await endpoints.read(connection, with_removed=True)
        return [row for row in rows if (row.removed_at is not None) == removed]

    views = [EndpointView.of(row) for row in parts.on_database(parts.settings_of_a_command(), work)]
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
def add(
    merchant_id: Annotated[str, typer.Argument(metavar="MERCHANT_ID", help="Its merchant's id.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where its webhooks go.")],
    *,
    id_: Annotated[str | None, typer.Option("--id", metavar="ID", help="Its id; one is made if not given.")] = None,
    events: Annotated[
        str, typer.Option(metavar="NAMES", help="The events that it receives, separated by commas.")
    ] = ",".join(_ABOUT_METHODS),
    max_per_second: Annotated[float | None, typer.Option(metavar="NUMBER", help="Deliveries a second at most.")] = None,
    retry_schedule: Annotated[
        str | None, typer.Option(metavar="DURATIONS", help="In place of REPOINT_RETRY_SCHEDULE, such as 5s,5m,2h.")
    ] = None,
    secret_file: SecretFile = None,
    headers_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with a JSON object: headers that its webhooks carry.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Add an endpoint to a merchant. A secret that is made here is written once, to stdout.

    A merchants file that names the merchant must have the endpoint, too, or its import disables it.
    """
    secret = _read_secret(secret_file) if secret_file else signature.secret(secrets.token_bytes(32))
    described = {
        "id": id_ or f"ep_{uuid7().hex}",
        "url": url,
        "secret": secret,
        "eventTypes": [name.strip() for name in events.split(",")],
        "headers": _read_headers(headers_file) if headers_file else {},
        "maxPerSecond": max_per_second,
        "retrySchedule": None if retry_schedule is None else retry_schedule.split(","),
    }
    settings = parts.settings_of_a_command()
    line = _checked(described, settings)
    keys = secret_keys.keys(settings)

    async def work(engine: AsyncEngine) -> Endpoint:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            added = await endpoint_changes.add(connection, keys, merchant_id, line, actor=who())
            if isinstance(added, NotAdded):
                about = merchant_id if added is NotAdded.NO_MERCHANT else line.id
                raise Failed(f"nothing was changed: {added.value}: {terminal.printable(about)}")
            return added

    added = parts.on_database(settings, work)
    shown = None if dry_run or secret_file else secret
    if as_json:
        terminal.write_json(AddedEndpointView(endpoint=EndpointView.of(added), secret=shown).as_json())
        return
    terminal.write_line(f"{'would add' if dry_run else 'added'} {added.id} to {merchant_id}")
    if shown is not None:
        terminal.write_line(f"its secret, which is shown this once: {shown}")


def _read_headers(file: Path) -> object:
    shown = terminal.file_name(str(file))
    try:
        headers: object = once.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the error of a JSON text may show a part of it
        raise Failed(f"{shown}: expected a JSON object of headers that can be read") from None
    if name := once.repeated_key(headers):
        raise Failed(f"{shown}: expected {name} once")
    return headers


def _checked(described: Mapping[str, object], settings: Settings) -> EndpointLine:
    """The endpoint that options describe. Raises Failed if webhooks cannot go there."""
    try:
        line = read_endpoint(json.dumps(described))
    except Refused as refused:
        raise Failed("\n".join(map(str, refused.refusals))) from None
    for expected in loop.run(endpoint_urls.refusals([line.url], settings)).values():
        raise Failed(f"url: {expected}")
    return line


@app.command()
def remove(
    endpoint_id: Annotated[str, typer.Argument(metavar="ENDPOINT_ID", help="Its id.")],
    *,
    reason: Annotated[str, typer.Option(callback=masked, help="Why, for the audit.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove an endpoint for good: its undelivered events are cancelled, its secrets dropped, its history stays.

    Its id is not given out again. An attempt that is under way ends as it does; the rest is cancelled after it.
    """

    async def work(engine: AsyncEngine) -> int:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            removed = await endpoint_changes.remove(connection, endpoint_id, reason, actor=who())
        if removed is None:
            _require_all([endpoint_id], [])
        elif dry_run:
            return removed.undelivered
        count = 0
        while True:
            async with connectivity.transaction(engine, dry_run=False) as connection:
                cancelled = await endpoint_changes.cancel_undelivered(connection, endpoint_id)
            count += cancelled
            if not cancelled:
                return count

    count = parts.on_database(parts.settings_of_a_command(), work)
    if as_json:
        terminal.write_json(RemovedEndpointView(endpoint_id=endpoint_id, cancelled=count).as_json())
        return
    verb = "would remove" if dry_run else "removed"
    cancel = "would cancel" if dry_run else "cancelled"
    terminal.write_line(f"{verb} {endpoint_id}, and {cancel} {terminal.counted(count, 'undelivered delivery')}")


@app.command()
def enable(ids: Ids, *, dry_run: DryRun = False) -> None:
    """Send to endpoints again, parked deliveries first. Ends a hold and a wait for its rate, closes its circuit."""

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
        str, typer.Option(callback=masked, help="What `endpoints list` shows, and the merchant reads.")
    ] = "disabled by hand",
    dry_run: DryRun = False,
) -> None:
    """Stop sending to endpoints. Their deliveries are parked, and go out when the endpoints are enabled again.

    Other endpoints of the merchant that subscribed to ENDPOINT_DISABLED receive it.
    """

    async def work(engine: AsyncEngine) -> list[Endpoint]:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            former = await endpoints.read(connection, ids)
            _require_all(ids, [row.id for row in former])
            disabled = await endpoints.disable(connection, ids, reason)
            acts = [_act("endpoint disabled", row, reason) for row in former if row.id in disabled]
            await audit.record(connection, acts)
            await endpoint_events.announce_disabled(connection, disabled)
        return [row for row in former if row.id not in disabled]

    idle = parts.on_database(parts.settings_of_a_command(), work)
    for endpoint in idle:
        terminal.remark(f"{endpoint.id} was disabled already, and its reason stays: {endpoint.disabled_reason}")
    if changed := [id_ for id_ in ids if id_ not in {endpoint.id for endpoint in idle}]:
        terminal.write_line(f"{'would disable' if dry_run else 'disabled'} {', '.join(changed)}")


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


@app.command()
def rotate_secret(
    endpoint_id: Annotated[str, typer.Argument(metavar="ENDPOINT_ID", help="Its id.")],
    *,
    overlap: Annotated[
        timedelta,
        typer.Option(
            metavar="DURATION",
            parser=duration,
            help="How long the former secret signs beside the new one; 0s: no more.",
        ),
    ] = "24h",  # type: ignore[assignment] # the parser reads the default, too
    secret_file: SecretFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Give an endpoint a new secret. Webhooks are signed with both secrets until the overlap ends.

    A secret that is made here is written once, to stdout.
    """
    new = _read_secret(secret_file) if secret_file else signature.secret(secrets.token_bytes(32))
    settings = parts.settings_of_a_command()
    keys = secret_keys.keys(settings)

    async def work(engine: AsyncEngine) -> datetime | None:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            # before the read: of two rotations at the same time, the second one sees the overlap of the first one
            await endpoint_secrets.lock(connection, [endpoint_id])
            former = await endpoints.read(connection, [endpoint_id])
            _require_all([endpoint_id], [row.id for row in former])
            if overlap and former[0].former_secret_until is not None:
                raise Failed(
                    f"nothing was changed: two secrets sign until {_moment(former[0].former_secret_until)};"
                    " --overlap 0s replaces both at once"
                )
            if await sealed_secrets.is_newest(connection, keys, endpoint_id, new):
                raise Failed("nothing was changed: the endpoint has this secret already")
            until = await sealed_secrets.rotate(connection, keys, endpoint_id, new, overlap)
            await audit.record(connection, [_act("endpoint secret rotated", former[0])])
            return until

    until = parts.on_database(settings, work)
    shown = None if dry_run or secret_file else new
    if as_json:
        view = RotatedSecretView(endpoint_id=endpoint_id, secret=shown, former_secret_until=until)
        terminal.write_json(view.as_json())
        return
    former = "the former one signs no more" if until is None else f"the former one signs, too, until {_moment(until)}"
    terminal.write_line(f"{'would rotate' if dry_run else 'rotated'} the secret of {endpoint_id}: {former}")
    if shown is not None:
        terminal.write_line(f"the new secret, which is shown this once: {shown}")


def _read_secret(file: Path) -> str:
    secret = file.read_text(encoding="utf-8", errors="replace").strip()
    try:
        signature.signing_key(secret)
    except ValueError as error:
        raise Failed(f"{terminal.file_name(str(file))}: {error}") from None
    return secret


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


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
