"""The accounts of a wallet: which of its credentials belong together, by its methods and by the facts it follows.

A fact is followed if the wallet knows its `old`, it is about this customer, and following it would not join methods of
different types or of different payment account references. Facts are tried from the earliest on, so that which of two
irreconcilable ones is refused does not depend on which came in first.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from domain.groups import Groups
from domain.knowledge import Fact, Knowledge, Pair
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
    keys: set[Key] = field(default_factory=set)
    methods: list[Method] = field(default_factory=list)
    pars: set[str] = field(default_factory=set)
    followed: list[Fact] = field(default_factory=list)
    """Earliest first."""
    facts: Sequence[Fact] = ()
    """Of those followed, each pair once."""

    @property
    def live(self) -> tuple[Method, ...]:
        return tuple(method for method in self.methods if method.live)

    @property
    def latest(self) -> Fact | None:
        return self.facts[-1] if self.facts else None

    def card(self, fact: Fact) -> frozenset[Key]:
        """The credentials that are the same card as the `new` of `fact`.

        They are on one method, or two names of one credential, or told alike: the network, the token service and the
        processor each tell one reissue under tokens of their own.
        """
        card = set(fact.new.keys)
        groups: list[Collection[Key]] = [method.keys for method in self.methods]
        groups += [credential.keys for fact in self.followed for credential in (fact.old, fact.new)]
        groups += _alike(self.followed)
        while touching := [group for group in groups if not card.isdisjoint(group)]:
            groups = [group for group in groups if card.isdisjoint(group)]
            card.update(*touching)
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
        account.followed.sort(key=lambda fact: fact.stamp)
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
        self._at: dict[Key, dict[MethodType, Account]] = {}
        self._met: set[Pair] = set()

    def add(self, method: Method) -> None:
        account = self._join(method.type, method.keys)
        account.methods.append(method)
        if method.par is not None:
            account.pars.add(method.par)

    def follow(self, fact: Fact) -> None:
        keys = fact.old.keys + fact.new.keys
        known = [self._at[key] for key in keys if key in self._at]
        method_type = self._type_of(fact)
        if method_type is None or not all(method_type in by_type for by_type in known):
            self.refused.append((fact, Conflict.TYPE_CONFLICT))
            return
        pars = {par for by_type in known for par in by_type[method_type].pars}
        if fact.told.par is not None:
            pars.add(fact.told.par)
        if len(pars) > 1:
            self.refused.append((fact, Conflict.ACCOUNT_CONFLICT))
            return
        account = self._join(method_type, keys)
        account.pars = pars
        account.followed.append(fact)

    def _join(self, method_type: MethodType, keys: Iterable[Key]) -> Account:
        """The one account that holds all of `keys` from now on."""
        account: Account | None = None
        fresh: list[Key] = []
        for key in keys:
            other = self._at.setdefault(key, {}).get(method_type)
            if other is None:
                fresh.append(key)
            elif account is None:
                account = other
            elif other is not account:
                self._unite(account, other)
        if account is None:
            account = Account(method_type)
            self.accounts.append(account)
        for key in fresh:
            self._at[key][method_type] = account
            account.keys.add(key)
            self._meet(key)
        return account

    def _unite(self, one: Account, other: Account) -> None:
        self.accounts.remove(other)
        for key in other.keys:
            self._at[key][one.type] = one
        one.keys |= other.keys
        one.methods += other.methods
        one.pars |= other.pars
        one.followed += other.followed

    def _meet(self, key: Key) -> None:
        for fact in self.knowledge.facts_from(key):
            if fact.pair not in self._met and belongs_to(fact.scope, self.wallet):
                self._met.add(fact.pair)
                heappush(self.waiting, (fact.stamp, fact.pair, fact))

    def _type_of(self, fact: Fact) -> MethodType | None:
        """Of the method that the fact is about; None where that cannot be told or is not what the fact says."""
        types = {method_type for key in fact.old.keys for method_type in self._at.get(key, ())}
        if fact.method_type is not None:
            return fact.method_type if fact.method_type in types else None
        return types.pop() if len(types) == 1 else None


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


def _each_pair_once(followed: Sequence[Fact]) -> Sequence[Fact]:
    """Of those that name one pair by different names of its credentials only the earliest.

    What only gives a credential another name replaces nothing, so it counts where there is nothing else.
    """
    if len(followed) <= 1:
        return followed
    names: Groups[Key] = Groups()
    for fact in followed:
        names.join(fact.old.keys)
        names.join(fact.new.keys)
    pairs: dict[tuple[Key, Key], Fact] = {}
    for fact in followed:
        pairs.setdefault((names.find(fact.old.key), names.find(fact.new.key)), fact)
    return [fact for (old, new), fact in pairs.items() if old != new] or list(pairs.values())
