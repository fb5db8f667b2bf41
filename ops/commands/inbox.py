"""`repoint inbox list|show|accounts`."""

from collections.abc import Mapping
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.update import Outcome
from ops import filters, parts, terminal
from ops.terminal import AsJson, Failed, Limit
from schemas.inbox_view import HolderView, InboxUpdateView, ReportedCredentialView
from schemas.views import AccountsView, InboxView, MethodView
from store import connectivity, inbox_update, listings
from store.accounting import Totals, take_stock
from store.inbox_update import InboxUpdate
from store.listings import InboxRow

app = typer.Typer(help="Vendor updates that came in, with their outcomes.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    outcome: Annotated[
        Outcome | None, typer.Option(help="Only updates with this outcome.", case_sensitive=False)
    ] = None,
    vendor: Annotated[str | None, typer.Option(help="Only updates from this vendor.")] = None,
    update_id: Annotated[str | None, typer.Option("--id", help="Only with this id of the vendor's.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List vendor updates, the newest first. QUARANTINED ones wait for a person."""

    async def work(engine: AsyncEngine) -> list[InboxRow]:
        async with connectivity.snapshot(engine) as connection:
            await filters.require_vendor(connection, vendor)
            await filters.require_update(connection, update_id)
            wanted = None if outcome is None else outcome.value
            return await listings.inbox(connection, outcome=wanted, vendor=vendor, update_id=update_id, limit=limit)

    views = [InboxView.of(row) for row in parts.on_database(parts.settings_of_a_command(), work)]
    if as_json:
        terminal.write_json([view.as_json() for view in views])
        return
    terminal.write_table(
        ("id", "vendor", "update", "type", "outcome", "reason", "occurred", "received"),
        [
            (view.id, view.vendor, view.update_id, view.type, view.outcome, view.reason, view.occurred_at,
             view.received_at)
            for view in views
        ],
    )  # fmt: skip


@app.command()
def show(
    inbox_id: Annotated[int, typer.Argument(metavar="ID", help="The number of its row (`repoint inbox list`).")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one vendor update: what it waits for, what it reported, and the wallets that it may be about.

    These are the wallets that know one of its credentials, and those of the customer that it names; 20 at most.
    """

    async def work(engine: AsyncEngine) -> InboxUpdate | None:
        async with connectivity.snapshot(engine) as connection:
            return await inbox_update.find(connection, inbox_id)

    update = parts.on_database(parts.settings_of_a_command(), work)
    if update is None:
        raise Failed(f"there is no update {inbox_id}")
    view = _update_view(update)
    if as_json:
        terminal.write_json(view.as_json())
    else:
        _write(view)


def _update_view(update: InboxUpdate) -> InboxUpdateView:
    old, new = set(update.old_keys), {credential.key for credential in update.reported}
    return InboxUpdateView(
        **InboxView.of(update.row).model_dump(),
        old_keys=update.old_keys,
        customers={role: dict(identities) for role, identities in update.customers.items()},
        reported=tuple(ReportedCredentialView.of(credential) for credential in update.reported),
        wallets=tuple(
            HolderView(
                wallet_id=wallet.id,
                merged_into=wallet.merged_into,
                merchant_ids=wallet.merchants,
                identities=dict(sorted(wallet.customer.identities)),
                payment_methods=tuple(MethodView.of(method) for method in wallet.methods),
                knows_old=tuple(method.id for method in wallet.methods if method.keys & old),
                knows_new=tuple(method.id for method in wallet.methods if method.keys & new),
            )
            for wallet in update.wallets
        ),
    )


def _write(view: InboxUpdateView) -> None:
    for name, value in InboxView.of(view).as_json().items():
        terminal.write_line(f"{name:<14}{terminal.printable('-' if value is None else str(value))}")
    for key in view.old_keys:
        terminal.write_line(f"{'old':<14}{terminal.printable(key)}")
    for role, identities in view.customers.items():
        terminal.write_line(f"{role:<14}{_spelt(identities)}")
    for credential in view.reported:
        shown = (credential.reason, credential.method_type, credential.brand, credential.last4)
        terminal.write_line(f"{'new':<14}{terminal.printable('  '.join([credential.key, *filter(None, shown)]))}")
    if not view.wallets:
        terminal.write_line("\nno wallet knows one of its credentials, or is of its customer")
    for wallet in view.wallets:
        merged = "" if wallet.merged_into is None else f"  merged into {wallet.merged_into}"
        terminal.write_line(f"\nwallet {wallet.wallet_id}{merged}  {_spelt(wallet.identities)}")
        terminal.write_line(f"merchants {terminal.printable(', '.join(wallet.merchant_ids) or 'none')}")
        terminal.write_table(
            ("payment method", "type", "status", "last4", "knows"),
            [
                (method.id, method.type.value, method.status.value, method.details.get("last4"),
                 ", ".join(_known(method.id, wallet)) or None)
                for method in wallet.payment_methods
            ],
        )  # fmt: skip


def _known(method_id: str, wallet: HolderView) -> list[str]:
    known = {"old": wallet.knows_old, "new": wallet.knows_new}
    return [name for name, ids in known.items() if method_id in ids]


def _spelt(identities: Mapping[str, str]) -> str:
    return terminal.printable("  ".join(f"{name}={value}" for name, value in identities.items()))


@app.command()
def accounts(*, as_json: AsJson = False) -> None:
    """Count what became of all messages of the update topic: the sum is what was produced, as far as it was read.

    Every row is counted, so it takes a while on a large database.
    """
    settings = parts.settings_of_a_command()

    async def work(engine: AsyncEngine) -> Totals:
        async with connectivity.snapshot(engine) as connection:
            return await take_stock(connection, settings.kafka_topic)

    totals = parts.on_database(settings, work)
    if as_json:
        terminal.write_json(_view(totals).as_json())
        return
    for name, count in {**totals.lines, "sum": totals.received}.items():
        terminal.write_line(f"{name:<24}{count:>12,}")


def _view(totals: Totals) -> AccountsView:
    outcomes = {outcome.value.lower(): totals.outcomes.get(outcome.value, 0) for outcome in Outcome}
    return AccountsView(
        **outcomes,
        unreadable=totals.unreadable,
        empty=totals.empty,
        skipped=totals.skipped,
        lost=totals.lost,
        sum=totals.received,
    )
