"""What follows from the facts of an account: its distinct facts, and which of its credentials are one card.

Both are computed from all facts once, and then grow with each fact. So the thousandth fact of an account costs no more
than the first.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from domain.groups import Groups
from domain.knowledge import CardFace, Fact
from domain.update import Stamp
from domain.wallet import Key, Method

Face: TypeAlias = tuple[object, ...]
"""Brand, last4 and expiry of a card, or some of them."""


def stamp_of(fact: Fact) -> Stamp:
    return fact.stamp


class DistinctFacts:
    """The facts of an account without repetitions: one replacement may be reported under several names of its cards.

    Of such repetitions the earliest fact counts. A fact that only gives a credential another name replaces nothing, so
    it counts only if there are no others. `facts` are earliest first.
    """

    def __init__(self, followed: Sequence[Fact]) -> None:
        self._replaces: bool | None = None
        if len(followed) == 1:
            # Most accounts have a single fact, and there is nothing to compare it with.
            self.facts: list[Fact] = [*followed]
            return
        self.facts = sorted(followed, key=stamp_of)
        self._names: Groups[Key] = Groups()
        self._pairs: dict[tuple[Key, Key], Fact] = {}
        self._latest_about: dict[Key, Fact] = {}
        self._compare()
        self._note(self.facts)

    def _compare(self) -> None:
        for fact in self.facts:
            for names in _sides(fact):
                self._names.join(names)
        for fact in self.facts:
            old, new = _sides(fact)
            self._pairs.setdefault((self._names.find(old[0]), self._names.find(new[0])), fact)
        replacing = [fact for (old, new), fact in self._pairs.items() if old != new]
        self._replaces = bool(replacing)
        self.facts = replacing or list(self._pairs.values())

    def add(self, fact: Fact) -> bool:
        """Add a fact; False if it changes which former facts count, so that all must be compared again."""
        if self._replaces is None:
            return False
        old, new = (self._named(names) for names in _sides(fact))
        if old is None or new is None:
            return False
        if self._replaces != (old != new):
            return self._replaces
        former = self._pairs.setdefault((old, new), fact)
        if former is not fact:
            return former.stamp < fact.stamp
        insort(self.facts, fact, key=stamp_of)
        self._note((fact,))
        return True

    def _named(self, names: tuple[Key, ...]) -> Key | None:
        """The representative of the credential with these `names`; None if they unite two known credentials."""
        known = [name for name in names if name in self._names]
        if len({self._names.find(name) for name in known}) > 1:
            return None
        # A known name comes first, so that the group keeps its representative.
        self._names.join((*known, *names))
        return self._names.find(names[0])

    def _note(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            for key in fact.old.keys:
                former = self._latest_about.get(key)
                if former is None or former.stamp < fact.stamp:
                    self._latest_about[key] = fact

    @property
    def latest(self) -> Fact:
        return self.facts[-1]

    def reason_for(self, old: Method) -> Fact:
        """The fact that replaced `old`: the latest fact about it, else the latest fact of its account."""
        if len(self.facts) == 1:
            return self.latest
        about = [self._latest_about[key] for key in old.keys if key in self._latest_about]
        return max(about, key=stamp_of, default=self.latest)

    def includes(self, stamp: Stamp) -> bool:
        """Whether one of the facts has this stamp."""
        at = bisect_left(self.facts, stamp, key=stamp_of)
        return at < len(self.facts) and self.facts[at].stamp == stamp


def _sides(fact: Fact) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """The names of `old` and of `new`. A token that stays is not a name of the cards behind it."""
    if fact.in_place:
        return (fact.old.key,), (fact.new.key,)
    return fact.old.keys, fact.new.keys


class Cards:
    """The credentials of an account, grouped into cards.

    Credentials are one card if they are on one method, if they name one credential, or if facts of different vendors
    show the same card face: the network, the token service and the processor each report a reissue under their own
    tokens. `faces` are the cards behind the account's tokens that stay.
    """

    def __init__(
        self, methods: Iterable[Method], followed: Iterable[Fact], faces: Iterable[tuple[Key, CardFace]]
    ) -> None:
        self._of: dict[Key, set[Key]] = {}
        self._naming: dict[Key, list[Fact]] = {}
        self._vendors: dict[Face, tuple[set[str], list[Key]]] = {}
        self._faces: dict[Face, list[tuple[Key, CardFace]]] = {}
        for key, card in faces:
            self._faces.setdefault((card.last4, card.expiry), []).append((key, card))
        for method in methods:
            self._join(method.keys)
        for fact in followed:
            self.add(fact)

    def add(self, fact: Fact) -> None:
        self._join(fact.old.keys)
        self._join(fact.new.keys)
        self._naming.setdefault(fact.new.key, []).append(fact)
        reported = fact.reported
        if reported.brand is not None and reported.last4 is not None and reported.expiry is not None:
            self._join(self._alike(fact))
        for key, card in self._faces.get((reported.last4, reported.expiry), ()):
            if _is_new_of(card, fact):
                self._join((key, fact.new.key))

    def of(self, fact: Fact) -> tuple[frozenset[Key], list[Fact]]:
        """The card that `fact` names: its credentials, and the facts that name it, the latest first."""
        keys = self._of[fact.new.key]
        naming = [named for key in keys if key in self._naming for named in self._naming[key]]
        if len(naming) > 1:
            naming.sort(key=stamp_of, reverse=True)
        return frozenset(keys), naming

    def _alike(self, fact: Fact) -> Iterable[Key]:
        """The `new` of facts from different vendors that show the same brand, last4 and expiry as `fact`."""
        reported = fact.reported
        vendors, keys = self._vendors.setdefault((reported.brand, reported.last4, reported.expiry), (set(), []))
        second_vendor = len(vendors) == 1 and fact.stamp.vendor not in vendors
        vendors.add(fact.stamp.vendor)
        keys.append(fact.new.key)
        if len(vendors) == 1:
            return ()
        return keys if second_vendor else (keys[0], fact.new.key)

    def _join(self, keys: Iterable[Key]) -> None:
        """Unite the cards of all `keys` into one card."""
        card: set[Key] | None = None
        for key in keys:
            own = self._of.get(key)
            if own is card and card is not None:
                continue
            if card is None:
                card = {key} if own is None else own
                self._of[key] = card
            elif own is None:
                card.add(key)
                self._of[key] = card
            else:
                fewer, card = sorted((card, own), key=len)
                card |= fewer
                self._of.update(dict.fromkeys(fewer, card))


def card_of_single_fact(fact: Fact, methods: Iterable[Method]) -> frozenset[Key]:
    """The card that the only fact of an account names. It equals the result of `Cards`, and costs less."""
    groups = [fact.old.keys, *(method.keys for method in methods)]
    card: set[Key] = set()
    grown = set(fact.new.keys)
    while len(card) < len(grown):
        card = grown.copy()
        for group in groups:
            if not grown.isdisjoint(group):
                grown.update(group)
    return frozenset(card)


def _is_new_of(card: CardFace, fact: Fact) -> bool:
    """Whether the card behind a token is the `new` of another vendor's fact. Some token services report no brand."""
    reported = fact.reported
    return (
        card.vendor != fact.stamp.vendor
        and (card.last4, card.expiry) == (reported.last4, reported.expiry)
        and card.brand in (None, reported.brand)
    )
