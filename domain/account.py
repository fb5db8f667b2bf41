"""The accounts of a wallet: which of its credentials belong together, by its methods and by the facts it follows.

A fact is followed if the wallet knows its `old`, it is about this customer, and following it would not join methods of
different types or of different payment account references. Facts are tried from the earliest on, so that which of two
irreconcilable ones is refused does not depend on which came in first.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from domain.groups import Groups
from domain.knowledge import Fact, Knowledge, Pair, Shown
from domain.wallet import Key, Method, MethodType, Wallet, belongs_to

if TYPE_CHECKING:
    from domain.update import Stamp


class Conflict(StrEnum):
    """Why a fact is not followed in a wallet."""

    TYPE_CONFLICT = "TYPE_CONFLICT"
    ACCOUNT_CONFLICT = "ACCOUNT_CONFLICT"


Refused: TypeAlias = tuple[Fact, Conflict]


@dataclass(slots=True, eq=False)
class Account:
    """Credentials joined by being on one method or by a followed fact; it grows while facts are followed.

    The same token on a card and on a bank account are two identities (design.md §3), so they are in two accounts.
    """

    type: MethodType
    keys: set[Key]
    methods: list[Method]
    live: list[Method]
    pars: set[str]
    followed: list[Fact]
    """Earliest first."""
    facts: Sequence[Fact] = ()
    """Of those followed, each pair once."""

    @property
    def latest(self) -> Fact | None:
        return self.facts[-1] if self.facts else None

    def card(self, fact: Fact, shown: Iterable[tuple[Key, Shown]]) -> frozenset[Key]:
        """The credentials that are the same card as the `new` of `fact`.

        They are on one method, or two names of one credential, or told alike: the network, the token service and the
        processor each tell one reissue under tokens of their own. `shown` are the cards behind its tokens that stay.
        """
        groups: list[Collection[Key]] = [method.keys for method in self.methods]
        for followed in self.followed:
            groups += (followed.old.keys, followed.new.keys)
        if len(self.followed) > 1:
            groups += _alike(self.followed)
        groups += [
            (key, followed.new.key) for key, card in shown for followed in self.followed if _is_new_of(card, followed)
        ]
        card: set[Key] = set()
        grown = set(fact.new.keys)
        while len(card) < len(grown):
            card = grown.copy()
            for group in groups:
                if not grown.isdisjoint(group):
                    grown.update(group)
        return frozenset(card)


def accounts_of(wallet: Wallet, knowledge: Knowledge) -> tuple[tuple[Account, ...], tuple[Refused, ...]]:
    """The accounts of `wallet`, and the facts that it would know of but does not follow."""
    found = _Finding(wallet, knowledge)
    for method in wallet.methods:
        found.add(method)
    while found.waiting:
        _, _, fact = heappop(found.waiting)
        found.follow(fact)
    for account in found.accounts:
        if account.followed:
            account.facts = _each_pair_once(account.followed)
    return tuple(found.accounts), tuple(found.refused)


class _Finding:
    """The accounts as far as they are found; `waiting` are facts about what is known by now, the earliest first."""

    def __init__(self, wallet: Wallet, knowledge: Knowledge) -> None:
        self.wallet = wallet
        self.knowledge = knowledge
        self.accounts: list[Account] = []
        self.waiting: list[tuple[Stamp, Pair, Fact]] = []
        self.refused: list[Refused] = []
        self._of: dict[MethodType, dict[Key, Account]] = {}
        self._met: set[Pair] = set()

    def add(self, method: Method) -> None:
        account = self._join(method.type, method.keys)
        account.methods.append(method)
        if method.live:
            account.live.append(method)
        if method.par is not None:
            account.pars.add(method.par)

    def follow(self, fact: Fact) -> None:
        keys = fact.old.keys + fact.new.keys
        method_type = self._type_of(fact)
        if method_type is None:
            self.refused.append((fact, Conflict.TYPE_CONFLICT))
            return
        there = self._of[method_type]
        pars = set() if fact.told.par is None else {fact.told.par}
        for key in keys:
            if key in there:
                pars |= there[key].pars
        if len(pars) > 1:
            self.refused.append((fact, Conflict.ACCOUNT_CONFLICT))
            return
        account = self._join(method_type, keys)
        account.pars = pars
        account.followed.append(fact)

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
            account = Account(method_type, set(), [], [], set(), [])
            self.accounts.append(account)
        for key in fresh:
            there[key] = account
            account.keys.add(key)
            for fact in self.knowledge.facts_from(key):
                self._meet(fact)
        return account

    def _unite(self, one: Account, other: Account) -> Account:
        self.accounts.remove(other)
        self._of[one.type].update(dict.fromkeys(other.keys, one))
        one.keys |= other.keys
        one.methods += other.methods
        one.live += other.live
        one.pars |= other.pars
        one.followed += other.followed
        return one

    def _meet(self, fact: Fact) -> None:
        pair = fact.pair
        if pair not in self._met and belongs_to(fact.scope, self.wallet):
            self._met.add(pair)
            heappush(self.waiting, (fact.stamp, pair, fact))

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


def _alike(facts: Iterable[Fact]) -> list[frozenset[Key]]:
    """The `new` of facts from different vendors whose brand, last4 and expiry are all given and equal."""
    seen: dict[object, list[Fact]] = {}
    for fact in facts:
        told = fact.told
        if told.brand is not None and told.last4 is not None and told.expiry is not None:
            seen.setdefault((told.brand, told.last4, told.expiry), []).append(fact)
    return [
        frozenset(fact.new.key for fact in alike)
        for alike in seen.values()
        if len({fact.stamp.vendor for fact in alike}) > 1
    ]


def _is_new_of(card: Shown, fact: Fact) -> bool:
    """Whether the card behind a token is the `new` of another vendor's fact; not every token service tells brands."""
    told = fact.told
    return (
        card.vendor != fact.stamp.vendor
        and (card.last4, card.expiry) == (told.last4, told.expiry)
        and card.brand in (None, told.brand)
    )


def _each_pair_once(followed: list[Fact]) -> Sequence[Fact]:
    """Of those that name one pair by different names of its credentials only the earliest.

    What only gives a credential another name replaces nothing, so it counts where there is nothing else.
    """
    if len(followed) == 1:
        return followed
    followed.sort(key=lambda fact: fact.stamp)
    names: Groups[Key] = Groups()
    for fact in followed:
        # a token that stays is no other name of the cards behind it
        names.join((fact.old.key,) if fact.in_place else fact.old.keys)
        names.join((fact.new.key,) if fact.in_place else fact.new.keys)
    pairs: dict[tuple[Key, Key], Fact] = {}
    for fact in followed:
        pairs.setdefault((names.find(fact.old.key), names.find(fact.new.key)), fact)
    return [fact for (old, new), fact in pairs.items() if old != new] or list(pairs.values())
