"""The rules of replacement: what a wallet should be, given what is known.

`settle` is pure and idempotent, and does not care in which order things were told. Its four rules (design.md §4), account by
account:

1. An account with no live method is left alone: its customer removed it, and nothing is ever revived.
2. An account with facts has a current card, the one that the `new` of its latest fact names. A live method that holds a
   credential of that card is the current method, and takes the card's other credentials along; if there is none, a fresh
   method is made.
3. Every other live method of the account is replaced by the current one.
4. The current method takes the latest status, expiry and details told of its card, in place.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from domain.account import Account, Conflict, accounts_of
from domain.knowledge import Fact, Knowledge
from domain.update import Reason, Stamp
from domain.wallet import (
    Details,
    Expiry,
    Key,
    Link,
    Method,
    MethodId,
    MethodStatus,
    Wallet,
    belongs_to,
    can_be_default,
)

T = TypeVar("T")


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
    """The wallet as it should be, and what there is to tell of it; the rest is what an update's outcome is read from."""

    wallet: Wallet
    changes: tuple[Replaced | Updated, ...]
    accounts: tuple[Account, ...]
    refused: tuple[tuple[Fact, Conflict], ...]


def settle(wallet: Wallet, knowledge: Knowledge, name: Callable[[Key], MethodId]) -> Settlement:
    """Bring `wallet` to where `knowledge` says it should be.

    `knowledge` must hold what is known of every credential that the wallet knows (`Knowledge.reach`).
    `name` gives the id of the method to be made for a credential; asked twice, it gives the same.
    """
    found = accounts_of(wallet, knowledge)
    draft = _Draft(wallet)
    for account in found.accounts:
        live = account.live
        if not live:
            continue
        if account.latest is None:
            for method in live:
                draft.update(method, _as_told(method, account.keys, account, wallet, knowledge))
            continue
        card = account.card(account.latest.new.key)
        current = next((method for method in _by_claim(live, account.latest) if not card.isdisjoint(method.keys)), None)
        if current is None:
            after = _made(card, account, name)
        else:
            after = replace(current, keys=current.keys | card) if not card <= current.keys else current
        after = _as_told(after, card, account, wallet, knowledge)
        if current is not None:
            draft.update(current, after)
        draft.replace(after, [method for method in live if method is not current], account)
    return Settlement(draft.settled(found.known), tuple(draft.changes), found.accounts, found.refused)


class _Draft:
    """The wallet in the making, and what was done to it."""

    def __init__(self, wallet: Wallet) -> None:
        self.wallet = wallet
        self.methods = {method.id: method for method in wallet.methods}
        self.links = {link.id: link for link in wallet.links}
        self.changes: list[Replaced | Updated] = []

    def update(self, before: Method, after: Method) -> None:
        self.methods[before.id] = after
        if _shown(before) != _shown(after):
            self.changes.append(Updated(before, after))

    def replace(self, current: Method, olds: list[Method], account: Account) -> None:
        olds.sort(key=lambda old: (not old.default, not old.subscription_default, old.id))
        for old in olds:
            current = _with_blanks_from(old, current)
        eligible = can_be_default(current.type)
        current = replace(
            current,
            default=eligible and (current.default or any(old.default for old in olds)),
            subscription_default=eligible
            and (current.subscription_default or any(old.subscription_default for old in olds)),
        )
        self.methods[current.id] = current
        for old in olds:
            fact = _why(old, account)
            gone = replace(
                old,
                status=MethodStatus.DELETED,
                default=False,
                subscription_default=False,
                replaced_by=current.id,
                deleted_reason=fact.reason.value,
            )
            moved = tuple(
                replace(link, method_id=current.id)
                for link in self.links.values()
                if link.method_id == old.id and link.moves
            )
            self.methods[old.id] = gone
            self.links.update((link.id, link) for link in moved)
            self.changes.append(Replaced(gone, current, fact.reason, moved, fact))

    def settled(self, known: frozenset[Key]) -> Wallet:
        methods = tuple(self.methods.values())
        leads = known.difference(self.wallet.leads, *(method.keys for method in methods))
        if methods == self.wallet.methods and not leads:
            return self.wallet
        return replace(
            self.wallet, methods=methods, links=tuple(self.links.values()), leads=self.wallet.leads | leads
        )


def _by_claim(live: Iterable[Method], latest: Fact) -> list[Method]:
    """Who is current where several methods hold credentials of the card: who holds the very one that was named."""
    return sorted(live, key=lambda method: (latest.new.key not in method.keys, method.id))


def _made(card: frozenset[Key], account: Account, name: Callable[[Key], MethodId]) -> Method:
    """A fresh method for `card`: what its facts said, the latest first; what no fact said, a deleted method of the card knew."""
    assert account.latest is not None
    facts = [fact.told for fact in reversed(account.facts) if fact.new.key in card]
    former = [method for method in account.methods if not card.isdisjoint(method.keys)]
    told = facts + [method.details for method in former]
    details: dict[str, object] = {}
    for fact in facts:
        details = {**fact.details, **details}
    return Method(
        id=name(account.latest.new.key),
        type=account.type,
        status=MethodStatus.ACTIVE,
        keys=card,
        details=Details(
            last4=_first(source.last4 for source in told),
            brand=_first(source.brand for source in told),
            expiry=max(filter(None, (source.expiry for source in told)), default=None),
            **details,  # type: ignore[arg-type]
        ),
        par=_first([fact.par for fact in facts] + [method.par for method in former]),
    )


def _as_told(
    method: Method, card: frozenset[Key], account: Account, wallet: Wallet, knowledge: Knowledge
) -> Method:
    """The method with the latest status, expiry and details that were told of its card.

    A fact also tells of its `new` that it was active then, and when it expires.
    """
    facts = [fact for fact in account.facts if fact.new.key in card]
    statuses: list[tuple[Stamp, MethodStatus]] = [(fact.stamp, MethodStatus.ACTIVE) for fact in facts]
    expiries: list[Expiry] = [fact.told.expiry for fact in facts if fact.told.expiry is not None]
    details: dict[str, tuple[Stamp, object]] = {}
    for scope, told in knowledge.told_of(card):
        if not belongs_to(scope, wallet):
            continue
        if told.status is not None:
            statuses.append((told.status[1], told.status[0]))
        if told.expiry is not None:
            expiries.append(told.expiry)
        for detail, (value, stamp) in told.details.items():
            if detail not in details or details[detail][0] < stamp:
                details[detail] = (stamp, value)
    if not (statuses or expiries or details):
        return method
    if method.details.expiry is not None:
        expiries.append(method.details.expiry)
    return replace(
        method,
        status=max(statuses)[1] if statuses else method.status,
        details=replace(
            method.details,
            last4=_first((method.details.last4, *(fact.told.last4 for fact in reversed(facts)))),
            brand=_first((method.details.brand, *(fact.told.brand for fact in reversed(facts)))),
            expiry=max(expiries, default=None),
            **{detail: value for detail, (_, value) in details.items()},  # type: ignore[arg-type]
        ),
    )


def _with_blanks_from(old: Method, current: Method) -> Method:
    """What the network never tells of a new card, and its owner told of the old one."""
    mine, theirs = current.details, old.details
    return replace(
        current,
        nickname=_first((current.nickname, old.nickname)),
        par=_first((current.par, old.par)),
        details=replace(
            mine,
            holder_name=_first((mine.holder_name, theirs.holder_name)),
            zip_code=_first((mine.zip_code, theirs.zip_code)),
            manufacturer_card=_first((mine.manufacturer_card, theirs.manufacturer_card)),
            account_type=_first((mine.account_type, theirs.account_type)),
        ),
    )


def _why(old: Method, account: Account) -> Fact:
    """The fact that `old` was replaced by: the latest one about it, or else the account's latest."""
    assert account.latest is not None
    about_it = (fact for fact in reversed(account.facts) if not old.keys.isdisjoint(fact.old.keys))
    return next(about_it, account.latest)


def _shown(method: Method) -> tuple[object, ...]:
    return (method.status, method.details, method.nickname, method.default, method.subscription_default)


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)
