"""All that a decision is made from, locked and loaded: wallets, what is known within their reach, and what waits.

The order in which things are locked is the same everywhere: credentials by key, then wallets by id (see
`store.knowledge` and `store.wallets`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import WaitingUpdate
from domain.effort import TooMuch
from domain.knowledge import Knowledge
from domain.update import Update
from domain.wallet import Key, Wallet, WalletId
from store import inbox, knowledge, wallets


class Limits(NamedTuple):
    """What one transaction may take on: seconds of a statement, wallets, and wallets that know one credential."""

    seconds: float = 20
    wallets: int = 4000
    of_a_credential: int = 1000


ORDINARY = Limits()

Leads: TypeAlias = Mapping[Key, AbstractSet[Key]]
"""The credentials that updates lead to, by each that they lead from."""
_NO_LEADS: Leads = {}

# Within reach of one transaction: 20 accounts of the largest size take some 200 MB.
_MOST_KEYS = 400_000
# Where facts lead further than so many steps, the rest of the way is walked by the database.
_STEPS = 2


@dataclass(frozen=True, slots=True)
class Loaded:
    """`left_after`: wallets that know the updates' credential and come after this one are left for later."""

    wallets: Sequence[Wallet]
    knowledge: Knowledge
    waiting: Sequence[WaitingUpdate]
    left_after: WalletId | None = None


async def load(
    connection: AsyncConnection,
    updates: Sequence[Update],
    within_reach: AbstractSet[Key],
    limits: Limits,
    *,
    keep: timedelta,
) -> Loaded:
    """Lock and load what `updates` are about; `keep` is how long a credential that no wallet knows is kept.

    Raises:
        store.knowledge.Contended: begin again, with these credentials within reach.
        TooMuch: the updates are about more wallets than one transaction may take on.
    """
    keys = {key for update in updates for key in update.keys} | within_reach
    customers = {pair for update in updates for pair in (*update.merge_from, *update.merge_into)}
    if customers:
        keys |= await wallets.keys_of(connection, customers)
    await knowledge.lock(connection, keys, keep=keep)
    olds = {key for update in updates if update.old is not None for key in update.old.keys}
    ids = await wallets.lock(connection, olds, customers, most=limits.wallets + 1)
    of_one = _are_of_one_credential(updates)
    left_after = None
    if of_one and len(ids) > limits.of_a_credential:
        ids = ids[: limits.of_a_credential]
        left_after = ids[-1]
    if len(ids) > limits.wallets:
        raise TooMuch(f"more than {limits.wallets} wallets are affected")
    found = await wallets.load(connection, ids)
    if not of_one and len(found) > limits.of_a_credential:
        _look_for_crowds(found, olds, limits.of_a_credential)
    known = known_by(found)
    if customers:
        _see_that_none_came(found, known, keys)
    loaded = await within(connection, found, keys, ahead=_leads(updates), most=_MOST_KEYS)
    return Loaded(loaded.wallets, loaded.knowledge, loaded.waiting, left_after)


def _are_of_one_credential(updates: Sequence[Update]) -> bool:
    olds = {update.old for update in updates}
    return len(olds) == 1 and None not in olds


def _look_for_crowds(found: Iterable[Wallet], keys: AbstractSet[Key], most: int) -> None:
    """Raise TooMuch if one of `keys` is known to more than `most` wallets: its updates are taken in on their own."""
    knowing = Counter(key for wallet in found for key in wallet.knows() & keys)
    if any(count > most for count in knowing.values()):
        raise TooMuch(f"a credential is in more than {most} wallets")


def _see_that_none_came(found: Sequence[Wallet], known: AbstractSet[Key], keys: AbstractSet[Key]) -> None:
    """A merge lets one wallet come to know what is in another; it does not matter which of them here.

    Heirs that are not found came with the merge that we waited for.
    """
    heirs = {wallet.merged_into for wallet in found} - {None}
    if not known <= keys or not heirs <= {wallet.id for wallet in found}:
        raise knowledge.Contended(known - keys)


async def within(
    connection: AsyncConnection,
    found: Sequence[Wallet],
    keys: AbstractSet[Key],
    *,
    ahead: Leads = _NO_LEADS,
    alone: bool = False,
    most: float = float("inf"),
) -> Loaded:
    """Load what is known of `keys`, and all that is known within reach of the wallets `found`.

    Where no wallet leads, nothing is followed: however long a chain is that no wallet knows the beginning of, a link of
    it costs one look-up. `ahead` are the facts that are about to be learnt. Both `keys` and wallets are locked, and so
    is what is met further on, unless we are `alone` behind the closed gate.

    Raises:
        store.knowledge.Contended: begin again, with these credentials within reach.
        TooMuch: more than `most` credentials are within reach.
    """
    knows = Knowledge()
    loaded: set[Key] = set()
    known = known_by(found)
    reached = set(known)
    unloaded: AbstractSet[Key] = keys | known
    steps = 0
    while unloaded:
        steps += 1
        if steps > _STEPS:
            unloaded = await knowledge.reach(connection, unloaded) - loaded
        if len(loaded) + len(unloaded) > most:
            raise TooMuch(f"more than {most} credentials are within reach")
        if loaded and not alone:
            await knowledge.try_lock(connection, unloaded)
        await knowledge.load(connection, unloaded, knows)
        begun_from = unloaded if loaded else known
        loaded |= unloaded
        reached |= knows.reach(begun_from, beyond=reached - begun_from, ahead=ahead)
        unloaded = reached - loaded
    return Loaded(found, knows, await inbox.waiting(connection, loaded) if found else ())


def _leads(updates: Iterable[Update]) -> Leads:
    """Where the replacements among `updates` lead to, from each credential by each of its names."""
    leads: dict[Key, set[Key]] = {}
    for update in updates:
        if update.old is not None and update.new.credential is not None:
            for key in update.old.keys:
                leads.setdefault(key, set()).update(update.old.keys, update.new.credential.keys)
    return leads


def known_by(found: Iterable[Wallet]) -> set[Key]:
    return {key for wallet in found for key in wallet.knows()}
