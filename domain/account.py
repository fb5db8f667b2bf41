"""The accounts of a wallet: which of its credentials belong together, by its methods and by the facts it follows.

A fact is followed if the wallet knows its `old`, it is about this customer, and following it would not join methods of
different types or of different payment account references. Facts are tried from the earliest on, so that which of two
irreconcilable ones is refused does not depend on which came in first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush

from domain.groups import Groups
from domain.knowledge import Fact, Knowledge, Pair
from domain.update import Stamp
from domain.wallet import Key, Method, MethodType, Wallet, belongs_to


class Conflict(StrEnum):
    """Why a fact is not followed in a wallet."""

    TYPE_CONFLICT = "TYPE_CONFLICT"
    ACCOUNT_CONFLICT = "ACCOUNT_CONFLICT"


@dataclass(frozen=True, slots=True)
class Account:
    """Credentials joined by being on one method or by a followed fact; `facts` hold each pair once, earliest first."""

    type: MethodType
    keys: frozenset[Key]
    methods: tuple[Method, ...]
    facts: tuple[Fact, ...]

    @property
    def live(self) -> tuple[Method, ...]:
        return tuple(method for method in self.methods if method.live)

    @property
    def latest(self) -> Fact | None:
        return self.facts[-1] if self.facts else None

    def card(self, key: Key) -> frozenset[Key]:
        """The credentials of the account that are the same card as `key`.

        They are on one method, or two names of one credential, or the `new` of facts from different vendors who give an equal
        brand, last4 and expiry: the network, the token service and the processor each tell one reissue under tokens of their own.
        """
        cards: Groups[Key] = Groups()
        for method in self.methods:
            cards.join(method.keys)
        alike: dict[object, list[Fact]] = {}
        for fact in self.facts:
            cards.join(fact.old.keys)
            cards.join(fact.new.keys)
            told = fact.told
            if told.brand is not None and told.last4 is not None and told.expiry is not None:
                alike.setdefault((told.brand, told.last4, told.expiry), []).append(fact)
        for facts in alike.values():
            if len({fact.stamp.vendor for fact in facts}) > 1:
                cards.join(fact.new.key for fact in facts)
        return cards.of(key)


@dataclass(frozen=True, slots=True)
class Accounts:
    """`known` is every credential the wallet knows; `refused` are the facts it would know of but does not follow."""

    accounts: tuple[Account, ...]
    known: frozenset[Key]
    refused: tuple[tuple[Fact, Conflict], ...]


def accounts_of(wallet: Wallet, knowledge: Knowledge) -> Accounts:
    follower = _Follower(wallet, knowledge)
    follower.follow()
    return Accounts(follower.accounts(), frozenset(follower.types), tuple(follower.refused))


_Node = tuple[MethodType, Key]
"""The same token on a card and on a bank account are two identities (design.md §3), so they are two nodes."""


class _Follower:
    def __init__(self, wallet: Wallet, knowledge: Knowledge) -> None:
        self.wallet = wallet
        self.knowledge = knowledge
        self.types: dict[Key, tuple[MethodType, ...]] = {}
        self.followed: list[tuple[_Node, Fact]] = []
        self.refused: list[tuple[Fact, Conflict]] = []
        self._groups: Groups[_Node] = Groups()
        self._pars: dict[_Node, frozenset[str]] = {}
        self._waiting: list[tuple[Stamp, Pair, Fact]] = []
        self._met: set[Pair] = set()
        for method in wallet.methods:
            self._join(method.type, method.keys, method.par)

    def follow(self) -> None:
        while self._waiting:
            _, _, fact = heappop(self._waiting)
            keys = fact.old.keys + fact.new.keys
            method_type = self._type_of(fact)
            if method_type is None or any(method_type not in self.types.get(key, (method_type,)) for key in keys):
                self.refused.append((fact, Conflict.TYPE_CONFLICT))
            elif len(self._pars_of(method_type, keys).union(_maybe(fact.told.par))) > 1:
                self.refused.append((fact, Conflict.ACCOUNT_CONFLICT))
            else:
                self._join(method_type, keys, fact.told.par)
                self.followed.append(((method_type, fact.old.key), fact))

    def accounts(self) -> tuple[Account, ...]:
        methods: dict[_Node, list[Method]] = {}
        for method in self.wallet.methods:
            for key in method.keys:
                methods.setdefault(self._groups.find((method.type, key)), []).append(method)
                break
        facts: dict[_Node, list[Fact]] = {}
        for node, fact in self.followed:
            facts.setdefault(self._groups.find(node), []).append(fact)
        keys: dict[_Node, list[Key]] = {}
        for key, types in self.types.items():
            for method_type in types:
                keys.setdefault(self._groups.find((method_type, key)), []).append(key)
        return tuple(
            Account(root[0], frozenset(keys[root]), tuple(members), _each_pair_once(facts.get(root, ())))
            for root, members in methods.items()
        )

    def _join(self, method_type: MethodType, keys: Iterable[Key], par: str | None) -> None:
        pars = self._pars_of(method_type, keys).union(_maybe(par))
        nodes = [(method_type, key) for key in keys]
        self._groups.join(nodes)
        for key in keys:
            types = self.types.get(key, ())
            if method_type not in types:
                self.types[key] = (*types, method_type)
                self._meet(key)
        if pars and nodes:
            self._pars[self._groups.find(nodes[0])] = pars

    def _meet(self, key: Key) -> None:
        for fact in self.knowledge.facts_from(key):
            if fact.pair not in self._met and belongs_to(fact.scope, self.wallet):
                self._met.add(fact.pair)
                heappush(self._waiting, (fact.stamp, fact.pair, fact))

    def _type_of(self, fact: Fact) -> MethodType | None:
        """Of the method that the fact is about; None where that cannot be told or is not what the fact says."""
        types = {method_type for key in fact.old.keys for method_type in self.types.get(key, ())}
        if fact.method_type is not None:
            return fact.method_type if fact.method_type in types else None
        return types.pop() if len(types) == 1 else None

    def _pars_of(self, method_type: MethodType, keys: Iterable[Key]) -> frozenset[str]:
        if not self._pars:
            return frozenset()
        roots = {self._groups.find((method_type, key)) for key in keys if (method_type, key) in self._groups}
        return frozenset().union(*(self._pars.get(root, ()) for root in roots))


def _maybe(par: str | None) -> tuple[str, ...]:
    return () if par is None else (par,)


def _each_pair_once(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """By stamp, and of those that name one pair by different names of its credentials only the earliest."""
    in_order = sorted(facts, key=lambda fact: fact.stamp)
    if len(in_order) < 2:
        return tuple(in_order)
    names: Groups[Key] = Groups()
    for fact in in_order:
        names.join(fact.old.keys)
        names.join(fact.new.keys)
    pairs: dict[tuple[Key, Key], Fact] = {}
    for fact in in_order:
        pairs.setdefault((names.find(fact.old.key), names.find(fact.new.key)), fact)
    return tuple(pairs.values())
