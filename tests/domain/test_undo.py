"""A wallet whose facts were taken back is what it would be had they not come: by examples, and over random streams."""

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from domain.account import Accounts
from domain.knowledge import Knowledge, renames_itself
from domain.resolve import Replaced, Updated, resolve
from domain.retraction import take_back_facts
from domain.undo import Past, Restored, Succession, Undone, concerned, undo
from domain.update import OwnReason, Update, UpdateType
from domain.wallet import Key, Method, MethodId, MethodStatus, Wallet
from tests.domain.build import Ids, link, live, method, paid_with, removed, replaced, wallet
from tests.domain.test_resolve_properties import Merchant
from tests.domain.test_retraction import reports_of
from tests.domain.worlds import World, worlds


class Run:
    """A wallet that learns updates one by one, and remembers how it came to its methods, as the database does."""

    def __init__(self, wallet: Wallet) -> None:
        self.wallet = wallet
        self.knowledge = Knowledge()
        self.ids = Ids()
        self.learnt: dict[MethodId, set[Key]] = {}
        self.successions: dict[MethodId, Succession] = {}

    def take(self, *updates: Update) -> "Run":
        for update in updates:
            self.knowledge.learn(update)
            resolution = resolve(self.wallet, self.knowledge, self.ids)
            self.remember(self.wallet, resolution.wallet, resolution.changes)
            self.wallet = resolution.wallet
        return self

    def remember(self, before: Wallet, after: Wallet, changes: Iterable[object]) -> None:
        former = {each.id: each for each in before.methods}
        changes = list(changes)
        own = {change.method.id: change.own for change in changes if isinstance(change, Restored)}
        for change in changes:
            if isinstance(change, Replaced):
                old = former[change.old.id]
                moved = frozenset(each.id for each in change.links)
                by_fact = change.fact is not None or change.reason is OwnReason.RETRACTED
                self.successions[old.id] = Succession(
                    old.id, change.new.id, by_fact, moved, old.default, old.subscription_default
                )
        for each in after.methods:
            held_before = former[each.id].keys if each.id in former else frozenset()
            if each.id not in former:
                held_before |= own.get(each.id, frozenset())
            if each.keys - held_before:
                self.learnt.setdefault(each.id, set()).update(each.keys - held_before)

    def retract(self, *updates: Update) -> Undone:
        before = Accounts(self.wallet, self.knowledge)
        keys = {key for fact in self.knowledge.facts.values() for key in fact.old.keys}
        stamps = {update.stamp for update in updates}
        gone = take_back_facts(self.knowledge, reports_of(self.knowledge), stamps, keys)
        for of_fact in self.knowledge.fact_reports.values():
            for gone_stamp in stamps:
                of_fact.pop(gone_stamp, None)
        past = Past({id_: frozenset(keys) for id_, keys in self.learnt.items()}, self.successions)
        undone = undo(self.wallet, concerned(before, [*gone.forgotten, *gone.narrowed]), self.knowledge, past, self.ids)
        self.remember(self.wallet, *undone)
        # what is left of other facts may count otherwise now
        resolution = resolve(undone[0], self.knowledge, self.ids)
        self.remember(undone[0], resolution.wallet, resolution.changes)
        self.wallet = resolution.wallet
        return self.wallet, (*undone[1], *resolution.changes)


def look(wallet: Wallet) -> object:
    """What is live, by credentials: flags, and the links that are paid with it."""
    names = {each.id: " ".join(sorted(each.keys)) for each in wallet.live_methods}
    links = {each.id: names[each.method_id] for each in wallet.links if each.moves and each.method_id in names}
    flags = {names[each.id]: (each.type, each.default, each.subscription_default) for each in wallet.live_methods}
    return flags, links


A, B = method("A", default=True, nickname="mine"), method("B")
A_TO_B = replaced("A", "B", on=1, last4="2222")


def test_a_method_that_a_fact_made_gives_way_to_a_fresh_one() -> None:
    run = Run(wallet(A, links=[link("m-A")])).take(A_TO_B)
    after, changes = run.retract(A_TO_B)
    ((_, fresh),) = live(after).items()
    assert (fresh.keys, fresh.default, fresh.nickname) == (A.keys, True, "mine")
    assert fresh.id not in {"m-A", "made-vau:B"}
    assert paid_with(after, "l-m-A") == fresh.id
    (change,) = changes
    assert isinstance(change, Replaced)
    assert (change.old.id, change.new, change.reason, [each.id for each in change.links]) == (
        *("made-vau:B", fresh, OwnReason.RETRACTED),
        ["l-m-A"],
    )
    tombstones = {each.id: each.replaced_by for each in after.methods if not each.live}
    assert tombstones == {"m-A": "made-vau:B", "made-vau:B": fresh.id}


def test_a_method_that_was_there_before_stays_and_gives_back_what_it_took() -> None:
    before = wallet(A, B, links=[link("m-A"), link("m-B")])
    run = Run(before).take(A_TO_B)
    assert set(live(run.wallet)) == {"B"}
    after, changes = run.retract(A_TO_B)
    assert look(after) == look(before)
    assert live(after)["B"].id == "m-B"
    fresh = live(after)["A"]
    restored, updated = changes
    assert isinstance(restored, Restored)
    assert (restored.method, [each.id for each in restored.links]) == (fresh, ["l-m-A"])
    assert isinstance(updated, Updated)
    assert (updated.before.default, updated.after.default) == (True, False)


def test_two_cards_that_were_taken_for_one_are_two_again() -> None:
    before = wallet(A, method("C", subscription_default=True), links=[link("m-A"), link("m-C")])
    facts = A_TO_B, replaced("C", "B", on=2)
    run = Run(before).take(*facts)
    assert set(live(run.wallet)) == {"B"}
    after, changes = run.retract(*facts)
    assert look(after) == look(before)
    kinds = [type(change) for change in changes]
    assert kinds == [Restored, Replaced]


def test_of_a_chain_the_rest_stays_known_and_leads_nowhere() -> None:
    run = Run(wallet(A, links=[link("m-A")])).take(A_TO_B, replaced("B", "C", on=2))
    after, _ = run.retract(A_TO_B)
    assert set(live(after)) == {"A"}
    assert resolve(after, run.knowledge, run.ids).wallet == after
    assert after.leads == frozenset()


def test_a_chain_goes_back_to_where_it_is_still_true() -> None:
    later = replaced("B", "C", on=2)
    run = Run(wallet(A, links=[link("m-A")])).take(A_TO_B, later)
    after, _ = run.retract(later)
    assert set(live(after)) == {"B"}
    assert paid_with(after, "l-m-A") == live(after)["B"].id


def test_a_method_that_its_customer_removed_since_is_not_given_back() -> None:
    run = Run(wallet(A)).take(A_TO_B)
    gone = [
        each._replace(status=MethodStatus.DELETED, default=False) if each.live else each for each in run.wallet.methods
    ]
    run.wallet = run.wallet._replace(methods=tuple(gone))
    after, changes = run.retract(A_TO_B)
    assert (after.live_methods, changes) == ((), ())


def test_a_credential_that_only_a_fact_put_on_a_method_goes_from_it() -> None:
    """Or reports about a stranger's card would go on changing this one."""
    true = replaced("A", "B", on=1, last4="2222", brand="VISA")
    wrong = replaced("mdes:A", "mdes:X", on=2, vendor="mdes", last4="2222", brand="VISA")
    run = Run(wallet(method("A", "mdes:A"))).take(true, wrong)
    assert set(live(run.wallet)) == {"B mdes:X"}
    after, _ = run.retract(wrong)
    assert set(live(after)) == {"B"}


def test_a_card_that_was_given_back_is_given_back_once() -> None:
    run = Run(wallet(A, links=[link("m-A")])).take(A_TO_B)
    run.retract(A_TO_B)
    again = replaced("A", "Q", on=5)
    run.take(again)
    assert set(live(run.wallet)) == {"Q"}
    after, _ = run.retract(again)
    assert set(live(after)) == {"A"}
    assert paid_with(after, "l-m-A") == live(after)["A"].id


def test_other_accounts_of_the_wallet_are_left_alone() -> None:
    other, gone = method("X", par="P"), removed("Y")
    run = Run(wallet(A, other, gone)).take(A_TO_B, replaced("Y", "Z", on=3))
    after, changes = run.retract(A_TO_B)
    assert [each for each in after.methods if each.id in {"m-X", "m-Y"}] == [other, gone]
    assert len(changes) == 1


def _facts(updates: Sequence[Update]) -> list[Update]:
    return [each for each in updates if each.type is UpdateType.NUMBER_REPLACED and not renames_itself(each)]


@given(worlds(merges=False), st.data())
def test_a_wallet_is_as_if_what_was_taken_back_had_not_come(world: World, data: st.DataObject) -> None:
    before = data.draw(st.sampled_from(world.wallets))
    facts = _facts(world.updates)
    gone = data.draw(st.lists(st.sampled_from(facts), unique_by=id)) if facts else []
    run = Run(before).take(*world.updates)
    merchants = [Merchant(name, [run.wallet]) for name in before.merchants]
    other = Run(before).take(*(each for each in world.updates if each not in gone))
    for some in parts(gone, data.draw(st.integers(1, 3))):
        after, changes = run.retract(*some)
        for merchant in merchants:
            for change in changes:
                hear(merchant, change)
            merchant.sees([after])
    assert look(run.wallet) == look(other.wallet)


def parts(facts: Sequence[Update], size: int) -> list[Sequence[Update]]:
    return [facts[start : start + size] for start in range(0, len(facts), size)]


def hear(merchant: Merchant, change: Restored | Updated | Replaced) -> None:
    if isinstance(change, Restored):
        merchant.methods[change.method.id] = shown(change.method)
        merchant.links |= {each.id: change.method.id for each in change.links if each.merchant_id == merchant.name}
    else:
        merchant.hear(change)


def shown(each: Method) -> tuple[object, ...]:
    return each.status, each.details, each.nickname, each.default, each.subscription_default
