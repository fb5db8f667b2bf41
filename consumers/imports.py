"""Wallets and merchants that come from a file: all of it in one transaction, or nothing.

Imported wallets are settled before the commit, by what vendors told of their credentials before they came.
"""

from collections.abc import AsyncIterable, Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.batch import Keeping, announce, apply, known_by, new_names, within
from domain.decide import decide
from domain.wallet import Wallet, WalletId
from store import inbox, merchants, wallets


class Refused(ValueError):
    """A wallet of the file cannot be imported: `subject` is the id at fault, the text says what was expected."""

    def __init__(self, subject: str, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self.subject = subject


async def import_wallets(
    connection: AsyncConnection, batches: AsyncIterable[Sequence[Wallet]], keeping: Keeping
) -> int:
    """Insert the wallets, settle those that vendors told something of; how many there were.

    The caller's transaction must not be committed if this raises.

    Raises:
        Refused: a wallet, method or link is there already, or twice; or a wallet names a merchant that is none, or is
            merged into a wallet that is none.
    """
    ids: list[WalletId] = []
    async for new in batches:
        await _check_merchants(connection, new)
        taken = await wallets.insert(connection, new)
        if taken:
            raise Refused(min(taken), f"a new id, {min(taken)} is there already")
        ids += [wallet.id for wallet in new]
    astray = await wallets.merged_astray(connection, ids)
    if astray:
        raise Refused(min(astray), "the id of a wallet that is not merged itself")
    await wallets.close_the_gate(connection)
    unsettled = await wallets.to_settle(connection, ids)
    # the wallets of one customer may be merged with each other, so they are settled together
    if unsettled:
        await _settle(connection, unsettled, keeping)
    return len(ids)


async def _check_merchants(connection: AsyncConnection, new: Iterable[Wallet]) -> None:
    named = {merchant for wallet in new for merchant in wallet.merchants}
    unknown = named - await merchants.known(connection, named)
    if unknown:
        raise Refused(min(unknown), f"{min(unknown)} to be imported first (repoint merchants import)")


async def _settle(connection: AsyncConnection, ids: Sequence[WalletId], keeping: Keeping) -> None:
    found = await wallets.load(connection, ids)
    customers = {pair for wallet in found for pair in wallet.customer.identities}
    # a merge waits for two customers, and the other one may have been here before
    for parked in await inbox.waiting(connection, inbox.identity_keys(customers)):
        customers.update(parked.merge_from, parked.merge_into)
    others = await wallets.load(connection, set(await wallets.lock(connection, (), customers)).difference(ids))
    found += others
    loaded = await within(connection, found, known_by(found).union(inbox.identity_keys(customers)), alone=True)
    decision = decide((), loaded.wallets, loaded.knowledge, loaded.parked, new_names())
    await apply(connection, decision, loaded, keeping, known_by(others))
    await announce(connection, decision.turns)
    if decision.resolved:
        await inbox.resolve(connection, decision.resolved)
