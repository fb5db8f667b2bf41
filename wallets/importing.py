"""Import the wallets of a file in one transaction: all of them, or those that can be imported.

Imported wallets are resolved before the commit, by what vendors reported of their credentials earlier.
"""

from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.effort import Effort
from domain.refusal import Refusal, RefusalCode, Refused
from domain.wallet import Wallet, WalletId
from store import inbox, merchants, wallets
from wallets.change import Retention, resolve
from wallets.loading import known_by, within

OnRefused: TypeAlias = Callable[[WalletId, Refusal], None]
"""Called with a wallet that cannot be imported, and why; the refusal's `field` is the path in the wallet's line."""


def _raise(_wallet_id: WalletId, refusal: Refusal) -> None:
    raise Refused.of(refusal)


def id_paths(wallet: Wallet) -> Iterator[tuple[str, str]]:
    """Yield the path and the value of each id that must be new: the wallet's, its methods' and its links'."""
    yield "id", wallet.id
    for index, method in enumerate(wallet.methods):
        yield f"paymentMethods.{index}.id", method.id
    for index, link in enumerate(wallet.links):
        yield f"paymentLinks.{index}.id", link.id


async def import_wallets(
    connection: AsyncConnection,
    batches: AsyncIterable[Sequence[Wallet]],
    retention: Retention,
    *,
    on_refused: OnRefused = _raise,
) -> int:
    """Insert the wallets, and resolve those that vendors reported on; return how many were inserted.

    A wallet is refused if its id, or the id of a method or link of it, exists already or stands twice in the file. It
    is also refused if it names an unknown merchant, or is merged into a wallet that does not exist. A refused wallet is
    left out if `on_refused` does not raise. The caller must not commit its transaction if this function raises.

    Raises:
        Refused: by default, at the first refusal; always, if another import has inserted an id meanwhile.
    """
    ids: list[WalletId] = []
    async for new in batches:
        refusals = await _refusals(connection, new)
        for wallet_id, refusal in refusals.items():
            on_refused(wallet_id, refusal)
        accepted = [wallet for wallet in new if wallet.id not in refusals]
        existing = await wallets.insert(connection, accepted)
        if existing:  # by another import, at the same time
            id_ = min(existing)
            raise Refused.of(_not_new(id_, next(path for wallet in accepted for path in _paths(wallet, {id_}))))
        ids += [wallet.id for wallet in accepted]
    astray = await wallets.merged_astray(connection, ids)
    if astray:
        for wallet_id in astray:
            expected = "the id of a wallet that is not merged itself"
            on_refused(wallet_id, Refusal(RefusalCode.NO_SUCH_REFERENCE, "mergedInto", expected))
        await wallets.remove(connection, astray)
        ids = sorted(set(ids).difference(astray))
    await wallets.close_the_gate(connection)
    unresolved = await wallets.to_resolve(connection, ids)
    # The wallets of one customer may be merged with each other, so they are resolved together.
    if unresolved:
        await _resolve(connection, unresolved, retention)
    return len(ids)


async def _refusals(connection: AsyncConnection, new: Sequence[Wallet]) -> dict[WalletId, Refusal]:
    """Refusals of those `new` wallets that cannot be imported, each with the first fault."""
    unknown = {merchant for wallet in new for merchant in wallet.merchants}
    unknown -= await merchants.known(connection, unknown)
    counts = Counter(id_ for wallet in new for id_ in wallets.ids_of(wallet))
    present = await wallets.present(connection, new)
    used = {id_ for id_, count in counts.items() if count > 1} | present
    refusals = {}
    for wallet in new:
        if wallet.id in present:
            refusals[wallet.id] = _not_new(wallet.id, "id", RefusalCode.WALLET_EXISTS)
        elif missing := sorted(unknown.intersection(wallet.merchants)):
            expected = f"{missing[0]} to be imported first (repoint merchants import)"
            refusals[wallet.id] = Refusal(RefusalCode.NO_SUCH_REFERENCE, "merchants", expected)
        elif repeated := sorted(used.intersection(wallets.ids_of(wallet))):
            refusals[wallet.id] = _not_new(repeated[0], next(_paths(wallet, {repeated[0]})))
    return refusals


def _not_new(id_: str, path: str, code: RefusalCode = RefusalCode.REPEATED) -> Refusal:
    return Refusal(code, path, f"a new id, {id_} is there already")


def _paths(wallet: Wallet, ids: AbstractSet[str]) -> Iterator[str]:
    """Yield the paths of the fields that have one of `ids`."""
    return (path for path, id_ in id_paths(wallet) if id_ in ids)


async def _resolve(connection: AsyncConnection, ids: Sequence[WalletId], retention: Retention) -> None:
    imported = await wallets.load(connection, ids)
    customers = {pair for wallet in imported for pair in wallet.customer.identities}
    # A merge waits for two customers, and one of them may have a wallet from before the import.
    for update in await inbox.waiting(connection, inbox.identity_keys(customers)):
        customers.update(update.merge_from, update.merge_into)
    older_ids = set(await wallets.lock(connection, (), customers)).difference(ids)
    older = await wallets.load(connection, older_ids)
    affected = [*imported, *older]
    loaded = await within(connection, affected, set(inbox.identity_keys(customers)), alone=True)
    # All wallets of the file at once: only the gate blocks other workers meanwhile.
    effort = Effort(limit=float("inf"))
    await resolve(connection, loaded, retention, known_before=known_by(older), effort=effort)
