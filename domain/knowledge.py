"""What vendors have told about credentials, whatever wallets they are in.

It only grows, and the order of telling does not matter.

    told                        kept
    old → new                   each pair once, at the earliest stamp told and with what was said then
    names of a credential       all of them: a token's fingerprint counts whichever telling gave it
    status of a credential      the latest stamp
    expiry of a credential      the latest expiry ever told; it never goes back
    details of a credential     the latest stamp, detail by detail

What names a customer is kept apart, under that customer's `Scope`, and is not spoken of anybody else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    told: NewCredential = field(default_factory=NewCredential)

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
        former = self.facts.get(fact.pair)
        for key in () if former is None else former.old.keys:
            del self._from[key][fact.pair]
        self.facts[fact.pair] = fact
        for key in fact.old.keys:
            self._from.setdefault(key, {})[fact.pair] = fact

    def add_told(self, key: Key, scope: Scope, told: Told) -> None:
        self.told.setdefault(key, {})[scope] = told

    def facts_from(self, key: Key) -> Iterable[Fact]:
        return self._from.get(key, _NO_FACTS).values()

    def told_of(self, keys: Iterable[Key]) -> list[tuple[Scope, Told]]:
        return [told for key in keys if key in self.told for told in self.told[key].items()]

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
        """Take in what one update tells.

        Of `old`, and of `new` too where a pair is told again with another expiry: what is known of both must be loaded.
        """
        if update.old is None:
            return News.NONE
        if update.type is UpdateType.NUMBER_REPLACED and not renames_itself(update):
            return self._learn_fact(update)
        if update.type in _TELLS_IN_PLACE:
            status = TOLD_STATUS.get(update.type)
            told = Told(
                None if status is None else (status, update.stamp),
                update.new.expiry,
                {name: Dated(value, update.stamp) for name, value in update.new.details.items()},
            )
            return self._learn_of(update.old, update.scope, told)
        return News.NONE

    def without(self, stamp: Stamp, keys: Iterable[Key]) -> "Knowledge":
        """What is known within reach of `keys`, but for what stands on the word of `stamp` alone.

        What would be, had that update not come. A batch may know a thousand times more than one wallet asks of.
        """
        rest = Knowledge()
        for key in self.reach(keys):
            for fact in self.facts_from(key):
                if fact.stamp != stamp:
                    rest.add_fact(fact)
            for scope, told in self.told.get(key, _NOTHING_TOLD).items():
                status = None if told.status is not None and told.status[1] == stamp else told.status
                details = {name: dated for name, dated in told.details.items() if dated.stamp != stamp}
                rest.add_told(key, scope, Told(status, told.expiry, details))
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
        known = self.facts.get(fact.pair)
        if known is None:
            self.add_fact(fact)
            self.learnt_facts.add(fact.pair)
            return News.NEW
        news = News.NONE
        expiries = {expiry for expiry in (known.told.expiry, fact.told.expiry) if expiry is not None}
        if known.told.expiry != fact.told.expiry:
            # The fact keeps what was said first, the credential the latest expiry ever told.
            news = self._learn_of(fact.new, fact.scope, Told(expiry=max(expiries)))
        united = unite(known, fact)
        if united != known:
            self.add_fact(united)
            self.learnt_facts.add(united.pair)
        return news

    def _learn_of(self, credential: Credential, scope: Scope, told: Told) -> News:
        news = News.NONE
        for key in credential.keys:
            known = self.told.get(key, _NOTHING_TOLD).get(scope, _NEVER_TOLD)
            merged = merge(known, told)
            if merged != known:
                self.add_told(key, scope, merged)
                self.learnt_of.add((key, scope))
                news = News.NEW
            elif news is News.NONE and not _says_the_same(told, known):
                news = News.OLDER
        return news


def unite(one: Fact, other: Fact) -> Fact:
    """A pair told twice: as it was said first, and under every name that its credentials were told by."""
    first = min(one, other, key=lambda fact: fact.stamp)
    old = Credential(one.old.key, min(filter(None, (one.old.alias, other.old.alias)), default=None))
    new = Credential(one.new.key, min(filter(None, (one.new.alias, other.new.alias)), default=None))
    if (old, new) == (first.old, first.new):
        return first
    return replace(first, old=old, new=new, told=replace(first.told, credential=new))


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
    """A → A under the code for "number changed" (six rows of 37 in a real file): no replacement, its expiry counts.

    Another token for the same fingerprint is a name that was not known, so it is a fact; it replaces nothing.
    """
    old, new = update.old, update.new.credential
    return old is not None and new is not None and (new.key == old.key or set(new.keys) <= set(old.keys))


_TELLS_IN_PLACE = frozenset(
    (*TOLD_STATUS, UpdateType.EXPIRY_UPDATED, UpdateType.DETAILS_UPDATED, UpdateType.NUMBER_REPLACED)
)
_NEVER_TOLD = Told()
_NO_FACTS: Mapping[Pair, Fact] = {}
_NOTHING_TOLD: Mapping[Scope, Told] = {}
