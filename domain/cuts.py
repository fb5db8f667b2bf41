"""Which facts the resolution of an account depends on, computed for all facts by one walk through the account.

Credentials are joined by facts and methods: a graph. Without a fact, the part of the graph falls off that only this
fact joins to the current method. Articulation points cut off the same parts (Hopcroft and Tarjan 1973):

    part that falls off                     the wallet without the fact is
    a live method                           different: the current method would not replace that method
    no method, and nothing of the card      the same
    anything else                           unknown: resolve the wallet without the fact
"""

from collections.abc import Iterator
from typing import TypeAlias

from domain.account import Account
from domain.knowledge import Fact, FactId
from domain.resolve import Draft
from domain.wallet import Key, Method

Join: TypeAlias = Fact | Method
"""A fact or a method: it joins credentials."""


class Cuts:
    """The cuts of one account, given its draft."""

    def __init__(self, account: Account, draft: Draft) -> None:
        self._account = account
        self._draft = draft
        latest = account.latest
        assert latest is not None
        self._latest = latest
        self._plain = len(account.distinct.facts) == len(account.followed)
        self._reasons = {account.distinct.reason_for(old).id for old in draft.replaced}
        self._first_known_by = _first_known_by(account)
        self._cut: dict[FactId, _Cut] = {}
        self._seen: dict[object, int] = {}
        self._walk(latest.new.key if draft.current is None else min(draft.current.keys))

    def depends_on(self, fact: Fact) -> bool | None:
        """Whether the wallet would differ without `fact`; None if the cuts cannot decide it."""
        cut = self._cut[fact.id]
        if cut.live:
            return True
        if not self._plain or cut.methods or cut.of_the_card or fact.id in self._reasons:
            return None
        # The other credentials that the fact joins must be known without it.
        kept = [key for key in _keys_of(fact) if not any(self._seen[key] in numbers for numbers in cut.off)]
        if any(self._first_known_by.get(key) is fact for key in kept):
            return None
        return None if self._names_the_card(fact) else False

    def _names_the_card(self, fact: Fact) -> bool:
        """Whether the current card may have other credentials without `fact`."""
        card = self._draft.card
        if not card.isdisjoint(fact.new.keys):
            return True
        if fact.old.alias is None or card.isdisjoint(fact.old.keys):
            return False
        names = set(fact.old.keys)
        named_together = [*(method.keys for method in self._account.methods), self._latest.new.keys]
        return not any(names.issubset(keys) for keys in named_together)

    def _walk(self, root: Key) -> None:
        """Depth first from `root`, without recursion: a chain of facts may be thousands long."""
        account, card = self._account, self._draft.card
        joins: dict[Key, list[Join]] = {}
        everything: list[Join] = [*account.methods, *account.followed]
        for join in everything:
            for key in _keys_of(join):
                joins.setdefault(key, []).append(join)
        seen = self._seen
        seen[root] = 0
        path = [_Step(root, iter(joins.get(root, ())), 0, of_the_card=root in card)]
        while path:
            step = path[-1]
            for place in step.further:
                node = place if isinstance(place, str) else _node(place)
                if node in seen:
                    step.low = min(step.low, seen[node])
                    continue
                seen[node] = number = len(seen)
                further: Iterator[Key | Join] = iter(joins[place] if isinstance(place, str) else _keys_of(place))
                of_the_card = isinstance(place, str) and place in card
                path.append(_Step(place, further, number, of_the_card=of_the_card))
                break
            else:
                path.pop()
                if path:
                    self._leave(step, path[-1])

    def _leave(self, step: "_Step", before: "_Step") -> None:
        """Close `step`, whose whole subgraph has been seen; `before` is the step that led to it."""
        place = step.place
        if isinstance(place, Method):
            step.methods += 1
            step.live += place.live
        elif isinstance(place, Fact):
            self._cut[place.id] = step.cut
        if isinstance(before.place, Fact) and step.low >= before.number:
            before.cut.add(step, range(step.number, len(self._seen)))
        before.low = min(before.low, step.low)
        before.live += step.live
        before.methods += step.methods
        before.of_the_card += step.of_the_card


class _Cut:
    """Counts of the part that falls off without a fact; `off` are the numbers of its places."""

    __slots__ = ("live", "methods", "of_the_card", "off")

    def __init__(self) -> None:
        self.live = self.methods = self.of_the_card = 0
        self.off: list[range] = []

    def add(self, step: "_Step", numbers: range) -> None:
        self.live += step.live
        self.methods += step.methods
        self.of_the_card += step.of_the_card
        self.off.append(numbers)


class _Step:
    """One credential, fact or method on the walk, and the counts of the places behind it."""

    __slots__ = ("cut", "further", "live", "low", "methods", "number", "of_the_card", "place")

    def __init__(self, place: Key | Join, further: Iterator[Key | Join], number: int, *, of_the_card: bool) -> None:
        self.place, self.further = place, further
        self.number = self.low = number
        self.live = self.methods = 0
        self.of_the_card = int(of_the_card)
        self.cut = _Cut()


def _node(place: Key | Join) -> object:
    """The identity of a place on the walk: a fact's id costs less to hash than the whole fact."""
    if isinstance(place, Fact):
        return place.id
    return ("method", place.id) if isinstance(place, Method) else place


def _keys_of(join: Join) -> tuple[Key, ...]:
    return (*join.old.keys, *join.new.keys) if isinstance(join, Fact) else tuple(join.keys)


def _first_known_by(account: Account) -> dict[Key, Fact]:
    """For each credential that no method of the account holds, the fact that leads to it first."""
    from_: dict[Key, list[Fact]] = {}
    for fact in account.followed:
        for key in fact.old.keys:
            from_.setdefault(key, []).append(fact)
    first: dict[Key, Fact] = {}
    known = {key for method in account.methods for key in method.keys}
    waiting, done = list(known), set()
    while waiting:
        for fact in from_.get(waiting.pop(), ()):
            if fact.id in done:
                continue
            done.add(fact.id)
            for key in _keys_of(fact):
                if key not in known:
                    known.add(key)
                    first[key] = fact
                    waiting.append(key)
    return first
