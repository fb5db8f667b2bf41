"""Wallets that come from a file, in one transaction: all of them, or those that can be imported.

Imported wallets are resolved before the commit, by what vendors reported of their credentials earlier.
"""

from collections import Counter
from collections.abc import AsyncIterable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.effort import Effort
from domain.wallet import Wallet, WalletId
from store import inbox, merchants, wallets
from wallets.change import Retention, resolve
from wallets.loading import known_by, within


class RefusedWallet(ValueError):
    """A wallet cannot be imported: `subject` is the id at fault in it, the text says what was expected.

    A wallet that `is_present` is there already, and stays as it is.
    """

    def __init__(self, wallet_id: WalletId, subject: str, expected: str, *, is_present: bool = False) -> None:
        super().__init__(f"expected {expected}")
        self.wallet_id = wallet_id
        self.subject = subject
        self.is_present = is_present


def _raise(refused: RefusedWallet) -> None:
    raise refused


async def import_wallets(
    connection: AsyncConnection,
    batches: AsyncIterable[Sequence[Wallet]],
    retention: Retention,
    *,
    on_refused: Callable[[RefusedWallet], None] = _raise,
) -> int:
    """Insert the wallets, resolve those that vendors told something of; how many there were.

    A wallet is refused where it, a method or a link of it is there already, or twice; where it names a merchant that
    is none, or is merged into a wallet that is none. It is left out then, if `on_refused` does not raise.
    The caller's transaction must not be committed if this raises.

    Raises:
        Refused: by default, the first one.
    """
    ids: list[WalletId] = []
    async for new in batches:
        refused = await _refused(connection, new)
        for one in refused:
            on_refused(one)
        left_out = {one.wallet_id for one in refused}
        fit = [wallet for wallet in new if wallet.id not in left_out]
        taken = await wallets.insert(connection, fit)
        if taken:  # by another import, at this very moment
            raise RefusedWallet(min(taken), min(taken), f"a new id, {min(taken)} is there already")
        ids += [wallet.id for wallet in fit]
    astray = await wallets.merged_astray(connection, ids)
    if astray:
        for wallet_id in astray:
            on_refused(RefusedWallet(wallet_id, wallet_id, "the id of a wallet that is not merged itself"))
        await wallets.remove(connection, astray)
        ids = sorted(set(ids).difference(astray))
    await wallets.close_the_gate(connection)
    unresolved = await wallets.to_resolve(connection, ids)
    # the wallets of one customer may be merged with each other, so they are resolved together
    if unresolved:
        await _resolve(connection, unresolved, retention)
    return len(ids)


async def _refused(connection: AsyncConnection, new: Sequence[Wallet]) -> list[RefusedWallet]:
    """Those of `new` that cannot be imported, each by its first fault."""
    unknown = {merchant for wallet in new for merchant in wallet.merchants}
    unknown -= await merchants.known(connection, unknown)
    counts = Counter(id_ for wallet in new for id_ in wallets.ids_of(wallet))
    present = await wallets.present(connection, new)
    taken = {id_ for id_, count in counts.items() if count > 1} | present
    refused = []
    for wallet in new:
        if wallet.id in present:
            expected = f"a new id, {wallet.id} is there already"
            refused.append(RefusedWallet(wallet.id, wallet.id, expected, is_present=True))
        elif missing := sorted(unknown.intersection(wallet.merchants)):
            expected = f"{missing[0]} to be imported first (repoint merchants import)"
            refused.append(RefusedWallet(wallet.id, missing[0], expected))
        elif there := sorted(taken.intersection(wallets.ids_of(wallet))):
            refused.append(RefusedWallet(wallet.id, there[0], f"a new id, {there[0]} is there already"))
    return refused


async def _resolve(connection: AsyncConnection, ids: Sequence[WalletId], retention: Retention) -> None:
    found = await wallets.load(connection, ids)
    customers = {pair for wallet in found for pair in wallet.customer.identities}
    # a merge waits for two customers, and the other one may have been here before
    for update in await inbox.waiting(connection, inbox.identity_keys(customers)):
        customers.update(update.merge_from, update.merge_into)
    others = await wallets.load(connection, set(await wallets.lock(connection, (), customers)).difference(ids))
    found += others
    loaded = await within(connection, found, known_by(found).union(inbox.identity_keys(customers)), alone=True)
    # all wallets of a file at once, with nobody waiting but at the gate
    effort = Effort(most=float("inf"))
    await resolve(connection, loaded, retention, known_before=known_by(others), effort=effort)
