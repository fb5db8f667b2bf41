"""A wallet without replacements that rest on reports which were taken back: as if these had not come.

The wallet as its customer made it is computed first: without the methods that only facts led to, and with those that
facts replaced. What vendors still report resolves it. Its methods are then looked for among the present ones:

    a method of the result   is now          becomes
    of the customer          live            itself
    of the customer          replaced        the live method that facts made with its credentials, if one is there,
                                             else a fresh one: nothing is revived
    made by a fact           live            itself
    made by a fact           not there       a fresh method

A live method that has no place in the result is replaced by the one that its card goes back to. Payment links and flags
go back to where they came from. Only accounts that knew of the facts are looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeAlias

from domain.account import Account, Accounts
from domain.knowledge import Fact, Knowledge
from domain.resolve import Replaced, Updated, resolve, visible
from domain.update import OwnReason
from domain.wallet import Key, Link, LinkId, Method, MethodId, MethodStatus, Wallet


class Succession(NamedTuple):
    """One method replaced another one. `links` and the flags moved with it.

    `by_fact`: because of a fact, or of one that was taken back; else by a merge or an import.
    """

    old_id: MethodId
    new_id: MethodId
    by_fact: bool
    links: frozenset[LinkId] = frozenset()
    default: bool = False
    subscription_default: bool = False


class Past(NamedTuple):
    """How a wallet came to its methods.

    `learnt` are those credentials of its methods that facts led to, `successions` what replaced each method.
    """

    learnt: Mapping[MethodId, frozenset[Key]]
    successions: Mapping[MethodId, Succession]


class Restored(NamedTuple):
    """A method that is there again, or to which links went back; these `links` are on it now.

    `own` are those of its credentials that its customer brought.
    """

    method: Method
    links: tuple[Link, ...]
    own: frozenset[Key] = frozenset()


Undone: TypeAlias = tuple[Wallet, tuple[Restored | Updated | Replaced, ...]]
"""The wallet, and the changes to announce, in order."""


def undo(
    wallet: Wallet, accounts: Sequence[Account], knowledge: Knowledge, past: Past, name: Callable[[Key], MethodId]
) -> Undone:
    """The wallet as `knowledge`, which has some facts no more, makes it of what its customer did.

    `accounts` are those of its accounts that these facts concern, as they were (`concerned`). `name` is as in
    `domain.resolve.resolve`.
    """
    if not accounts:
        return wallet, ()
    known: set[Key] = set().union(*(account.keys for account in accounts))
    ids = {method.id for account in accounts for method in account.methods}
    history = _History(wallet, ids, past)
    rewrite = _Rewrite(wallet._replace(leads=wallet.leads - known), history, knowledge, name)
    changed = {method.id: method for method in rewrite.methods()}
    links = {link.id: link for link in rewrite.links()}
    after = wallet.with_contents(
        tuple(({method.id: method for method in wallet.methods} | changed).values()),
        tuple(links.get(link.id, link) for link in wallet.links),
        rewrite.result.leads,
    )
    return after, tuple(rewrite.changes())


def concerned(accounts: Accounts, facts: Iterable[Fact]) -> list[Account]:
    """The accounts that follow one of these facts, and those that their methods went to or came from."""
    account_of = {method.id: account for account in accounts.all for method in account.methods}
    related: dict[Account, set[Account]] = {}
    for method in accounts.wallet.methods:
        if method.replaced_by is not None:
            old, new = account_of[method.id], account_of[method.replaced_by]
            related.setdefault(old, set()).add(new)
            related.setdefault(new, set()).add(old)
    following = (accounts.followed_in.get(fact.id) for fact in facts)
    reached = dict.fromkeys(account for account in following if account is not None)
    frontier = list(reached)
    while frontier:
        further = [account for account in related.get(frontier.pop(), ()) if account not in reached]
        reached.update(dict.fromkeys(further))
        frontier += further
    return list(reached)


class _History:
    """Where methods, links and flags of a wallet came from; `ids` are the methods that are looked at."""

    def __init__(self, wallet: Wallet, ids: AbstractSet[MethodId], past: Past) -> None:
        self._past = past
        self._ids = ids
        self._methods = {method.id: method for method in wallet.methods}
        self._replaced_by_fact: dict[MethodId, list[Succession]] = {}
        for method in wallet.methods:
            succession = past.successions.get(method.id)
            if succession is not None and succession.by_fact and method.id in ids:
                self._replaced_by_fact.setdefault(succession.new_id, []).append(succession)
        self.absorbed: dict[MethodId, MethodId] = {}
        """Methods whose credentials another one of the customer holds again."""

    def own_keys(self, method: Method) -> frozenset[Key]:
        """Its credentials, without those that facts led to."""
        return method.keys - self._past.learnt.get(method.id, frozenset())

    def is_own(self, method: Method) -> bool:
        """Whether the customer brought the method: no fact led to all of it."""
        return bool(self.own_keys(method)) or method.id not in self._replaced_by_fact

    def customers(self) -> tuple[Method, ...]:
        """The methods as the customer made them: each as before the facts that replaced it. Others are as they are."""
        methods = [method for method in self._methods.values() if method.id in self._ids and self.is_own(method)]
        methods_by_id = {method.id: method for method in self._methods.values() if method.id not in self._ids}
        held: dict[tuple[object, Key], MethodId] = {}
        # live ones first: of two methods with one credential the later one counts
        for method in sorted(methods, key=lambda method: (not method.live, method.id)):
            keys = self.own_keys(method) or method.keys
            if not method.live and not self._was_replaced(method):
                methods_by_id[method.id] = method
                continue
            holder = next(filter(None, (held.get((method.type, key)) for key in sorted(keys))), None)
            if holder is not None:
                self.absorbed[method.id] = holder
                methods_by_id[method.id] = method
                continue
            held.update(((method.type, key), method.id) for key in keys)
            methods_by_id[method.id] = _as_before(method, keys)
        return tuple(methods_by_id[id_] for id_ in self._methods if id_ in methods_by_id)

    def _was_replaced(self, method: Method) -> bool:
        """Whether a fact replaced it, and its customer did not remove what it became."""
        succession = self._past.successions.get(method.id)
        if succession is None or not succession.by_fact or method.replaced_by is None:
            return False
        end: Method | None = method
        while end is not None and end.replaced_by is not None:
            end = self._methods.get(end.replaced_by)
        return end is not None and end.live

    def origin(self, method_id: MethodId, moved: Callable[[Succession], bool]) -> MethodId:
        """The customer's method from which something came to `method_id`, by the successions that moved it."""
        while True:
            successions = list(filter(moved, self._replaced_by_fact.get(method_id, ())))
            if not successions:
                return self.root(method_id)
            method_id = successions[0].old_id

    def root(self, method_id: MethodId) -> MethodId:
        """The customer's method that became `method_id`; of several, the one with the flags."""
        while method_id in self._replaced_by_fact and not self.is_own(self._methods[method_id]):
            successions = self._replaced_by_fact[method_id]
            first = min(successions, key=lambda each: (not each.default, not each.subscription_default, each.old_id))
            method_id = first.old_id
        return self.absorbed.get(method_id, method_id)


def _as_before(method: Method, keys: frozenset[Key]) -> Method:
    if method.live:
        return method._replace(keys=keys, default=False, subscription_default=False)
    return method._replace(status=MethodStatus.ACTIVE, keys=keys, replaced_by=None, deleted_reason=None)


class _Rewrite:
    """The present wallet, brought to what `result` is."""

    def __init__(
        self, wallet: Wallet, history: _History, knowledge: Knowledge, name: Callable[[Key], MethodId]
    ) -> None:
        self._wallet = wallet
        self._history = history
        self._present = {method.id: method for method in wallet.methods}
        before = self._customers_wallet()
        self._customers = {method.id for method in before.methods}
        self.result = resolve(before, knowledge, name).wallet
        self._results = {method.id: method for method in self.result.methods}
        self._ids: dict[MethodId, MethodId] = {}
        """The id that each live method of the result has in the wallet."""
        for method in self.result.live_methods:
            self._ids[method.id] = self._id_for(method, name)
        self._own = {self._ids.get(method.id, method.id): method.keys for method in before.methods}
        self._after = {self._ids[method.id]: self._as_in_result(method) for method in self.result.live_methods}
        self._replaced = dict(self._successors())
        self._moved = {link.id: link for link in self._moved_links()}

    def _customers_wallet(self) -> Wallet:
        history = self._history
        methods = {method.id: method for method in history.customers()}
        # of methods that are not looked at, the origin is the method itself
        for holder in self._wallet.live_methods:
            if holder.default:
                origin = methods[history.origin(holder.id, lambda succession: succession.default)]
                methods[origin.id] = origin._replace(default=origin.live)
            if holder.subscription_default:
                origin = methods[history.origin(holder.id, lambda succession: succession.subscription_default)]
                methods[origin.id] = origin._replace(subscription_default=origin.live)
        links = [self._as_before(link) for link in self._wallet.links if link.moves]
        return self._wallet.with_contents(tuple(methods.values()), tuple(links), self._wallet.leads)

    def _as_before(self, link: Link) -> Link:
        return link.on(self._history.origin(link.method_id, lambda succession: link.id in succession.links))

    def _id_for(self, method: Method, name: Callable[[Key], MethodId]) -> MethodId:
        present = self._present.get(method.id)
        if present is not None and present.live:
            return method.id
        alike = [
            (-len(candidate.keys & method.keys), candidate.id)
            for candidate in self._wallet.live_methods
            if candidate.id not in self._customers
            and candidate.id not in self._ids.values()
            and candidate.type is method.type
            and candidate.keys & method.keys
        ]
        if alike:
            return min(alike)[1]
        return method.id if present is None else name(f"{method.type}:again:{method.id}")

    def _as_in_result(self, method: Method) -> Method:
        """The method under its id in the wallet. One that facts made keeps what it shows."""
        id_ = self._ids[method.id]
        present = self._present.get(id_)
        if present is None or method.id == id_:
            after = method._replace(id=id_)
        else:
            after = present._replace(
                keys=method.keys, default=method.default, subscription_default=method.subscription_default
            )
        return present if after == present else after

    def _successors(self) -> Iterator[tuple[MethodId, MethodId]]:
        """The live methods that have no place in the result, each with the id of what replaces it."""
        for method in self._wallet.live_methods:
            if method.id in self._after:
                continue
            end = self._results[self._history.root(method.id)]
            while end.replaced_by is not None:
                end = self._results[end.replaced_by]
            if end.live:
                yield method.id, self._ids[end.id]

    def _moved_links(self) -> Iterator[Link]:
        targets = {link.id: link.method_id for link in self.result.links}
        for link in self._wallet.links:
            target = self._ids.get(targets.get(link.id, ""))
            if target is not None and target != link.method_id:
                yield link.on(target)

    def methods(self) -> Iterator[Method]:
        """The methods that differ from before, or are new."""
        for method in self._after.values():
            if self._present.get(method.id) is not method:
                yield method
        for old_id, new_id in self._replaced.items():
            yield self._present[old_id].tombstone(new_id, OwnReason.RETRACTED.value)

    def links(self) -> Iterator[Link]:
        """The links that moved."""
        yield from self._moved.values()

    def changes(self) -> Iterator[Restored | Updated | Replaced]:
        """What merchants hear: links first, so that none is on a method that is deleted next."""
        was_on = {link.id: link.method_id for link in self._wallet.links}
        with_replaced: dict[tuple[MethodId, MethodId], list[Link]] = {}
        without: dict[MethodId, list[Link]] = {}
        for link in self._moved.values():
            if self._replaced.get(was_on[link.id]) == link.method_id:
                with_replaced.setdefault((was_on[link.id], link.method_id), []).append(link)
            else:
                without.setdefault(link.method_id, []).append(link)
        successors = set(self._replaced.values())
        for method in self._after.values():
            is_new = method.id not in self._present
            if method.id in without or (is_new and method.id not in successors):
                yield Restored(method, tuple(without.get(method.id, ())), self._own.get(method.id, frozenset()))
        for method in self._after.values():
            present = self._present.get(method.id)
            if present is not None and visible(present) != visible(method):
                yield Updated(present, method)
        for old_id, new_id in self._replaced.items():
            deleted = self._present[old_id].tombstone(new_id, OwnReason.RETRACTED.value)
            links = tuple(with_replaced.get((old_id, new_id), ()))
            yield Replaced(deleted, self._after[new_id], OwnReason.RETRACTED, links)
