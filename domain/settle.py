"""The rules of replacement: what a wallet should be, given what is known.

`settle` is pure and idempotent, and does not care in which order things were told. Its four rules (design.md §4),
account by account:

1. An account with no live method is left alone: its customer removed it, and nothing is ever revived.
2. An account with facts has a current card, the one that the `new` of its latest fact names. A live method that holds
   a credential of that card is the current method, and takes the card's other credentials along; if there is none, a
   fresh method is made.
3. Every other live method of the account is replaced by the current one.
4. The current method takes the latest status, expiry and details told of its card, in place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, TypeVar

from domain.account import Account, Refused, accounts_of
from domain.knowledge import Fact, Knowledge, Told, merge
from domain.update import Reason
from domain.wallet import (
    Details,
    Key,
    Link,
    LinkId,
    Method,
    MethodId,
    MethodStatus,
    Wallet,
    belongs_to,
    can_be_default,
)

T = TypeVar("T", Method, Details)


@dataclass(frozen=True, slots=True)
class Replaced:
    """`old`, now deleted, gave way to `new`; `links` are the ones that moved, as they are now."""

    old: Method
    new: Method
    reason: Reason
    links: tuple[Link, ...]
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class Updated:
    """A method changed in place, in a way that merchants see."""

    before: Method
    after: Method


@dataclass(frozen=True, slots=True)
class Settlement:
    """The wallet as it should be, and what there is to tell of it; an update's outcome is read from the rest."""

    wallet: Wallet
    changes: tuple[Replaced | Updated, ...]
    accounts: tuple[Account, ...]
    refused: tuple[Refused, ...]


def settle(wallet: Wallet, knowledge: Knowledge, name: Callable[[Key], MethodId]) -> Settlement:
    """Bring `wallet` to where `knowledge` says it should be.

    `knowledge` must hold what is known of every credential that the wallet knows (`Knowledge.reach`).
    `name` gives the id of the method to be made for a credential: asked twice, the same one, and one that no method
    of `wallet` has. It is asked with the type as well (`CARD:vau:tok_B`), for a token may be of two types.
    """
    accounts, refused = accounts_of(wallet, knowledge)
    draft = Draft(wallet)
    for account in accounts:
        live, latest = account.live, account.latest
        if not live:
            continue
        if latest is None:
            told = _told_of(account.keys, account, wallet, knowledge)
            for method in live:
                draft.update(method, _as_told(method, told))
            continue
        card = account.card(latest)
        current = _current(live, card, latest)
        after = _made(name, account, card) if current is None else _with_all_of(card, current, account)
        after = _as_told(after, _told_of(card, account, wallet, knowledge))
        if current is not None:
            draft.update(current, after)
        others = [method for method in live if method is not current]
        after = heir(after, others)
        for old in others:
            fact = _why(old, account, latest)
            draft.replace(old, after, fact.reason, fact)
    return Settlement(draft.settled(accounts), tuple(draft.changes), accounts, refused)


class Draft:
    """The wallet in the making, and what there is to tell of it; what nobody touches stays the very same object."""

    def __init__(self, wallet: Wallet) -> None:
        self.wallet = wallet
        self.methods: dict[MethodId, Method] = {}
        self.links: dict[LinkId, Link] = {}
        self.changes: list[Replaced | Updated] = []

    def update(self, before: Method, after: Method) -> None:
        if after is not before:
            self.methods[after.id] = after
            if _shown(before) != _shown(after):
                self.changes.append(Updated(before, after))

    def replace(self, old: Method, new: Method, reason: Reason, fact: Fact | None = None) -> None:
        gone = replace(
            old,
            status=MethodStatus.DELETED,
            default=False,
            subscription_default=False,
            replaced_by=new.id,
            deleted_reason=reason.value,
        )
        moved = tuple(
            replace(link, method_id=new.id) for link in self.wallet.links if link.method_id == old.id and link.moves
        )
        self.methods[old.id], self.methods[new.id] = gone, new
        self.links.update((link.id, link) for link in moved)
        self.changes.append(Replaced(gone, new, reason, moved, fact))

    def settled(self, accounts: Iterable[Account] = ()) -> Wallet:
        """The wallet as drafted; where the facts of `accounts` lead, it knows from now on."""
        wallet, drafted = self.wallet, self.methods
        led_to = set().union(*(account.keys for account in accounts if account.followed))
        leads = led_to.difference(wallet.leads, *(method.keys for method in (*wallet.methods, *drafted.values())))
        if not drafted and not leads:
            return wallet
        there = {method.id for method in wallet.methods}
        return replace(
            wallet,
            methods=(
                *(drafted.get(method.id, method) for method in wallet.methods),
                *(method for method in drafted.values() if method.id not in there),
            ),
            links=tuple(self.links.get(link.id, link) for link in wallet.links) if self.links else wallet.links,
            leads=wallet.leads | leads,
        )


def heir(current: Method, olds: Sequence[Method]) -> Method:
    """`current` with the flags of those it replaces, and with what their customer said of them and not of it.

    The network tells no name, zip or nickname; the one with the default flag goes first.
    """
    if not olds:
        return current
    olds = sorted(olds, key=lambda old: (not old.default, not old.subscription_default, old.id))
    eligible = can_be_default(current.type)
    blanks = _blanks(current.details, [_known(_OF_ITS_CUSTOMER, old) for old in olds])
    return _with(
        current,
        details=_with(current.details, **blanks),
        nickname=_first(current.nickname, *(old.nickname for old in olds)),
        par=_first(current.par, *(old.par for old in olds)),
        default=eligible and (current.default or any(old.default for old in olds)),
        subscription_default=eligible
        and (current.subscription_default or any(old.subscription_default for old in olds)),
    )


def _current(live: Iterable[Method], card: AbstractSet[Key], latest: Fact) -> Method | None:
    """Where several hold credentials of the card, the one that holds the very credential that was named."""
    holders = [method for method in live if not card.isdisjoint(method.keys)]
    return min(holders, key=lambda method: (latest.new.key not in method.keys, method.id), default=None)


def _made(name: Callable[[Key], MethodId], account: Account, card: frozenset[Key]) -> Method:
    assert account.latest is not None
    method_id = name(f"{account.type}:{account.latest.new.key}")
    return _with_all_of(card, Method(method_id, account.type, MethodStatus.ACTIVE, card), account)


def _with_all_of(card: frozenset[Key], method: Method, account: Account) -> Method:
    """`method` with all credentials of its card; its blanks say what facts do, the latest first, or former methods."""
    facts = [fact for fact in reversed(account.followed) if fact.new.key in card]
    former = [other for other in account.methods if other is not method and not card.isdisjoint(other.keys)]
    said = [{"last4": fact.told.last4, "brand": fact.told.brand, **fact.told.details} for fact in facts]
    blanks = _blanks(method.details, said + [_known(_OF_THE_CARD, other) for other in former])
    return _with(
        method,
        keys=method.keys | card,
        details=_with(method.details, **blanks),
        par=_first(method.par, *(fact.told.par for fact in facts), *(other.par for other in former)),
    )


def _told_of(card: AbstractSet[Key], account: Account, wallet: Wallet, knowledge: Knowledge) -> Told:
    """What was told of the card; a fact also tells that its `new` was active then, and when it expires."""
    told = [told for scope, told in knowledge.told_of(card) if belongs_to(scope, wallet)]
    if account.latest is not None:
        expiries = [fact.told.expiry for fact in account.followed if fact.new.key in card]
        expiry = max((expiry for expiry in expiries if expiry is not None), default=None)
        told.append(Told((MethodStatus.ACTIVE, account.latest.stamp), expiry))
    return reduce(merge, told) if told else _NOTHING_TOLD


def _as_told(method: Method, told: Told) -> Method:
    if told is _NOTHING_TOLD:
        return method
    expiries = [expiry for expiry in (method.details.expiry, told.expiry) if expiry is not None]
    values = {name: dated.value for name, dated in told.details.items()}
    return _with(
        method,
        status=method.status if told.status is None else told.status[0],
        details=_with(method.details, expiry=max(expiries, default=None), **values),
    )


def _why(old: Method, account: Account, latest: Fact) -> Fact:
    """The fact that `old` was replaced by: the latest one about it, or else the account's latest."""
    about_it = (fact for fact in reversed(account.facts) if not old.keys.isdisjoint(fact.old.keys))
    return next(about_it, latest)


def _shown(method: Method) -> tuple[object, ...]:
    return (method.status, method.details, method.nickname, method.default, method.subscription_default)


def _known(names: Iterable[str], method: Method) -> dict[str, object]:
    return {name: getattr(method.details, name) for name in names}


def _blanks(details: Details, sources: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """What `sources` say, the first one first, of that which `details` do not say."""
    blanks: dict[str, object] = {}
    for source in sources:
        for name, value in source.items():
            if value is not None and name not in blanks and getattr(details, name) is None:
                blanks[name] = value
    return blanks


def _with(thing: T, **values: object) -> T:
    """`thing` with these values; itself if it has them."""
    changed: dict[str, Any] = {name: value for name, value in values.items() if getattr(thing, name) != value}
    return replace(thing, **changed) if changed else thing


def _first(*values: str | None) -> str | None:
    return next((value for value in values if value is not None), None)


_OF_THE_CARD = ("last4", "brand", "expiry")
_OF_ITS_CUSTOMER = ("holder_name", "zip_code", "manufacturer_card", "account_type")
_NOTHING_TOLD = Told()
