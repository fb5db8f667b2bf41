"""Lock and load what a decision needs: wallets, the knowledge within their reach, and waiting updates.

Locks are taken in the same order everywhere: credentials by key, then wallets by id (see `store.knowledge` and
`store.wallets`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import WaitingUpdate
from domain.effort import TooMuch
from domain.knowledge import Knowledge
from domain.update import Update
from domain.wallet import Key, Wallet, WalletId
from store import knowledge, wallets


class Limits(NamedTuple):
    """Limits of one transaction: seconds of a statement, wallets, and wallets that know one credential."""

    seconds: float = 20
    wallets: int = 4000
    of_a_credential: int = 1000


ORDINARY = Limits()

Leads: TypeAlias = Mapping[Key, AbstractSet[Key]]
"""For each credential, those that the updates of the batch lead to from it."""
_NO_LEADS: Leads = {}

# Credentials within reach of one transaction: 20 accounts of the largest size take some 200 MB.
_KEYS_LIMIT = 400_000
# After this many rounds, one recursive query of the database finds all credentials that facts still lead to.
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a decision needs. `known` is every credential that one of the wallets knows.

    `left_after`: wallets with a greater id that know the updates' credential are left for later.
    """

    wallets: Sequence[Wallet]
    knowledge: Knowledge
    waiting: Sequence[WaitingUpdate]
    known: AbstractSet[Key]
    left_after: WalletId | None = None


async def load(
    connection: AsyncConnection,
    updates: Sequence[Update],
    within_reach: AbstractSet[Key],
    limits: Limits,
    *,
    keep: timedelta,
) -> Loaded:
    """Lock and load what `updates` are about. `keep` is how long a credential that no wallet knows is kept.

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
    ids = await wallets.lock(connection, olds, customers, limit=limits.wallets + 1)
    of_one_credential = _are_of_one_credential(updates)
    left_after = None
    if of_one_credential and len(ids) > limits.of_a_credential:
        ids = ids[: limits.of_a_credential]
        left_after = ids[-1]
    if len(ids) > limits.wallets:
        raise TooMuch(f"more than {limits.wallets} wallets are affected")
    affected = await wallets.load(connection, ids)
    if not of_one_credential and len(affected) > limits.of_a_credential:
        _check_crowds(affected, olds, limits.of_a_credential)
    if customers:
        _check_nothing_arrived(affected, keys)
    loaded = await within(connection, affected, keys, ahead=_leads(updates), limit=_KEYS_LIMIT)
    return replace(loaded, left_after=left_after)


def _are_of_one_credential(updates: Sequence[Update]) -> bool:
    olds = {update.old for update in updates}
    return len(olds) == 1 and None not in olds


def _check_crowds(affected: Iterable[Wallet], keys: AbstractSet[Key], limit: int) -> None:
    """Raise TooMuch if more than `limit` wallets know one of `keys`: its updates go into batches of their own."""
    knowing = Counter(key for wallet in affected for key in wallet.knows() & keys)
    if any(count > limit for count in knowing.values()):
        raise TooMuch(f"a credential is in more than {limit} wallets")


def _check_nothing_arrived(affected: Sequence[Wallet], keys: AbstractSet[Key]) -> None:
    """Raise Contended if the wallets of a merge know credentials that are not locked.

    A merge lets one wallet know what is in the other. A target that is not loaded appeared with a merge that this
    transaction waited for.
    """
    known = known_by(affected)
    targets = {wallet.merged_into for wallet in affected} - {None}
    if not known <= keys or not targets <= {wallet.id for wallet in affected}:
        raise knowledge.Contended(known - keys)


async def within(
    connection: AsyncConnection,
    affected: Sequence[Wallet],
    keys: AbstractSet[Key],
    *,
    ahead: Leads = _NO_LEADS,
    alone: bool = False,
    limit: float = float("inf"),
) -> Loaded:
    """Load what is known of `keys`, and everything within reach of the wallets `affected`.

    Facts are followed only from credentials that a wallet knows. So one link of a long chain that no wallet knows costs
    one look-up. `ahead` are the facts that are about to be learnt. The caller has locked `keys` and the wallets. This
    function locks further credentials, unless the caller is `alone` behind the closed gate.

    Raises:
        store.knowledge.Contended: begin again, with these credentials within reach.
        TooMuch: more than `limit` credentials are within reach.
    """
    known_facts = Knowledge()
    waiting: dict[int, WaitingUpdate] = {}
    loaded: set[Key] = set()
    known = known_by(affected)
    reached = set(known)
    unloaded: AbstractSet[Key] = keys | known
    rounds = 0
    while unloaded:
        rounds += 1
        if rounds > _ROUNDS:
            unloaded = await knowledge.reach(connection, unloaded) - loaded
        if len(loaded) + len(unloaded) > limit:
            raise TooMuch(f"more than {limit} credentials are within reach")
        if loaded and not alone:
            await knowledge.try_lock(connection, unloaded)
        for update in await knowledge.load(connection, unloaded, known_facts):
            waiting[update.inbox_id] = update
        start = unloaded if loaded else known
        loaded |= unloaded
        reached |= known_facts.reach(start, beyond=reached - start, ahead=ahead)
        unloaded = reached - loaded
    in_order = sorted(waiting.values()) if affected else ()
    return Loaded(affected, known_facts, in_order, known)


def _leads(updates: Iterable[Update]) -> Leads:
    """The credentials that the replacements among `updates` lead to, by each name of the old credential."""
    leads: dict[Key, set[Key]] = {}
    for update in updates:
        if update.old is not None and update.new.credential is not None:
            for key in update.old.keys:
                leads.setdefault(key, set()).update(update.old.keys, update.new.credential.keys)
    return leads


def known_by(loaded: Iterable[Wallet]) -> set[Key]:
    """Every credential that one of the wallets knows."""
    return {key for wallet in loaded for key in wallet.knows()}
