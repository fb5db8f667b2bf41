"""What vendors have told about credentials, whatever wallets they are in.

It only grows, and the order of telling does not matter.

    told                        kept
    old → new                   each pair once, at the earliest stamp told and with what was said then;
                                only its expiry is the latest that the pair was ever told with
    names of a credential       all of them: a token's fingerprint counts whichever telling gave it
    status of a credential      the latest stamp
    expiry of a credential      the latest expiry ever told; it never goes back
    cards behind a token        all that it was ever told to stand for, by what they show
    details of a credential     the latest stamp, detail by detail

What names a customer is kept apart, under that customer's `Scope`, and is not spoken of anybody else.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from domain.update import Credential, NewCredential, Reason, Scope, Stamp, Update, UpdateType
from domain.wallet import Expiry, Key, MethodStatus, MethodType

TOLD_STATUS: Mapping[UpdateType, MethodStatus] = {
    UpdateType.SUSPENDED: MethodStatus.SUSPENDED,
    UpdateType.RESUMED: MethodStatus.ACTIVE,
    UpdateType.CLOSED: MethodStatus.CLOSED,
    UpdateType.CONTACT_CARDHOLDER: MethodStatus.ACTION_REQUIRED,
}


T = TypeVar("T")


class Dated(NamedTuple, Generic[T]):
    """A value, and by whose word it is so."""

    value: T
    stamp: Stamp


class Fact(NamedTuple):
    """`old` was replaced by `new`; `told` is what was said of `new` when the pair was first told."""

    old: Credential
    new: Credential
    stamp: Stamp
    reason: Reason = Reason.REISSUED
    scope: Scope = ()
    method_type: MethodType | None = None
    told: NewCredential = NewCredential()
    later: Dated[Expiry] | None = None
    """A later expiry, where the pair was told with one, or with one at all, when it was told again."""

    @property
    def pair(self) -> "Pair":
        return (self.old.key, self.new.key, self.scope)

    @property
    def in_place(self) -> bool:
        """The vendor keeps its token while the card behind it becomes another: (token, A) → (B, token)."""
        return self.new.alias is not None and self.new.alias in self.old.keys

    @property
    def expiry(self) -> Dated[Expiry] | None:
        """The latest that the pair was ever told with."""
        if self.later is not None or self.told.expiry is None:
            return self.later
        return Dated(self.told.expiry, self.stamp)


Pair: TypeAlias = tuple[Key, Key, Scope]


class Shown(NamedTuple):
    """What `vendor` said that a card shows: how it is recognised where it is told of under another name."""

    vendor: str
    last4: str
    brand: str | None
    expiry: Expiry


class Told(NamedTuple):
    """What is known of one credential."""

    status: Dated[MethodStatus] | None = None
    expiry: Dated[Expiry] | None = None
    details: Mapping[str, Dated[object]] = MappingProxyType({})
    cards: Mapping[Shown, Stamp] = MappingProxyType({})
    """Of a token that stays while the card behind it becomes another: each of those cards, when it was first told."""


class Word(NamedTuple):
    """What stands on one stamp: facts that it told or gave a later expiry, and whether it told anything in place."""

    facts: tuple[Fact, ...] = ()
    told: bool = False
    shows_cards: bool = False


class News(Enum):
    """What an update told, measured against what was known before it."""

    NEW = "new"
    OLDER = "something else stands, told later"
    NONE = "nothing that was not known"


class Knowledge:
    """The facts and what was told of credentials, as far as they were loaded; `learn` adds to it."""

    def __init__(self) -> None:
        self.facts: dict[Pair, Fact] = {}
        self.told: dict[Key, dict[Scope, Told]] = {}
        self.heard_facts: set[Pair] = set()
        """Pairs that were told since loading, also those that were known: hearing of one prolongs its keeping."""
        self.heard_of: set[tuple[Key, Scope]] = set()
        """Credentials of which something was told since loading, also what was known."""
        self._from: dict[Key, dict[Pair, Fact]] = {}
        self._words: dict[Key, dict[Stamp, Word]] = {}

    def add_fact(self, fact: Fact) -> None:
        """Put in a fact as it was stored; it replaces the pair's former one."""
        self._words.clear()
        former = self.facts.get(fact.pair)
        for key in () if former is None else former.old.keys:
            del self._from[key][fact.pair]
        self.facts[fact.pair] = fact
        for key in fact.old.keys:
            self._from.setdefault(key, {})[fact.pair] = fact

    def add_told(self, key: Key, scope: Scope, told: Told) -> None:
        self._words.clear()
        self.told.setdefault(key, {})[scope] = told

    def facts_from(self, key: Key) -> Iterable[Fact]:
        return self._from.get(key, _NO_FACTS).values()

    def told_of(self, keys: Iterable[Key]) -> list[tuple[Scope, Told]]:
        return [told for key in keys if key in self.told for told in self.told[key].items()]

    def reach(
        self,
        keys: Iterable[Key],
        beyond: AbstractSet[Key] = frozenset(),
        *,
        ahead: Mapping[Key, AbstractSet[Key]] = MappingProxyType({}),
    ) -> set[Key]:
        """All that facts may lead to from `keys`, these included; more than a wallet follows, never less.

        What is in `beyond` already is not gone on from. `ahead` are facts that are not learnt yet: what each key leads
        to by them.
        """
        frontier = list(keys)
        reached = {*frontier, *beyond}
        while frontier:
            key = frontier.pop()
            further = set(ahead.get(key, ()))
            for fact in self.facts_from(key):
                further.update(fact.old.keys, fact.new.keys)
            further -= reached
            reached |= further
            frontier.extend(further)
        return reached

    def learn(self, update: Update) -> News:
        """Take in what one update tells; what is known of its `old` must be loaded."""
        if update.old is None:
            return News.NONE
        if update.type is UpdateType.NUMBER_REPLACED and not renames_itself(update):
            return self._learn_fact(update)
        if update.type in _TELLS_IN_PLACE:
            status, expiry = TOLD_STATUS.get(update.type), update.new.expiry
            if update.type is UpdateType.NUMBER_REPLACED and "last4" in update.new.details:
                status = MethodStatus.ACTIVE  # another card behind the token that stays
            told = Told(
                None if status is None else Dated(status, update.stamp),
                None if expiry is None else Dated(expiry, update.stamp),
                {name: Dated(value, update.stamp) for name, value in update.new.details.items()},
                _cards_shown(update),
            )
            return self._learn_of(update.old, update.scope, told)
        return News.NONE

    def word(self, stamp: Stamp, keys: Iterable[Key]) -> Word:
        """What stands on the word of `stamp`, which told of `keys`."""
        facts: dict[Pair, Fact] = {}
        told = shows_cards = False
        for key in keys:
            if key not in self._words:
                self._words[key] = self._words_of(key)
            word = self._words[key].get(stamp, _NO_WORD)
            facts.update((fact.pair, fact) for fact in word.facts)
            told = told or word.told
            shows_cards = shows_cards or word.shows_cards
        return Word(tuple(facts.values()), told, shows_cards)

    def _words_of(self, key: Key) -> dict[Stamp, Word]:
        words: dict[Stamp, Word] = {}

        def add(stamp: Stamp, *facts: Fact, told: bool = False, shows_cards: bool = False) -> None:
            word = words.get(stamp, _NO_WORD)
            words[stamp] = Word((*word.facts, *facts), word.told or told, word.shows_cards or shows_cards)

        for fact in self.facts_from(key):
            add(fact.stamp, fact)
            if fact.later is not None:
                add(fact.later.stamp, fact)
        for state in self.told.get(key, _NOTHING_TOLD).values():
            for dated in (state.status, state.expiry, *state.details.values()):
                if dated is not None:
                    add(dated.stamp, told=True)
            for stamp in state.cards.values():
                add(stamp, told=True, shows_cards=True)
        return words

    def without(self, stamp: Stamp, keys: Iterable[Key]) -> "Knowledge":
        """What is known within reach of `keys`, but for what stands on the word of `stamp` alone.

        What would be, had that update not come. A batch may know a thousand times more than one wallet asks of.
        """
        rest = Knowledge()
        for key in self.reach(keys):
            for fact in self.facts_from(key):
                if fact.stamp != stamp and fact.pair not in rest.facts:
                    later = _but_by(stamp, fact.later)
                    rest.add_fact(fact if later is fact.later else fact._replace(later=later))
            for scope, told in self.told.get(key, _NOTHING_TOLD).items():
                details = {name: dated for name, dated in told.details.items() if dated.stamp != stamp}
                cards = {card: first for card, first in told.cards.items() if first != stamp}
                other = Told(_but_by(stamp, told.status), _but_by(stamp, told.expiry), details, cards)
                rest.add_told(key, scope, other)
        return rest

    def _learn_fact(self, update: Update) -> News:
        assert update.old is not None
        assert update.new.credential is not None
        fact = Fact(
            old=update.old,
            new=update.new.credential,
            stamp=update.stamp,
            reason=update.reason,
            scope=update.scope,
            method_type=update.method_type,
            told=update.new,
        )
        self.heard_facts.add(fact.pair)
        known = self.facts.get(fact.pair)
        if known is None:
            self.add_fact(fact)
            return News.NEW
        united = unite(known, fact)
        if united != known:
            self.add_fact(united)
        if united.expiry is None or fact.told.expiry is None:
            return News.NONE
        if known.expiry is None or known.expiry.value < fact.told.expiry:
            return News.NEW
        return News.OLDER if fact.told.expiry < united.expiry.value else News.NONE

    def _learn_of(self, credential: Credential, scope: Scope, told: Told) -> News:
        news = News.NONE
        for key in credential.keys:
            known = self.told.get(key, _NOTHING_TOLD).get(scope, NEVER_TOLD)
            merged = merge(known, told)
            if merged != NEVER_TOLD:
                self.heard_of.add((key, scope))
            if merged != known:
                self.add_told(key, scope, merged)
                news = News.NEW
            elif news is News.NONE and not _says_the_same(told, known):
                news = News.OLDER
        return news


def unite(known: Fact, again: Fact) -> Fact:
    """A pair told twice: as said first, by every name that its credentials were told by, and with the later expiry."""
    first = min(known, again, key=lambda fact: fact.stamp)
    old = Credential(known.old.key, min(filter(None, (known.old.alias, again.old.alias)), default=None))
    new = Credential(known.new.key, min(filter(None, (known.new.alias, again.new.alias)), default=None))
    expiry = _later(known.expiry, again.expiry)
    later = None if expiry is None or expiry.value == first.told.expiry else expiry
    if (old, new, later) == (first.old, first.new, first.later):
        return first
    return first._replace(old=old, new=new, told=first.told._replace(credential=new), later=later)


def merge(known: Told, told: Told) -> Told:
    """What is known after both were told, whichever came first."""
    status = max(filter(None, (known.status, told.status)), key=lambda dated: dated.stamp, default=None)
    details = dict(known.details)
    for name, dated in told.details.items():
        if name not in details or details[name].stamp < dated.stamp:
            details[name] = dated
    cards = known.cards
    if told.cards:
        cards = {**cards, **{card: min(stamp, cards.get(card, stamp)) for card, stamp in told.cards.items()}}
    return Told(status, _later(known.expiry, told.expiry), details, cards)


def _cards_shown(update: Update) -> dict[Shown, Stamp]:
    """The card behind a token that stays, where enough is said of it to recognise it by."""
    new, stamp = update.new, update.stamp
    if new.last4 is None or new.expiry is None or "last4" not in new.details:
        return {}
    return {Shown(stamp.vendor, new.last4, new.brand, new.expiry): stamp}


def _later(known: Dated[Expiry] | None, told: Dated[Expiry] | None) -> Dated[Expiry] | None:
    """The later expiry; of the same one it stays known by whose word it was known."""
    if known is None or told is None:
        return known or told
    return told if told.value > known.value else known


def _but_by(stamp: Stamp, dated: Dated[T] | None) -> Dated[T] | None:
    return None if dated is not None and dated.stamp == stamp else dated


def _says_the_same(told: Told, known: Told) -> bool:
    return (
        (told.status is None or (known.status is not None and told.status.value is known.status.value))
        and (told.expiry is None or (known.expiry is not None and told.expiry.value == known.expiry.value))
        and all(known.details[name].value == dated.value for name, dated in told.details.items())
        and told.cards.keys() <= known.cards.keys()
    )


def renames_itself(update: Update) -> bool:
    """A → A under the code for "number changed" (six rows of 37 in a real file): no replacement, its expiry counts.

    Another token for the same fingerprint is a name that was not known, so it is a fact; it replaces nothing.
    """
    old, new = update.old, update.new.credential
    return old is not None and new is not None and (new.key == old.key or set(new.keys) <= set(old.keys))


_TELLS_IN_PLACE = frozenset(
    (*TOLD_STATUS, UpdateType.EXPIRY_UPDATED, UpdateType.DETAILS_UPDATED, UpdateType.NUMBER_REPLACED)
)
NEVER_TOLD = Told()
_NO_FACTS: Mapping[Pair, Fact] = {}
_NO_WORD = Word()
_NOTHING_TOLD: Mapping[Scope, Told] = {}
