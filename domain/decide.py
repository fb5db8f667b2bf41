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
from domain.knowledge import Knowledge, News, renames_itself
from domain.merge import Seen, merge
from domain.resolution import Resolution
from domain.settle import Replaced, Updated
from domain.update import Outcome, Scope, Stamp, Update, UpdateType
from domain.wallet import Key, Method, MethodId, Wallet, WalletId, belongs_to

Change: TypeAlias = Replaced | Updated | Seen


class Verdict(NamedTuple):
    """An update's outcome, and why: a word that ops people can look up in docs/running.md."""

    outcome: Outcome
    reason: str | None = None


class Parked(NamedTuple):
    """An update taken in earlier that waits for a wallet, or for another one; `inbox_id` finds it again."""

    inbox_id: int
    stamp: Stamp
    keys: tuple[Key, ...]
    scope: Scope = ()
    merge_from: Scope = ()
    merge_into: Scope = ()


class Turn(NamedTuple):
    """What a wallet was, what it is now, and what there is to tell of it, in order."""

    before: Wallet
    after: Wallet
    changes: tuple[Change, ...]


class Decision(NamedTuple):
    """`verdicts` stand in the order of the updates; `resolved` are parked ones whose credential became known.

    `known` is every credential that one of the wallets knows now.
    """

    verdicts: tuple[Verdict, ...]
    resolved: tuple[tuple[Parked, Verdict], ...]
    turns: tuple[Turn, ...]
    known: frozenset[Key]


_TELLS_NO_CHANGE = frozenset((UpdateType.OPTED_OUT, UpdateType.NO_CHANGE, UpdateType.NO_MATCH))


def decide(
    updates: Sequence[Update],
    wallets: Iterable[Wallet],
    knowledge: Knowledge,
    parked: Iterable[Parked],
    name: Callable[[WalletId, Key], MethodId],
    *,
    effort: Effort | None = None,
) -> Decision:
    """Decide `updates` in the order given; `knowledge` learns what they tell.

    `wallets` are those that know an `old` of the updates or are named by a merge, merged ones among them; a wallet that
    has learnt a credential in another way (an import) is among them too, and is settled. `parked` are the updates that
    wait for any credential within reach; quarantined ones wait too, for a wallet that can follow them.
    `effort` is what may be looked at, where that is not what one transaction may look at.

    Raises:
        TooMuch: there is more to look at.
    """
    room = _Room(wallets, knowledge, name, effort or Effort())
    verdicts = [room.take(update) for update in updates]
    waiting = list(parked)
    ours = [at for at, verdict in enumerate(verdicts) if verdict.outcome in (Outcome.PARKED, Outcome.QUARANTINED)]
    resolved = room.resolve_all([*waiting, *(_as_parked(updates[at]) for at in ours)])
    for at, number in enumerate(ours, start=len(waiting)):
        verdicts[number] = resolved.get(at, verdicts[number])
    return Decision(
        tuple(verdicts),
        tuple((update, resolved[at]) for at, update in enumerate(waiting) if at in resolved),
        room.turns(),
        frozenset(room.knowing),
    )


class _Room:
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
        self.unsettled = dict(self.before)
        self.merges: dict[WalletId, list[Change]] = {}
        self.resolved: dict[WalletId, Resolution] = {}
        self.knowing: dict[Key, set[WalletId]] = {}
        self.met: dict[WalletId, list[Collection[Key]]] = {}
        for wallet in self.before.values():
            self._meet(wallet.id, wallet.knows())

    @cached_property
    def customers(self) -> "_Customers":
        """Only merges ask whose wallets they are."""
        customers = _Customers()
        for wallet in self.unsettled.values():
            customers.add(wallet)
        return customers

    def take(self, update: Update) -> Verdict:
        if update.type in _TELLS_NO_CHANGE:
            return Verdict(Outcome.IGNORED, update.type.value)
        if update.type is UpdateType.WALLET_MERGED:
            return self._merge(update.merge_from, update.merge_into)
        if renames_itself(update) and update.new.expiry is None and not update.new.details:
            return Verdict(Outcome.IGNORED, "SAME_CREDENTIAL")
        assert update.old is not None
        news = self.knowledge.learn(update)
        holders = self._holders(update.old.keys)
        owners = [wallet_id for wallet_id in holders if belongs_to(update.scope, self.unsettled[wallet_id])]
        changed = False
        for wallet_id in owners:
            changed |= self._learn(wallet_id, update)
        if changed:
            return Verdict(Outcome.APPLIED)
        if news is News.NONE:
            return Verdict(Outcome.DUPLICATE, "ALREADY_TOLD")
        if not holders:
            return Verdict(Outcome.PARKED) if news is News.NEW else Verdict(Outcome.SUPERSEDED, "NEWER_TOLD")
        return self._unchanged(update.stamp, update.old.keys, owners, news)

    def resolve_all(self, waiting: Sequence[Parked]) -> dict[int, Verdict]:
        """What became of those whose credential or customers are known by now, by their place.

        A merge and a wallet that is settled let more credentials be known, so all wallets are settled first, and it
        looks again until no more are known. Merges go first: whose customer an update is about is known after them.
        """
        if waiting:
            self._settle_the_others()
        verdicts: dict[int, Verdict] = {}
        left = sorted(range(len(waiting)), key=lambda at: not waiting[at].merge_from)
        while known := [at for at in left if self._knows(waiting[at])]:
            verdicts.update((at, self._resolve(waiting[at])) for at in known)
            left = [at for at in left if at not in verdicts]
        return verdicts

    def _knows(self, parked: Parked) -> bool:
        if parked.merge_from:
            return bool(self._named(parked.merge_from) and self._named(parked.merge_into))
        return any(key in self.knowing for key in parked.keys)

    def _resolve(self, parked: Parked) -> Verdict:
        """What became of an update whose credential has become known: what would be different had it not come."""
        if parked.merge_from:
            return self._merge(parked.merge_from, parked.merge_into)
        holders = self._holders(parked.keys)
        owners = [wallet_id for wallet_id in holders if belongs_to(parked.scope, self.unsettled[wallet_id])]
        for wallet_id in owners:
            if self._resolution(wallet_id).would_differ_without(parked.stamp, parked.keys):
                return Verdict(Outcome.APPLIED)
        return self._unchanged(parked.stamp, parked.keys, owners, News.NEW)

    def turns(self) -> tuple[Turn, ...]:
        self._settle_the_others()
        return tuple(
            Turn(before, settlement.wallet, (*self.merges.get(wallet_id, ()), *settlement.changes))
            for wallet_id, before in self.before.items()
            if (settlement := self.resolved[wallet_id].settlement).wallet != before
        )

    def _unchanged(self, stamp: Stamp, keys: Sequence[Key], owners: list[WalletId], news: News) -> Verdict:
        """The verdict on an update that found wallets and changed none of them."""
        if not owners:
            return Verdict(Outcome.QUARANTINED, "OWNER_MISMATCH")
        resolutions = [self._resolution(wallet_id) for wallet_id in owners]
        for resolution in resolutions:
            conflict = resolution.accounts.conflict(stamp)
            if conflict is not None:
                return Verdict(Outcome.QUARANTINED, conflict.value)
        if news is News.OLDER:
            return Verdict(Outcome.SUPERSEDED, "NEWER_TOLD")
        about = [(resolution, account) for resolution in resolutions for account in resolution.accounts.of(keys)]
        if not any(account.live for _, account in about):
            return Verdict(Outcome.IGNORED, "CUSTOMER_REMOVED")
        with_facts = [account for _, account in about if account.followed]
        if any(account.pairs.latest.stamp == stamp for account in with_facts):
            return Verdict(Outcome.DUPLICATE, "ALREADY_SO")
        holding = [
            method
            for resolution, account in about
            for method in resolution.live_methods(account)
            if not method.keys.isdisjoint(keys)
        ]
        if not holding or any(account.pairs.tell(stamp) for account in with_facts):
            return Verdict(Outcome.SUPERSEDED, "NEWER_FACT")
        if self._expire_later(holding, keys, stamp):
            return Verdict(Outcome.SUPERSEDED, "NEWER_TOLD")
        return Verdict(Outcome.DUPLICATE, "ALREADY_SO")

    def _expire_later(self, methods: Iterable[Method], keys: Sequence[Key], stamp: Stamp) -> bool:
        """Whether they are known, by their customer or by another fact, to be good for longer than `stamp` told."""
        told = [told.expiry for _, told in self.knowledge.told_of(keys) if told.expiry is not None]
        expiries = [expiry.value for expiry in told if expiry.stamp == stamp]
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
        merged = merge(self.unsettled[source], self.unsettled[target])
        for former in self.customers.merged_into(source):
            self.unsettled[former] = self.unsettled[former]._replace(merged_into=target)
            self.resolved.pop(former, None)
            self.customers.add(self.unsettled[former])
        for keys in self.met.pop(source, ()):
            for key in keys:
                self.knowing[key].discard(source)
        for wallet in (merged.source, merged.target):
            self.unsettled[wallet.id] = wallet
            self.customers.add(wallet)
        self.merges.setdefault(target, []).extend((*self.merges.pop(source, ()), *merged.changes))
        self._meet(target, merged.target.knows())
        self._settle(source)
        self._settle(target)

    def _named(self, scope: Scope) -> set[WalletId]:
        """The wallets of the customer so named; a merged wallet stands for the one it went into."""
        found = set()
        for wallet_id in self.customers.with_any_of(scope):
            wallet = self.unsettled[wallet_id]
            if belongs_to(scope, wallet):
                found.add(wallet.merged_into or wallet.id)
        return found

    def _settle_the_others(self) -> None:
        for wallet_id in self.unsettled:
            self._resolution(wallet_id)

    def _resolution(self, wallet_id: WalletId) -> Resolution:
        if wallet_id not in self.resolved:
            self._settle(wallet_id)
        return self.resolved[wallet_id]

    def _settle(self, wallet_id: WalletId) -> bool:
        """Settle it by what is known now; True if it differs from what it was before."""
        unsettled = self.unsettled[wallet_id]
        resolution = Resolution(unsettled, self.knowledge, partial(self.name, wallet_id), self.effort)
        self.resolved[wallet_id] = resolution
        self._meet(wallet_id, resolution.fresh_keys())
        return _differ(unsettled, resolution.settlement.wallet)

    def _learn(self, wallet_id: WalletId, update: Update) -> bool:
        """Have the wallet learn what the knowledge has just learnt; True if it differs from what it was before it."""
        resolution = self.resolved.get(wallet_id)
        if resolution is None:
            return self._settle(wallet_id)
        changed = resolution.learn(update)
        self._meet(wallet_id, resolution.fresh_keys())
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


def _as_parked(update: Update) -> Parked:
    keys = () if update.old is None else update.old.keys
    return Parked(0, update.stamp, keys, update.scope, update.merge_from, update.merge_into)
