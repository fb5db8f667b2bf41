"""The accounts of a wallet: which of its credentials belong together, by its methods and by the facts it follows.

A wallet follows a fact if three conditions hold. The wallet knows the fact's `old`. The fact is about this customer.
Following it does not join methods of different types or with different payment account references (PARs). A person may
accept a fact in spite of its PARs, or of the type that it reported.

Facts are tried from the earliest on. Which of two irreconcilable facts is refused therefore does not depend on their
order of arrival.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from heapq import heappop, heappush
from typing import TypeAlias

from domain.cards import Cards, DistinctFacts, card_of_single_fact
from domain.effort import MOST_CREDENTIALS, TooMuch
from domain.knowledge import CardFace, Fact, FactId, Knowledge
from domain.update import Stamp
from domain.wallet import Key, Method, MethodType, Wallet, belongs_to


class Conflict(StrEnum):
    """Why a fact is not followed in a wallet."""

    TYPE_CONFLICT = "TYPE_CONFLICT"
    ACCOUNT_CONFLICT = "ACCOUNT_CONFLICT"


RefusedFact: TypeAlias = tuple[Fact, Conflict]
"""A fact that a wallet does not follow, and why."""


class Account:
    """Credentials joined by being on one method or by a followed fact; it grows while facts are followed.

    The same token on a card and on a bank account are two identities (design.md §3), so they are in two accounts.
    """

    __slots__ = ("_cards", "_distinct", "followed", "keys", "live", "methods", "pars", "type")

    def __init__(self, method_type: MethodType) -> None:
        self.type = method_type
        self.keys: set[Key] = set()
        self.methods: list[Method] = []
        self.live: list[Method] = []
        self.pars: set[str] = set()
        # In the order in which they were followed.
        self.followed: list[Fact] = []
        self._distinct: DistinctFacts | None = None
        self._cards: Cards | None = None

    @property
    def distinct(self) -> DistinctFacts:
        """The followed facts without repetitions; only for an account with facts."""
        if self._distinct is None:
            self._distinct = DistinctFacts(self.followed)
        return self._distinct

    @property
    def latest(self) -> Fact | None:
        return self.distinct.latest if self.followed else None

    @property
    def facts(self) -> Sequence[Fact]:
        """The followed facts without repetitions, the earliest first."""
        return self.distinct.facts if self.followed else ()

    def card(
        self, fact: Fact, faces: Callable[[], Sequence[tuple[Key, CardFace]]]
    ) -> tuple[frozenset[Key], list[Fact]]:
        """The card that `fact` names: its credentials, and the facts that name it, the latest first.

        `faces` returns the cards behind the account's tokens that stay. When more of them become known, call
        `forget_cards` before the next call.
        """
        if self._cards is None:
            behind = faces()
            if len(self.followed) == 1 and not behind:
                return card_of_single_fact(fact, self.methods), self.followed
            self._cards = Cards(self.methods, self.followed, behind)
        return self._cards.of(fact)

    def forget_cards(self) -> None:
        """Have the cards computed again at the next call of `card`."""
        self._cards = None

    def follow(self, fact: Fact) -> None:
        """Add a fact; its credentials are in the account already."""
        self.followed.append(fact)
        if self._distinct is not None and not self._distinct.add(fact):
            self._distinct = None
        if self._cards is not None:
            self._cards.add(fact)

    def unite(self, first: "Account", second: "Account") -> None:
        """Take over all contents of `first` and `second`; this account is one of the two."""
        self.keys |= (first if self is second else second).keys
        self.pars = first.pars | second.pars
        self.methods = first.methods + second.methods
        self.live = first.live + second.live
        self.followed = first.followed + second.followed
        self._distinct = self._cards = None


class Accounts:
    """The accounts of one wallet, as far as facts lead. They grow with facts that are learnt later.

    Raises:
        TooMuch: an account has more than `MOST_CREDENTIALS`.
    """

    def __init__(self, wallet: Wallet, knowledge: Knowledge) -> None:
        self.wallet = wallet
        self.all: list[Account] = []
        self.refused: list[RefusedFact] = []
        self.known_facts: dict[FactId, Fact] = {}
        """The facts that the wallet knows of, followed or refused."""
        self.followed_in: dict[FactId, Account] = {}
        self.in_order = True
        """False if a fact was followed before an earlier one. Only the order within lists depends on this."""
        self._has_accepted = False
        # Payment account references that a person took for one, each with the one that stands for all of them.
        self._same_par: dict[str, str] = {}
        self._knowledge = knowledge
        self._of: dict[MethodType, dict[Key, Account]] = {}
        self._conflicts: dict[Stamp, Conflict] = {}
        self._latest_known: Stamp | None = None
        self._untried: list[tuple[Stamp, FactId, Fact]] = []
        self._fresh: list[Key] = []
        self._grown: dict[Account, None] = {}
        self._united: list[Account] = []
        for method in wallet.methods:
            self._add(method)
        self._follow_all()

    def __len__(self) -> int:
        """How many methods and facts a resolution looks at (see `domain.effort`)."""
        return len(self.wallet.methods) + len(self.known_facts)

    def of(self, keys: Iterable[Key]) -> list[Account]:
        """The accounts that hold any of `keys`: for each key at most one account of each type."""
        accounts: dict[Account, None] = {}
        for account_of in self._of.values():
            for key in keys:
                if key in account_of:
                    accounts[account_of[key]] = None
        return list(accounts)

    def conflict(self, stamp: Stamp) -> Conflict | None:
        """Why the fact with this stamp is not followed; None if it is followed, or unknown to this wallet."""
        return self._conflicts.get(stamp)

    def collect_growth(self) -> tuple[list[Key], list[Account], list[Account]]:
        """The growth since the last call: new credentials, accounts that grew, and accounts united into others."""
        growth = self._fresh, list(self._grown), self._united
        self._fresh, self._grown, self._united = [], {}, []
        return growth

    def grow(self, fact: Fact) -> bool:
        """Follow a fact that was just learnt, and those that it leads to; False if the accounts must be computed anew.

        A fact that is later than all others would be tried last anyway. An earlier fact may be followed out of order if
        no fact is refused: then every order follows all facts and gives the same accounts. With a fact that a person
        accepted, the order matters: what its accounts refer to is one from then on.
        """
        if not self.of(fact.old.keys):
            return True
        late = self._latest_known is None or fact.stamp > self._latest_known
        if not late and (self._has_accepted or fact.accepted):
            return False
        if not late and self.refused and not self._contradicts_a_method(fact):
            return False
        self.in_order = self.in_order and late
        self._discover(fact)
        refused = len(self.refused)
        self._follow_all()
        if not late and self._has_accepted:
            return False
        return late or refused == len(self.refused) or self._contradicts_a_method(fact)

    def _contradicts_a_method(self, fact: Fact) -> bool:
        """Whether every order of trying refuses the fact, because its PAR differs from that of a method."""
        if fact.reported.par is None or len(self._of) > 1:
            return False
        names = {*fact.old.keys, *fact.new.keys}
        return any(
            method.par not in (None, fact.reported.par) and names & method.keys for method in self.wallet.methods
        )

    def _add(self, method: Method) -> None:
        account = self._join(method.type, method.keys)
        account.methods.append(method)
        if method.live:
            account.live.append(method)
        if method.par is not None:
            account.pars.add(method.par)

    def _follow_all(self) -> None:
        while self._untried:
            _, fact_id, fact = heappop(self._untried)
            self._follow(fact_id, fact)

    def _follow(self, fact_id: FactId, fact: Fact) -> None:
        keys = fact.old.keys + fact.new.keys
        is_accepted = any(belongs_to(scope, self.wallet) for scope in fact.accepted)
        method_type = self._type_of(fact, is_accepted=is_accepted)
        if method_type is None:
            self._refuse(fact, Conflict.TYPE_CONFLICT)
            return
        account_of = self._of[method_type]
        pars = self._pars_of(fact, [account_of[key] for key in keys if key in account_of])
        if len(pars) > 1:
            if not is_accepted:
                self._refuse(fact, Conflict.ACCOUNT_CONFLICT)
                return
            pars = {self._take_for_one(pars)}
        self._fresh += [key for key in keys if key not in account_of]
        account = self._join(method_type, keys)
        self._grown[account] = None
        account.pars = pars
        account.follow(fact)
        self.followed_in[fact_id] = account
        if len(account.followed) > MOST_CREDENTIALS:
            raise TooMuch(f"an account has more than {MOST_CREDENTIALS} credentials")

    def _pars_of(self, fact: Fact, accounts: Iterable[Account]) -> set[str]:
        """The payment account references that following the fact would bring into one account."""
        pars = set() if fact.reported.par is None else {fact.reported.par}
        for account in accounts:
            pars |= account.pars
        return {self._same_par.get(par, par) for par in pars} if self._same_par else pars

    def _take_for_one(self, pars: AbstractSet[str]) -> str:
        """Take these references for one, in the whole wallet; the one that stands for all of them."""
        first = min(pars)
        self._same_par = {par: first if known in pars else known for par, known in self._same_par.items()}
        self._same_par.update(dict.fromkeys(pars, first))
        return first

    def _refuse(self, fact: Fact, conflict: Conflict) -> None:
        self.refused.append((fact, conflict))
        self._conflicts.setdefault(fact.stamp, conflict)

    def _join(self, method_type: MethodType, keys: Iterable[Key]) -> Account:
        """The account that holds all of `keys` from now on; others that hold some of them are united into it."""
        account_of = self._of.setdefault(method_type, {})
        account: Account | None = None
        fresh = []
        for key in keys:
            holder = account_of.get(key)
            if holder is None:
                fresh.append(key)
            elif holder is not account:
                account = holder if account is None else self._unite(account, holder)
        if account is None:
            account = Account(method_type)
            self.all.append(account)
        for key in fresh:
            account_of[key] = account
            account.keys.add(key)
            for fact in self._knowledge.facts_from(key):
                self._discover(fact)
        return account

    def _unite(self, first: Account, second: Account) -> Account:
        """Unite two accounts: the larger one takes over the smaller one, at the place of `first`."""
        small, large = (first, second) if len(first.keys) < len(second.keys) else (second, first)
        self.all.remove(second)
        self.all[self.all.index(first)] = large
        self._of[large.type].update(dict.fromkeys(small.keys, large))
        for fact in small.followed:
            self.followed_in[fact.id] = large
        large.unite(first, second)
        self._united.append(small)
        self._grown.pop(small, None)
        return large

    def _discover(self, fact: Fact) -> None:
        fact_id = fact.id
        if fact_id not in self.known_facts and belongs_to(fact.scope, self.wallet):
            self.known_facts[fact_id] = fact
            self._has_accepted = self._has_accepted or bool(fact.accepted)
            if self._latest_known is None or self._latest_known < fact.stamp:
                self._latest_known = fact.stamp
            heappush(self._untried, (fact.stamp, fact_id, fact))

    def _type_of(self, fact: Fact, *, is_accepted: bool) -> MethodType | None:
        """The method type that the fact is about; None if the wallet has none, or if the fact would join two types.

        An accepted fact is about the wallet's type, whatever type it reported.
        """
        types = [type_ for type_, account_of in self._of.items() if not account_of.keys().isdisjoint(fact.old.keys)]
        if fact.method_type in types:
            types = [fact.method_type]
        elif fact.method_type is not None and not is_accepted:
            return None
        if len(types) != 1:
            return None
        same_type = self._of[types[0]]
        new_keys = [key for key in fact.old.keys + fact.new.keys if key not in same_type]
        of_another_type = any(not account_of.keys().isdisjoint(new_keys) for account_of in self._of.values())
        return None if of_another_type else types[0]
