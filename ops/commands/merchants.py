"""`repoint merchants import|list`."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.wallet import MerchantId
from ops import files, parts, terminal
from ops.commands.endpoints import written
from ops.files import InputFile
from ops.terminal import AsJson, DryRun
from producers.egress import Network, refusal
from schemas.wallet import Malformed, MerchantLine, read_merchant
from store import endpoints, listings, merchants, reach
from store.endpoints import Endpoint

app = typer.Typer(help="Who is told, and where.", no_args_is_help=True)


@app.command("import")
def import_(file: InputFile, *, dry_run: DryRun = False) -> None:
    """Insert merchants with their endpoints, or bring those that are there to what the file says; all or nothing."""
    settings = parts.settings_of_a_command()
    read = read_file(file)
    parts.on_database(settings, lambda engine: put(engine, read, file, settings.egress_allow, dry_run=dry_run))
    at = sum(len(one.endpoints) for one in read.values())
    count = f"{terminal.counted(len(read), 'merchant')} with {terminal.counted(at, 'endpoint')}"
    terminal.write_line(f"{count} can be imported; nothing was changed" if dry_run else f"imported {count}")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """All merchants, with their endpoints but without the secrets."""
    found = parts.on_database(parts.settings_of_a_command(), _all)
    if as_json:
        terminal.write_json(
            [{"id": id_, "name": name, "endpoints": [written(one) for one in at]} for id_, name, at in found]
        )
        return
    rows = [(id_, name, one.id, one.status, one.url) for id_, name, at in found for one in at]
    rows += [(id_, name, "-", "-", "-") for id_, name, at in found if not at]
    terminal.write_table(("merchant", "name", "endpoint", "status", "url"), sorted(rows))


def read_file(file: Path) -> dict[int, MerchantLine]:
    """The merchants of a file, by line number. Raises Failed for a line that is none."""
    read: dict[int, MerchantLine] = {}
    seen: dict[str, int] = {}
    for number, text in files.lines(file):
        try:
            merchant = read_merchant(text)
        except Malformed as error:
            raise files.wrong(file, number, str(error)) from None
        for field, name in _names(merchant):
            if name in seen:
                raise files.wrong(file, number, f"{field}: expected an id of its own, line {seen[name]} has it")
            seen[name] = number
        read[number] = merchant
    return read


def _names(merchant: MerchantLine) -> list[tuple[str, str]]:
    names = [("id", f"merchant {merchant.id}")]
    return names + [(f"endpoints.{at}.id", f"endpoint {one.id}") for at, one in enumerate(merchant.endpoints)]


async def put(
    engine: AsyncEngine, read: dict[int, MerchantLine], file: Path, allow: Sequence[Network], *, dry_run: bool
) -> None:
    """Insert or update all of them. Raises Failed, with nothing changed, where webhooks may not go to one's URL."""
    await _check_urls(read, file, allow)
    new = [
        merchants.NewEndpoint(one.id, merchant.id, one.url, one.secret, one.event_types)
        for merchant in read.values()
        for one in merchant.endpoints
    ]
    async with reach.transaction(engine, dry_run=dry_run) as connection:
        taken = await merchants.put(connection, [(merchant.id, merchant.name) for merchant in read.values()], new)
        if taken:
            number = next(number for number, one in read.items() if taken[0] in {each.id for each in one.endpoints})
            raise files.wrong(
                file, number, f"endpoints: expected another id than {taken[0]}, which another merchant has"
            )


async def _check_urls(read: dict[int, MerchantLine], file: Path, allow: Sequence[Network]) -> None:
    urls = {one.url for merchant in read.values() for one in merchant.endpoints}
    refusals = dict(zip(urls, await asyncio.gather(*(refusal(url, allow) for url in urls)), strict=True))
    for number, merchant in read.items():
        for at, one in enumerate(merchant.endpoints):
            if expected := refusals[one.url]:
                raise files.wrong(file, number, f"endpoints.{at}.url: {expected}")


async def _all(engine: AsyncEngine) -> list[tuple[MerchantId, str, list[Endpoint]]]:
    async with reach.snapshot(engine) as connection:
        everyone = await listings.merchants(connection)
        at = await endpoints.of_merchants(connection, [merchant_id for merchant_id, _ in everyone])
    return [(merchant_id, name, at.get(merchant_id, [])) for merchant_id, name in everyone]
