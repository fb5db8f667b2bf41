"""Import the wallets of a file in one transaction: all of them, or those that can be imported.

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
    """Insert the wallets, and resolve those that vendors reported on; return how many were inserted.

    A wallet is refused if its id, or the id of a method or link of it, exists already or stands twice in the file. It
    is also refused if it names an unknown merchant, or is merged into a wallet that does not exist. A refused wallet is
    left out if `on_refused` does not raise. The caller must not commit its transaction if this function raises.

    Raises:
        RefusedWallet: by default, the first one.
    """
    ids: list[WalletId] = []
    async for new in batches:
        refused = await _refused(connection, new)
        for refusal in refused:
            on_refused(refusal)
        left_out = {refusal.wallet_id for refusal in refused}
        accepted = [wallet for wallet in new if wallet.id not in left_out]
        existing = await wallets.insert(connection, accepted)
        if existing:  # by another import, at the same time
            raise RefusedWallet(min(existing), min(existing), f"a new id, {min(existing)} is there already")
        ids += [wallet.id for wallet in accepted]
    astray = await wallets.merged_astray(connection, ids)
    if astray:
        for wallet_id in astray:
            on_refused(RefusedWallet(wallet_id, wallet_id, "the id of a wallet that is not merged itself"))
        await wallets.remove(connection, astray)
        ids = sorted(set(ids).difference(astray))
    await wallets.close_the_gate(connection)
    unresolved = await wallets.to_resolve(connection, ids)
    # The wallets of one customer may be merged with each other, so they are resolved together.
    if unresolved:
        await _resolve(connection, unresolved, retention)
    return len(ids)


async def _refused(connection: AsyncConnection, new: Sequence[Wallet]) -> list[RefusedWallet]:
    """Refusals of those `new` wallets that cannot be imported, each with the first fault."""
    unknown = {merchant for wallet in new for merchant in wallet.merchants}
    unknown -= await merchants.known(connection, unknown)
    counts = Counter(id_ for wallet in new for id_ in wallets.ids_of(wallet))
    present = await wallets.present(connection, new)
    used = {id_ for id_, count in counts.items() if count > 1} | present
    refused = []
    for wallet in new:
        if wallet.id in present:
            expected = f"a new id, {wallet.id} is there already"
            refused.append(RefusedWallet(wallet.id, wallet.id, expected, is_present=True))
        elif missing := sorted(unknown.intersection(wallet.merchants)):
            expected = f"{missing[0]} to be imported first (repoint merchants import)"
            refused.append(RefusedWallet(wallet.id, missing[0], expected))
        elif repeated := sorted(used.intersection(wallets.ids_of(wallet))):
            refused.append(RefusedWallet(wallet.id, repeated[0], f"a new id, {repeated[0]} is there already"))
    return refused


async def _resolve(connection: AsyncConnection, ids: Sequence[WalletId], retention: Retention) -> None:
    imported = await wallets.load(connection, ids)
    customers = {pair for wallet in imported for pair in wallet.customer.identities}
    # A merge waits for two customers, and one of them may have a wallet from before the import.
    for update in await inbox.waiting(connection, inbox.identity_keys(customers)):
        customers.update(update.merge_from, update.merge_into)
    older_ids = set(await wallets.lock(connection, (), customers)).difference(ids)
    older = await wallets.load(connection, older_ids)
    affected = [*imported, *older]
    loaded = await within(connection, affected, known_by(affected).union(inbox.identity_keys(customers)), alone=True)
    # All wallets of the file at once: only the gate blocks other workers meanwhile.
    effort = Effort(limit=float("inf"))
    await resolve(connection, loaded, retention, known_before=known_by(older), effort=effort)
