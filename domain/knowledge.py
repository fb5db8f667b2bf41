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

REPORTED_STATUS: Mapping[UpdateType, MethodStatus] = {
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
    reported: NewCredential = NewCredential()
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
        if self.later is not None or self.reported.expiry is None:
            return self.later
        return Dated(self.reported.expiry, self.stamp)


Pair: TypeAlias = tuple[Key, Key, Scope]


class CardFace(NamedTuple):
    """What `vendor` said that a card shows: how it is recognised where it is told of under another name."""

    vendor: str
    last4: str
    brand: str | None
    expiry: Expiry


class CredentialState(NamedTuple):
    """What is known of one credential."""

    status: Dated[MethodStatus] | None = None
    expiry: Dated[Expiry] | None = None
    details: Mapping[str, Dated[object]] = MappingProxyType({})
    cards: Mapping[CardFace, Stamp] = MappingProxyType({})
    """Of a token that stays while the card behind it becomes another: each of those cards, when it was first told."""


class Contribution(NamedTuple):
    """What stands on one stamp: facts that it told or gave a later expiry, and whether it told anything in place."""

    facts: tuple[Fact, ...] = ()
    in_place: bool = False
    shows_cards: bool = False


class Novelty(Enum):
    """What an update told, measured against what was known before it."""

    NEW = "new"
    OLDER = "something else stands, told later"
    NONE = "nothing that was not known"


class Knowledge:
    """The facts and what was told of credentials, as far as they were loaded; `learn` adds to it."""

    def __init__(self) -> None:
        self.facts: dict[Pair, Fact] = {}
        self.states: dict[Key, dict[Scope, CredentialState]] = {}
        self.reported_facts: set[Pair] = set()
        """Pairs that were told since loading, also those that were known: hearing of one prolongs its keeping."""
        self.reported_states: set[tuple[Key, Scope]] = set()
        """Credentials of which something was told since loading, also what was known."""
        self._from: dict[Key, dict[Pair, Fact]] = {}
        self._contributions: dict[Key, dict[Stamp, Contribution]] = {}

    def add_fact(self, fact: Fact) -> None:
        """Put in a fact as it was stored; it replaces the pair's former one."""
        self._contributions.clear()
        former = self.facts.get(fact.pair)
        for key in () if former is None else former.old.keys:
            del self._from[key][fact.pair]
        self.facts[fact.pair] = fact
        for key in fact.old.keys:
            self._from.setdefault(key, {})[fact.pair] = fact

    def add_state(self, key: Key, scope: Scope, state: CredentialState) -> None:
        self._contributions.clear()
        self.states.setdefault(key, {})[scope] = state

    def facts_from(self, key: Key) -> Iterable[Fact]:
        return self._from.get(key, _NO_FACTS).values()

    def states_of(self, keys: Iterable[Key]) -> list[tuple[Scope, CredentialState]]:
        return [state for key in keys if key in self.states for state in self.states[key].items()]

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

    def learn(self, update: Update) -> Novelty:
        """Take in what one update tells; what is known of its `old` must be loaded."""
        if update.old is None:
            return Novelty.NONE
        if update.type is UpdateType.NUMBER_REPLACED and not renames_itself(update):
            return self._learn_fact(update)
        if update.type in _IN_PLACE:
            status, expiry = REPORTED_STATUS.get(update.type), update.new.expiry
            if update.type is UpdateType.NUMBER_REPLACED and "last4" in update.new.details:
                status = MethodStatus.ACTIVE  # another card behind the token that stays
            state = CredentialState(
                None if status is None else Dated(status, update.stamp),
                None if expiry is None else Dated(expiry, update.stamp),
                {name: Dated(value, update.stamp) for name, value in update.new.details.items()},
                _card_faces(update),
            )
            return self._learn_state(update.old, update.scope, state)
        return Novelty.NONE

    def contribution(self, stamp: Stamp, keys: Iterable[Key]) -> Contribution:
        """What stands on the word of `stamp`, which told of `keys`."""
        facts: dict[Pair, Fact] = {}
        in_place = shows_cards = False
        for key in keys:
            if key not in self._contributions:
                self._contributions[key] = self._contributions_of(key)
            contribution = self._contributions[key].get(stamp, _NO_CONTRIBUTION)
            facts.update((fact.pair, fact) for fact in contribution.facts)
            in_place = in_place or contribution.in_place
            shows_cards = shows_cards or contribution.shows_cards
        return Contribution(tuple(facts.values()), in_place, shows_cards)

    def _contributions_of(self, key: Key) -> dict[Stamp, Contribution]:
        contributions: dict[Stamp, Contribution] = {}

        def add(stamp: Stamp, *facts: Fact, in_place: bool = False, shows_cards: bool = False) -> None:
            contribution = contributions.get(stamp, _NO_CONTRIBUTION)
            contributions[stamp] = Contribution(
                (*contribution.facts, *facts),
                contribution.in_place or in_place,
                contribution.shows_cards or shows_cards,
            )

        for fact in self.facts_from(key):
            add(fact.stamp, fact)
            if fact.later is not None:
                add(fact.later.stamp, fact)
        for state in self.states.get(key, _NO_STATES).values():
            for dated in (state.status, state.expiry, *state.details.values()):
                if dated is not None:
                    add(dated.stamp, in_place=True)
            for stamp in state.cards.values():
                add(stamp, in_place=True, shows_cards=True)
        return contributions

    def without(self, stamp: Stamp, keys: Iterable[Key]) -> "Knowledge":
        """What is known within reach of `keys`, but for what stands on the word of `stamp` alone.

        What would be, had that update not come. A batch may know a thousand times more than one wallet asks of.
        """
        rest = Knowledge()
        for key in self.reach(keys):
            for fact in self.facts_from(key):
                if fact.stamp != stamp and fact.pair not in rest.facts:
                    later = _without(stamp, fact.later)
                    rest.add_fact(fact if later is fact.later else fact._replace(later=later))
            for scope, state in self.states.get(key, _NO_STATES).items():
                details = {name: dated for name, dated in state.details.items() if dated.stamp != stamp}
                cards = {card: first for card, first in state.cards.items() if first != stamp}
                remainder = CredentialState(
                    _without(stamp, state.status), _without(stamp, state.expiry), details, cards
                )
                rest.add_state(key, scope, remainder)
        return rest

    def _learn_fact(self, update: Update) -> Novelty:
        assert update.old is not None
        assert update.new.credential is not None
        fact = Fact(
            old=update.old,
            new=update.new.credential,
            stamp=update.stamp,
            reason=update.reason,
            scope=update.scope,
            method_type=update.method_type,
            reported=update.new,
        )
        self.reported_facts.add(fact.pair)
        known = self.facts.get(fact.pair)
        if known is None:
            self.add_fact(fact)
            return Novelty.NEW
        united = unite(known, fact)
        if united != known:
            self.add_fact(united)
        if united.expiry is None or fact.reported.expiry is None:
            return Novelty.NONE
        if known.expiry is None or known.expiry.value < fact.reported.expiry:
            return Novelty.NEW
        return Novelty.OLDER if fact.reported.expiry < united.expiry.value else Novelty.NONE

    def _learn_state(self, credential: Credential, scope: Scope, state: CredentialState) -> Novelty:
        novelty = Novelty.NONE
        for key in credential.keys:
            known = self.states.get(key, _NO_STATES).get(scope, NOTHING_REPORTED)
            merged = merge(known, state)
            if merged != NOTHING_REPORTED:
                self.reported_states.add((key, scope))
            if merged != known:
                self.add_state(key, scope, merged)
                novelty = Novelty.NEW
            elif novelty is Novelty.NONE and not _reports_the_same(state, known):
                novelty = Novelty.OLDER
        return novelty


def unite(known: Fact, again: Fact) -> Fact:
    """A pair told twice: as said first, by every name that its credentials were told by, and with the later expiry."""
    first = min(known, again, key=lambda fact: fact.stamp)
    old = Credential(known.old.key, min(filter(None, (known.old.alias, again.old.alias)), default=None))
    new = Credential(known.new.key, min(filter(None, (known.new.alias, again.new.alias)), default=None))
    expiry = _later(known.expiry, again.expiry)
    later = None if expiry is None or expiry.value == first.reported.expiry else expiry
    if (old, new, later) == (first.old, first.new, first.later):
        return first
    return first._replace(old=old, new=new, reported=first.reported._replace(credential=new), later=later)


def merge(known: CredentialState, reported: CredentialState) -> CredentialState:
    """What is known after both were told, whichever came first."""
    status = max(filter(None, (known.status, reported.status)), key=lambda dated: dated.stamp, default=None)
    details = dict(known.details)
    for name, dated in reported.details.items():
        if name not in details or details[name].stamp < dated.stamp:
            details[name] = dated
    cards = known.cards
    if reported.cards:
        cards = {**cards, **{card: min(stamp, cards.get(card, stamp)) for card, stamp in reported.cards.items()}}
    return CredentialState(status, _later(known.expiry, reported.expiry), details, cards)


def _card_faces(update: Update) -> dict[CardFace, Stamp]:
    """The card behind a token that stays, where enough is said of it to recognise it by."""
    new, stamp = update.new, update.stamp
    if new.last4 is None or new.expiry is None or "last4" not in new.details:
        return {}
    return {CardFace(stamp.vendor, new.last4, new.brand, new.expiry): stamp}


def _later(known: Dated[Expiry] | None, reported: Dated[Expiry] | None) -> Dated[Expiry] | None:
    """The later expiry; of the same one it stays known by whose word it was known."""
    if known is None or reported is None:
        return known or reported
    return reported if reported.value > known.value else known


def _without(stamp: Stamp, dated: Dated[T] | None) -> Dated[T] | None:
    return None if dated is not None and dated.stamp == stamp else dated


def _reports_the_same(reported: CredentialState, known: CredentialState) -> bool:
    return (
        (reported.status is None or (known.status is not None and reported.status.value is known.status.value))
        and (reported.expiry is None or (known.expiry is not None and reported.expiry.value == known.expiry.value))
        and all(known.details[name].value == dated.value for name, dated in reported.details.items())
        and reported.cards.keys() <= known.cards.keys()
    )


def renames_itself(update: Update) -> bool:
    """A → A under the code for "number changed" (six rows of 37 in a real file): no replacement, its expiry counts.

    Another token for the same fingerprint is a name that was not known, so it is a fact; it replaces nothing.
    """
    old, new = update.old, update.new.credential
    return old is not None and new is not None and (new.key == old.key or set(new.keys) <= set(old.keys))


_IN_PLACE = frozenset(
    (*REPORTED_STATUS, UpdateType.EXPIRY_UPDATED, UpdateType.DETAILS_UPDATED, UpdateType.NUMBER_REPLACED)
)
NOTHING_REPORTED = CredentialState()
_NO_FACTS: Mapping[Pair, Fact] = {}
_NO_CONTRIBUTION = Contribution()
_NO_STATES: Mapping[Scope, CredentialState] = {}
