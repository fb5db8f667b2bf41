"""The rules of replacement: what a wallet should be, given what is known.

`resolve` is pure and idempotent, and does not care in which order things were told. Its four rules (design.md §4),
account by account:

1. An account with no live method is left alone: its customer removed it, and nothing is ever revived.
2. An account with facts has a current card, the one that the `new` of its latest fact names. A live method that holds
   a credential of that card is the current method, and takes the card's other credentials along; if there is none, a
   fresh method is made.
3. Every other live method of the account is replaced by the current one.
4. The current method takes the latest status, expiry and details told of its card, in place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeVar

from domain.account import Account, Accounts, Refused
from domain.knowledge import NOTHING_REPORTED, CardFace, CredentialState, Dated, Fact, Knowledge, merge
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
V = TypeVar("V")


class Replaced(NamedTuple):
    """`old`, now deleted, gave way to `new`; `links` are the ones that moved, as they are now."""

    old: Method
    new: Method
    reason: Reason
    links: tuple[Link, ...]
    fact: Fact | None = None


class Updated(NamedTuple):
    """A method changed in place, in a way that merchants see."""

    before: Method
    after: Method


class Resolution(NamedTuple):
    """The wallet as it should be, and what there is to tell of it; an update's outcome is read from the rest."""

    wallet: Wallet
    changes: tuple[Replaced | Updated, ...]
    accounts: tuple[Account, ...]
    refused: tuple[Refused, ...]


def resolve(wallet: Wallet, knowledge: Knowledge, name: Callable[[Key], MethodId]) -> Resolution:
    """Bring `wallet` to where `knowledge` says it should be.

    `knowledge` must hold what is known of every credential that the wallet knows (`Knowledge.reach`).
    `name` gives the id of the method to be made for a credential: asked twice, the same one, and one that no method
    of `wallet` has. It is asked with the type as well (`CARD:vau:tok_B`), for a token may be of two types.
    """
    accounts = Accounts(wallet, knowledge)
    drafts = [resolve_account(account, wallet, knowledge, name) for account in accounts.all]
    return combine(accounts, [draft for draft in drafts if draft is not None])


def combine(accounts: Accounts, drafts: Sequence["Draft"]) -> Resolution:
    """What the drafts of the accounts of a wallet come to, in their order."""
    whole = drafts[0] if len(drafts) == 1 else Draft(accounts.wallet)
    for draft in () if len(drafts) == 1 else drafts:
        whole.methods |= draft.methods
        whole.links |= draft.links
        whole.changes += draft.changes
    return Resolution(
        whole.build_wallet(accounts.all), tuple(whole.changes), tuple(accounts.all), tuple(accounts.refused)
    )


def resolve_account(
    account: Account, wallet: Wallet, knowledge: Knowledge, name: Callable[[Key], MethodId]
) -> "Draft | None":
    """What becomes of the methods of one account of `wallet`; None where nothing was told of it."""
    if not account.live:
        return None
    latest = account.latest
    if latest is None:
        states = _states_of(account.keys, wallet, knowledge)
        if not states:
            return None
        draft = Draft(wallet, state=reduce(merge, states))
        card = _Card(frozenset(), (), (), draft.state)
        for method in account.live:
            draft.update(method, _as_reported(method, card))
        return draft
    card = _card(account, latest, wallet, knowledge)
    current = _current(account.live, card, latest)
    others = _default_first([method for method in account.live if method is not current])
    draft = Draft(wallet, state=card.state, card=card.keys, current=current, others=others)
    if current is None:
        made = name(f"{account.type}:{latest.new.key}")
        after = _as_reported(Method(made, account.type, MethodStatus.ACTIVE, card.keys), card)
    else:
        after = _as_reported(current, card)
        draft.update(current, after)
    if others:
        after = heir(after, others)
        draft.put(after)
    for old in others:
        fact = account.pairs.why(old)
        draft.replace(old, after, fact.reason, fact)
    return draft


class Draft:
    """The wallet in the making, and what there is to tell of it; what nobody touches stays the very same object."""

    def __init__(
        self,
        wallet: Wallet,
        *,
        state: CredentialState = NOTHING_REPORTED,
        card: frozenset[Key] = frozenset(),
        current: Method | None = None,
        others: Sequence[Method] = (),
    ) -> None:
        self.wallet = wallet
        self.methods: dict[MethodId, Method] = {}
        self.links: dict[LinkId, Link] = {}
        self.changes: list[Replaced | Updated] = []
        # what an account's draft was made from: what was told of it, its current card, the live method that is it, and
        # those that it replaces
        self.state, self.card, self.current, self.others = state, card, current, others

    def put(self, method: Method) -> None:
        """Have `method` as it is, fresh or in place of what it was."""
        self.methods[method.id] = method

    def update(self, before: Method, after: Method) -> None:
        if after is not before:
            self.put(after)
            if _visible(before) != _visible(after):
                self.changes.append(Updated(before, after))

    def replace(self, old: Method, new: Method, reason: Reason, fact: Fact | None = None) -> None:
        gone = old.tombstone(new.id, reason.value)
        moved = tuple([link.on(new.id) for link in self.wallet.links if link.method_id == old.id and link.moves])
        self.put(gone)
        for link in moved:
            self.links[link.id] = link
        self.changes.append(Replaced(gone, new, reason, moved, fact))

    def build_wallet(self, accounts: Iterable[Account] = ()) -> Wallet:
        """The wallet as drafted; where the facts of `accounts` lead, it knows from now on."""
        wallet, links = self.wallet, self.links
        methods = wallet.methods
        if self.methods:
            methods = tuple(({method.id: method for method in methods} | self.methods).values())
        leads: set[Key] = set()
        for account in accounts:
            if account.followed:
                leads.update(account.keys)
        if leads:
            leads.difference_update(wallet.leads, *[method.keys for method in methods])
        if not self.methods and not leads:
            return wallet
        return wallet.with_contents(
            methods,
            tuple([links.get(link.id, link) for link in wallet.links]) if links else wallet.links,
            wallet.leads | leads if leads else wallet.leads,
        )


class _Card(NamedTuple):
    """A card: its credentials, the facts that name it (the latest first), methods it ever was, and what was told."""

    keys: frozenset[Key]
    facts: Sequence[Fact]
    methods: Sequence[Method]
    state: CredentialState


def _card(account: Account, latest: Fact, wallet: Wallet, knowledge: Knowledge) -> _Card:
    """The current card of `account`, the one that `latest` names.

    A fact also tells that its `new` was active then, and when it expires; one that happened behind a token that stays,
    what the card has shown since.
    """
    keys, facts = account.card(latest, lambda: _faces_behind(account.keys, wallet, knowledge))
    expiry = max([fact.expiry for fact in facts if fact.expiry is not None], default=None)
    by_facts = CredentialState(Dated(MethodStatus.ACTIVE, latest.stamp), expiry, _face_since(latest))
    methods = [method for method in account.methods if not keys.isdisjoint(method.keys)]
    return _Card(keys, facts, methods, reduce(merge, _states_of(keys, wallet, knowledge), by_facts))


def _states_of(keys: Iterable[Key], wallet: Wallet, knowledge: Knowledge) -> list[CredentialState]:
    return [state for scope, state in knowledge.states_of(keys) if belongs_to(scope, wallet)]


def _faces_behind(keys: Iterable[Key], wallet: Wallet, knowledge: Knowledge) -> list[tuple[Key, CardFace]]:
    """The cards that any of `keys` was told to stand for, a token that stays."""
    return [
        (key, card)
        for key in keys
        if key in knowledge.states
        for scope, state in knowledge.states[key].items()
        if state.cards and belongs_to(scope, wallet)
        for card in state.cards
    ]


def _face_since(latest: Fact) -> Mapping[str, Dated[object]]:
    if not latest.in_place:
        return _NOTHING
    shown = {"last4": latest.reported.last4, "brand": latest.reported.brand}
    return {name: Dated(value, latest.stamp) for name, value in shown.items() if value is not None}


def _current(live: Sequence[Method], card: _Card, latest: Fact) -> Method | None:
    """Where several hold credentials of the card, the one that holds the very credential that was named."""
    holders = [method for method in live if latest.new.key in method.keys]
    holders = holders or [method for method in live if not card.keys.isdisjoint(method.keys)]
    return min(holders, key=lambda method: method.id) if holders else None


def _as_reported(method: Method, card: _Card) -> Method:
    """`method` with all credentials of its card, as told of it; of expiries the latest counts.

    Its blanks say what facts do, the latest first, or what former methods of the card did.
    """
    status, expiry, reported_details, _ = card.state
    details = method.details
    said: dict[str, Any] = {
        "last4": details.last4 or _face_value("last4", card),
        "brand": details.brand or _face_value("brand", card),
    }
    for fact in reversed(card.facts):
        if fact.reported.details:
            said.update(
                (name, value) for name, value in fact.reported.details.items() if getattr(details, name) is None
            )
    said.update((name, dated.value) for name, dated in reported_details.items())
    expiries = [each.details.expiry for each in (method, *card.methods) if each.details.expiry is not None]
    if expiry is not None:
        expiries.append(expiry.value)
    if expiries:
        said["expiry"] = max(expiries)
    return _with(
        method,
        status=method.status if status is None else status.value,
        keys=method.keys | card.keys,
        par=method.par or _par_of(card),
        details=_with(details, **said),
    )


def _face_value(name: str, card: _Card) -> str | None:
    """The last4 or brand that the latest fact says the card shows, or else a former method of it did."""
    for fact in card.facts:
        shown: str | None = getattr(fact.reported, name)
        if shown is not None:
            return shown
    return _first([getattr(method.details, name) for method in card.methods])


def _par_of(card: _Card) -> str | None:
    for fact in card.facts:
        if fact.reported.par is not None:
            return fact.reported.par
    return _first([method.par for method in card.methods])


def heir(current: Method, olds: Sequence[Method]) -> Method:
    """`current` with the flags of those it replaces, and with what their customer said of them and not of it.

    The network tells no name, zip or nickname. What several of `olds` say the first one does.
    """
    said = [current.details, *(old.details for old in olds)]
    flagged = olds if can_be_default(current.type) else ()
    return _with(
        current,
        details=_with(
            current.details,
            holder_name=_first([each.holder_name for each in said]),
            zip_code=_first([each.zip_code for each in said]),
            manufacturer_card=_first([each.manufacturer_card for each in said]),
            account_type=_first([each.account_type for each in said]),
        ),
        nickname=current.nickname or _first([old.nickname for old in olds]),
        par=current.par or _first([old.par for old in olds]),
        default=current.default or any(old.default for old in flagged),
        subscription_default=current.subscription_default or any(old.subscription_default for old in flagged),
    )


def _default_first(methods: list[Method]) -> list[Method]:
    if len(methods) > 1:
        methods.sort(key=lambda method: (not method.default, not method.subscription_default, method.id))
    return methods


def _visible(method: Method) -> tuple[object, ...]:
    return (method.status, method.details, method.nickname, method.default, method.subscription_default)


def _with(thing: T, **values: Any) -> T:  # noqa: ANN401 - any of its fields
    """`thing` with these values; itself if it has them."""
    changed = thing._replace(**values)
    return thing if changed == thing else changed


def _first(values: Iterable[V | None]) -> V | None:
    for value in values:
        if value is not None:
            return value
    return None


_NOTHING: Mapping[str, Dated[object]] = {}
