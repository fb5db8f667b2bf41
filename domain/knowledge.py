"""What vendors have told about credentials, whatever wallets they are in. It only grows, and the order of telling does not matter.

    told                        kept
    old → new                   each pair once, at the earliest stamp told and with what was said then
    status of a credential      the latest stamp
    expiry of a credential      the latest expiry ever told; it never goes back
    details of a credential     the latest stamp, detail by detail

What names a customer is kept apart, under that customer's `Scope`, and is not spoken of anybody else.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias

from domain.update import Credential, NewCredential, Reason, Scope, Stamp, Update, UpdateType
from domain.wallet import Expiry, Key, MethodStatus, MethodType

TOLD_STATUS: Mapping[UpdateType, MethodStatus] = {
    UpdateType.SUSPENDED: MethodStatus.SUSPENDED,
    UpdateType.RESUMED: MethodStatus.ACTIVE,
    UpdateType.CLOSED: MethodStatus.CLOSED,
    UpdateType.CONTACT_CARDHOLDER: MethodStatus.ACTION_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """`old` was replaced by `new`."""

    old: Credential
    new: Credential
    stamp: Stamp
    reason: Reason = Reason.REISSUED
    scope: Scope = ()
    method_type: MethodType | None = None
    told: NewCredential = NewCredential()

    @property
    def pair(self) -> "Pair":
        return (self.old.key, self.new.key, self.scope)


Pair: TypeAlias = tuple[Key, Key, Scope]


class Dated(NamedTuple):
    value: object
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one credential."""

    status: tuple[MethodStatus, Stamp] | None = None
    expiry: Expiry | None = None
    details: Mapping[str, Dated] = field(default_factory=dict)


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
        self.learnt_facts: set[Pair] = set()
        """Pairs that are new or changed since loading."""
        self.learnt_of: set[tuple[Key, Scope]] = set()
        """Credentials of which something was told that was not known at loading."""
        self._from: dict[Key, dict[Pair, Fact]] = {}

    def add_fact(self, fact: Fact) -> None:
        """Put in a fact as it was stored; it replaces the pair's former one."""
        self.facts[fact.pair] = fact
        for key in fact.old.keys:
            self._from.setdefault(key, {})[fact.pair] = fact

    def add_told(self, key: Key, scope: Scope, told: Told) -> None:
        self.told.setdefault(key, {})[scope] = told

    def facts_from(self, key: Key) -> Iterable[Fact]:
        return self._from.get(key, _NO_FACTS).values()

    def told_of(self, keys: Iterable[Key]) -> Iterator[tuple[Scope, Told]]:
        for key in keys:
            yield from self.told.get(key, _NOTHING_TOLD).items()

    def reach(self, keys: Iterable[Key]) -> set[Key]:
        """All that facts may lead to from `keys`, these included; more than a wallet follows, never less."""
        reached = set(keys)
        frontier = list(reached)
        while frontier:
            for fact in self.facts_from(frontier.pop()):
                further = {*fact.old.keys, *fact.new.keys} - reached
                reached |= further
                frontier.extend(further)
        return reached

    def learn(self, update: Update) -> News:
        """Take in what one update tells."""
        if update.old is None:
            return News.NONE
        if update.type is UpdateType.NUMBER_REPLACED and not renames_itself(update):
            return self._learn_fact(update)
        if update.type in TOLD_STATUS:
            status = (TOLD_STATUS[update.type], update.stamp)
            return self._learn_of(update, Told(status=status))
        if update.type in _TELLS_IN_PLACE:
            details = {name: Dated(value, update.stamp) for name, value in update.new.details.items()}
            return self._learn_of(update, Told(expiry=update.new.expiry, details=details))
        return News.NONE

    def without(self, stamp: Stamp) -> "Knowledge":
        """All of it but what stands on the word of `stamp` alone: what would be, had that update not come."""
        rest = Knowledge()
        for fact in self.facts.values():
            if fact.stamp != stamp:
                rest.add_fact(fact)
        for key, by_scope in self.told.items():
            for scope, told in by_scope.items():
                status = None if told.status is not None and told.status[1] == stamp else told.status
                details = {name: dated for name, dated in told.details.items() if dated.stamp != stamp}
                rest.add_told(key, scope, Told(status, told.expiry, details))
        return rest

    def _learn_fact(self, update: Update) -> News:
        assert update.old is not None and update.new.credential is not None
        fact = Fact(
            old=update.old,
            new=update.new.credential,
            stamp=update.stamp,
            reason=update.reason,
            scope=update.scope,
            method_type=update.method_type,
            told=update.new,
        )
        known = self.facts.get(fact.pair)
        if known is not None and known.stamp <= fact.stamp:
            return News.NONE
        self.add_fact(fact)
        self.learnt_facts.add(fact.pair)
        return News.NEW if known is None else News.NONE

    def _learn_of(self, update: Update, told: Told) -> News:
        assert update.old is not None
        news = News.NONE
        for key in update.old.keys:
            known = self.told.get(key, _NOTHING_TOLD).get(update.scope, _NEVER_TOLD)
            merged = merge(known, told)
            if merged != known:
                self.add_told(key, update.scope, merged)
                self.learnt_of.add((key, update.scope))
                news = News.NEW
            elif news is News.NONE and not _says_the_same(told, known):
                news = News.OLDER
        return news


def merge(one: Told, other: Told) -> Told:
    """What is known after both were told, in either order."""
    status = max(filter(None, (one.status, other.status)), key=lambda told: told[1], default=None)
    expiry = max(filter(None, (one.expiry, other.expiry)), default=None)
    details = dict(one.details)
    for name, dated in other.details.items():
        if name not in details or details[name].stamp < dated.stamp:
            details[name] = dated
    return Told(status, expiry, details)


def _says_the_same(told: Told, known: Told) -> bool:
    return (
        (told.status is None or (known.status is not None and told.status[0] is known.status[0]))
        and (told.expiry is None or told.expiry == known.expiry)
        and all(known.details[name].value == dated.value for name, dated in told.details.items())
    )


def renames_itself(update: Update) -> bool:
    """A → A under the code for "number changed" (six rows of 37 in a real file): no replacement, its expiry counts."""
    new = update.new.credential
    return update.old is not None and new is not None and not set(update.old.keys).isdisjoint(new.keys)


_TELLS_IN_PLACE = frozenset(
    (UpdateType.EXPIRY_UPDATED, UpdateType.DETAILS_UPDATED, UpdateType.NUMBER_REPLACED)
)
_NEVER_TOLD = Told()
_NO_FACTS: Mapping[Pair, Fact] = {}
_NOTHING_TOLD: Mapping[Scope, Told] = {}
