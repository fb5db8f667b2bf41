"""`repoint wallets import|export|erase`."""

import sys
from collections.abc import AsyncIterator, Collection
from typing import Annotated, TextIO
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.erasure import is_erased
from domain.wallet import Identity, Wallet, WalletId
from ops import files, parts, terminal
from ops.actor import who
from ops.commands.options import masked
from ops.files import InputFile, OutputFile
from ops.retention import retention
from ops.terminal import DryRun, Failed
from ops.wallet_file import import_file
from schemas.wallet import write_wallet
from store import connectivity, wallets
from wallets.erasing import AlreadyErased, Erased, NoCustomer, Order, SeveralCustomers, erase_person

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


@app.command()
def erase(
    customer: Annotated[
        str,
        typer.Argument(
            metavar="CUSTOMER", help="Their identifier, such as `enterpriseId=…` or `patientId=…`, or a wallet's id."
        ),
    ],
    *,
    reason: Annotated[str, typer.Option(callback=masked, help="Why, for `audit list`.", metavar="TEXT")],
    dry_run: DryRun = False,
) -> None:
    """Erase a person: what wallets, events, dead letters and knowledge say of them. It cannot be undone.

    Ids of wallets, payment methods and links stay. Live payment methods are deleted, their links are cancelled, and
    merchants are told. If it is interrupted, call it again. Vendors' messages stay on Kafka until its retention ends.
    """
    if not reason.strip():
        raise typer.BadParameter("expected a reason", param_hint="--reason")
    settings = parts.settings_of_a_command()
    identities, wallet_ids = _whom(customer, settings.identifiers)
    order = Order(identities, wallet_ids, who(), reason)

    async def work(engine: AsyncEngine) -> Erased:
        return await erase_person(engine, order, retention(settings), dry_run=dry_run)

    try:
        erased = parts.on_database(settings, work)
    except NoCustomer:
        raise Failed(f"no wallet belongs to {terminal.printable(customer)}") from None
    except SeveralCustomers as several:
        ids = ", ".join(several.wallet_ids)
        raise Failed(f"these wallets may be several people's: name one of them by its id: {ids}") from None
    except AlreadyErased:
        terminal.write_line("nothing is left to erase")
        return
    _write_erased(erased, dry_run=dry_run)


def _whom(customer: str, identifiers: Collection[str]) -> tuple[list[Identity], list[WalletId]]:
    """The identity, or the wallet, that a person names. Raises BadParameter."""
    name, equals, value = customer.partition("=")
    names = [known for known in sorted(identifiers) if name in (known, known.removeprefix("metadata."))]
    if equals and value and names:
        return [(names[0], value)], []
    try:
        return [], [str(UUID(customer))]
    except ValueError:
        known = ", ".join(sorted(identifiers))
        raise typer.BadParameter(f"expected NAME=VALUE with one of {known}, or the id of a wallet") from None


def _write_erased(erased: Erased, *, dry_run: bool) -> None:
    counts = [
        terminal.counted(len(erased.wallets), "wallet"),
        f"{terminal.counted(erased.payment_methods, 'payment method')} ({erased.deleted} of them live)",
        terminal.counted(erased.payment_links, "payment link"),
        terminal.counted(erased.events, "event"),
        terminal.counted(erased.dead_letters, "dead letter"),
        terminal.counted(erased.thin_events, "thin event"),
        terminal.counted(erased.held_updates, "held update"),
    ]
    terminal.write_line(f"{'would erase' if dry_run else 'erased'} {', '.join(counts)}")
    if erased.too_short:
        identifiers = terminal.counted(erased.too_short, "identifier")
        terminal.remark(f"dead letters were not searched for {identifiers} of fewer than four characters")


async def _export(engine: AsyncEngine, stream: TextIO, advance: terminal.Advance = lambda _: None) -> int:
    count = 0
    async with connectivity.snapshot(engine) as connection:
        async for page in _pages(connection):
            for wallet in page:
                if is_erased(wallet):
                    continue
                line = write_wallet(wallet) + "\n"
                stream.write(line)
                advance(len(line))
                count += 1
    return count


async def _pages(connection: AsyncConnection) -> AsyncIterator[list[Wallet]]:
    page = await wallets.page(connection)
    while page:
        yield page
        page = await wallets.page(connection, after=page[-1].id)
