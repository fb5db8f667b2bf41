"""`repoint wallets import|export`."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, TextIO

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumers.batch import Keeping
from consumers.imports import Refused, import_wallets
from domain.wallet import Wallet
from ops import files, parts, terminal
from ops.files import InputFile
from ops.settings import Settings
from ops.terminal import DryRun
from schemas.wallet import Malformed, read_wallet, write_wallet
from store import reach, wallets

app = typer.Typer(help="Customers' payment methods and payment links, as files.", no_args_is_help=True)

# As many as an update's batch may touch: the statements are the same.
_BATCH = 500


@app.command("import")
def import_(file: InputFile, *, dry_run: DryRun = False) -> None:
    """Insert new wallets, and settle them by what vendors told before they came; all of the file or nothing."""
    settings = parts.settings_of_a_command()
    count = parts.on_database(settings, lambda engine: import_file(engine, file, keeping(settings), dry_run=dry_run))
    wallets_ = terminal.counted(count, "wallet")
    terminal.write_line(f"{wallets_} can be imported; nothing was changed" if dry_run else f"imported {wallets_}")


@app.command()
def export(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", dir_okay=False, writable=True, allow_dash=True, help="- is stdout.")
    ] = files.STDIN,
) -> None:
    """Write all wallets as they are at this moment, one JSON object a line, in the order of their ids."""
    settings = parts.settings_of_a_command()
    if file == files.STDIN:
        parts.on_database(settings, lambda engine: _export(engine, sys.stdout))
        return
    # A file that has the name is whole: half an export looks like one of fewer wallets.
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as stream:
            count = parts.on_database(settings, lambda engine: _export(engine, stream))
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    terminal.remark(f"exported {terminal.counted(count, 'wallet')} to {file}")


def keeping(settings: Settings) -> Keeping:
    return Keeping(known=settings.knowledge_for, unknown=settings.parked_for)


async def import_file(engine: AsyncEngine, file: Path, keep: Keeping, *, dry_run: bool) -> int:
    """How many wallets there were. Raises Failed, with the line, for one that cannot be imported."""
    batches = _Batches(file)
    async with reach.transaction(engine, dry_run=dry_run) as connection:
        try:
            return await import_wallets(connection, batches.read(), keep)
        except Refused as refused:
            number, field = batches.place_of(refused.subject)
            raise files.wrong(file, number, f"{field}: {refused}") from None


class _Batches:
    """The wallets of a file, some hundreds at a time; of those at hand it is known where each id stands.

    Of merged ones it is known all along: whether the other wallet comes is seen at the end.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._places: dict[str, tuple[int, str]] = {}
        self._merged: dict[str, tuple[int, str]] = {}

    async def read(self) -> AsyncIterator[list[Wallet]]:
        with terminal.progress("importing", files.size(self._file)) as advance:
            lines = files.lines(self._file)
            while batch := [self._wallet(number, text, advance) for number, text in islice(lines, _BATCH)]:
                yield batch
                self._places.clear()

    def place_of(self, id_: str) -> tuple[int, str]:
        """The line and the field of a wallet, payment method, link or merchant of the batch at hand."""
        return self._places.get(id_) or self._merged[id_]

    def _wallet(self, number: int, text: str, advance: Callable[[int], None]) -> Wallet:
        try:
            wallet = read_wallet(text)
        except Malformed as error:
            raise files.wrong(self._file, number, str(error)) from None
        for field, id_ in _ids(wallet):
            line, _ = self._places.setdefault(id_, (number, field))
            if line != number:
                raise files.wrong(self._file, number, f"{field}: expected a new id, {id_} is on line {line} already")
        if wallet.merged_into is not None:
            self._merged[wallet.id] = (number, "mergedInto")
        for merchant in wallet.merchants:
            self._places.setdefault(merchant, (number, "merchants"))
        advance(len(text))
        return wallet


def _ids(wallet: Wallet) -> Iterator[tuple[str, str]]:
    yield "id", wallet.id
    for at, method in enumerate(wallet.methods):
        yield f"paymentMethods.{at}.id", method.id
    for at, link in enumerate(wallet.links):
        yield f"paymentLinks.{at}.id", link.id


async def _export(engine: AsyncEngine, stream: TextIO) -> int:
    count = 0
    async with reach.snapshot(engine) as connection:
        async for page in _pages(connection):
            stream.writelines(write_wallet(wallet) + "\n" for wallet in page)
            count += len(page)
    return count


async def _pages(connection: AsyncConnection) -> AsyncIterator[list[Wallet]]:
    page = await wallets.page(connection)
    while page:
        yield page
        page = await wallets.page(connection, after=page[-1].id)
