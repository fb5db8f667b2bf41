"""What vendors have reported about credentials, whatever wallets they are in.

Knowledge only grows, and the order in which reports arrive does not change it.

    reported                    kept
    old → new                   each fact once, at its earliest stamp and with what that report said;
                                only its expiry is the latest that any report of the fact gave
    names of a credential       all of them: a token's fingerprint counts whichever report gave it
    status of a credential      the latest stamp
    expiry of a credential      the latest expiry ever reported; it never goes back
    cards behind a token        every card that the token ever stood for, by its face
    details of a credential     the latest stamp, detail by detail

A report that names a customer is kept apart, under that customer's `Scope`. It says nothing about anybody else.
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
    """A value, and the stamp of the report that it stands on."""

    value: T
    stamp: Stamp


class Fact(NamedTuple):
    """`old` was replaced by `new`; `reported` is what the earliest report of this fact said of `new`."""

    old: Credential
    new: Credential
    stamp: Stamp
    reason: Reason = Reason.REISSUED
    scope: Scope = ()
    method_type: MethodType | None = None
    reported: NewCredential = NewCredential()
    later: Dated[Expiry] | None = None
    """The latest expiry that a repeated report gave, if it is later than the first report's or the first had none."""
    accepted: frozenset[Scope] = frozenset()
    """The customers in whose wallets a person has it followed in spite of a conflict; `()` is every customer."""

    @property
    def id(self) -> "FactId":
        """Two reports with the same id are the same fact."""
        return (self.old.key, self.new.key, self.scope)

    @property
    def in_place(self) -> bool:
        """Whether the vendor keeps its token while the card behind it changes: (token, A) → (B, token)."""
        return self.new.alias is not None and self.new.alias in self.old.keys

    @property
    def expiry(self) -> Dated[Expiry] | None:
        """The latest expiry that any report of the fact gave."""
        if self.later is not None or self.reported.expiry is None:
            return self.later
        return Dated(self.reported.expiry, self.stamp)

    @property
    def reports(self) -> "dict[Stamp, Fact]":
        """The reports that the fact shows: the first one, and the one whose expiry is later, by their stamps."""
        shown = {self.stamp: self._replace(later=None, accepted=frozenset())}
        if self.later is not None:
            reported = self.reported._replace(expiry=self.later.value)
            shown[self.later.stamp] = Fact(
                self.old, self.new, self.later.stamp, self.reason, self.scope, self.method_type, reported
            )
        return shown


FactId: TypeAlias = tuple[Key, Key, Scope]
"""`old`, `new` and the customer whom the fact is about."""


class CardFace(NamedTuple):
    """What a card shows, as `vendor` reported it. A card reported under another name is recognised by its face."""

    vendor: str
    last4: str
    brand: str | None
    expiry: Expiry


class CredentialState(NamedTuple):
    """What vendors have reported about one credential: status, expiry, details."""

    status: Dated[MethodStatus] | None = None
    expiry: Dated[Expiry] | None = None
    details: Mapping[str, Dated[object]] = MappingProxyType({})
    cards: Mapping[CardFace, Stamp] = MappingProxyType({})
    """The cards behind a token that stays, each with the stamp of its first report."""

    @property
    def reports(self) -> "dict[Stamp, CredentialState]":
        """The reports that the state shows, each with what still stands on it, by their stamps."""
        shown: dict[Stamp, CredentialState] = {}

        def add(stamp: Stamp, part: CredentialState) -> None:
            shown[stamp] = merge(shown.get(stamp, NOTHING_REPORTED), part)

        if self.status is not None:
            add(self.status.stamp, CredentialState(status=self.status))
        if self.expiry is not None:
            add(self.expiry.stamp, CredentialState(expiry=self.expiry))
        for name, dated in self.details.items():
            add(dated.stamp, CredentialState(details={name: dated}))
        for card, stamp in self.cards.items():
            add(stamp, CredentialState(cards={card: stamp}))
        return shown


class Contribution(NamedTuple):
    """What one report contributed to the knowledge of some credentials.

    `facts` are those that it reported first or gave a later expiry. `in_place`: a status, an expiry or a detail stands
    on it. `shows_cards`: a card behind a token stands on it.
    """

    facts: tuple[Fact, ...] = ()
    in_place: bool = False
    shows_cards: bool = False


class Novelty(Enum):
    """How an update compares with what was known before it."""

    NEW = "new"
    OLDER = "something else stands, reported later"
    NONE = "nothing that was not known"


class Knowledge:
    """The facts and credential states that were loaded; `learn` adds an update to them."""

    def __init__(self) -> None:
        self.facts: dict[FactId, Fact] = {}
        self.states: dict[Key, dict[Scope, CredentialState]] = {}
        self.reported_facts: set[FactId] = set()
        """Facts reported since loading, also those that were known: each report prolongs how long a fact is kept."""
        self.reported_states: set[tuple[Key, Scope]] = set()
        """Credentials that were reported on since loading, also where the report was known."""
        self.fact_reports: dict[FactId, dict[Stamp, Fact]] = {}
        """The reports of facts that came again since loading. Each of them is kept: see `domain.retraction`."""
        self.state_reports: dict[tuple[Key, Scope], dict[Stamp, CredentialState]] = {}
        """The reports of credential states that came after others, since loading."""
        self._facts_from: dict[Key, dict[FactId, Fact]] = {}
        self._contributions: dict[Key, dict[Stamp, Contribution]] = {}

    def add_fact(self, fact: Fact) -> None:
        """Add a fact as it was stored. It replaces the former version of the same fact."""
        self.forget_fact(fact.id)
        self.facts[fact.id] = fact
        for key in fact.old.keys:
            self._facts_from.setdefault(key, {})[fact.id] = fact

    def forget_fact(self, fact_id: FactId) -> None:
        """Remove a fact, if it is there."""
        self._contributions.clear()
        former = self.facts.pop(fact_id, None)
        for key in () if former is None else former.old.keys:
            del self._facts_from[key][fact_id]

    def add_state(self, key: Key, scope: Scope, state: CredentialState) -> None:
        """Add the state of a credential as it was stored, in place of the former one."""
        self._contributions.clear()
        self.states.setdefault(key, {})[scope] = state

    def facts_from(self, key: Key) -> Iterable[Fact]:
        """The facts whose `old` has the name `key`."""
        return self._facts_from.get(key, _NO_FACTS).values()

    def states_of(self, keys: Iterable[Key]) -> list[tuple[Scope, CredentialState]]:
        """The states of all `keys`, each with the customer whom it is about."""
        return [state for key in keys if key in self.states for state in self.states[key].items()]

    def reach(
        self,
        keys: Iterable[Key],
        beyond: AbstractSet[Key] = frozenset(),
        *,
        ahead: Mapping[Key, AbstractSet[Key]] = MappingProxyType({}),
    ) -> set[Key]:
        """The credentials that facts may lead to from `keys`, these included; more than a wallet follows, never less.

        The search does not continue from credentials in `beyond`. `ahead` maps a credential to those that facts lead to
        which are not learnt yet.
        """
        frontier = list(keys)
        reached = {*frontier, *beyond}
        while frontier:
            key = frontier.pop()
            if key not in ahead and key not in self._facts_from:
                continue
            further = set(ahead.get(key, ()))
            for fact in self.facts_from(key):
                further.update(fact.old.keys, fact.new.keys)
            further -= reached
            reached |= further
            frontier.extend(further)
        return reached

    def learn(self, update: Update) -> Novelty:
        """Add what one update reports. What is known of its `old` must be loaded."""
        if update.old is None:
            return Novelty.NONE
        if update.type is UpdateType.NUMBER_REPLACED and not renames_itself(update):
            return self.learn_fact(_fact(update))
        if update.type in _IN_PLACE:
            status, expiry = REPORTED_STATUS.get(update.type), update.new.expiry
            if update.type is UpdateType.NUMBER_REPLACED and "last4" in update.new.details:
                status = MethodStatus.ACTIVE  # a new card behind the token that stays
            state = CredentialState(
                None if status is None else Dated(status, update.stamp),
                None if expiry is None else Dated(expiry, update.stamp),
                {name: Dated(value, update.stamp) for name, value in update.new.details.items()},
                _card_faces(update),
            )
            return self.learn_state(update.old, update.scope, state)
        return Novelty.NONE

    def contribution(self, stamp: Stamp, keys: Iterable[Key]) -> Contribution:
        """What the report with this stamp contributed to what is known of `keys`."""
        facts: dict[FactId, Fact] = {}
        in_place = shows_cards = False
        for key in keys:
            if key not in self._contributions:
                self._contributions[key] = self._contributions_of(key)
            contribution = self._contributions[key].get(stamp, _NO_CONTRIBUTION)
            facts.update((fact.id, fact) for fact in contribution.facts)
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
        """What would be known within reach of `keys` if the report with this stamp had not come.

        The copy covers only what `keys` lead to: a batch may know a thousand times more than one wallet needs.
        """
        remaining = Knowledge()
        for key in self.reach(keys):
            for fact in self.facts_from(key):
                if fact.stamp != stamp and fact.id not in remaining.facts:
                    later = _without(stamp, fact.later)
                    remaining.add_fact(fact if later is fact.later else fact._replace(later=later))
            for scope, state in self.states.get(key, _NO_STATES).items():
                details = {name: dated for name, dated in state.details.items() if dated.stamp != stamp}
                cards = {card: first for card, first in state.cards.items() if first != stamp}
                state_without = CredentialState(
                    _without(stamp, state.status), _without(stamp, state.expiry), details, cards
                )
                remaining.add_state(key, scope, state_without)
        return remaining

    def learn_fact(self, fact: Fact) -> Novelty:
        """Add one report of a fact."""
        self.reported_facts.add(fact.id)
        known = self.facts.get(fact.id)
        if known is None:
            self.add_fact(fact)
            return Novelty.NEW
        _add_reports(self.fact_reports.setdefault(fact.id, {}), known.reports, fact.reports)
        united = unite(known, fact)
        if united != known:
            self.add_fact(united)
        if united.expiry is None or fact.reported.expiry is None:
            return Novelty.NONE
        if known.expiry is None or known.expiry.value < fact.reported.expiry:
            return Novelty.NEW
        return Novelty.OLDER if fact.reported.expiry < united.expiry.value else Novelty.NONE

    def accept(self, fact_id: FactId, customers: AbstractSet[Scope]) -> None:
        """Have a fact followed in the wallets of these customers in spite of a conflict."""
        fact = self.facts[fact_id]
        self.reported_facts.add(fact_id)
        self.add_fact(fact._replace(accepted=fact.accepted.union(customers)))

    def learn_state(self, credential: Credential, scope: Scope, state: CredentialState) -> Novelty:
        """Add one report of the state of a credential, under each of its names."""
        novelty = Novelty.NONE
        for key in credential.keys:
            known = self.states.get(key, _NO_STATES).get(scope, NOTHING_REPORTED)
            merged = merge(known, state)
            if merged != NOTHING_REPORTED:
                self.reported_states.add((key, scope))
            if known != NOTHING_REPORTED:
                _add_reports(self.state_reports.setdefault((key, scope), {}), known.reports, state.reports)
            if merged != known:
                self.add_state(key, scope, merged)
                novelty = Novelty.NEW
            elif novelty is Novelty.NONE and not _reports_the_same(state, known):
                novelty = Novelty.OLDER
        return novelty


def unite(known: Fact, repeated: Fact) -> Fact:
    """One fact from two reports of it: as reported first, with all names of its credentials and the later expiry."""
    first = min(known, repeated, key=lambda fact: fact.stamp)
    old = Credential(known.old.key, min(filter(None, (known.old.alias, repeated.old.alias)), default=None))
    new = Credential(known.new.key, min(filter(None, (known.new.alias, repeated.new.alias)), default=None))
    expiry = _later(known.expiry, repeated.expiry)
    later = None if expiry is None or expiry.value == first.reported.expiry else expiry
    accepted = known.accepted | repeated.accepted
    if (old, new, later, accepted) == (first.old, first.new, first.later, first.accepted):
        return first
    reported = first.reported._replace(credential=new)
    return first._replace(old=old, new=new, reported=reported, later=later, accepted=accepted)


def merge(known: CredentialState, reported: CredentialState) -> CredentialState:
    """What is known after both reports, whichever came first."""
    status = max(filter(None, (known.status, reported.status)), key=lambda dated: dated.stamp, default=None)
    details = dict(known.details)
    for name, dated in reported.details.items():
        if name not in details or details[name].stamp < dated.stamp:
            details[name] = dated
    cards = known.cards
    if reported.cards:
        cards = {**cards, **{card: min(stamp, cards.get(card, stamp)) for card, stamp in reported.cards.items()}}
    return CredentialState(status, _later(known.expiry, reported.expiry), details, cards)


def _fact(update: Update) -> Fact:
    """What an update reports that replaces one credential by another."""
    assert update.old is not None
    assert update.new.credential is not None
    return Fact(
        old=update.old,
        new=update.new.credential,
        stamp=update.stamp,
        reason=update.reason,
        scope=update.scope,
        method_type=update.method_type,
        reported=update.new,
    )


def _add_reports(reports: dict[Stamp, T], *further: Mapping[Stamp, T]) -> None:
    """Add reports by their stamps. A report that is there is whole, and a later form of it may lack a part."""
    for shown in further:
        for stamp, report in shown.items():
            reports.setdefault(stamp, report)


def _card_faces(update: Update) -> dict[CardFace, Stamp]:
    """The face of the card behind a token that stays, if the report is complete enough to recognise the card by."""
    new, stamp = update.new, update.stamp
    if new.last4 is None or new.expiry is None or "last4" not in new.details:
        return {}
    return {CardFace(stamp.vendor, new.last4, new.brand, new.expiry): stamp}


def _later(known: Dated[Expiry] | None, reported: Dated[Expiry] | None) -> Dated[Expiry] | None:
    """The later expiry. Of two equal ones the known one stays, with its stamp."""
    if known is None or reported is None:
        return known or reported
    return reported if reported.value > known.value else known


def _without(stamp: Stamp, dated: Dated[T] | None) -> Dated[T] | None:
    """`dated`, unless it stands on the report with this stamp."""
    return None if dated is not None and dated.stamp == stamp else dated


def _reports_the_same(reported: CredentialState, known: CredentialState) -> bool:
    return (
        (reported.status is None or (known.status is not None and reported.status.value is known.status.value))
        and (reported.expiry is None or (known.expiry is not None and reported.expiry.value == known.expiry.value))
        and all(known.details[name].value == dated.value for name, dated in reported.details.items())
        and reported.cards.keys() <= known.cards.keys()
    )


def renames_itself(update: Update) -> bool:
    """Whether a reported replacement leads from a credential to itself: it replaces nothing, but its expiry counts.

    Vendors send A → A under their code for "number changed": six rows of 37 in a real file. Another token for the same
    fingerprint is a new name of the credential, so it is a fact; it replaces nothing either.
    """
    old, new = update.old, update.new.credential
    if old is None or new is None:
        return False
    return new.key == old.key or (new.key == old.alias and new.alias in (None, old.key, old.alias))


_IN_PLACE = frozenset(
    (*REPORTED_STATUS, UpdateType.EXPIRY_UPDATED, UpdateType.DETAILS_UPDATED, UpdateType.NUMBER_REPLACED)
)
NOTHING_REPORTED = CredentialState()
_NO_FACTS: Mapping[FactId, Fact] = {}
_NO_CONTRIBUTION = Contribution()
_NO_STATES: Mapping[Scope, CredentialState] = {}
