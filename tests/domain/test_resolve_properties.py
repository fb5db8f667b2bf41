"""What must be true of `resolve` whatever vendors tell, in whatever order: over random wallets and streams (`worlds`).

After every batch the wallets keep their invariants, and each merchant who only folds what it is told sees what is. At
the end the wallets look as the reference says, which knows of no order.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from domain.knowledge import Knowledge
from domain.merge import Merged, merge
from domain.resolve import Replaced, Updated, resolve
from domain.update import Stamp, Update
from domain.wallet import Expiry, LinkStatus, Method, MethodId, Wallet, WalletId, can_be_default
from tests.domain.build import Ids
from tests.domain.reference import Live, tells_a_fact, united, view, view_after
from tests.domain.worlds import Added, Event, WalletsMerged, World, worlds


class Merchant:
    """Knows what it saw at first and what it was told since, and nothing else."""

    def __init__(self, name: str, wallets: Iterable[Wallet]) -> None:
        self.name = name
        seen = [wallet for wallet in wallets if name in wallet.merchants]
        self.methods = {method.id: shown(method) for wallet in seen for method in wallet.live_methods}
        self.links = {link.id: link.method_id for wallet in seen for link in wallet.links if link.merchant_id == name}

    def hear(self, change: Replaced | Updated | Merged) -> None:
        match change:
            case Replaced(old, new, _, links):
                self.methods.pop(old.id, None)
                self.methods[new.id] = shown(new)
                self.links |= {link.id: new.id for link in links if link.merchant_id == self.name}
            case Updated(_, after):
                self.methods[after.id] = shown(after)
            case Merged(method, merchants):
                if self.name in merchants:
                    self.methods[method.id] = shown(method)

    def sees(self, wallets: Iterable[Wallet]) -> None:
        as_it_is = Merchant(self.name, wallets)
        assert self.methods == as_it_is.methods
        assert self.links == as_it_is.links


def shown(method: Method) -> tuple[object, ...]:
    return method.status, method.details, method.nickname, method.default, method.subscription_default


class Run:
    """The wallets of a world while events come; only those are resolved that know what is spoken of."""

    def __init__(self, world: World) -> None:
        self.wallets = {wallet.id: wallet for wallet in world.wallets}
        self.knowledge = Knowledge()
        self.ids = Ids()
        self.links = {link.id: link for wallet in world.wallets for link in wallet.links}
        self.deleted: set[MethodId] = set()
        self.successors: dict[MethodId, MethodId] = {}
        self.merchants = [Merchant(name, world.wallets) for name in ("m1", "m2", "m3")]
        self.changes = 0

    def take(self, batch: Sequence[Event]) -> None:
        touched = set()
        for event in batch:
            match event:
                case Added(wallet_id, method):
                    touched.add(self.add(wallet_id, method))
                case WalletsMerged(source, target):
                    touched.add(self.merge(source, target))
                case Update():
                    self.knowledge.learn(event)
        for wallet in self.wallets.values():
            for event in batch:
                if isinstance(event, Update) and event.old and not wallet.knows().isdisjoint(event.old.keys):
                    touched.add(wallet.id)
        for wallet_id in sorted(touched):
            self.resolve(wallet_id)
        for merchant in self.merchants:
            merchant.sees(self.wallets.values())

    def resolve(self, wallet_id: WalletId) -> None:
        before = self.wallets[wallet_id]
        resolution = resolve(before, self.knowledge, self.ids)
        self.wallets[wallet_id] = resolution.wallet
        self.tell(resolution.wallet, resolution.changes)
        self.check(resolution.wallet)
        again = resolve(resolution.wallet, self.knowledge, self.ids)
        assert again.wallet is resolution.wallet
        assert not again.changes
        if resolution.wallet is not before:
            assert (resolution.wallet.methods, resolution.wallet.leads) != (before.methods, before.leads)

    def add(self, wallet_id: WalletId, method: Method) -> WalletId:
        """Adding a card that is there already is editing it (design.md §3)."""
        wallet = self.wallets[wallet_id]
        there = held_already(wallet, method)
        if there is None:
            seen = method._replace(id=f"added-{self.ids('a card:')}")
            methods = [*wallet.methods, seen]
        else:
            expiry = there.details.expiry or method.details.expiry
            seen = there._replace(details=there.details._replace(expiry=expiry))
            methods = [seen if each is there else each for each in wallet.methods]
        self.wallets[wallet_id] = wallet._replace(methods=tuple(methods))
        self.tell(wallet, [Merged(seen, wallet.merchants)])
        return wallet_id

    def merge(self, source: WalletId, target: WalletId) -> WalletId:
        source, target = self.where(source), self.where(target)
        if source != target:
            merged = merge(self.wallets[source], self.wallets[target])
            self.wallets[source], self.wallets[target] = merged.source, merged.target
            self.tell(merged.target, merged.changes)
            self.check(merged.target)
        return target

    def where(self, wallet_id: WalletId) -> WalletId:
        further = self.wallets[wallet_id].merged_into
        return wallet_id if further is None else self.where(further)

    def tell(self, wallet: Wallet, changes: Iterable[Replaced | Updated | Merged]) -> None:
        """Every change to every merchant who shares the wallet, and lineage to those who read it."""
        for change in changes:
            self.changes += 1
            for merchant in self.merchants:
                if merchant.name in wallet.merchants:
                    merchant.hear(change)
            if isinstance(change, Replaced):
                assert change.old.id not in self.successors, "a second successor"
                self.successors[change.old.id] = change.new.id

    def check(self, wallet: Wallet) -> None:
        methods = {method.id: method for method in wallet.methods}
        assert len(methods) == len(wallet.methods)

        for method in wallet.methods:
            assert method.live or not (method.default or method.subscription_default)
            assert method.id not in self.deleted or not method.live, "revived"
            if method.replaced_by is not None:
                assert not method.live
                assert method.replaced_by in methods, "in another wallet"
                assert self.successors[method.id] == method.replaced_by
        self.deleted |= {method.id for method in wallet.methods if not method.live}
        for method_id in self.successors:
            walked, at = {method_id}, method_id
            while at in self.successors:
                at = self.successors[at]
                assert at not in walked, "a circle"
                walked.add(at)

        for flag in ("default", "subscription_default"):
            holders = [method for method in wallet.methods if getattr(method, flag)]
            assert len(holders) <= 1
            assert all(holder.live and can_be_default(holder.type) for holder in holders)

        identities = [(method.type, key) for method in wallet.live_methods for key in method.keys]
        assert len(identities) == len(set(identities)), "two live methods of one identity"

        now = {link.id: link for each in self.wallets.values() for link in each.links}
        assert now.keys() == self.links.keys()
        for link in wallet.links:
            first = self.links[link.id]
            assert link._replace(method_id=first.method_id) == first
            if link.status is LinkStatus.CANCELLED:
                assert link.method_id == first.method_id
            else:
                assert methods[link.method_id].live


def held_already(wallet: Wallet, method: Method) -> Method | None:
    same = (each for each in wallet.live_methods if each.type is method.type and each.keys & method.keys)
    return next(same, None)


def as_reference_says(world: World) -> dict[WalletId, set[Live]]:
    wallets = {wallet.id: wallet for wallet in world.wallets}
    into = {event.source: event.target for event in world.events if isinstance(event, WalletsMerged)}
    for event in world.events:
        if isinstance(event, Added) and held_already(wallets[event.wallet_id], event.method) is None:
            wallet = wallets[event.wallet_id]
            wallets[wallet.id] = wallet._replace(methods=(*wallet.methods, event.method))
    for source in sorted(into, reverse=True):  # from the last one on, whose own sources came before it
        wallets[into[source]] = united(wallets[into[source]], wallets.pop(source))
    return {wallet_id: view_after(wallet, world.updates) for wallet_id, wallet in wallets.items()}


def look_of(run: Run) -> dict[WalletId, set[Live]]:
    return {wallet.id: view(wallet) for wallet in run.wallets.values() if wallet.merged_into is None}


def in_batches(data: st.DataObject, events: Sequence[Event]) -> list[Sequence[Event]]:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(events) - 1)))))
    return [events[start:end] for start, end in pairwise([0, *cuts, len(events)])]


@given(worlds(), st.data())
def test_any_order_any_duplication_and_any_batches_end_where_the_rules_say(world: World, data: st.DataObject) -> None:
    told_again = data.draw(st.lists(st.sampled_from(world.events), max_size=4))
    run = Run(world)

    for batch in in_batches(data, data.draw(st.permutations([*world.events, *told_again]))):
        run.take(batch)

    assert look_of(run) == as_reference_says(world)


@given(worlds(moments_differ=True), st.data())
def test_a_stream_told_again_under_new_ids_tells_nothing_new(world: World, data: st.DataObject) -> None:
    run = Run(world)
    for batch in in_batches(data, world.events):
        run.take(batch)
    before, changes = dict(run.wallets), run.changes
    again = [
        update._replace(stamp=told_later(update, data)._replace(update_id=f"again-{number}"))
        for number, update in enumerate(world.updates)
    ]

    for batch in in_batches(data, data.draw(st.permutations(again))):
        run.take(batch)

    assert run.changes == changes
    assert all(run.wallets[wallet_id] is wallet for wallet_id, wallet in before.items())


@given(worlds(moments_differ=True), st.data())
def test_a_repeat_among_the_others_under_a_new_id_makes_no_difference(world: World, data: st.DataObject) -> None:
    repeated = data.draw(st.lists(st.sampled_from(world.updates), max_size=4))
    again = [
        update._replace(stamp=told_later(update, data)._replace(update_id=f"u{update.stamp.update_id}-{number}"))
        for number, update in enumerate(repeated)
    ]
    run = Run(world)

    for batch in in_batches(data, data.draw(st.permutations([*world.events, *again]))):
        run.take(batch)

    assert look_of(run) == as_reference_says(world)


@given(worlds(merges=False), st.data())
def test_knowledge_does_not_depend_on_the_order_of_telling(world: World, data: st.DataObject) -> None:
    in_order, turned = Knowledge(), Knowledge()
    # Here a repeat of a pair may say something else of it.
    updates = [
        update._replace(new=update.new._replace(expiry=data.draw(st.sampled_from(EXPIRIES))))
        for update in world.updates
    ]
    for update in updates:
        in_order.learn(update)
    for update in data.draw(st.permutations([*updates, *updates])):
        turned.learn(update)

    assert what_is_known(turned) == what_is_known(in_order)
    keys = {key for update in updates for key in update.keys}
    for key in keys:
        assert sorted(fact.stamp for fact in turned.facts_from(key)) == sorted(
            fact.stamp for fact in in_order.facts.values() if key in fact.old.keys
        )


def what_is_known(knowledge: Knowledge) -> tuple[object, object]:
    """All of it but by whose word an expiry is known: of several who tell the same one, that is whoever came first."""
    facts = {
        pair: (fact._replace(later=None), None if fact.expiry is None else fact.expiry.value)
        for pair, fact in knowledge.facts.items()
    }
    told = {
        key: {
            scope: (each.status, None if each.expiry is None else each.expiry.value, each.details, each.cards)
            for scope, each in by_scope.items()
        }
        for key, by_scope in knowledge.states.items()
    }
    return facts, told


EXPIRIES = (None, Expiry(2027, 1), Expiry(2029, 12))


def told_later(update: Update, data: st.DataObject) -> Stamp:
    """A repeat of a fact may come with any later moment; of what is told in place, a later one is news of that moment.

    It has another id, and of two updates of one moment the later id counts: so the first tellings' moments differ.
    """
    if not tells_a_fact(update):
        return update.stamp
    later = timedelta(days=data.draw(st.integers(0, 40)))
    return update.stamp._replace(occurred_at=update.stamp.occurred_at + later)
