"""The accounts of a wallet: which of its credentials belong together, by its methods and by the facts it follows.

A fact is followed if the wallet knows its `old`, it is about this customer, and following it would not join methods of
different types or of different payment account references. Facts are tried from the earliest on, so that which of two
irreconcilable ones is refused does not depend on which came in first.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from heapq import heappop, heappush
from typing import TypeAlias

from domain.cards import Cards, Pairs, named_alone
from domain.effort import MOST_CREDENTIALS, TooMuch
from domain.knowledge import CardFace, Fact, Knowledge, Pair
from domain.update import Stamp
from domain.wallet import Key, Method, MethodType, Wallet, belongs_to


class Conflict(StrEnum):
    """Why a fact is not followed in a wallet."""

    TYPE_CONFLICT = "TYPE_CONFLICT"
    ACCOUNT_CONFLICT = "ACCOUNT_CONFLICT"


Refused: TypeAlias = tuple[Fact, Conflict]


class Account:
    """Credentials joined by being on one method or by a followed fact; it grows while facts are followed.

    The same token on a card and on a bank account are two identities (design.md §3), so they are in two accounts.
    """

    __slots__ = ("_cards", "_pairs", "followed", "keys", "live", "methods", "pars", "type")

    def __init__(self, method_type: MethodType) -> None:
        self.type = method_type
        self.keys: set[Key] = set()
        self.methods: list[Method] = []
        self.live: list[Method] = []
        self.pars: set[str] = set()
        # in the order in which they were followed
        self.followed: list[Fact] = []
        self._pairs: Pairs | None = None
        self._cards: Cards | None = None

    @property
    def pairs(self) -> Pairs:
        """Of the facts that are followed each pair once; only for an account with facts."""
        if self._pairs is None:
            self._pairs = Pairs(self.followed)
        return self._pairs

    @property
    def latest(self) -> Fact | None:
        return self.pairs.latest if self.followed else None

    @property
    def facts(self) -> Sequence[Fact]:
        """Of those followed, each pair once, the earliest first."""
        return self.pairs.facts if self.followed else ()

    def card(
        self, fact: Fact, shown: Callable[[], Sequence[tuple[Key, CardFace]]]
    ) -> tuple[frozenset[Key], list[Fact]]:
        """The card that `fact` names: its credentials, and the facts that name it, the latest first.

        `shown` gives the cards behind the account's tokens that stay. Where more of them are told of, `forget_cards`
        comes before the next question.
        """
        if self._cards is None:
            behind = shown()
            if len(self.followed) == 1 and not behind:
                return named_alone(fact, self.methods), self.followed
            self._cards = Cards(self.methods, self.followed, behind)
        return self._cards.of(fact)

    def forget_cards(self) -> None:
        self._cards = None

    def follow(self, fact: Fact) -> None:
        self.followed.append(fact)
        if self._pairs is not None and not self._pairs.add(fact):
            self._pairs = None
        if self._cards is not None:
            self._cards.add(fact)

    def unite(self, first: "Account", second: "Account") -> None:
        """Become what `first` and `second` are together; it is itself one of the two."""
        self.keys |= (first if self is second else second).keys
        self.pars = first.pars | second.pars
        self.methods = first.methods + second.methods
        self.live = first.live + second.live
        self.followed = first.followed + second.followed
        self._pairs = self._cards = None


class Accounts:
    """The accounts of one wallet, as far as facts lead; facts that are learnt later make them grow.

    Raises:
        TooMuch: an account has more than `MOST_CREDENTIALS`.
    """

    def __init__(self, wallet: Wallet, knowledge: Knowledge) -> None:
        self.wallet = wallet
        self.all: list[Account] = []
        self.refused: list[Refused] = []
        self.met: dict[Pair, Fact] = {}
        """What it knows of, followed or refused."""
        self.followed_in: dict[Pair, Account] = {}
        self.in_order = True
        """False if a fact was followed before an earlier one; only the order within lists depends on it."""
        self._knowledge = knowledge
        self._of: dict[MethodType, dict[Key, Account]] = {}
        self._conflicts: dict[Stamp, Conflict] = {}
        self._latest_met: Stamp | None = None
        self._untried: list[tuple[Stamp, Pair, Fact]] = []
        self._fresh: list[Key] = []
        self._grown: dict[Account, None] = {}
        self._united: list[Account] = []
        for method in wallet.methods:
            self._add(method)
        self._follow_all()

    def __len__(self) -> int:
        """How much there is to look at."""
        return len(self.wallet.methods) + len(self.met)

    def of(self, keys: Iterable[Key]) -> list[Account]:
        """The accounts that hold any of `keys`, one for a type at most for each."""
        found: dict[Account, None] = {}
        for there in self._of.values():
            for key in keys:
                if key in there:
                    found[there[key]] = None
        return list(found)

    def conflict(self, stamp: Stamp) -> Conflict | None:
        """Why the fact of that stamp is not followed; None if it is, or is not known here."""
        return self._conflicts.get(stamp)

    def take_news(self) -> tuple[list[Key], list[Account], list[Account]]:
        """Since this was asked before: credentials that facts led to, accounts that grew, and those that are parts of
        others by now.
        """
        news = self._fresh, list(self._grown), self._united
        self._fresh, self._grown, self._united = [], {}, []
        return news

    def grow(self, fact: Fact) -> bool:
        """Follow a fact that was just learnt, and those that it leads to; False if all are to be found anew.

        A fact that is later than all others is tried after them anyway. Any other fits in wherever it comes as long as
        no fact is refused: then all of them are followed in every order, and join the same.
        """
        if not self.of(fact.old.keys):
            return True
        late = self._latest_met is None or fact.stamp > self._latest_met
        if not late and self.refused and not self._contradicts_a_method(fact):
            return False
        self.in_order = self.in_order and late
        self._meet(fact)
        refused = len(self.refused)
        self._follow_all()
        return late or refused == len(self.refused) or self._contradicts_a_method(fact)

    def _contradicts_a_method(self, fact: Fact) -> bool:
        """Whether the fact is refused whenever it is tried, because it names another account than a method's."""
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
            _, pair, fact = heappop(self._untried)
            self._follow(pair, fact)

    def _follow(self, pair: Pair, fact: Fact) -> None:
        keys = fact.old.keys + fact.new.keys
        method_type = self._type_of(fact)
        if method_type is None:
            self._refuse(fact, Conflict.TYPE_CONFLICT)
            return
        there = self._of[method_type]
        pars = set() if fact.reported.par is None else {fact.reported.par}
        for key in keys:
            if key in there:
                pars |= there[key].pars
        if len(pars) > 1:
            self._refuse(fact, Conflict.ACCOUNT_CONFLICT)
            return
        self._fresh += [key for key in keys if key not in there]
        account = self._join(method_type, keys)
        self._grown[account] = None
        account.pars = pars
        account.follow(fact)
        self.followed_in[pair] = account
        if len(account.followed) > MOST_CREDENTIALS:
            raise TooMuch(f"an account has more than {MOST_CREDENTIALS} credentials")

    def _refuse(self, fact: Fact, conflict: Conflict) -> None:
        self.refused.append((fact, conflict))
        self._conflicts.setdefault(fact.stamp, conflict)

    def _join(self, method_type: MethodType, keys: Iterable[Key]) -> Account:
        """The one account that holds all of `keys` from now on."""
        there = self._of.setdefault(method_type, {})
        account: Account | None = None
        fresh = []
        for key in keys:
            other = there.get(key)
            if other is None:
                fresh.append(key)
            elif other is not account:
                account = other if account is None else self._unite(account, other)
        if account is None:
            account = Account(method_type)
            self.all.append(account)
        for key in fresh:
            there[key] = account
            account.keys.add(key)
            for fact in self._knowledge.facts_from(key):
                self._meet(fact)
        return account

    def _unite(self, first: Account, second: Account) -> Account:
        """The larger one takes over the smaller one, in the place of the first."""
        small, large = (first, second) if len(first.keys) < len(second.keys) else (second, first)
        self.all.remove(second)
        self.all[self.all.index(first)] = large
        self._of[large.type].update(dict.fromkeys(small.keys, large))
        for fact in small.followed:
            self.followed_in[fact.pair] = large
        large.unite(first, second)
        self._united.append(small)
        self._grown.pop(small, None)
        return large

    def _meet(self, fact: Fact) -> None:
        pair = fact.pair
        if pair not in self.met and belongs_to(fact.scope, self.wallet):
            self.met[pair] = fact
            if self._latest_met is None or self._latest_met < fact.stamp:
                self._latest_met = fact.stamp
            heappush(self._untried, (fact.stamp, pair, fact))

    def _type_of(self, fact: Fact) -> MethodType | None:
        """The one type of method that the fact is about; None if it is about none, or would join two."""
        about = [each for each, there in self._of.items() if not there.keys().isdisjoint(fact.old.keys)]
        if fact.method_type is not None:
            about = [fact.method_type] if fact.method_type in about else []
        if len(about) != 1:
            return None
        ours = self._of[about[0]]
        strange = [key for key in fact.old.keys + fact.new.keys if key not in ours]
        elsewhere = [there for there in self._of.values() if not there.keys().isdisjoint(strange)]
        return None if elsewhere else about[0]
