"""What is known without some reports is what would be known had they not come: over random streams, in any order."""

from collections.abc import Iterable
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from domain.knowledge import NOTHING_REPORTED, CredentialState, Dated, Fact, FactId, Knowledge
from domain.retraction import Reports, take_back
from domain.update import Scope, Stamp, Update, UpdateType
from domain.wallet import Expiry, Key, MethodStatus
from tests.domain.build import knowledge, replaced, reported
from tests.domain.worlds import World, worlds

CLOSED, RESUMED = UpdateType.CLOSED, UpdateType.RESUMED


def reports_of(known: Knowledge) -> Reports:
    """The reports that `known` would have had written."""
    reports = Reports()
    for of_fact in known.fact_reports.values():
        for fact in of_fact.values():
            reports.add_fact(fact)
    for (key, scope), of_state in known.state_reports.items():
        for stamp, state in of_state.items():
            reports.add_state(key, scope, stamp, state)
    return reports


def without(known: Knowledge, *updates: Update) -> Knowledge:
    """`known`, and its reports, without those of `updates`."""
    keys = {*known.states, *(key for fact in known.facts.values() for key in fact.old.keys)}
    take_back(known, reports_of(known), {update.stamp for update in updates}, keys)
    return known


def what_is_known(known: Knowledge) -> tuple[dict[FactId, Fact], dict[tuple[Key, Scope], CredentialState]]:
    """Without the stamps of expiries: of two reports of the same expiry, the one that arrived first has its stamp."""
    states = {
        (key, scope): state._replace(expiry=unstamped(state.expiry))
        for key, of_key in known.states.items()
        for scope, state in of_key.items()
        if state != NOTHING_REPORTED
    }
    return {id_: fact._replace(later=unstamped(fact.later)) for id_, fact in known.facts.items()}, states


def unstamped(expiry: Dated[Expiry] | None) -> Dated[Expiry] | None:
    return None if expiry is None else Dated(expiry.value, Stamp(datetime.min.replace(tzinfo=UTC), "", ""))


def in_order(updates: Iterable[Update]) -> list[Update]:
    return sorted(updates, key=lambda update: update.stamp)


@given(worlds(merges=False), st.data())
def test_reports_that_are_taken_back_leave_what_the_others_make(world: World, data: st.DataObject) -> None:
    arrived = data.draw(st.permutations(world.updates))
    gone = data.draw(st.sets(st.sampled_from(range(len(arrived)))))
    known = without(knowledge(*arrived), *(arrived[at] for at in gone))
    left = [update for at, update in enumerate(arrived) if at not in gone]
    assert what_is_known(known) == what_is_known(knowledge(*in_order(left)))


@given(worlds(merges=False), st.data())
def test_reports_may_be_taken_back_one_after_another(world: World, data: st.DataObject) -> None:
    known = knowledge(*world.updates)
    reports = reports_of(known)
    keys = {*known.states, *(key for fact in known.facts.values() for key in fact.old.keys)}
    for update in data.draw(st.permutations(world.updates)):
        take_back(known, reports, {update.stamp}, keys)
        reports = without_reports(reports, update.stamp)
    assert what_is_known(known) == ({}, {})


def without_reports(reports: Reports, stamp: Stamp) -> Reports:
    """As the database has them once the reports of `stamp` are deleted."""
    left = Reports()
    for of_fact in reports._facts.values():
        for fact in of_fact.values():
            if fact.stamp != stamp:
                left.add_fact(fact)
    for (key, scope), of_state in reports._states.items():
        for of, state in of_state.items():
            if of != stamp:
                left.add_state(key, scope, of, state)
    return left


def test_a_fact_that_another_update_reported_stays_as_that_one_reported_it() -> None:
    early = replaced(("A", ":a"), "B", on=1, last4="1111", expiry=Expiry(2030, 1))
    late = replaced("A", "B", on=5, vendor="mdes", last4="2222", expiry=Expiry(2029, 1))
    (fact,) = without(knowledge(early, late), early).facts.values()
    assert (fact.stamp, fact.old.alias, fact.reported.last4, fact.reported.expiry, fact.later) == (
        *(late.stamp, None, "2222", Expiry(2029, 1), None),
    )
    assert without(knowledge(early, late), early, late).facts == {}


def test_a_status_falls_back_to_the_one_before_it() -> None:
    closed, resumed = reported(CLOSED, "A", on=1), reported(RESUMED, "A", on=2)
    known = without(knowledge(closed, resumed), resumed)
    assert known.states["vau:A"][()].status == (MethodStatus.CLOSED, closed.stamp)
    assert without(knowledge(closed, resumed), closed).states["vau:A"][()].status == (
        MethodStatus.ACTIVE,
        resumed.stamp,
    )


def test_what_a_person_accepted_stays_accepted_whoever_reports_it() -> None:
    early, late = replaced("A", "B", on=1), replaced("A", "B", on=5, id="again")
    known = knowledge(early, late)
    (fact_id,) = known.facts
    known.accept(fact_id, {()})
    without(known, early)
    assert known.facts[fact_id].accepted == {()}
    assert known.reported_facts == {fact_id}
    without(known, early, late)
    known.learn(early)
    assert known.facts[fact_id].accepted == frozenset()


def test_a_first_report_alone_needs_no_row_beside_its_own() -> None:
    known = knowledge(replaced("A", "B", on=1), reported(CLOSED, "A", on=1, id="other"))
    assert (known.fact_reports, known.state_reports) == ({}, {})
