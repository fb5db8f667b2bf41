"""What the followed facts of an account come to: its facts, each pair once, and which credentials are one card.

Both are made from all facts once, and grow with each fact that is followed afterwards, so that the thousandth fact of
an account costs no more than the first.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from domain.groups import Groups
from domain.knowledge import CardFace, Fact
from domain.update import Stamp
from domain.wallet import Key, Method

Face: TypeAlias = tuple[object, ...]
"""What a card shows: brand, last4 and expiry, or some of them."""


def stamp_of(fact: Fact) -> Stamp:
    return fact.stamp


class Pairs:
    """The facts of an account: of those that name one pair by different names of its credentials only the earliest.

    A fact that only gives a credential another name replaces nothing, so it counts where there is nothing else.
    `facts` are earliest first.
    """

    def __init__(self, followed: Sequence[Fact]) -> None:
        self._replaces: bool | None = None
        if len(followed) == 1:
            # a single fact, which is what most accounts have, is compared with nothing
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
        """Take in one more fact; False if it changes which of the former count, and all are to be compared again."""
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
        """What stands for the credential of `names`; None if two that were two are one by it."""
        known = [name for name in names if name in self._names]
        if len({self._names.find(name) for name in known}) > 1:
            return None
        # what is known stands first, so that what stands for it goes on doing so
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

    def why(self, old: Method) -> Fact:
        """The fact that `old` was replaced by: the latest one about it, or else the latest of its account."""
        if len(self.facts) == 1:
            return self.latest
        about = [self._latest_about[key] for key in old.keys if key in self._latest_about]
        return max(about, key=stamp_of, default=self.latest)

    def includes(self, stamp: Stamp) -> bool:
        """Whether one of the facts has this stamp."""
        at = bisect_left(self.facts, stamp, key=stamp_of)
        return at < len(self.facts) and self.facts[at].stamp == stamp


def _sides(fact: Fact) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """The names of what was and of what it became; a token that stays is no other name of the cards behind it."""
    if fact.in_place:
        return (fact.old.key,), (fact.new.key,)
    return fact.old.keys, fact.new.keys


class Cards:
    """The credentials of an account, by card.

    Credentials are one card if they are on one method, or two names of one credential, or told alike: the network, the
    token service and the processor each tell one reissue under tokens of their own. `shown` are the cards behind the
    account's tokens that stay.
    """

    def __init__(
        self, methods: Iterable[Method], followed: Iterable[Fact], shown: Iterable[tuple[Key, CardFace]]
    ) -> None:
        self._of: dict[Key, set[Key]] = {}
        self._naming: dict[Key, list[Fact]] = {}
        self._vendors: dict[Face, tuple[set[str], list[Key]]] = {}
        self._shown: dict[Face, list[tuple[Key, CardFace]]] = {}
        for key, card in shown:
            self._shown.setdefault((card.last4, card.expiry), []).append((key, card))
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
        for key, card in self._shown.get((reported.last4, reported.expiry), ()):
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
        """The `new` of facts from different vendors whose brand, last4 and expiry are those of `fact`."""
        reported = fact.reported
        vendors, keys = self._vendors.setdefault((reported.brand, reported.last4, reported.expiry), (set(), []))
        all_of_them = len(vendors) == 1 and fact.stamp.vendor not in vendors
        vendors.add(fact.stamp.vendor)
        keys.append(fact.new.key)
        if len(vendors) == 1:
            return ()
        return keys if all_of_them else (keys[0], fact.new.key)

    def _join(self, keys: Iterable[Key]) -> None:
        """Put `keys`, and all that is one card with any of them, into one card."""
        card: set[Key] | None = None
        for key in keys:
            other = self._of.get(key)
            if other is card and card is not None:
                continue
            if card is None:
                card = {key} if other is None else other
                self._of[key] = card
            elif other is None:
                card.add(key)
                self._of[key] = card
            else:
                fewer, card = sorted((card, other), key=len)
                card |= fewer
                self._of.update(dict.fromkeys(fewer, card))


def named_alone(fact: Fact, methods: Iterable[Method]) -> frozenset[Key]:
    """The card that the one fact of an account names, as `Cards` has it; most accounts have one fact."""
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
    """Whether the card behind a token is the `new` of another vendor's fact; not every token service tells brands."""
    reported = fact.reported
    return (
        card.vendor != fact.stamp.vendor
        and (card.last4, card.expiry) == (reported.last4, reported.expiry)
        and card.brand in (None, reported.brand)
    )
