"""The rules of replacement: what a wallet should be, given what vendors reported.

`resolve` is pure and idempotent. The order in which reports arrived does not change its result. Its four rules
(design.md §4), account by account:

1. An account with no live method is left alone: its customer removed it, and nothing is ever revived.
2. An account with facts has a current card: the card that the `new` of its latest fact names. A live method that holds
   a credential of that card is the current method, and receives the card's other credentials. If there is none, a new
   method is created.
3. Every other live method of the account is replaced by the current one.
4. The current method takes the latest status, expiry and details reported of its card, in place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeVar

from domain.account import Account, Accounts, RefusedFact
from domain.knowledge import NOTHING_REPORTED, CardFace, CredentialState, Dated, Fact, Knowledge, merge
from domain.update import OwnReason, Reason
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
    """`new` replaced `old`, which is deleted now. `links` are those that moved, as they are now."""

    old: Method
    new: Method
    reason: Reason | OwnReason
    links: tuple[Link, ...]
    fact: Fact | None = None


class Updated(NamedTuple):
    """A method changed in place, and merchants can see the difference."""

    before: Method
    after: Method


class Resolution(NamedTuple):
    """The wallet as it should be, and the changes to announce.

    The outcome of an update is read from the accounts and from the refused facts.
    """

    wallet: Wallet
    changes: tuple[Replaced | Updated, ...]
    accounts: tuple[Account, ...]
    refused: tuple[RefusedFact, ...]


def resolve(wallet: Wallet, knowledge: Knowledge, name: Callable[[Key], MethodId]) -> Resolution:
    """Resolve `wallet` by `knowledge`.

    `knowledge` must hold what is known of every credential that the wallet knows (`Knowledge.reach`).
    `name` returns the id for a new method, given its type and credential (`CARD:vau:tok_B`): a token may be of two
    types. It returns the same id for the same argument, and an id that no method of `wallet` has.
    """
    accounts = Accounts(wallet, knowledge)
    drafts = [resolve_account(account, wallet, knowledge, name) for account in accounts.all]
    return combine(accounts, [draft for draft in drafts if draft is not None])


def combine(accounts: Accounts, drafts: Sequence["Draft"]) -> Resolution:
    """Combine the drafts of a wallet's accounts, in their order."""
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
    """The changes to the methods of one account of `wallet`; None if vendors reported nothing about it."""
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
    replaced = _default_first([method for method in account.live if method is not current])
    draft = Draft(wallet, state=card.state, card=card.keys, current=current, replaced=replaced)
    if current is None:
        method_id = name(f"{account.type}:{latest.new.key}")
        after = _as_reported(Method(method_id, account.type, MethodStatus.ACTIVE, card.keys), card)
    else:
        after = _as_reported(current, card)
        draft.update(current, after)
    if replaced:
        after = inherit(after, replaced)
        draft.put(after)
    for old in replaced:
        fact = account.distinct.reason_for(old)
        draft.replace(old, after, fact.reason, fact)
    return draft


class Draft:
    """Changes to a wallet that are not applied yet. A method that does not change stays the same object."""

    def __init__(
        self,
        wallet: Wallet,
        *,
        state: CredentialState = NOTHING_REPORTED,
        card: frozenset[Key] = frozenset(),
        current: Method | None = None,
        replaced: Sequence[Method] = (),
    ) -> None:
        self.wallet = wallet
        self.methods: dict[MethodId, Method] = {}
        self.links: dict[LinkId, Link] = {}
        self.changes: list[Replaced | Updated] = []
        # What the draft of an account rests on: its state, its current card, its current method and the replaced ones.
        self.state, self.card, self.current, self.replaced = state, card, current, replaced

    def put(self, method: Method) -> None:
        """Add `method`, or put it in place of its former version."""
        self.methods[method.id] = method

    def update(self, before: Method, after: Method) -> None:
        """Change a method in place; merchants hear of it if they can see the difference."""
        if after is not before:
            self.put(after)
            if visible(before) != visible(after):
                self.changes.append(Updated(before, after))

    def replace(self, old: Method, new: Method, reason: Reason, fact: Fact | None = None) -> None:
        """Delete `old` in favour of `new`, and move its links, except for cancelled ones."""
        deleted = old.tombstone(new.id, str(reason))
        moved = tuple([link.on(new.id) for link in self.wallet.links if link.method_id == old.id and link.moves])
        self.put(deleted)
        for link in moved:
            self.links[link.id] = link
        self.changes.append(Replaced(deleted, new, reason, moved, fact))

    def build_wallet(self, accounts: Iterable[Account] = ()) -> Wallet:
        """The wallet with the drafted changes. It also knows the credentials that the facts of `accounts` lead to."""
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
    """A card: its credentials, the facts that name it (latest first), every method that held it, and its state."""

    keys: frozenset[Key]
    facts: Sequence[Fact]
    methods: Sequence[Method]
    state: CredentialState


def _card(account: Account, latest: Fact, wallet: Wallet, knowledge: Knowledge) -> _Card:
    """The current card of `account`, the one that `latest` names.

    A fact also reports that its `new` was active at its stamp, and when it expires. A fact about a token that stays
    reports the card's face as well.
    """
    keys, facts = account.card(latest, lambda: _faces_behind(account.keys, wallet, knowledge))
    expiry = max([fact.expiry for fact in facts if fact.expiry is not None], default=None)
    by_facts = CredentialState(Dated(MethodStatus.ACTIVE, latest.stamp), expiry, _face_since(latest))
    methods = [method for method in account.methods if not keys.isdisjoint(method.keys)]
    return _Card(keys, facts, methods, reduce(merge, _states_of(keys, wallet, knowledge), by_facts))


def _states_of(keys: Iterable[Key], wallet: Wallet, knowledge: Knowledge) -> list[CredentialState]:
    return [state for scope, state in knowledge.states_of(keys) if belongs_to(scope, wallet)]


def _faces_behind(keys: Iterable[Key], wallet: Wallet, knowledge: Knowledge) -> list[tuple[Key, CardFace]]:
    """The cards behind those of `keys` that are tokens which stay."""
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
        return _NO_DETAILS
    face = {"last4": latest.reported.last4, "brand": latest.reported.brand}
    return {name: Dated(value, latest.stamp) for name, value in face.items() if value is not None}


def _current(live: Sequence[Method], card: _Card, latest: Fact) -> Method | None:
    """The live method that holds the card; of several, the one that holds the credential that `latest` names."""
    holders = [method for method in live if latest.new.key in method.keys]
    holders = holders or [method for method in live if not card.keys.isdisjoint(method.keys)]
    return min(holders, key=lambda method: method.id) if holders else None


def _as_reported(method: Method, card: _Card) -> Method:
    """`method` with all credentials of its card, and with what vendors reported of it; the latest expiry counts.

    Its blanks are filled from the facts, the latest first, then from former methods of the card.
    """
    status, expiry, reported_details, _ = card.state
    details = method.details
    values: dict[str, Any] = {
        "last4": details.last4 or _face_value("last4", card),
        "brand": details.brand or _face_value("brand", card),
    }
    for fact in reversed(card.facts):
        if fact.reported.details:
            values.update(
                (name, value) for name, value in fact.reported.details.items() if getattr(details, name) is None
            )
    values.update((name, dated.value) for name, dated in reported_details.items())
    expiries = [held.details.expiry for held in (method, *card.methods) if held.details.expiry is not None]
    if expiry is not None:
        expiries.append(expiry.value)
    if expiries:
        values["expiry"] = max(expiries)
    return _with(
        method,
        status=method.status if status is None else status.value,
        keys=method.keys | card.keys,
        par=method.par or _par_of(card),
        details=_with(details, **values),
    )


def _face_value(name: str, card: _Card) -> str | None:
    """The last4 or brand of the card by its latest fact that has one, else by a former method of the card."""
    for fact in card.facts:
        value: str | None = getattr(fact.reported, name)
        if value is not None:
            return value
    return _first([getattr(method.details, name) for method in card.methods])


def _par_of(card: _Card) -> str | None:
    for fact in card.facts:
        if fact.reported.par is not None:
            return fact.reported.par
    return _first([method.par for method in card.methods])


def inherit(current: Method, replaced: Sequence[Method]) -> Method:
    """`current` with the flags of the methods it replaces, and with the customer's entries that it lacks itself.

    The network reports no name, zip or nickname. Where several of `replaced` have a value, the first one's counts.
    """
    details = [current.details, *(old.details for old in replaced)]
    flagged = replaced if can_be_default(current.type) else ()
    return _with(
        current,
        details=_with(
            current.details,
            holder_name=_first([known.holder_name for known in details]),
            zip_code=_first([known.zip_code for known in details]),
            manufacturer_card=_first([known.manufacturer_card for known in details]),
            account_type=_first([known.account_type for known in details]),
        ),
        nickname=current.nickname or _first([old.nickname for old in replaced]),
        par=current.par or _first([old.par for old in replaced]),
        default=current.default or any(old.default for old in flagged),
        subscription_default=current.subscription_default or any(old.subscription_default for old in flagged),
    )


def _default_first(methods: list[Method]) -> list[Method]:
    """The holder of the default flag first, then of the subscription default, then by id."""
    if len(methods) > 1:
        methods.sort(key=lambda method: (not method.default, not method.subscription_default, method.id))
    return methods


def visible(method: Method) -> tuple[object, ...]:
    """What merchants can see of it."""
    return (method.status, method.details, method.nickname, method.default, method.subscription_default)


def _with(record: T, **values: Any) -> T:  # noqa: ANN401 - any of its fields
    """`record` with these values; the same object if it has them already."""
    changed = record._replace(**values)
    return record if changed == record else changed


def _first(values: Iterable[V | None]) -> V | None:
    for value in values:
        if value is not None:
            return value
    return None


_NO_DETAILS: Mapping[str, Dated[object]] = {}
