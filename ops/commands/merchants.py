"""`repoint merchants import|list`."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.refusal import Refused
from merchants import endpoint_changes, endpoint_events, secrets
from ops import endpoint_urls, json_lines, loop, parts, secret_keys, terminal
from ops.files import InputFile
from ops.json_lines import Faults
from ops.settings import Settings
from ops.terminal import AsJson, DryRun
from schemas.merchant import MerchantLine, read_merchant
from schemas.sealing import Keys
from schemas.views import EndpointView, MerchantView
from store import connectivity, endpoints, listings, merchants

# An endpoint disabled for this reason is enabled again by a file that has it, unlike one that a person disabled.
_LEFT_OUT = "left out of the merchants file"

app = typer.Typer(help="Merchants and their endpoints, as files.", no_args_is_help=True)


@app.command("import")
def import_(file: InputFile, *, dry_run: DryRun = False) -> None:
    """Insert merchants with their endpoints, or update them to what the file says; all or nothing."""
    settings = parts.settings_of_a_command()
    faults = Faults(file)
    read = _read(file, faults)
    loop.run(_check_urls(read, faults, settings))
    faults.raise_any()
    keys = secret_keys.keys(settings)
    switched = parts.on_database(settings, lambda engine: put(engine, read, file, keys, dry_run=dry_run))
    at = sum(len(merchant.endpoints) for merchant in read.values())
    count = f"{terminal.counted(len(read), 'merchant')} with {terminal.counted(at, 'endpoint')}"
    _write_switched("disable", switched.disabled, "that the file leaves out", dry_run=dry_run)
    _write_switched("enable", switched.enabled, "that the file has again", dry_run=dry_run)
    terminal.write_line(f"{count} can be imported; nothing was changed" if dry_run else f"imported {count}")


def _write_switched(verb: str, ids: Collection[str], which: str, *, dry_run: bool) -> None:
    if ids:
        done = f"would {verb}" if dry_run else f"{verb}d"
        terminal.write_line(f"{done} {terminal.counted(len(ids), 'endpoint')} {which}: {', '.join(ids)}")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List all merchants with their endpoints, without the secrets."""
    views = parts.on_database(parts.settings_of_a_command(), _all)
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    rows = [
        (view.id, view.name, endpoint.id, endpoint.status, endpoint.url)
        for view in views
        for endpoint in view.endpoints
    ]
    rows += [(view.id, view.name, "-", "-", "-") for view in views if not view.endpoints]
    terminal.write_table(("merchant", "name", "endpoint", "status", "url"), sorted(rows))


def read_file(file: Path) -> dict[int, MerchantLine]:
    """The merchants of a file, by line number. Raises Failed with every fault of its lines."""
    faults = Faults(file)
    read = _read(file, faults)
    faults.raise_any()
    return read


def _read(file: Path, faults: Faults) -> dict[int, MerchantLine]:
    """The merchants without a fault, by line number; the faults of the others are added to `faults`."""
    read: dict[int, MerchantLine] = {}
    lines_of_ids: dict[str, int] = {}
    for number, text in json_lines.read(file, lambda number, _, unreadable: faults.add(number, unreadable)):
        try:
            merchant = read_merchant(text)
        except Refused as refused:
            faults.add(number, *refused.refusals)
        else:
            repeated = [(field, lines_of_ids[id_]) for field, id_ in _names(merchant) if id_ in lines_of_ids]
            faults.add(number, *(f"{field}: expected an id of its own, line {at} has it" for field, at in repeated))
            lines_of_ids |= {id_: number for _, id_ in _names(merchant) if id_ not in lines_of_ids}
            read[number] = merchant
        if faults.are_too_many:
            break
    return read


def _names(merchant: MerchantLine) -> list[tuple[str, str]]:
    endpoint_names = ((f"endpoints.{at}.id", f"endpoint {row.id}") for at, row in enumerate(merchant.endpoints))
    return [("id", f"merchant {merchant.id}"), *endpoint_names]


class Switched(NamedTuple):
    """The ids of endpoints that an import disabled or enabled."""

    disabled: list[str]
    enabled: list[str]


async def put(engine: AsyncEngine, read: dict[int, MerchantLine], file: Path, keys: Keys, *, dry_run: bool) -> Switched:
    """Insert or update merchants and their endpoints, and disable endpoints that the file leaves out.

    A secret other than the newest one of an endpoint replaces all of its secrets at once.

    Raises Failed, with nothing changed, where another merchant has the id of an endpoint, or the endpoint was removed.
    """
    lines = [(merchant, endpoint) for merchant in read.values() for endpoint in merchant.endpoints]
    async with connectivity.transaction(engine, dry_run=dry_run) as connection:
        merchant_ids = {merchant.id for merchant in read.values()}
        await endpoints.lock(connection, {endpoint.id for _, endpoint in lines}, merchant_ids)
        sealed = await secrets.seal_given(connection, keys, {endpoint.id: endpoint.secret for _, endpoint in lines})
        new = [
            endpoint_changes.as_stored(keys, merchant.id, endpoint, sealed_secret=sealed[endpoint.id])
            for merchant, endpoint in lines
        ]
        duplicates = await merchants.put(connection, [(merchant.id, merchant.name) for merchant in read.values()], new)
        if duplicates:
            removed = {
                row.id for row in await endpoints.read(connection, duplicates, with_removed=True) if row.removed_at
            }
            _refuse(read, file, {id_: id_ in removed for id_ in duplicates})
        return await _switch(connection, merchant_ids, {endpoint.id for endpoint in new})


async def _switch(connection: AsyncConnection, merchant_ids: Collection[str], ids: Collection[str]) -> Switched:
    """Disable endpoints of these merchants that are not in `ids`, and enable those that an earlier file left out."""
    disabled = await endpoints.left_out(connection, merchant_ids, ids)
    if disabled:
        await endpoints.disable(connection, disabled, _LEFT_OUT)
        await endpoint_events.announce_disabled(connection, disabled)
    enabled = await endpoints.disabled_for(connection, ids, _LEFT_OUT)
    if enabled:
        await endpoints.enable(connection, enabled)
    return Switched(disabled, enabled)


def _refuse(read: Mapping[int, MerchantLine], file: Path, duplicates: Mapping[str, bool]) -> None:
    """Raise Failed that names the endpoints whose ids are not free, with whether an endpoint of that id was removed."""
    faults = Faults(file)
    for number, merchant in read.items():
        for at, endpoint in enumerate(merchant.endpoints):
            if endpoint.id in duplicates:
                why = (
                    "an endpoint that was removed has: ids are not given out again"
                    if duplicates[endpoint.id]
                    else "another merchant has"
                )
                faults.add(number, f"endpoints.{at}.id: expected another id than {endpoint.id}, which {why}")
    faults.raise_any()


async def _check_urls(read: Mapping[int, MerchantLine], faults: Faults, settings: Settings) -> None:
    """Add a fault for each endpoint that webhooks may not go to."""
    urls = {endpoint.url for merchant in read.values() for endpoint in merchant.endpoints}
    refusals = await endpoint_urls.refusals(urls, settings)
    for number, merchant in read.items():
        for at, endpoint in enumerate(merchant.endpoints):
            if expected := refusals.get(endpoint.url):
                faults.add(number, f"endpoints.{at}.url: {expected}")


async def _all(engine: AsyncEngine) -> list[MerchantView]:
    async with connectivity.snapshot(engine) as connection:
        named = await listings.merchants(connection)
        by_merchant = await endpoints.of_merchants(connection, [merchant_id for merchant_id, _ in named])
    return [
        MerchantView(
            id=merchant_id,
            name=name,
            endpoints=tuple(EndpointView.of(endpoint) for endpoint in by_merchant.get(merchant_id, ())),
        )
        for merchant_id, name in named
    ]
