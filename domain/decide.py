"""A batch of updates, decided: what becomes of each, and what every wallet they touch should be.

    outcome      the update …
    APPLIED      changed some wallet
    SUPERSEDED   told something new, but newer knowledge already stands
    DUPLICATE    told nothing that was not known, or that is not so already
    PARKED       is about a credential that no wallet knows yet
    IGNORED      told of no change, or of a method that its customer removed
    QUARANTINED  conflicts with what a wallet is (see `Conflict`), or names another customer than the wallets'

Updates are learnt one after another, and the outcome of each is read from what the wallets would be right after it.
Only what the wallets are at the end is written and told, so many updates of one wallet cost their merchants one set
of events.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property, partial
from typing import NamedTuple, TypeAlias

from domain.effort import Effort
from domain.knowledge import Knowledge, Novelty, renames_itself
from domain.merge import Merged, merge
from domain.resolve import Replaced, Updated
from domain.resolver import WalletResolver
from domain.update import Outcome, Scope, Stamp, Update, UpdateType
from domain.wallet import Key, Method, MethodId, Wallet, WalletId, belongs_to

WalletChange: TypeAlias = Replaced | Updated | Merged


class Verdict(NamedTuple):
    """An update's outcome, and why: a word that ops people can look up in docs/running.md."""

    outcome: Outcome
    reason: str | None = None


class WaitingUpdate(NamedTuple):
    """An update taken in earlier that waits for a wallet, or for another one; `inbox_id` finds it again."""

    inbox_id: int
    stamp: Stamp
    keys: tuple[Key, ...]
    scope: Scope = ()
    merge_from: Scope = ()
    merge_into: Scope = ()


class ChangedWallet(NamedTuple):
    """What a wallet was, what it is now, and what there is to tell of it, in order."""

    before: Wallet
    after: Wallet
    changes: tuple[WalletChange, ...]


class Decision(NamedTuple):
    """`verdicts` stand in the order of the updates; `waiting` are those of the waiting updates that have a verdict now.

    `known` is every credential that one of the wallets knows now.
    """

    verdicts: tuple[Verdict, ...]
    waiting: tuple[tuple[WaitingUpdate, Verdict], ...]
    changed: tuple[ChangedWallet, ...]
    known: frozenset[Key]


_TELLS_NO_CHANGE = frozenset((UpdateType.OPTED_OUT, UpdateType.NO_CHANGE, UpdateType.NO_MATCH))


def decide(
    updates: Sequence[Update],
    wallets: Iterable[Wallet],
    knowledge: Knowledge,
    waiting: Iterable[WaitingUpdate],
    name: Callable[[WalletId, Key], MethodId],
    *,
    effort: Effort | None = None,
) -> Decision:
    """Decide `updates` in the order given; `knowledge` learns what they tell.

    `wallets` are those that know an `old` of the updates or are named by a merge, merged ones among them; a wallet that
    has learnt a credential in another way (an import) is among them too, and is resolved. `waiting` are the updates
    that wait for any credential within reach; quarantined ones wait too, for a wallet that can follow them.
    `effort` is what may be looked at, where that is not what one transaction may look at.

    Raises:
        TooMuch: there is more to look at.
    """
    batch = _Batch(wallets, knowledge, name, effort or Effort())
    verdicts = [batch.decide(update) for update in updates]
    earlier = list(waiting)
    ours = [at for at, verdict in enumerate(verdicts) if verdict.outcome in (Outcome.PARKED, Outcome.QUARANTINED)]
    followed = batch.decide_waiting([*earlier, *(_as_waiting(updates[at]) for at in ours)])
    for at, number in enumerate(ours, start=len(earlier)):
        verdicts[number] = followed.get(at, verdicts[number])
    return Decision(
        tuple(verdicts),
        tuple((update, followed[at]) for at, update in enumerate(earlier) if at in followed),
        batch.changed_wallets(),
        frozenset(batch.knowing),
    )


class _Batch:
    """The wallets of one batch, as they stand after the updates taken so far."""

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
        self.before = {wallet.id: wallet for wallet in wallets}
        self.unresolved = dict(self.before)
        self.merges: dict[WalletId, list[WalletChange]] = {}
        self.resolvers: dict[WalletId, WalletResolver] = {}
        self.knowing: dict[Key, set[WalletId]] = {}
        self.met: dict[WalletId, list[Collection[Key]]] = {}
        for wallet in self.before.values():
            self._meet(wallet.id, wallet.knows())

    @cached_property
    def customers(self) -> "_Customers":
        """Only merges ask whose wallets they are."""
        customers = _Customers()
        for wallet in self.unresolved.values():
            customers.add(wallet)
        return customers

    def decide(self, update: Update) -> Verdict:
        if update.type in _TELLS_NO_CHANGE:
            return Verdict(Outcome.IGNORED, update.type.value)
        if update.type is UpdateType.WALLET_MERGED:
            return self._merge(update.merge_from, update.merge_into)
        if renames_itself(update) and update.new.expiry is None and not update.new.details:
            return Verdict(Outcome.IGNORED, "SAME_CREDENTIAL")
        assert update.old is not None
        novelty = self.knowledge.learn(update)
        holders = self._holders(update.old.keys)
        owners = [wallet_id for wallet_id in holders if belongs_to(update.scope, self.unresolved[wallet_id])]
        changed = False
        for wallet_id in owners:
            changed |= self._learn(wallet_id, update)
        if changed:
            return Verdict(Outcome.APPLIED)
        if novelty is Novelty.NONE:
            return Verdict(Outcome.DUPLICATE, "ALREADY_TOLD")
        if not holders:
            return Verdict(Outcome.PARKED) if novelty is Novelty.NEW else Verdict(Outcome.SUPERSEDED, "NEWER_TOLD")
        return self._unchanged(update.stamp, update.old.keys, owners, novelty)

    def decide_waiting(self, waiting: Sequence[WaitingUpdate]) -> dict[int, Verdict]:
        """What became of those whose credential or customers are known by now, by their place.

        A merge and a wallet that is resolved let more credentials be known, so all wallets are resolved first, and it
        looks again until no more are known. Merges go first: whose customer an update is about is known after them.
        """
        if waiting:
            self._resolve_remaining()
        verdicts: dict[int, Verdict] = {}
        left = sorted(range(len(waiting)), key=lambda at: not waiting[at].merge_from)
        while known := [at for at in left if self._knows(waiting[at])]:
            verdicts.update((at, self._decide_waiting(waiting[at])) for at in known)
            left = [at for at in left if at not in verdicts]
        return verdicts

    def _knows(self, waiting: WaitingUpdate) -> bool:
        if waiting.merge_from:
            return bool(self._named(waiting.merge_from) and self._named(waiting.merge_into))
        return any(key in self.knowing for key in waiting.keys)

    def _decide_waiting(self, waiting: WaitingUpdate) -> Verdict:
        """What became of an update whose credential has become known: what would be different had it not come."""
        if waiting.merge_from:
            return self._merge(waiting.merge_from, waiting.merge_into)
        holders = self._holders(waiting.keys)
        owners = [wallet_id for wallet_id in holders if belongs_to(waiting.scope, self.unresolved[wallet_id])]
        for wallet_id in owners:
            if self._resolver(wallet_id).would_differ_without(waiting.stamp, waiting.keys):
                return Verdict(Outcome.APPLIED)
        return self._unchanged(waiting.stamp, waiting.keys, owners, Novelty.NEW)

    def changed_wallets(self) -> tuple[ChangedWallet, ...]:
        self._resolve_remaining()
        return tuple(
            ChangedWallet(before, resolution.wallet, (*self.merges.get(wallet_id, ()), *resolution.changes))
            for wallet_id, before in self.before.items()
            if (resolution := self.resolvers[wallet_id].resolution).wallet != before
        )

    def _unchanged(self, stamp: Stamp, keys: Sequence[Key], owners: list[WalletId], novelty: Novelty) -> Verdict:
        """The verdict on an update that found wallets and changed none of them."""
        if not owners:
            return Verdict(Outcome.QUARANTINED, "OWNER_MISMATCH")
        resolvers = [self._resolver(wallet_id) for wallet_id in owners]
        for resolver in resolvers:
            conflict = resolver.accounts.conflict(stamp)
            if conflict is not None:
                return Verdict(Outcome.QUARANTINED, conflict.value)
        if novelty is Novelty.OLDER:
            return Verdict(Outcome.SUPERSEDED, "NEWER_TOLD")
        about = [(resolver, account) for resolver in resolvers for account in resolver.accounts.of(keys)]
        if not any(account.live for _, account in about):
            return Verdict(Outcome.IGNORED, "CUSTOMER_REMOVED")
        with_facts = [account for _, account in about if account.followed]
        if any(account.pairs.latest.stamp == stamp for account in with_facts):
            return Verdict(Outcome.DUPLICATE, "ALREADY_SO")
        holding = [
            method
            for resolver, account in about
            for method in resolver.live_methods(account)
            if not method.keys.isdisjoint(keys)
        ]
        if not holding or any(account.pairs.includes(stamp) for account in with_facts):
            return Verdict(Outcome.SUPERSEDED, "NEWER_FACT")
        if self._expire_later(holding, keys, stamp):
            return Verdict(Outcome.SUPERSEDED, "NEWER_TOLD")
        return Verdict(Outcome.DUPLICATE, "ALREADY_SO")

    def _expire_later(self, methods: Iterable[Method], keys: Sequence[Key], stamp: Stamp) -> bool:
        """Whether they are known, by their customer or by another fact, to be good for longer than `stamp` told."""
        reported = [state.expiry for _, state in self.knowledge.states_of(keys) if state.expiry is not None]
        expiries = [expiry.value for expiry in reported if expiry.stamp == stamp]
        return any(
            method.details.expiry is not None and method.details.expiry > expiry
            for method in methods
            for expiry in expiries
        )

    def _merge(self, merge_from: Scope, merge_into: Scope) -> Verdict:
        sources, targets = self._named(merge_from), self._named(merge_into)
        if not sources or not targets:
            return Verdict(Outcome.PARKED)
        if sources == targets and len(targets) == 1:
            return Verdict(Outcome.DUPLICATE, "ALREADY_SO")
        if len(sources) > 1 or len(targets) > 1:
            # several wallets of one name may be several people's, and would see each other's methods afterwards
            return Verdict(Outcome.QUARANTINED, "AMBIGUOUS_CUSTOMER")
        (target,) = targets
        for source in sorted(sources - targets):
            self._merge_wallets(source, target)
        return Verdict(Outcome.APPLIED)

    def _merge_wallets(self, source: WalletId, target: WalletId) -> None:
        merged = merge(self.unresolved[source], self.unresolved[target])
        for former in self.customers.merged_into(source):
            self.unresolved[former] = self.unresolved[former]._replace(merged_into=target)
            self.resolvers.pop(former, None)
            self.customers.add(self.unresolved[former])
        for keys in self.met.pop(source, ()):
            for key in keys:
                self.knowing[key].discard(source)
        for wallet in (merged.source, merged.target):
            self.unresolved[wallet.id] = wallet
            self.customers.add(wallet)
        self.merges.setdefault(target, []).extend((*self.merges.pop(source, ()), *merged.changes))
        self._meet(target, merged.target.knows())
        self._resolve_wallet(source)
        self._resolve_wallet(target)

    def _named(self, scope: Scope) -> set[WalletId]:
        """The wallets of the customer so named; a merged wallet stands for the one it went into."""
        found = set()
        for wallet_id in self.customers.with_any_of(scope):
            wallet = self.unresolved[wallet_id]
            if belongs_to(scope, wallet):
                found.add(wallet.merged_into or wallet.id)
        return found

    def _resolve_remaining(self) -> None:
        for wallet_id in self.unresolved:
            self._resolver(wallet_id)

    def _resolver(self, wallet_id: WalletId) -> WalletResolver:
        if wallet_id not in self.resolvers:
            self._resolve_wallet(wallet_id)
        return self.resolvers[wallet_id]

    def _resolve_wallet(self, wallet_id: WalletId) -> bool:
        """Resolve it by what is known now; True if it differs from what it was before."""
        unresolved = self.unresolved[wallet_id]
        resolver = WalletResolver(unresolved, self.knowledge, partial(self.name, wallet_id), self.effort)
        self.resolvers[wallet_id] = resolver
        self._meet(wallet_id, resolver.fresh_keys())
        return _differ(unresolved, resolver.resolution.wallet)

    def _learn(self, wallet_id: WalletId, update: Update) -> bool:
        """Have the wallet learn what the knowledge has just learnt; True if it differs from what it was before it."""
        resolver = self.resolvers.get(wallet_id)
        if resolver is None:
            return self._resolve_wallet(wallet_id)
        changed = resolver.learn(update)
        self._meet(wallet_id, resolver.fresh_keys())
        return changed

    def _meet(self, wallet_id: WalletId, keys: Collection[Key]) -> None:
        if not keys:
            return
        self.met.setdefault(wallet_id, []).append(keys)
        for key in keys:
            self.knowing.setdefault(key, set()).add(wallet_id)

    def _holders(self, keys: Iterable[Key]) -> list[WalletId]:
        return sorted(set().union(*(self.knowing.get(key, ()) for key in keys)))


class _Customers:
    """Which wallets of a batch have which identities, and which are merged into which."""

    def __init__(self) -> None:
        self._with: dict[tuple[str, str], set[WalletId]] = {}
        self._merged: dict[WalletId, set[WalletId]] = {}

    def add(self, wallet: Wallet) -> None:
        """Note the wallet as it is; what was noted of it before goes on counting, for identities are never lost."""
        for identity in (*wallet.customer.identities, *wallet.former_identities):
            self._with.setdefault(identity, set()).add(wallet.id)
        if wallet.merged_into is not None:
            self._merged.setdefault(wallet.merged_into, set()).add(wallet.id)

    def with_any_of(self, scope: Scope) -> set[WalletId]:
        return set().union(*(self._with.get(identity, ()) for identity in scope))

    def merged_into(self, target: WalletId) -> set[WalletId]:
        return self._merged.pop(target, set())


def _differ(one: Wallet, other: Wallet) -> bool:
    return one is not other and (one.methods != other.methods or one.links != other.links)


def _as_waiting(update: Update) -> WaitingUpdate:
    keys = () if update.old is None else update.old.keys
    return WaitingUpdate(0, update.stamp, keys, update.scope, update.merge_from, update.merge_into)
