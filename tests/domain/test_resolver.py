"""A wallet that is kept up to date while updates are learnt is what it would be if all were resolved anew each time.

Over random worlds, and over accounts so large that doing it anew each time would take hours.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.decide import WaitingUpdate, decide
from domain.effort import MOST_CREDENTIALS, Effort, TooMuch
from domain.knowledge import NOTHING_REPORTED, Knowledge
from domain.resolve import resolve
from domain.resolver import WalletResolver
from domain.update import Outcome, Reason, Update, UpdateType
from domain.wallet import Expiry, Key, MethodId, MethodType, Wallet, WalletId
from tests.domain.build import FACT_EXPIRY, day, live, method, removed, replaced, reported, stays, wallet
from tests.domain.worlds import World, worlds


def made(key: Key) -> MethodId:
    return f"made-{key}"


@given(worlds(merges=False), st.data())
def test_a_wallet_that_learns_one_by_one_is_what_it_is_when_resolved_anew(world: World, data: st.DataObject) -> None:
    before = data.draw(st.sampled_from(world.wallets))
    knowledge = Knowledge()
    resolver = WalletResolver(before, knowledge, made, Effort())
    former = before
    for update in data.draw(st.permutations(world.updates)):
        knowledge.learn(update)
        changed = resolver.learn(update)
        anew = resolve(before, knowledge, made)
        assert changed == ((anew.wallet.methods, anew.wallet.links) != (former.methods, former.links))
        assert resolver.resolution.wallet == anew.wallet
        assert resolver.resolution.changes == anew.changes
        former = anew.wallet


@given(worlds(merges=False, moments_differ=True), st.data())
def test_what_rests_on_an_update_is_what_would_differ_had_it_not_come(world: World, data: st.DataObject) -> None:
    before = data.draw(st.sampled_from(world.wallets))
    knowledge = Knowledge()
    for update in data.draw(st.permutations(world.updates)):
        knowledge.learn(update)
    now = resolve(before, knowledge, made).wallet
    resolver = WalletResolver(before, knowledge, made, Effort())
    for update in world.updates:
        assert update.old is not None
        other = resolve(before, knowledge.without(update.stamp, before.knows()), made).wallet
        differs = (other.methods, other.links) != (now.methods, now.links)
        assert resolver.would_differ_without(update.stamp, update.old.keys) == differs


def test_a_card_behind_a_token_is_recognised_where_facts_lead_to_the_token_only_later() -> None:
    """What the account took for one card before it knew of the token is looked at again."""
    before = wallet(method("A"))
    knowledge = Knowledge()
    resolver = WalletResolver(before, knowledge, made, Effort())
    for update in (
        stays("T", on=1, last4="1881"),
        replaced("A", "B", on=2, last4="1881", brand="VISA"),
        replaced("A", "mdes:T", on=3, vendor="mdes"),
    ):
        knowledge.learn(update)
        resolver.learn(update)
        assert resolver.resolution.wallet == resolve(before, knowledge, made).wallet
    assert set(live(resolver.resolution.wallet)) == {"B mdes:T"}


def test_an_expiry_that_is_told_again_stays_known_by_the_word_of_who_told_it_first() -> None:
    """So the first update counts and the other is the duplicate, also where both waited for their wallet."""
    expiry = Expiry(2030, 1)
    first = reported(UpdateType.EXPIRY_UPDATED, "A", on=1, expiry=expiry)
    again = reported(UpdateType.EXPIRY_UPDATED, "A", on=2, id="again", expiry=expiry)
    for updates in ([first, again], [again, first]):
        at_once = decide(updates, [wallet(method("A"))], Knowledge(), (), lambda _, key: made(key))
        assert at_once.verdicts == ((Outcome.APPLIED, None), (Outcome.DUPLICATE, "ALREADY_KNOWN"))
        knowledge = Knowledge()
        for update in updates:
            knowledge.learn(update)
        waiting = [WaitingUpdate(0, update.stamp, ("vau:A",)) for update in updates]
        later = decide((), [wallet(method("A"))], knowledge, waiting, lambda _, key: made(key))
        assert [verdict.outcome for _, verdict in later.waiting] == [Outcome.APPLIED, Outcome.DUPLICATE]


@pytest.mark.parametrize(
    ("before", "steps"),
    [
        (
            # B turns out to be a bank account
            wallet(method("A"), removed("Z", type=MethodType.BANK_ACCOUNT)),
            [(replaced("A", "B", on=2), True, {"B"}), (replaced("Z", "B", on=1), True, {"A"})],
        ),
        (
            # A turns out to be of the account of C
            wallet(method("A"), method("B", par="P1"), method("C", par="P2")),
            [
                (replaced("A", "B", on=2), True, {"B", "C"}),
                (replaced("A", "C", on=3), False, {"B", "C"}),
                (replaced("A", "D", on=1, par="P2"), True, {"B", "C"}),
            ],
        ),
        (
            # A turns out to be of the account of D, which has no method; so A → B has ended
            wallet(method("A"), method("B", par="P1"), method("C", par="P2")),
            [
                (replaced("A", "B", on=2), True, {"B", "C"}),
                (replaced("A", "C", on=3, par="P3"), False, {"B", "C"}),
                (replaced("A", "D", on=1, par="P4"), True, {"B", "C", "D"}),
            ],
        ),
        (
            # X turns out to be of the account of C
            wallet(method("A", par="P1"), method("C", par="P2")),
            [
                (replaced("A", "X", on=3), True, {"X", "C"}),
                (replaced("X", "C", on=4), False, {"X", "C"}),
                (replaced("C", "X", on=2), True, {"A", "C"}),
            ],
        ),
    ],
    ids=["another type", "another account", "an unknown account", "an account without a reference in the fact"],
)
def test_an_earlier_fact_that_ends_a_replacement_changes_the_wallet(
    before: Wallet, steps: Sequence[tuple[Update, bool, set[str]]]
) -> None:
    """Nothing is left of what the wallet looked like before."""
    knowledge = Knowledge()
    resolver = WalletResolver(before, knowledge, made, Effort())
    for update, changed, live_after in steps:
        knowledge.learn(update)
        assert resolver.learn(update) == changed
        assert set(live(resolver.resolution.wallet)) == live_after
        assert resolver.resolution.wallet == resolve(before, knowledge, made).wallet


def test_a_fact_counts_if_it_alone_makes_another_name_of_the_current_card_known() -> None:
    """A → C by two ways; only the way over B gives the fingerprint of C."""
    first, second = replaced("A", "B", on=1), replaced("B", ("C", ":fp_C"), on=2)
    latest = replaced("A", "C", on=3)
    knowledge = Knowledge()
    for update in (first, second, latest):
        knowledge.learn(update)
    resolver = WalletResolver(wallet(method("A")), knowledge, made, Effort())
    assert set(live(resolver.resolution.wallet)) == {":fp_C C"}
    assert resolver.would_differ_without(first.stamp, ["vau:A"])


def test_what_is_within_reach_is_all_that_facts_lead_to_by_any_name() -> None:
    knowledge = Knowledge()
    for update in (
        replaced("A", ("B", ":fp_B"), on=1),
        replaced(":fp_B", "C", on=2),
        replaced("C", "D", on=3, customer="e2"),
        replaced("X", "B", on=4),
        reported(UpdateType.CLOSED, "Z", on=5),
    ):
        knowledge.learn(update)
    everything = {"vau:A", "vau:B", ":fp_B", "vau:C", "vau:D"}
    assert knowledge.reach(["vau:A"]) == everything
    assert knowledge.reach(["vau:C"]) == {"vau:C", "vau:D"}
    assert knowledge.reach(["vau:X", "vau:Z"]) == {"vau:X", "vau:Z", "vau:B"}
    assert knowledge.reach([]) == set()
    # the search stops at what was reached before, and goes on where facts are about to lead
    assert knowledge.reach(["vau:A"], {":fp_B"}) == {"vau:A", "vau:B", ":fp_B"}
    ahead = {"vau:D": {"vau:E"}, "vau:Z": {"vau:F"}}
    assert knowledge.reach(["vau:A"], ahead=ahead) == {*everything, "vau:E"}


def test_what_would_be_known_without_a_report_is_all_else_within_reach() -> None:
    first, second = replaced("A", "B", on=1), replaced("B", "C", on=2)
    again = replaced("A", "B", on=3, id="again", expiry=Expiry(2031, 1))
    closed, details = (
        reported(UpdateType.CLOSED, "C", on=4),
        reported(UpdateType.DETAILS_UPDATED, "C", on=5, zip_code="1"),
    )
    knowledge = Knowledge()
    for update in (first, second, again, closed, details, replaced("X", "Y", on=6)):
        knowledge.learn(update)

    def left(update: Update) -> tuple[list[tuple[str, Expiry | None]], bool, bool]:
        without = knowledge.without(update.stamp, ["vau:A"])
        facts = [(fact.new.key, fact.expiry and fact.expiry.value) for fact in without.facts.values()]
        state = without.states.get("vau:C", {}).get((), NOTHING_REPORTED)
        return sorted(facts), state.status is not None, "zip_code" in state.details

    # what a fact led to is kept: the copy may know more than the wallet follows
    assert left(first) == ([("vau:C", FACT_EXPIRY)], True, True)
    assert left(second) == ([("vau:B", Expiry(2031, 1))], True, True)
    both = [("vau:B", FACT_EXPIRY), ("vau:C", FACT_EXPIRY)]
    later = [("vau:B", Expiry(2031, 1)), ("vau:C", FACT_EXPIRY)]
    assert left(again) == (both, True, True)
    assert left(closed) == (later, False, True)
    assert left(details) == (later, True, False)


def test_a_repetition_under_other_names_is_recognised_when_it_is_learnt_later() -> None:
    """Another vendor reports A → B after B → C was known; its tokens are new, and lead the names of its credentials."""
    before = wallet(method("A", ":fp_A"), method("Z"))
    knowledge = Knowledge()
    resolver = WalletResolver(before, knowledge, made, Effort())
    for update, live_after in (
        (replaced(("A", ":fp_A"), ("B", ":fp_B"), on=1), {":fp_B B", "Z"}),
        (replaced(("B", ":fp_B"), ("C", ":fp_C"), on=2), {":fp_C C", "Z"}),
        (replaced(("mdes:A", ":fp_A"), ("mdes:B", ":fp_B"), on=3, vendor="mdes"), {":fp_C C", "Z"}),
        (replaced(("acme:B", ":fp_B"), ("acme:C", ":fp_C"), on=4, vendor="acme"), {":fp_C C acme:C", "Z"}),
    ):
        knowledge.learn(update)
        resolver.learn(update)
        assert set(live(resolver.resolution.wallet)) == live_after
        assert resolver.resolution.wallet == resolve(before, knowledge, made).wallet


FACE = {"last4": "5678", "brand": "VISA"}


@pytest.mark.parametrize(
    ("before", "facts", "counts"),
    [
        # a live method falls off
        (wallet(method("A"), method("C")), [replaced("A", "B", on=1), replaced("B", "C", on=2)], [True, True]),
        # a credential of the current card falls off: B and mdes:Y are one card by their face
        (
            wallet(method("A", "mdes:X")),
            [
                replaced("A", "D", on=1),
                replaced("D", "B", on=2, **FACE),  # type: ignore[arg-type]
                replaced("mdes:X", "mdes:Y", on=3, vendor="mdes", **FACE),  # type: ignore[arg-type]
            ],
            [True, True, True],
        ),
        # nothing falls off, and the method is replaced for another reason
        (
            wallet(method("A"), removed("B"), method("C")),
            [
                replaced("A", "C", on=1, reason=Reason.EXPIRED),
                replaced("A", "B", on=2, reason=Reason.LOST_OR_STOLEN),
                replaced("B", "C", on=3),
            ],
            [False, True, True],
        ),
        # a removed method falls off, and is no part of what is seen
        (wallet(method("A"), removed("Z")), [replaced("A", "Z", on=1), replaced("A", "C", on=2)], [False, True]),
        # nothing falls off, but only the fact says what the current card shows
        (
            wallet(method("A")),
            [replaced("A", "C", on=1, last4="1111"), replaced("A", "B", on=2), replaced("B", "C", on=3)],
            [True, False, True],
        ),
        # the same fact again, with a later expiry and with the same one
        (
            wallet(method("A")),
            [
                replaced("A", "B", on=1),
                replaced("A", "B", on=2, id="later", expiry=Expiry(2031, 1)),
                replaced("A", "B", on=3, id="as late", expiry=Expiry(2031, 1)),
            ],
            [True, True, False],
        ),
        # forks that no method holds
        (wallet(method("A")), [replaced("A", "B", on=1), replaced("A", "C", on=2)], [False, True]),
        # two accounts of one fact each, before the third fact makes one of them
        (
            wallet(method("A"), method("C")),
            [replaced("A", "B", on=1), replaced("C", "D", on=2), replaced("B", "D", on=3)],
            [True, True, True],
        ),
    ],
    ids=["live method", "current card", "reason", "removed method", "face", "expiry", "fork", "two accounts"],
)
def test_which_facts_count_for_what_the_wallet_is(
    before: Wallet, facts: Sequence[Update], counts: Sequence[bool]
) -> None:
    knowledge = Knowledge()
    for update in facts:
        knowledge.learn(update)
    resolver = WalletResolver(before, knowledge, made, Effort())
    assert [resolver.would_differ_without(fact.stamp, fact.old.keys) for fact in facts if fact.old] == counts


def test_a_fact_is_taken_to_have_counted_where_an_exact_answer_would_take_too_long() -> None:
    """Of a fork, the earlier fact makes B known, and B → C would be the same without it."""
    first = replaced("A", "B", on=1)
    knowledge = Knowledge()
    for update in (first, replaced("A", "C", on=3), replaced("B", "C", on=2)):
        knowledge.learn(update)
    before = wallet(method("A"))
    effort = Effort()
    resolver = WalletResolver(before, knowledge, made, effort)
    assert not resolver.would_differ_without(first.stamp, ["vau:A"])
    while effort.spare(1000):
        pass
    assert resolver.would_differ_without(first.stamp, ["vau:A"])


# --- accounts of thousands ----------------------------------------------------------------------------------------

THOUSANDS = 1_500
WALLET = wallet(method("A0", ":A0", par="P1"))


class Taken:
    """What became of many updates in batches of 500; what is parked or quarantined is looked at with each batch."""

    def __init__(self, updates: Sequence[Update], *wallets: Wallet, batch: int = 500) -> None:
        self.wallets = {each.id: each for each in wallets}
        self.knowledge = Knowledge()
        self.outcomes: dict[str, Outcome] = {}
        self._waiting: dict[str, WaitingUpdate] = {}
        for first in range(0, len(updates), batch):
            self._take(updates[first : first + batch])

    def _take(self, batch: Sequence[Update]) -> None:
        decision = decide(batch, self.wallets.values(), self.knowledge, list(self._waiting.values()), name)
        for update, verdict in zip(batch, decision.verdicts, strict=True):
            self.outcomes[update.stamp.update_id] = verdict.outcome
            if verdict.outcome in (Outcome.PARKED, Outcome.QUARANTINED):
                assert update.old is not None
                self._waiting[update.stamp.update_id] = WaitingUpdate(0, update.stamp, update.old.keys, update.scope)
        for waiting, verdict in decision.waiting:
            self.outcomes[waiting.stamp.update_id] = verdict.outcome
            if verdict.outcome is not Outcome.QUARANTINED:
                del self._waiting[waiting.stamp.update_id]
        self.wallets.update((changed.after.id, changed.after) for changed in decision.changed)

    def count(self) -> dict[Outcome, int]:
        return Counter(self.outcomes.values())


def name(wallet_id: WalletId, key: Key) -> MethodId:
    return f"{wallet_id}-{key}"


def fact(old: str, new: str, at: int, **more: object) -> Update:
    """`old` became `new` so many seconds into the year."""
    update = replaced((old, f":{old}"), (new, f":{new}"), on=1, id=f"{old}-{new}", **more)  # type: ignore[arg-type]
    return update._replace(stamp=update.stamp._replace(occurred_at=day(1) + timedelta(seconds=at)))


def chain(length: int) -> list[Update]:
    return [fact(f"A{n}", f"A{n + 1}", n) for n in range(length)]


def forks(count: int) -> list[Update]:
    return [fact("A0", f"B{n}", n) for n in range(count)]


def test_a_chain_told_backwards_is_followed_to_its_end() -> None:
    taken = Taken(chain(5000)[::-1], WALLET)
    assert live(taken.wallets["w-e1"]).keys() == {":A5000 A5000"}
    assert taken.count() == {Outcome.APPLIED: 5000}


def test_a_chain_told_backwards_whose_first_link_is_the_latest_stops_there() -> None:
    backwards = [fact(f"A{n}", f"A{n + 1}", THOUSANDS - n) for n in range(THOUSANDS)][::-1]
    taken = Taken(backwards, WALLET)
    assert live(taken.wallets["w-e1"]).keys() == {":A1 A1"}
    assert taken.count() == {Outcome.APPLIED: 1, Outcome.SUPERSEDED: THOUSANDS - 1}


def test_a_chain_told_backwards_between_two_cards_of_a_wallet_replaces_the_first_by_the_last() -> None:
    both = wallet(method("A0"), method(f"A{THOUSANDS}"))
    taken = Taken(chain(THOUSANDS)[::-1], both)
    assert [each.id for each in taken.wallets["w-e1"].live_methods] == [f"m-A{THOUSANDS}"]
    assert taken.count() == {Outcome.APPLIED: THOUSANDS}


def test_a_chain_told_forwards_is_followed_link_by_link() -> None:
    taken = Taken(chain(THOUSANDS), WALLET)
    assert live(taken.wallets["w-e1"]).keys() == {f":A{THOUSANDS} A{THOUSANDS}"}
    assert taken.count() == {Outcome.APPLIED: THOUSANDS}


def test_of_thousands_of_forks_the_latest_is_current() -> None:
    taken = Taken(forks(THOUSANDS), WALLET)
    assert live(taken.wallets["w-e1"]).keys() == {f":B{THOUSANDS - 1} B{THOUSANDS - 1}"}
    assert taken.count() == {Outcome.APPLIED: THOUSANDS}


def test_forks_that_waited_for_their_wallet_are_superseded_but_for_the_latest() -> None:
    taken = Taken([*forks(THOUSANDS), fact("Z", "A0", -1)], wallet(method("Z", ":Z")))
    assert live(taken.wallets["w-e1"]).keys() == {f":B{THOUSANDS - 1} B{THOUSANDS - 1}"}
    assert taken.count() == {Outcome.APPLIED: 2, Outcome.SUPERSEDED: THOUSANDS - 1}


@pytest.mark.parametrize("latest_first", [False, True])
def test_thousands_that_name_another_account_than_the_method_s_are_quarantined(*, latest_first: bool) -> None:
    conflicts = [fact("A0", f"B{n}", n, par=f"P-{n}") for n in range(THOUSANDS)]
    taken = Taken(conflicts[::-1] if latest_first else conflicts, WALLET)
    assert taken.wallets["w-e1"] == WALLET
    assert taken.count() == {Outcome.QUARANTINED: THOUSANDS}


def test_one_card_in_a_thousand_wallets_is_replaced_in_each() -> None:
    wallets = [wallet(method("A0", id=f"m-{n}"), customer=f"e{n}") for n in range(1000)]
    taken = Taken([*statuses("A0", 20), fact("A0", "B", 100)], *wallets)
    assert all(live(each).keys() == {":B B"} for each in taken.wallets.values())


def statuses(card: str, count: int) -> Iterable[Update]:
    kinds = (UpdateType.CLOSED, UpdateType.RESUMED)
    return (reported(kinds[n % 2], card, on=n + 2, id=f"status-{n}") for n in range(count))


def test_an_account_of_more_credentials_than_allowed_is_too_much() -> None:
    knowledge = Knowledge()
    for update in forks(MOST_CREDENTIALS):
        knowledge.learn(update)
    assert live(resolve(WALLET, knowledge, made).wallet)
    knowledge.learn(fact("A0", "one more", 1))
    assert MOST_CREDENTIALS == 10_000
    with pytest.raises(TooMuch, match="more than 10000 credentials"):
        resolve(WALLET, knowledge, made)


def test_a_decision_that_looks_at_too_much_is_too_much() -> None:
    """Each fact of a hostile stream has all that were followed before it tried once more."""
    knowledge = Knowledge()
    resolver = WalletResolver(wallet(method("A0")), knowledge, made, Effort(limit=1000))

    def learn_all() -> None:
        for n in range(100):
            update = fact("A0", f"B{n}", 100 - n, par=f"P-{n % 2}")
            knowledge.learn(update)
            resolver.learn(update)

    with pytest.raises(TooMuch, match="one decision"):
        learn_all()
