"""Wallets examined again: those that are not as the reports of vendors say they should be."""

from collections import Counter
from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import ChangedWallet, decide
from domain.reconciliation import Finding, FindingKind
from domain.wallet import WalletId
from store import inbox, knowledge, wallets
from store.reconciliation.page import Page
from wallets.change import Retention, method_ids, resolve
from wallets.loading import ORDINARY, known_by, within


async def examine_wallets(connection: AsyncConnection, ids: Sequence[WalletId]) -> Page:
    """Those of the wallets that change when they are resolved.

    They are resolved by everything that is known, as they are: nothing is locked or written.
    """
    loaded = await wallets.load(connection, ids)
    known = await within(connection, loaded, frozenset(), alone=True)
    decision = decide((), known.wallets, known.knowledge, known.waiting, method_ids())
    findings = [
        Finding(FindingKind.UNRESOLVED_WALLET, wallet.after.id, _summary(wallet), None) for wallet in decision.changed
    ]
    return Page(len(loaded), findings, None)


def _summary(wallet: ChangedWallet) -> str:
    """The changes that are missing, counted by what they are."""
    counts = Counter(type(change).__name__.lower() for change in wallet.changes)
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "other credentials"


async def resolve_again(connection: AsyncConnection, ids: Collection[WalletId], retention: Retention) -> None:
    """Resolve wallets by everything that is known, as an update of their credentials would, and announce what changes.

    Raises:
        store.knowledge.Contended: begin again, in another transaction.
    """
    await inbox.enter(connection, within=ORDINARY.seconds)
    # what facts lead to has rows of its own, which upkeep may have deleted: to lock them is to make them
    keys = await knowledge.reach(connection, known_by(await wallets.load(connection, ids)))
    await knowledge.lock(connection, keys, keep=retention.unknown)
    await wallets.lock_by_id(connection, ids)
    affected = await wallets.load(connection, ids)
    if not known_by(affected) <= keys:
        raise knowledge.Contended(known_by(affected) - keys)
    loaded = await within(connection, affected, keys)
    await resolve(connection, loaded, retention)
