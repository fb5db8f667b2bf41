"""`repoint wallets import|export`."""

import sys
from collections.abc import AsyncIterator
from typing import Annotated, TextIO

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.wallet import Wallet
from ops import files, parts, terminal
from ops.files import InputFile, OutputFile
from ops.retention import retention
from ops.terminal import DryRun, Failed
from ops.wallet_file import import_file
from schemas.wallet import write_wallet
from store import connectivity, wallets

app = typer.Typer(help="Customers' payment methods and payment links, as files.", no_args_is_help=True)


@app.command("import")
def import_(
    file: InputFile,
    *,
    dry_run: DryRun = False,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Import the other lines; those refused go into FILE.refused.")
    ] = False,
) -> None:
    """Insert new wallets, and resolve them by earlier reports of vendors; all of the file or nothing."""
    if skip_invalid and file == files.STDIN:
        raise Failed("expected a file with --skip-invalid: the lines refused are written beside it", code=2)
    settings = parts.settings_of_a_command()
    done = parts.on_database(
        settings,
        lambda engine: import_file(
            engine,
            file,
            retention(settings),
            identifiers=settings.identifiers,
            digit_ids=settings.digit_ids,
            dry_run=dry_run,
            skip_invalid=skip_invalid,
        ),
    )
    for line in (*done.faults, *done.doubles):
        terminal.remark(line)
    count = terminal.counted(done.wallets, "wallet")
    terminal.write_line(f"{count} can be imported; nothing was changed" if dry_run else f"imported {count}")
    if done.doubles_count:
        terminal.write_line(
            f"{terminal.counted(done.doubles_count, 'payment method')} joined with the same card before"
        )
    if done.present:
        are, were = ("is", "was left as it is") if done.present == 1 else ("are", "were left as they are")
        terminal.write_line(f"{terminal.counted(done.present, 'wallet')} {are} there already, and {were}")
    if done.refused_lines:
        where = f", kept in {done.beside}" if done.beside else ""
        terminal.write_line(f"{terminal.counted(len(done.refused_lines), 'line')} refused{where}")
    if done.refused_lines and not done.wallets:
        raise Failed("no wallet of the file can be imported")


@app.command()
def export(
    file: OutputFile = "-",  # type: ignore[assignment] # parsed
) -> None:
    """Write all wallets as they are at this moment, one JSON object a line, in the order of their ids."""
    settings = parts.settings_of_a_command()
    if file == files.STDIN:
        parts.on_database(settings, lambda engine: _export(engine, sys.stdout))
        return
    # The file gets its name when it is whole: half an export looks like an export of fewer wallets.
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as stream, terminal.progress("exporting", None) as advance:
            count = parts.on_database(settings, lambda engine: _export(engine, stream, advance))
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    terminal.remark(f"exported {terminal.counted(count, 'wallet')} to {file}")


async def _export(engine: AsyncEngine, stream: TextIO, advance: terminal.Advance = lambda _: None) -> int:
    count = 0
    async with connectivity.snapshot(engine) as connection:
        async for page in _pages(connection):
            for wallet in page:
                line = write_wallet(wallet) + "\n"
                stream.write(line)
                advance(len(line))
            count += len(page)
    return count


async def _pages(connection: AsyncConnection) -> AsyncIterator[list[Wallet]]:
    page = await wallets.page(connection)
    while page:
        yield page
        page = await wallets.page(connection, after=page[-1].id)
