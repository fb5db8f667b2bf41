"""Which facts of an account what became of it rests on, told for all of them by one walk through the account.

Credentials, and the facts and methods that join them, are a graph. Without a fact, the part of the graph that only this
fact joins to the current method falls off (it is what articulation points cut off, Hopcroft and Tarjan 1973):

    what falls off                          without the fact the wallet would be
    a live method                           another one: that method would not give way to the current one
    no method, and nothing of the card      the same one
    anything else                           to be seen only by resolving it without the fact
"""

from collections.abc import Iterator
from typing import TypeAlias

from domain.account import Account
from domain.knowledge import Fact, Pair
from domain.resolve import Draft
from domain.wallet import Key, Method

Join: TypeAlias = Fact | Method
"""What joins credentials."""


class Cuts:
    """Made from the whole of an account and what became of it."""

    def __init__(self, account: Account, draft: Draft) -> None:
        self._account = account
        self._draft = draft
        latest = account.latest
        assert latest is not None
        self._latest = latest
        self._plain = len(account.pairs.facts) == len(account.followed)
        self._reasons = {account.pairs.why(old).pair for old in draft.others}
        self._first_known_by = _first_known_by(account)
        self._cut: dict[Pair, _Cut] = {}
        self._seen: dict[object, int] = {}
        self._walk(latest.new.key if draft.current is None else min(draft.current.keys))

    def rests_on(self, fact: Fact) -> bool | None:
        """Whether the wallet would be another one without `fact`; None if this does not tell."""
        cut = self._cut[fact.pair]
        if cut.live:
            return True
        if not self._plain or cut.methods or cut.of_the_card or fact.pair in self._reasons:
            return None
        # what else it joins must be known without it
        kept = [key for key in _keys_of(fact) if not any(self._seen[key] in numbers for numbers in cut.off)]
        if any(self._first_known_by.get(key) is fact for key in kept):
            return None
        return None if self._names_the_card(fact) else False

    def _names_the_card(self, fact: Fact) -> bool:
        card = self._draft.card
        if fact is self._latest or fact.new.key in card or not card.isdisjoint(fact.new.keys):
            return True
        if fact.old.alias is None or card.isdisjoint(fact.old.keys):
            return False
        names = set(fact.old.keys)
        said_elsewhere = [*(method.keys for method in self._account.methods), self._latest.new.keys]
        return not any(names.issubset(keys) for keys in said_elsewhere)

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
        path = [_Step(root, None, iter(joins.get(root, ())), 0, of_the_card=root in card)]
        while path:
            step = path[-1]
            for thing in step.further:
                node = thing if isinstance(thing, str) else _node(thing)
                if node == step.came_from:
                    continue
                if node in seen:
                    step.low = min(step.low, seen[node])
                    continue
                seen[node] = number = len(seen)
                further: Iterator[Key | Join] = iter(joins[thing] if isinstance(thing, str) else _keys_of(thing))
                of_the_card = isinstance(thing, str) and thing in card
                path.append(_Step(thing, _node(step.thing), further, number, of_the_card=of_the_card))
                break
            else:
                path.pop()
                if path:
                    self._leave(step, path[-1])

    def _leave(self, step: "_Step", before: "_Step") -> None:
        """All behind `step` has been seen; `before` is what led to it."""
        thing = step.thing
        if isinstance(thing, Method):
            step.methods += 1
            step.live += thing.live
        elif isinstance(thing, Fact):
            self._cut[thing.pair] = step.cut
        if isinstance(before.thing, Fact) and step.low >= before.number:
            before.cut.take(step, range(step.number, len(self._seen)))
        before.low = min(before.low, step.low)
        before.live += step.live
        before.methods += step.methods
        before.of_the_card += step.of_the_card


class _Cut:
    """What falls off without a fact, counted; `off` are the numbers under which it was seen."""

    __slots__ = ("live", "methods", "of_the_card", "off")

    def __init__(self) -> None:
        self.live = self.methods = self.of_the_card = 0
        self.off: list[range] = []

    def take(self, step: "_Step", numbers: range) -> None:
        self.live += step.live
        self.methods += step.methods
        self.of_the_card += step.of_the_card
        self.off.append(numbers)


class _Step:
    """One credential, fact or method on the way, and what was counted behind it."""

    __slots__ = ("came_from", "cut", "further", "live", "low", "methods", "number", "of_the_card", "thing")

    def __init__(
        self, thing: Key | Join, came_from: object, further: Iterator[Key | Join], number: int, *, of_the_card: bool
    ) -> None:
        self.thing, self.came_from, self.further = thing, came_from, further
        self.number = self.low = number
        self.live = self.methods = 0
        self.of_the_card = int(of_the_card)
        self.cut = _Cut()


def _node(thing: Key | Join) -> object:
    """What a thing is known by on the way: a fact by its pair, which costs less to hash than all that it tells."""
    if isinstance(thing, Fact):
        return thing.pair
    return ("method", thing.id) if isinstance(thing, Method) else thing


def _keys_of(join: Join) -> tuple[Key, ...]:
    return (*join.old.keys, *join.new.keys) if isinstance(join, Fact) else tuple(join.keys)


def _first_known_by(account: Account) -> dict[Key, Fact]:
    """For each credential that none of its methods holds, the fact that it can first be known by."""
    from_: dict[Key, list[Fact]] = {}
    for fact in account.followed:
        for key in fact.old.keys:
            from_.setdefault(key, []).append(fact)
    first: dict[Key, Fact] = {}
    known = {key for method in account.methods for key in method.keys}
    waiting, done = list(known), set()
    while waiting:
        for fact in from_.get(waiting.pop(), ()):
            if fact.pair in done:
                continue
            done.add(fact.pair)
            for key in _keys_of(fact):
                if key not in known:
                    known.add(key)
                    first[key] = fact
                    waiting.append(key)
    return first
