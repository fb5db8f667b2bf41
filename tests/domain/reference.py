"""The four rules of design.md §4 once more, slowly: all that was told at once, so no order of arrival to get wrong.

Written from the page, not from `domain/`: sets that are joined until nothing joins, and no wallet that changes on the
way. It says what is live in the end, and nothing of ids, lineage or events.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from domain.update import NewCredential, Scope, Stamp, Update, UpdateType
from domain.wallet import Expiry, Key, LinkStatus, Method, MethodStatus, MethodType, Wallet


class Live(NamedTuple):
    """A live method as it is compared; `links` are the ones that must be on it: ACTIVE and PAUSED."""

    type: MethodType
    keys: frozenset[Key]
    status: MethodStatus
    expiry: Expiry | None
    default: bool
    subscription_default: bool
    links: frozenset[str]


@dataclass
class Fact:
    """A pair with every name that its credentials were ever told by, and the rest as first told."""

    old: set[Key]
    new: set[Key]
    scope: Scope
    stamp: Stamp
    type: MethodType | None
    reported: NewCredential
    expiries: set[Expiry]


@dataclass
class Account:
    type: MethodType
    keys: set[Key]
    methods: list[Method] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    pars: set[str] = field(default_factory=set)


STATUS = {
    UpdateType.SUSPENDED: MethodStatus.SUSPENDED,
    UpdateType.RESUMED: MethodStatus.ACTIVE,
    UpdateType.CLOSED: MethodStatus.CLOSED,
    UpdateType.CONTACT_CARDHOLDER: MethodStatus.ACTION_REQUIRED,
}


def view(wallet: Wallet) -> set[Live]:
    """What is live in `wallet` as it stands."""
    return {
        seen(method.keys, method.status, method.details.expiry, [method], wallet)
        for method in wallet.methods
        if method.status is not MethodStatus.DELETED
    }


def view_after(wallet: Wallet, updates: Iterable[Update]) -> set[Live]:
    """What is live in `wallet`, as it was at first, when all `updates` have come."""
    meant = [update for update in updates if is_meant_for(update.scope, wallet)]
    in_place = [update for update in meant if not tells_a_fact(update)]
    alive = set()
    for account in accounts_of(wallet, facts_of(meant)):
        alive |= settled(account, in_place, wallet)
    return alive


def united(target: Wallet, source: Wallet) -> Wallet:
    """One wallet of two: of the same identity the target's is kept, and the target's flags win."""
    alive = [method for method in target.methods if method.live]
    default = any(method.default for method in alive)
    subscription_default = any(method.subscription_default for method in alive)
    methods = {method.id: method for method in target.methods}
    heirs: dict[str, str] = {}
    for method in source.methods:
        arriving = method._replace(
            default=method.default and not default,
            subscription_default=method.subscription_default and not subscription_default,
        )
        twins = [each for each in alive if method.live and each.type is method.type and each.keys & method.keys]
        if twins:
            kept = methods[twins[0].id]
            methods[kept.id] = kept._replace(
                keys=kept.keys | method.keys,
                default=kept.default or arriving.default,
                subscription_default=kept.subscription_default or arriving.subscription_default,
            )
            heirs[method.id] = kept.id
        else:
            methods[method.id] = arriving
    return target._replace(
        methods=tuple(methods.values()),
        links=target.links
        + tuple(link._replace(method_id=heirs.get(link.method_id, link.method_id)) for link in source.links),
        former_identities=target.former_identities | source.former_identities | source.customer.identities,
    )


def seen(
    keys: Iterable[Key],
    status: MethodStatus,
    expiry: Expiry | None,
    heir_of: Sequence[Method],
    wallet: Wallet,
) -> Live:
    return Live(
        type=heir_of[0].type,
        keys=frozenset(keys),
        status=status,
        expiry=expiry,
        default=any(old.default for old in heir_of),
        subscription_default=any(old.subscription_default for old in heir_of),
        links=frozenset(
            link.id
            for link in wallet.links
            if link.status is not LinkStatus.CANCELLED and link.method_id in {old.id for old in heir_of}
        ),
    )


def is_meant_for(scope: Scope, wallet: Wallet) -> bool:
    """One identity at least agrees with a customer whose wallet this is or was, and none contradicts that customer."""
    return not scope or any(
        any(identity in customer for identity in scope)
        and all(identity in customer or identity[0] not in dict(customer) for identity in scope)
        for customer in (wallet.customer.identities, wallet.former_identities)
    )


def tells_a_fact(update: Update) -> bool:
    if update.type is not UpdateType.NUMBER_REPLACED:
        return False
    old, new = update.old, update.new.credential
    assert old is not None
    assert new is not None
    return new.key != old.key and not {*new.keys} <= {*old.keys}


def facts_of(updates: Iterable[Update]) -> list[Fact]:
    """Each pair once, at the earliest stamp told."""
    facts: dict[tuple[Key, Key, Scope], Fact] = {}
    for update in sorted(filter(tells_a_fact, updates), key=lambda update: update.stamp):
        old, new = update.old, update.new.credential
        assert old is not None
        assert new is not None
        first = Fact({*old.keys}, {*new.keys}, update.scope, update.stamp, update.method_type, update.new, set())
        fact = facts.setdefault((old.key, new.key, update.scope), first)
        fact.old |= first.old
        fact.new |= first.new
        fact.expiries |= {expiry for expiry in [update.new.expiry] if expiry is not None}
    return list(facts.values())


def accounts_of(wallet: Wallet, facts: Sequence[Fact]) -> list[Account]:
    accounts: list[Account] = []
    for method in wallet.methods:
        pars = set() if method.par is None else {method.par}
        join(Account(method.type, set(method.keys), methods=[method], pars=pars), accounts)
    untried = list(facts)
    while within_reach := [fact for fact in untried if any(fact.old & account.keys for account in accounts)]:
        fact = min(within_reach, key=lambda fact: fact.stamp)
        untried.remove(fact)
        if (followed := if_followed(fact, accounts)) is not None:
            join(followed, accounts)
    return accounts


def join(account: Account, accounts: list[Account]) -> None:
    """Put `account` among `accounts`, and into one with those of its type that have a credential in common with it."""
    for other in [other for other in accounts if other.type is account.type and other.keys & account.keys]:
        accounts.remove(other)
        account.keys |= other.keys
        account.methods += other.methods
        account.facts += other.facts
        account.pars |= other.pars
    accounts.append(account)


def if_followed(fact: Fact, accounts: Iterable[Account]) -> Account | None:
    """What `fact` joins; None if it must not be followed."""
    types_of_old = {account.type for account in accounts if account.keys & fact.old}
    types = types_of_old if fact.type is None else types_of_old & {fact.type}
    if len(types) != 1:
        return None
    (type_of_it,) = types
    for key in fact.old | fact.new:
        known_as = {account.type for account in accounts if key in account.keys}
        if known_as and type_of_it not in known_as:
            return None
    pars = {par for par in [fact.reported.par] if par is not None}
    for account in accounts:
        if account.type is type_of_it and account.keys & (fact.old | fact.new):
            pars |= account.pars
    return None if len(pars) > 1 else Account(type_of_it, fact.old | fact.new, facts=[fact], pars=pars)


def settled(account: Account, in_place: Sequence[Update], wallet: Wallet) -> set[Live]:
    alive = [method for method in account.methods if method.status is not MethodStatus.DELETED]
    if not alive:  # rule 1
        return set()
    if not account.facts:
        told_status = latest_status(account.keys, [], in_place)
        return {
            seen(
                method.keys,
                told_status or method.status,
                latest_expiry(account.keys, [], in_place, [method]),
                [method],
                wallet,
            )
            for method in alive
        }
    facts = one_of_each_pair(account.facts)
    card = card_of(facts[-1], account, in_place)  # rule 2
    status = latest_status(card, facts, in_place)  # rule 4
    assert status is not None
    of_the_card = [method for method in account.methods if method.keys & card]
    expiry = latest_expiry(card, account.facts, in_place, of_the_card)
    return {seen(card, status, expiry, alive, wallet)}  # rule 3: one stands for all that were alive


def one_of_each_pair(facts: Iterable[Fact]) -> list[Fact]:
    """In order; of those that name one pair by different names of its credentials, the earliest.

    What names one credential twice replaces nothing, unless there is nothing else.
    """
    facts = sorted(facts, key=lambda fact: fact.stamp)
    credentials = grown([side for fact in facts for side in sides(fact)])
    pairs: list[tuple[set[Key], ...]] = []
    once: list[Fact] = []
    for fact in facts:
        pair = tuple(next(names for names in credentials if side <= names) for side in sides(fact))
        if pair not in pairs:
            pairs.append(pair)
            once.append(fact)
    replacing = [fact for fact, (old, new) in zip(once, pairs, strict=True) if old != new]
    return replacing or once


def sides(fact: Fact) -> tuple[set[Key], set[Key]]:
    """The names of what was, and of what it became; behind a token that stayed, the token and the card."""
    assert fact.reported.credential is not None
    stayed = (fact.new - {fact.reported.credential.key}) & fact.old
    return (stayed, {fact.reported.credential.key}) if stayed else (fact.old, fact.new)


def card_of(naming_it: Fact, account: Account, in_place: Iterable[Update]) -> set[Key]:
    groups = [set(method.keys) for method in account.methods]
    groups += [side for fact in account.facts for side in (fact.old, fact.new)]
    groups += [
        one.new | other.new
        for one in account.facts
        for other in account.facts
        if one.stamp.vendor != other.stamp.vendor and look_alike(one.reported, other.reported)
    ]
    groups += [
        fact.new | (names_of_old(update) & account.keys)
        for fact in account.facts
        for update in in_place
        if names_of_old(update) & account.keys and stands_for_the_new_of(fact, update)
    ]
    return next(group for group in grown(groups) if naming_it.new <= group)


def look_alike(one: NewCredential, other: NewCredential) -> bool:
    looks = (one.brand, one.last4, one.expiry)
    return None not in looks and looks == (other.brand, other.last4, other.expiry)


def stands_for_the_new_of(fact: Fact, update: Update) -> bool:
    """Whether `update` says of a token that stays what another vendor's `fact` says of its new card."""
    shown, reported = update.new, fact.reported
    return (
        "last4" in shown.details
        and update.stamp.vendor != fact.stamp.vendor
        and None not in (shown.last4, shown.expiry)
        and (shown.last4, shown.expiry) == (reported.last4, reported.expiry)
        and (shown.brand is None or shown.brand == reported.brand)
    )


def grown(groups: Iterable[set[Key]]) -> list[set[Key]]:
    """Groups that have something in common, joined until none have."""
    apart: list[set[Key]] = []
    for group in groups:
        joined = set(group)
        for other in [other for other in apart if other & joined]:
            apart.remove(other)
            joined |= other
        apart.append(joined)
    return apart


def latest_status(card: set[Key], facts: Iterable[Fact], in_place: Iterable[Update]) -> MethodStatus | None:
    """A fact also tells that its `new` was ACTIVE at its stamp."""
    statuses = [(fact.stamp, MethodStatus.ACTIVE) for fact in facts if fact.new & card]
    statuses += [  # another card behind a token that stays
        (update.stamp, MethodStatus.ACTIVE)
        for update in in_place
        if update.type is UpdateType.NUMBER_REPLACED and "last4" in update.new.details and names_of_old(update) & card
    ]
    statuses += [
        (update.stamp, STATUS[update.type])
        for update in in_place
        if update.type in STATUS and names_of_old(update) & card
    ]
    return max(statuses)[1] if statuses else None


def latest_expiry(
    card: set[Key], facts: Iterable[Fact], in_place: Iterable[Update], methods: Iterable[Method]
) -> Expiry | None:
    expiries = [method.details.expiry for method in methods]
    for fact in facts:
        if fact.new & card:
            expiries += fact.expiries
    expiries += [update.new.expiry for update in in_place if names_of_old(update) & card]
    return max((expiry for expiry in expiries if expiry is not None), default=None)


def names_of_old(update: Update) -> set[Key]:
    assert update.old is not None
    return set(update.old.keys)
