"""One wallet as it should be, kept up to date while updates are learnt one after another.

The accounts of the wallet are found once. An update makes the account that it is about grow, and only this account is
resolved again: of 500 updates of one wallet the last one costs what the first one did.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from domain.account import Account, Accounts
from domain.cuts import Cuts
from domain.effort import Effort
from domain.knowledge import Contribution, CredentialState, Fact, Knowledge
from domain.resolve import Draft, Resolution, combine, resolve, resolve_account
from domain.update import Stamp, Update, UpdateType
from domain.wallet import Key, Link, LinkId, Method, MethodId, Wallet

Effect: TypeAlias = tuple[Mapping[MethodId, Method], Mapping[LinkId, Link]]
"""The methods and links of a wallet that are not as they were."""


class WalletResolver:
    """`wallet` is what it was; `resolution` is what it should be.

    `name` gives ids to methods as `domain.resolve.resolve` asks for them; `effort` is what the decision may look at.
    """

    def __init__(self, wallet: Wallet, knowledge: Knowledge, name: Callable[[Key], MethodId], effort: Effort) -> None:
        self.wallet = wallet
        self._knowledge = knowledge
        self._name = name
        self._effort = effort
        self._were: Mapping[MethodId, Method] | None = None
        self._drafts: dict[Account, Draft] = {}
        self._cuts: dict[Account, Cuts] = {}
        self._conflicts: set[Account] | None = None
        self._resolution: Resolution | None = None
        self._fresh: list[Key] = []
        self._find()

    @property
    def resolution(self) -> Resolution:
        if self._resolution is None:
            if not self.accounts.in_order:
                self._find()
            drafts = [self._drafts[account] for account in self.accounts.all if account in self._drafts]
            self._resolution = combine(self.accounts, drafts)
        return self._resolution

    def fresh_keys(self) -> list[Key]:
        """The credentials that the wallet has come to know since this was asked before."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def learn(self, update: Update) -> bool:
        """Take in what the knowledge has just learnt of `update`; True if the wallet is to be another by it."""
        assert update.old is not None
        fact = self._fact_of(update)
        if fact is None:
            accounts = self.accounts.of(update.old.keys)
            if "last4" in update.new.details:
                self._forget_cards(accounts)
            return self._resolve_again(accounts)
        met = self.accounts.met.get(fact.pair)
        if met is fact:
            return False
        if met is None and self.accounts.grow(fact):
            return self._resolve_grown()
        before = self._effect(self._drafts.values())
        self._find()
        return before != self._effect(self._drafts.values())

    def would_differ_without(self, stamp: Stamp, keys: Sequence[Key]) -> bool:
        """Whether the wallet would be another one had the update of `stamp`, which told of `keys`, not come."""
        now = self.resolution.wallet
        contribution = self._knowledge.contribution(stamp, keys)
        for account in self.accounts.of(keys):
            rests = self._rests_on(stamp, contribution, account)
            if rests is None:
                # an outcome that would take too long to be exact about says that the update counted
                return not self._effort.spare(len(self.accounts)) or self._differs_without(stamp, now)
            if rests:
                return True
        return False

    def live_methods(self, account: Account) -> list[Method]:
        """The live methods of one of its accounts, as they should be."""
        draft = self._drafts.get(account)
        methods = {method.id: method for method in account.live}
        if draft is not None:
            methods |= draft.methods
        return [method for method in methods.values() if method.live]

    # --- resolving ------------------------------------------------------------------------------------------------

    def _find(self) -> None:
        self.accounts = Accounts(self.wallet, self._knowledge)
        self._effort.spend(len(self.accounts))
        self._forget_what_followed()
        self._drafts.clear()
        self._fresh, _, _ = self.accounts.take_news()
        for account in self.accounts.all:
            if account.live:
                draft = resolve_account(account, self.wallet, self._knowledge, self._name)
                if draft is not None:
                    self._drafts[account] = draft

    def _resolve_grown(self) -> bool:
        fresh, grown, united = self.accounts.take_news()
        self._fresh += fresh
        if any(state.cards for _, state in self._knowledge.states_of(fresh)):
            self._forget_cards(grown)
        return self._resolve_again(grown, united)

    def _resolve_again(self, accounts: Sequence[Account], united: Sequence[Account] = ()) -> bool:
        """Resolve these accounts anew, of which `united` are parts now; True if any method or link is another by it."""
        before = self._effect(self._drafts.pop(account) for account in (*accounts, *united) if account in self._drafts)
        for account in accounts:
            draft = resolve_account(account, self.wallet, self._knowledge, self._name)
            if draft is not None:
                self._effort.spend(1 + len(draft.card))
                self._drafts[account] = draft
        self._forget_what_followed()
        return before != self._effect(self._drafts[account] for account in accounts if account in self._drafts)

    def _forget_what_followed(self) -> None:
        self._resolution = None
        self._conflicts = None
        self._cuts.clear()

    def _effect(self, drafts: Iterable[Draft]) -> Effect:
        if self._were is None:
            self._were = {method.id: method for method in self.wallet.methods}
        methods: dict[MethodId, Method] = {}
        links: dict[LinkId, Link] = {}
        for draft in drafts:
            methods.update((id_, method) for id_, method in draft.methods.items() if self._were.get(id_) != method)
            links |= draft.links
        return methods, links

    def _forget_cards(self, accounts: Iterable[Account]) -> None:
        for account in accounts:
            self._effort.spend(len(account.keys))
            account.forget_cards()

    def _fact_of(self, update: Update) -> Fact | None:
        """The fact that `update` told, as it is known now; None if it told something in place."""
        new = update.new.credential
        if update.type is not UpdateType.NUMBER_REPLACED or update.old is None or new is None:
            return None
        return self._knowledge.facts.get((update.old.key, new.key, update.scope))

    # --- had it not come ------------------------------------------------------------------------------------------

    def _rests_on(self, stamp: Stamp, contribution: Contribution, account: Account) -> bool | None:
        """Whether what became of `account` rests on the word of `stamp`; None if only resolving without it can tell."""
        followed = [fact for fact in contribution.facts if fact.stamp == stamp]
        followed = [fact for fact in followed if self.accounts.followed_in.get(fact.pair) is account]
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
        return self._cuts[account].rests_on(followed[0])

    def _may_count(self, stamp: Stamp, contribution: Contribution, account: Account, state: CredentialState) -> bool:
        """Whether a status, expiry or detail that counts was told by `stamp`, or what a card behind a token shows."""
        counting = (state.status, state.expiry, *state.details.values())
        if any(dated is not None and dated.stamp == stamp for dated in counting):
            return contribution.in_place or any(fact.stamp != stamp for fact in contribution.facts)
        return contribution.shows_cards and bool(account.followed)

    def _in_conflict(self) -> set[Account]:
        """The accounts that a refused fact is about: without another fact it might be followed."""
        if self._conflicts is None:
            self._conflicts = set()
            for fact, _ in self.accounts.refused:
                self._conflicts.update(self.accounts.of((*fact.old.keys, *fact.new.keys)))
        return self._conflicts

    def _differs_without(self, stamp: Stamp, now: Wallet) -> bool:
        otherwise = self._knowledge.without(stamp, self.wallet.knows())
        other = resolve(self.wallet, otherwise, self._name).wallet
        return other.methods != now.methods or other.links != now.links
