"""The resolution of one wallet, kept up to date while updates are learnt one after another.

The accounts of the wallet are computed once. An update makes the account that it is about grow, and only this account
is resolved again: the last of 500 updates of one wallet costs as much as the first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from domain.account import Account, Accounts
from domain.cuts import Cuts
from domain.effort import Effort
from domain.knowledge import Contribution, CredentialState, Fact, Knowledge
from domain.resolve import Draft, Resolution, combine, resolve, resolve_account
from domain.update import Stamp, Update, UpdateType
from domain.wallet import Key, Link, LinkId, Method, MethodId, Wallet

Effect: TypeAlias = tuple[Mapping[MethodId, Method], Mapping[LinkId, Link]]
"""The methods and links of a wallet that differ from what they were before."""


class Standing(NamedTuple):
    """How an update stands in a wallet that it did not change.

    `live`: it is about a live method. `latest`: its fact is the latest of an account. `followed`: its fact is one of an
    account. `held`: a live method holds one of its credentials. `outlasted`: such a method differs from what it
    reported: its status or a detail was reported later, or its expiry is later.
    """

    live: bool
    latest: bool = False
    followed: bool = False
    held: bool = False
    outlasted: bool = False


class WalletResolver:
    """Resolves one wallet, again after each update.

    `wallet` is the wallet before all updates, `resolution` the wallet after those learnt so far. `name` returns ids for
    new methods (see `domain.resolve.resolve`). `effort` limits what the whole decision may look at.
    """

    def __init__(self, wallet: Wallet, knowledge: Knowledge, name: Callable[[Key], MethodId], effort: Effort) -> None:
        self.wallet = wallet
        self._knowledge = knowledge
        self._name = name
        self._effort = effort
        self._methods_before: Mapping[MethodId, Method] | None = None
        self._drafts: dict[Account, Draft] = {}
        self._cuts: dict[Account, Cuts] = {}
        self._conflicts: set[Account] | None = None
        self._resolution: Resolution | None = None
        self._fresh: list[Key] = []
        self._compute_accounts()

    @property
    def resolution(self) -> Resolution:
        if self._resolution is None:
            if not self.accounts.in_order:
                self._compute_accounts()
            drafts = [self._drafts[account] for account in self.accounts.all if account in self._drafts]
            self._resolution = combine(self.accounts, drafts)
        return self._resolution

    def fresh_keys(self) -> list[Key]:
        """The credentials that the wallet has come to know since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def learn(self, update: Update) -> bool:
        """Resolve by `update`, which the knowledge has just learnt; True if the wallet differs from before it."""
        assert update.old is not None
        fact = self._fact_of(update)
        if fact is None:
            accounts = self.accounts.of(update.old.keys)
            if "last4" in update.new.details:
                self._forget_cards(accounts)
            return self._resolve_again(accounts)
        known = self.accounts.known_facts.get(fact.id)
        if known is fact:
            return False
        if known is None and self.accounts.grow(fact):
            return self._resolve_grown()
        before = self._effect(self._drafts.values())
        self._compute_accounts()
        return before != self._effect(self._drafts.values())

    def would_differ_without(self, stamp: Stamp, keys: Sequence[Key]) -> bool:
        """Whether the wallet would differ if the update with this stamp, which is about `keys`, had not come."""
        now = self.resolution.wallet
        contribution = self._knowledge.contribution(stamp, keys)
        for account in self.accounts.of(keys):
            depends = self._depends_on(stamp, contribution, account)
            if depends is None:
                # If an exact answer would take too long, the update is taken to have counted.
                return not self._effort.spare(len(self.accounts)) or self._differs_without(stamp, now)
            if depends:
                return True
        return False

    def standing(self, stamp: Stamp, keys: Sequence[Key]) -> Standing:
        """How the update with this stamp, which is about `keys`, stands in the wallet. It must not have changed it."""
        accounts = self.accounts.of(keys)
        live = any(account.live for account in accounts)
        with_facts = [account.distinct for account in accounts if account.followed]
        if any(distinct.latest.stamp == stamp for distinct in with_facts):
            return Standing(live=live, latest=True)
        holding = [
            method for account in accounts for method in self._live_methods(account) if not method.keys.isdisjoint(keys)
        ]
        return Standing(
            live=live,
            followed=any(distinct.includes(stamp) for distinct in with_facts),
            held=bool(holding),
            outlasted=bool(holding) and self._outlasts(holding, stamp, keys),
        )

    def _outlasts(self, methods: Sequence[Method], stamp: Stamp, keys: Sequence[Key]) -> bool:
        states = [state for _, state in self._knowledge.states_of(keys)]
        return any(_differs(method, state, stamp) for method in methods for state in states)

    def _live_methods(self, account: Account) -> list[Method]:
        """The live methods of one account, as resolved."""
        draft = self._drafts.get(account)
        methods = {method.id: method for method in account.live}
        if draft is not None:
            methods |= draft.methods
        return [method for method in methods.values() if method.live]

    # --- resolving ------------------------------------------------------------------------------------------------

    def _compute_accounts(self) -> None:
        self.accounts = Accounts(self.wallet, self._knowledge)
        self._effort.spend(len(self.accounts))
        self._forget_derived()
        self._drafts.clear()
        self._fresh, _, _ = self.accounts.collect_growth()
        for account in self.accounts.all:
            if account.live:
                draft = resolve_account(account, self.wallet, self._knowledge, self._name)
                if draft is not None:
                    self._drafts[account] = draft

    def _resolve_grown(self) -> bool:
        fresh, grown, united = self.accounts.collect_growth()
        self._fresh += fresh
        if any(state.cards for _, state in self._knowledge.states_of(fresh)):
            self._forget_cards(grown)
        return self._resolve_again(grown, united)

    def _resolve_again(self, accounts: Sequence[Account], united: Sequence[Account] = ()) -> bool:
        """Resolve these accounts anew; `united` are parts of them now. True if a method or link differs from before."""
        before = self._effect(self._drafts.pop(account) for account in (*accounts, *united) if account in self._drafts)
        for account in accounts:
            draft = resolve_account(account, self.wallet, self._knowledge, self._name)
            if draft is not None:
                self._effort.spend(1 + len(draft.card))
                self._drafts[account] = draft
        self._forget_derived()
        return before != self._effect(self._drafts[account] for account in accounts if account in self._drafts)

    def _forget_derived(self) -> None:
        self._resolution = None
        self._conflicts = None
        self._cuts.clear()

    def _effect(self, drafts: Iterable[Draft]) -> Effect:
        if self._methods_before is None:
            self._methods_before = {method.id: method for method in self.wallet.methods}
        before = self._methods_before
        methods: dict[MethodId, Method] = {}
        links: dict[LinkId, Link] = {}
        for draft in drafts:
            methods.update((id_, method) for id_, method in draft.methods.items() if before.get(id_) != method)
            links |= draft.links
        return methods, links

    def _forget_cards(self, accounts: Iterable[Account]) -> None:
        for account in accounts:
            self._effort.spend(len(account.keys))
            account.forget_cards()

    def _fact_of(self, update: Update) -> Fact | None:
        """The fact that `update` reported, as it is known now; None if the update is about a change in place."""
        new = update.new.credential
        if update.type is not UpdateType.NUMBER_REPLACED or update.old is None or new is None:
            return None
        return self._knowledge.facts.get((update.old.key, new.key, update.scope))

    # --- if it had not come ---------------------------------------------------------------------------------------

    def _depends_on(self, stamp: Stamp, contribution: Contribution, account: Account) -> bool | None:
        """Whether the draft of `account` depends on the update; None if only a resolution without it can say."""
        followed = [fact for fact in contribution.facts if fact.stamp == stamp]
        followed = [fact for fact in followed if self.accounts.followed_in.get(fact.id) is account]
        if followed and account in self._in_conflict():
            return None
        draft = self._drafts.get(account)
        if draft is None:
            return False
        if self._may_count(stamp, contribution, account, draft.state):
            return None
        if not followed:
            return False
        if account not in self._cuts:
            self._cuts[account] = Cuts(account, draft)
        return self._cuts[account].depends_on(followed[0])

    def _may_count(self, stamp: Stamp, contribution: Contribution, account: Account, state: CredentialState) -> bool:
        """Whether a status, expiry or detail that counts stands on `stamp`, or the face of a card behind a token."""
        counting = (state.status, state.expiry, *state.details.values())
        if any(dated is not None and dated.stamp == stamp for dated in counting):
            return contribution.in_place or any(fact.stamp != stamp for fact in contribution.facts)
        return contribution.shows_cards and bool(account.followed)

    def _in_conflict(self) -> set[Account]:
        """The accounts that a refused fact is about. Without another fact, the refused one might be followed."""
        if self._conflicts is None:
            self._conflicts = set()
            for fact, _ in self.accounts.refused:
                self._conflicts.update(self.accounts.of((*fact.old.keys, *fact.new.keys)))
        return self._conflicts

    def _differs_without(self, stamp: Stamp, now: Wallet) -> bool:
        knowledge = self._knowledge.without(stamp, self.wallet.knows())
        without = resolve(self.wallet, knowledge, self._name).wallet
        return without.methods != now.methods or without.links != now.links


def _differs(method: Method, state: CredentialState, stamp: Stamp) -> bool:
    """Whether `method` differs from what the report with this stamp, as kept in `state`, said of it."""
    status, expiry = state.status, state.expiry
    own = method.details
    return (
        (status is not None and status.stamp == stamp and method.status is not status.value)
        or (expiry is not None and expiry.stamp == stamp and own.expiry is not None and own.expiry > expiry.value)
        or any(dated.stamp == stamp and getattr(own, name) != dated.value for name, dated in state.details.items())
    )
