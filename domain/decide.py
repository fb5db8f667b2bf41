"""Decide a batch of updates: the outcome of each with its reason, and what every wallet that they are about should be.

    outcome      the update …
    APPLIED      changed some wallet
    SUPERSEDED   reported something new, but newer knowledge already stands
    DUPLICATE    reported nothing new, or nothing that is not so already
    PARKED       is about a credential that no wallet knows yet
    IGNORED      reported no change, or is about a method that its customer removed
    QUARANTINED  conflicts with the contents of a wallet (see `Conflict`), or names another customer than the wallets'

Updates are learnt one after another. The outcome of each is read from what the wallets would be right after it. Only
the state after the last update is written and announced: many updates of one wallet cost merchants one set of events.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property, partial
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from domain.effort import Effort
from domain.erasure import Deleted
from domain.knowledge import Knowledge, Novelty, renames_itself
from domain.merge import Merged, merge
from domain.resolve import Replaced, Updated
from domain.resolver import Standing, WalletResolver
from domain.undo import Restored
from domain.update import Outcome, Scope, Stamp, Update, UpdateType
from domain.wallet import Key, MethodId, Wallet, WalletId, belongs_to

WalletChange: TypeAlias = Replaced | Updated | Merged | Restored | Deleted


class Verdict(NamedTuple):
    """An update's outcome and its reason, a code that operators look up in docs/running.md."""

    outcome: Outcome
    reason: str | None = None


class WaitingUpdate(NamedTuple):
    """A PARKED or QUARANTINED update that may still apply. `inbox_id` is its row in the inbox."""

    inbox_id: int
    stamp: Stamp
    keys: tuple[Key, ...]
    scope: Scope = ()
    merge_from: Scope = ()
    merge_into: Scope = ()


class ChangedWallet(NamedTuple):
    """A wallet before and after the batch, and the changes to announce, in order."""

    before: Wallet
    after: Wallet
    changes: tuple[WalletChange, ...]


class Decision(NamedTuple):
    """`verdicts` stand in the order of the updates. `waiting` are the waiting updates that have a verdict now.

    `known` is every credential that one of the wallets knows now.
    """

    verdicts: tuple[Verdict, ...]
    waiting: tuple[tuple[WaitingUpdate, Verdict], ...]
    changed: tuple[ChangedWallet, ...]
    known: frozenset[Key]


_NO_CHANGE = frozenset((UpdateType.OPTED_OUT, UpdateType.NO_CHANGE, UpdateType.NO_MATCH))


def decide(
    updates: Sequence[Update],
    wallets: Iterable[Wallet],
    knowledge: Knowledge,
    waiting: Iterable[WaitingUpdate],
    name: Callable[[WalletId, Key], MethodId],
    *,
    effort: Effort | None = None,
) -> Decision:
    """Decide `updates` in the given order. `knowledge` learns what they report.

    `wallets` are those that know an `old` of the updates, and those that a merge names, merged ones included. A wallet
    that learnt a credential in another way (an import) belongs to them as well, and is resolved. `waiting` are the
    updates that wait for a credential within reach; QUARANTINED ones wait for a wallet that can follow them.
    `effort` limits how much the decision looks at; by default, as much as one transaction may.

    Raises:
        TooMuch: the decision would exceed `effort`.
    """
    batch = _Batch(wallets, knowledge, name, effort or Effort())
    verdicts = [batch.decide(update) for update in updates]
    earlier = list(waiting)
    undecided = [at for at, verdict in enumerate(verdicts) if verdict.outcome in (Outcome.PARKED, Outcome.QUARANTINED)]
    later_verdicts = batch.decide_waiting([*earlier, *(_as_waiting(updates[at]) for at in undecided)])
    for at, number in enumerate(undecided, start=len(earlier)):
        verdicts[number] = later_verdicts.get(at, verdicts[number])
    return Decision(
        tuple(verdicts),
        tuple((update, later_verdicts[at]) for at, update in enumerate(earlier) if at in later_verdicts),
        batch.changed_wallets(),
        frozenset(batch.wallets_by_key),
    )


class Merge(NamedTuple):
    """The wallets that are to become one with `target`."""

    sources: tuple[WalletId, ...]
    target: WalletId


def decide_merge(
    of: Merge,
    wallets: Iterable[Wallet],
    knowledge: Knowledge,
    waiting: Iterable[WaitingUpdate],
    name: Callable[[WalletId, Key], MethodId],
) -> Decision:
    """Decide a merge that a person judged to be right. The other arguments are those of `decide`."""
    batch = _Batch(wallets, knowledge, name, Effort())
    for source in of.sources:
        batch.merge_wallets(source, of.target)
    earlier = list(waiting)
    verdicts = batch.decide_waiting(earlier)
    decided = tuple((update, verdicts[at]) for at, update in enumerate(earlier) if at in verdicts)
    return Decision((Verdict(Outcome.APPLIED),), decided, batch.changed_wallets(), frozenset(batch.wallets_by_key))


def named_wallets(scope: Scope, wallets: Iterable[Wallet]) -> list[WalletId]:
    """The wallets of the customer so named; for a merged wallet, the one that it was merged into."""
    return sorted({wallet.merged_into or wallet.id for wallet in wallets if scope and belongs_to(scope, wallet)})


class _BatchWallet:
    """One wallet of a batch: `before` the batch, `merged` with the merges so far, and what its resolver made of that.

    `keys` are the credentials that it is listed under in `_Batch.wallets_by_key`.
    """

    __slots__ = ("before", "id", "keys", "merge_changes", "merged", "resolver")

    def __init__(self, wallet: Wallet) -> None:
        self.id = wallet.id
        self.before = self.merged = wallet
        self.merge_changes: tuple[WalletChange, ...] = ()
        self.resolver: WalletResolver | None = None
        self.keys: list[Collection[Key]] = []


class _Batch:
    """The wallets of one batch, as they stand after the updates decided so far."""

    def __init__(
        self,
        wallets: Iterable[Wallet],
        knowledge: Knowledge,
        name: Callable[[WalletId, Key], MethodId],
        effort: Effort,
    ) -> None:
        self.knowledge = knowledge
        self.name = name
        self.effort = effort
        self.wallets = {wallet.id: _BatchWallet(wallet) for wallet in wallets}
        self.wallets_by_key: dict[Key, set[_BatchWallet]] = {}
        for state in self.wallets.values():
            self._list_under(state, state.before.knows())

    @cached_property
    def customers(self) -> "_Customers":
        """Computed at the first merge: nothing else looks wallets up by customer."""
        customers = _Customers()
        for state in self.wallets.values():
            customers.add(state.merged)
        return customers

    def decide(self, update: Update) -> Verdict:
        """Learn `update` and resolve the wallets that it is about."""
        if update.type in _NO_CHANGE:
            return Verdict(Outcome.IGNORED, update.type.value)
        if update.type is UpdateType.WALLET_MERGED:
            return self._merge(update.merge_from, update.merge_into)
        if renames_itself(update) and update.new.expiry is None and not update.new.details:
            return Verdict(Outcome.IGNORED, "SAME_CREDENTIAL")
        assert update.old is not None
        novelty = self.knowledge.learn(update)
        holders = self._holders(update.old.keys)
        owners = [state for state in holders if belongs_to(update.scope, state.merged)]
        changed = False
        for state in owners:
            changed |= self._learn(state, update)
        if changed:
            return Verdict(Outcome.APPLIED)
        if novelty is Novelty.NONE:
            return Verdict(Outcome.DUPLICATE, "ALREADY_KNOWN")
        if not holders:
            return Verdict(Outcome.PARKED) if novelty is Novelty.NEW else Verdict(Outcome.SUPERSEDED, "NEWER_KNOWN")
        return self._unchanged(update.stamp, update.old.keys, owners, novelty)

    def decide_waiting(self, updates: Sequence[WaitingUpdate]) -> dict[int, Verdict]:
        """The verdicts on those updates whose credential or customers are known by now, by their position.

        Merges and resolutions make further credentials known. So all wallets are resolved first, and the search repeats
        until it finds no more updates. Merges come first: they decide which customer an update is about.
        """
        if updates:
            self._resolve_all()
        verdicts: dict[int, Verdict] = {}
        open_ = sorted(range(len(updates)), key=lambda at: not updates[at].merge_from)
        while known := [at for at in open_ if self._knows(updates[at])]:
            verdicts.update((at, self._decide_waiting(updates[at])) for at in known)
            open_ = [at for at in open_ if at not in verdicts]
        return verdicts

    def changed_wallets(self) -> tuple[ChangedWallet, ...]:
        """The wallets that differ from before the batch."""
        changed = []
        for state in self.wallets.values():
            resolution = self._resolver(state).resolution
            if resolution.wallet != state.before:
                changes = (*state.merge_changes, *resolution.changes)
                changed.append(ChangedWallet(state.before, resolution.wallet, changes))
        return tuple(changed)

    # --- outcomes -------------------------------------------------------------------------------------------------

    def _knows(self, update: WaitingUpdate) -> bool:
        if update.merge_from:
            return bool(self._named(update.merge_from) and self._named(update.merge_into))
        return any(key in self.wallets_by_key for key in update.keys)

    def _decide_waiting(self, update: WaitingUpdate) -> Verdict:
        """The verdict on an update whose credential is known now: would a wallet differ if it had not come?"""
        if update.merge_from:
            return self._merge(update.merge_from, update.merge_into)
        owners = [state for state in self._holders(update.keys) if belongs_to(update.scope, state.merged)]
        for state in owners:
            if self._resolver(state).would_differ_without(update.stamp, update.keys):
                return Verdict(Outcome.APPLIED)
        return self._unchanged(update.stamp, update.keys, owners, Novelty.NEW)

    def _unchanged(self, stamp: Stamp, keys: Sequence[Key], owners: list[_BatchWallet], novelty: Novelty) -> Verdict:
        """The verdict on an update that is about some wallets and changed none of them."""
        if not owners:
            return Verdict(Outcome.QUARANTINED, "OWNER_MISMATCH")
        resolvers = [self._resolver(state) for state in owners]
        for resolver in resolvers:
            conflict = resolver.accounts.conflict(stamp)
            if conflict is not None:
                return Verdict(Outcome.QUARANTINED, conflict.value)
        if novelty is Novelty.OLDER:
            return Verdict(Outcome.SUPERSEDED, "NEWER_KNOWN")
        return _without_change([resolver.standing(stamp, keys) for resolver in resolvers])

    # --- merges ---------------------------------------------------------------------------------------------------

    def _merge(self, merge_from: Scope, merge_into: Scope) -> Verdict:
        sources, targets = self._named(merge_from), self._named(merge_into)
        if not sources or not targets:
            return Verdict(Outcome.PARKED)
        if sources == targets and len(targets) == 1:
            return Verdict(Outcome.DUPLICATE, "ALREADY_SO")
        if len(sources) > 1 or len(targets) > 1:
            # Several wallets of one name may belong to several people, who would see each other's methods afterwards.
            return Verdict(Outcome.QUARANTINED, "AMBIGUOUS_CUSTOMER")
        (source,), (target,) = sources, targets
        self.merge_wallets(source, target)
        return Verdict(Outcome.APPLIED)

    def merge_wallets(self, source_id: WalletId, target_id: WalletId) -> None:
        """Move the contents of one wallet into another one, and resolve both."""
        source, target = self.wallets[source_id], self.wallets[target_id]
        merger = merge(source.merged, target.merged)
        for former_id in self.customers.merged_into(merger.source.id):
            former = self.wallets[former_id]
            former.merged = former.merged._replace(merged_into=merger.target.id)
            former.resolver = None
            self.customers.add(former.merged)
        for keys in source.keys:
            for key in keys:
                self.wallets_by_key[key].discard(source)
        source.keys = []
        source.merged, target.merged = merger.source, merger.target
        self.customers.add(source.merged)
        self.customers.add(target.merged)
        target.merge_changes = (*target.merge_changes, *source.merge_changes, *merger.changes)
        source.merge_changes = ()
        self._list_under(target, target.merged.knows())
        self._resolve(source)
        self._resolve(target)

    def _named(self, scope: Scope) -> set[WalletId]:
        """The wallets of the customer so named; for a merged wallet, the one that it was merged into."""
        ids = set()
        for wallet_id in self.customers.with_any_of(scope):
            wallet = self.wallets[wallet_id].merged
            if belongs_to(scope, wallet):
                ids.add(wallet.merged_into or wallet.id)
        return ids

    # --- resolutions ----------------------------------------------------------------------------------------------

    def _resolve_all(self) -> None:
        for state in self.wallets.values():
            self._resolver(state)

    def _resolver(self, state: _BatchWallet) -> WalletResolver:
        return self._resolve(state) if state.resolver is None else state.resolver

    def _resolve(self, state: _BatchWallet) -> WalletResolver:
        """Resolve the wallet by all that is known now."""
        wallet = state.merged
        resolver = state.resolver = WalletResolver(wallet, self.knowledge, partial(self.name, wallet.id), self.effort)
        self._list_under(state, resolver.fresh_keys())
        return resolver

    def _learn(self, state: _BatchWallet, update: Update) -> bool:
        """Resolve the wallet by an update that the knowledge has just learnt; True if the wallet differs by it."""
        resolver = state.resolver
        if resolver is None:
            return _differ(state.merged, self._resolve(state).resolution.wallet)
        changed = resolver.learn(update)
        self._list_under(state, resolver.fresh_keys())
        return changed

    def _list_under(self, state: _BatchWallet, keys: Collection[Key]) -> None:
        """Have the wallet found by `keys`."""
        if not keys:
            return
        state.keys.append(keys)
        for key in keys:
            self.wallets_by_key.setdefault(key, set()).add(state)

    def _holders(self, keys: Iterable[Key]) -> list[_BatchWallet]:
        """The wallets that know any of `keys`, by id."""
        holders: set[_BatchWallet] = set().union(*[self.wallets_by_key.get(key, ()) for key in keys])
        return sorted(holders, key=attrgetter("id")) if len(holders) > 1 else list(holders)


class _Customers:
    """Which wallets of a batch have which identities, and which are merged into which."""

    def __init__(self) -> None:
        self._with: dict[tuple[str, str], set[WalletId]] = {}
        self._merged: dict[WalletId, set[WalletId]] = {}

    def add(self, wallet: Wallet) -> None:
        """Add the wallet as it is. Its former entries stay: no wallet loses an identity."""
        for identity in (*wallet.customer.identities, *wallet.former_identities):
            self._with.setdefault(identity, set()).add(wallet.id)
        if wallet.merged_into is not None:
            self._merged.setdefault(wallet.merged_into, set()).add(wallet.id)

    def with_any_of(self, scope: Scope) -> set[WalletId]:
        return set().union(*(self._with.get(identity, ()) for identity in scope))

    def merged_into(self, target: WalletId) -> set[WalletId]:
        """The wallets merged into `target` so far, which the caller moves to another target."""
        return self._merged.pop(target, set())


def _differ(first: Wallet, second: Wallet) -> bool:
    return first is not second and (first.methods != second.methods or first.links != second.links)


def _as_waiting(update: Update) -> WaitingUpdate:
    keys = () if update.old is None else update.old.keys
    return WaitingUpdate(0, update.stamp, keys, update.scope, update.merge_from, update.merge_into)


def _without_change(standings: Sequence[Standing]) -> Verdict:
    """The verdict on an update that changed nothing, by how it stands in each of its wallets."""
    if not any(standing.live for standing in standings):
        return Verdict(Outcome.IGNORED, "CUSTOMER_REMOVED")
    if any(standing.latest for standing in standings):
        return Verdict(Outcome.DUPLICATE, "ALREADY_SO")
    if not any(standing.held for standing in standings) or any(standing.followed for standing in standings):
        return Verdict(Outcome.SUPERSEDED, "NEWER_FACT")
    if any(standing.outlasted for standing in standings):
        return Verdict(Outcome.SUPERSEDED, "NEWER_KNOWN")
    return Verdict(Outcome.DUPLICATE, "ALREADY_SO")
