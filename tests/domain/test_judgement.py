"""What a person's judgement of an update does: one row for each reason to wait and each choice, without a database."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.decide import Verdict, WaitingUpdate, decide
from domain.effort import Effort
from domain.judgement import Choice, Judged, Known, Obstacle, discard, release
from domain.knowledge import Knowledge
from domain.resolve import Replaced, resolve
from domain.resolver import WalletResolver
from domain.update import Outcome, Stamp, Update, UpdateType
from domain.wallet import Customer, Key, MethodId, MethodStatus, MethodType, Wallet
from tests.domain.build import Ids, day, link, live, method, paid_with, removed, replaced, reported, wallet, who
from tests.domain.test_retraction import reports_of
from tests.domain.worlds import World, worlds

CLOSED = UpdateType.CLOSED
ANN = wallet(method("A", default=True), links=[link("m-A")], customer="ann")
BEA = wallet(method("A", id="m-A2"), customer="bea")
OF_P1 = wallet(method("A", par="P1"), customer="ann")
OF_TWO_TYPES = wallet(method("A"), method("B", type=MethodType.BANK_ACCOUNT), customer="ann")
STRANGER = replaced("A", "B", on=1, customer="zoe", last4="2222")
OF_P2 = replaced("A", "B", on=1, par="P2")


def ids() -> Callable[[str, Key], MethodId]:
    made = Ids()
    return lambda _, key: made(key)


class Waiting(NamedTuple):
    """An update that waits in some wallets, and what is known then."""

    update: WaitingUpdate
    verdict: Verdict
    known: Known


def waiting(update: Update, *wallets: Wallet, before: Sequence[Update] = (), after: Sequence[Update] = ()) -> Waiting:
    """`update` as it was decided between others."""
    learnt = Knowledge()
    decision = decide([*before, update, *after], wallets, learnt, (), ids())
    changed = {each.before.id: each.after for each in decision.changed}
    keys = () if update.old is None else update.old.keys
    waits = WaitingUpdate(7, update.stamp, keys, update.scope, update.merge_from, update.merge_into)
    now = [changed.get(each.id, each) for each in wallets]
    return Waiting(waits, decision.verdicts[len(before)], Known(now, learnt, reports_of(learnt), (), ids()))


def released(case: Waiting, choice: Choice) -> Judged | Obstacle:
    return release(case.update, case.verdict, choice, case.known)


class Case(NamedTuple):
    """`live_in` are the live methods of each wallet that changes."""

    update: Update
    wallets: tuple[Wallet, ...]
    choice: Choice
    outcome: tuple[Outcome, str | None] | Obstacle
    live_in: Mapping[str, set[str]] = MappingProxyType({})
    before: tuple[Update, ...] = ()


APPLIED = (Outcome.APPLIED, None)
ANN_CLOSED = reported(CLOSED, "A", on=1, customer="zoe")
CASES = {
    "another customer's, to one wallet": Case(
        STRANGER, (ANN, BEA), Choice(ANN), APPLIED, {"w-ann": {"B"}},
    ),
    "another customer's, to all": Case(
        STRANGER, (ANN, BEA), Choice(accept=True), APPLIED, {"w-ann": {"B"}, "w-bea": {"B"}},
    ),
    "another customer's status": Case(ANN_CLOSED, (ANN, BEA), Choice(BEA), APPLIED, {"w-bea": {"A"}}),
    "to a wallet that knows nothing of it": Case(
        STRANGER, (ANN,), Choice(wallet(method("Q"), customer="q")), Obstacle.NOT_CONCERNED
    ),
    "to a wallet without a name": Case(
        STRANGER, (ANN,), Choice(ANN._replace(customer=Customer(frozenset()))), Obstacle.NO_CUSTOMER
    ),
    "another customer's, and another account's": Case(
        replaced("A", "B", on=1, customer="zoe", par="P2"), (OF_P1,), Choice(OF_P1), Obstacle.STILL_QUARANTINED
    ),
    "both in spite of it": Case(
        replaced("A", "B", on=1, customer="zoe", par="P2"), (OF_P1,), Choice(OF_P1, accept=True), APPLIED,
        {"w-ann": {"B"}},
    ),
    "another account's": Case(OF_P2, (OF_P1,), Choice(accept=True), APPLIED, {"w-ann": {"B"}}),
    "another account's, in one of two wallets": Case(
        OF_P2, (OF_P1, OF_P1._replace(id="w-bea", customer=BEA.customer)), Choice(OF_P1), APPLIED, {"w-ann": {"B"}}
    ),
    "a card that it calls a bank account": Case(
        replaced("A", "B", on=1, method_type=MethodType.BANK_ACCOUNT), (ANN,), Choice(accept=True), APPLIED,
        {"w-ann": {"B"}},
    ),
    "a card that would become a bank account": Case(
        replaced("A", "B", on=1), (OF_TWO_TYPES,), Choice(accept=True), Obstacle.STILL_QUARANTINED
    ),
    "what its customer has removed": Case(
        STRANGER, (wallet(removed("A"), customer="ann"),), Choice(wallet(customer="ann")),
        (Outcome.IGNORED, "CUSTOMER_REMOVED"), {"w-ann": set()},
    ),
    "what is older than what is known": Case(
        STRANGER, (ANN,), Choice(ANN), (Outcome.SUPERSEDED, "NEWER_FACT"), {"w-ann": {"C"}},
        before=(replaced("A", "C", on=5),),
    ),
    "without a choice": Case(STRANGER, (ANN,), Choice(), Obstacle.NO_CHOICE),
    "what is parked": Case(replaced("X", "Y", on=1), (ANN,), Choice(ANN), Obstacle.PARKED),
    "what is applied": Case(replaced("A", "B", on=1), (ANN,), Choice(ANN), Obstacle.NOT_WAITING),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_a_release_does(case: Case) -> None:
    judged = released(waiting(case.update, *case.wallets, before=case.before), case.choice)
    if isinstance(case.outcome, Obstacle):
        assert judged is case.outcome
        return
    assert isinstance(judged, Judged)
    assert judged.verdict == case.outcome
    assert {each.after.id: set(live(each.after)) for each in judged.decision.changed} == case.live_in


def test_a_released_replacement_moves_links_and_flags_and_is_announced_like_any() -> None:
    judged = released(waiting(STRANGER, ANN), Choice(ANN))
    assert isinstance(judged, Judged)
    (changed,) = judged.decision.changed
    (current,) = changed.after.live_methods
    assert (current.default, paid_with(changed.after, "l-m-A"), current.details.last4) == (True, current.id, "2222")
    (change,) = changed.changes
    assert isinstance(change, Replaced)


def test_what_was_released_to_one_customer_is_not_known_of_the_other_any_more() -> None:
    case = waiting(STRANGER, ANN)
    judged = released(case, Choice(ANN))
    assert isinstance(judged, Judged)
    assert [fact.scope for fact in judged.taken_back.forgotten] == [who("zoe")]
    assert [fact.scope for fact in case.known.knowledge.facts.values()] == [who("ann")]
    zoe = wallet(method("A"), customer="zoe")
    assert resolve(zoe, case.known.knowledge, Ids()).wallet == zoe


def test_an_account_that_a_person_took_for_another_stays_one_with_it() -> None:
    """Or each further report of the card would be quarantined again."""
    case = waiting(OF_P2, OF_P1)
    judged = released(case, Choice(accept=True))
    assert isinstance(judged, Judged)
    after = judged.decision.changed[0].after
    further = replaced("B", "C", on=9, par="P2")
    decision = decide([further], [after], case.known.knowledge, (), ids())
    assert decision.verdicts == (APPLIED,)
    assert set(live(decision.changed[0].after)) == {"C"}


def test_a_stranger_is_refused_after_an_account_was_taken_for_another() -> None:
    case = waiting(OF_P2, OF_P1)
    judged = released(case, Choice(accept=True))
    assert isinstance(judged, Judged)
    after = judged.decision.changed[0].after
    decision = decide([replaced("B", "C", on=9, par="P3")], [after], case.known.knowledge, (), ids())
    assert decision.verdicts == ((Outcome.QUARANTINED, "ACCOUNT_CONFLICT"),)


# --- merges -------------------------------------------------------------------------------------------------------

ANN_AGAIN = wallet(method("Q"), customer="ann")._replace(id="w-ann-again")
BEA_OF_P = wallet(method("P"), customer="bea")
MERGE = Update(
    Stamp(day(1), "crm", "merge"), UpdateType.WALLET_MERGED, None, merge_from=who("bea"), merge_into=who("ann")
)


@pytest.mark.parametrize(
    ("wallets", "choice", "becomes"),
    [
        ((ANN, ANN_AGAIN, BEA_OF_P), Choice(ANN), {"w-ann": {"A", "P"}, "w-bea": set()}),
        ((ANN, ANN_AGAIN, BEA_OF_P), Choice(ANN_AGAIN), {"w-ann-again": {"Q", "P"}, "w-bea": set()}),
        ((ANN, ANN_AGAIN, BEA_OF_P), Choice(accept=True), Obstacle.SEVERAL_TARGETS),
        ((ANN, ANN_AGAIN, BEA_OF_P), Choice(), Obstacle.NO_CHOICE),
        ((ANN, ANN_AGAIN, BEA_OF_P), Choice(BEA_OF_P), Obstacle.NOT_NAMED),
        (
            (ANN, BEA_OF_P, wallet(method("R"), customer="bea")._replace(id="w-bea-again")),
            Choice(accept=True),
            {"w-ann": {"A", "P", "R"}, "w-bea": set(), "w-bea-again": set()},
        ),
    ],
)
def test_what_a_release_of_a_merge_does(
    wallets: tuple[Wallet, ...], choice: Choice, becomes: dict[str, set[str]] | Obstacle
) -> None:
    case = waiting(MERGE, *wallets)
    assert case.verdict == (Outcome.QUARANTINED, "AMBIGUOUS_CUSTOMER")
    judged = released(case, choice)
    if isinstance(becomes, Obstacle):
        assert judged is becomes
        return
    assert isinstance(judged, Judged)
    assert judged.verdict == APPLIED
    assert {each.after.id: set(live(each.after)) for each in judged.decision.changed} == becomes


def test_a_merge_without_wallets_is_not_released() -> None:
    case = waiting(MERGE, ANN)
    assert case.verdict.outcome is Outcome.PARKED
    assert released(case, Choice(ANN)) is Obstacle.NO_SOURCE
    assert released(waiting(MERGE, BEA_OF_P), Choice(accept=True)) is Obstacle.NO_TARGET


# --- discarding ---------------------------------------------------------------------------------------------------


def test_a_discarded_update_does_not_apply_when_its_customer_comes() -> None:
    case = waiting(STRANGER, ANN)
    judged = discard(case.update, case.verdict, case.known, is_original=True)
    assert isinstance(judged, Judged)
    assert (judged.verdict, judged.decision.changed) == ((Outcome.IGNORED, "DISCARDED"), ())
    zoe = wallet(method("A"), customer="zoe")
    assert resolve(zoe, case.known.knowledge, Ids()).wallet == zoe


def test_what_another_update_reported_as_well_stays() -> None:
    case = waiting(STRANGER, ANN, after=[replaced("A", "B", on=3, id="other", customer="zoe")])
    judged = discard(case.update, case.verdict, case.known, is_original=True)
    assert isinstance(judged, Judged)
    assert judged.taken_back.forgotten == []
    (fact,) = case.known.knowledge.facts.values()
    assert fact.stamp.update_id == "other"


def test_of_an_id_that_was_used_before_nothing_is_taken_back() -> None:
    """What is known under it was reported by the first update that came with it."""
    case = waiting(STRANGER, ANN)
    judged = discard(case.update, Verdict(Outcome.QUARANTINED, "ID_REUSED"), case.known, is_original=False)
    assert isinstance(judged, Judged)
    assert len(case.known.knowledge.facts) == 1
    assert (
        release(case.update, Verdict(Outcome.QUARANTINED, "ID_REUSED"), Choice(ANN), case.known) is Obstacle.ID_REUSED
    )


def test_what_is_not_known_any_more_is_not_released_but_can_be_discarded() -> None:
    case = waiting(STRANGER, ANN)
    forgotten = case.known._replace(knowledge=Knowledge())
    assert release(case.update, case.verdict, Choice(ANN), forgotten) is Obstacle.FORGOTTEN
    without_keys = case.update._replace(keys=())
    assert release(without_keys, case.verdict, Choice(ANN), forgotten) is Obstacle.FORGOTTEN
    assert isinstance(discard(without_keys, case.verdict, forgotten, is_original=True), Judged)


def test_what_does_not_wait_is_not_discarded() -> None:
    case = waiting(replaced("A", "B", on=1), ANN)
    assert discard(case.update, case.verdict, case.known, is_original=True) is Obstacle.NOT_WAITING


# --- accepted facts, whatever the order -----------------------------------------------------------------------------


def made(key: Key) -> MethodId:
    return f"made-{key}"


@given(worlds(merges=False), st.data())
def test_accepted_facts_leave_the_order_of_arrival_without_effect(world: World, data: st.DataObject) -> None:
    before = data.draw(st.sampled_from(world.wallets))
    accepted = data.draw(st.sets(st.sampled_from(range(len(world.updates)))))
    updates = [(update, at in accepted) for at, update in enumerate(world.updates)]

    def learn(known: Knowledge, update: Update, *, is_accepted: bool) -> None:
        known.learn(update)
        new = update.new.credential
        if is_accepted and update.old is not None and new is not None:
            fact_id = (update.old.key, new.key, update.scope)
            if fact_id in known.facts:
                known.accept(fact_id, {()})

    known = Knowledge()
    resolver = WalletResolver(before, known, made, Effort())
    for update, is_accepted in data.draw(st.permutations(updates)):
        learn(known, update, is_accepted=is_accepted)
        resolver.learn(update)
        assert resolver.resolution.wallet == resolve(before, known, made).wallet
    other = Knowledge()
    for update, is_accepted in updates:
        learn(other, update, is_accepted=is_accepted)
    assert {fact.id: fact.accepted for fact in other.facts.values()} == {
        fact.id: fact.accepted for fact in known.facts.values()
    }


def test_a_closed_method_of_another_customer_is_closed_by_a_release() -> None:
    judged = released(waiting(ANN_CLOSED, ANN), Choice(ANN))
    assert isinstance(judged, Judged)
    assert live(judged.decision.changed[0].after)["A"].status is MethodStatus.CLOSED
