"""How many deliveries a dispatcher of 100 connections claims of which endpoint: it holds 800 at most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery.backlog import Backlog
from domain.delivery.circuit import SLUGGISH
from domain.delivery.outcome import Outcome

A, B, C = "a", "b", "c"


@pytest.fixture
def backlog() -> Backlog:
    """A dispatcher's whose endpoints `a`, `b`, `c` and `m-0` to `m-800` have answered often."""
    backlog = Backlog(100)
    prove(backlog, A, B, C, *(f"m-{number}" for number in range(801)))
    return backlog


def claim(backlog: Backlog, **due: int) -> dict[str, int]:
    """Claim by quota from endpoints that have so many deliveries due; what was claimed of each."""
    quotas = backlog.quotas()
    counts = {id_: min(quota, due.get(id_, 0)) for id_, quota in quotas.items()}
    backlog.note_claim(quotas, {id_: count for id_, count in counts.items() if count})
    return counts


def prove(backlog: Backlog, *endpoint_ids: str) -> None:
    """Each of the endpoints has answered so often that its window is the widest."""
    for id_ in endpoint_ids:
        for _ in range(200):
            backlog.note_answer(id_, Outcome.ACCEPTED, 0.01)


def fail(backlog: Backlog, endpoint_id: str) -> None:
    """One delivery of the endpoint is held, and gets no answer."""
    backlog.add_outstanding(endpoint_id)
    backlog.note_answer(endpoint_id, Outcome.RESPONSE_TIMEOUT, 15.0)
    backlog.release(endpoint_id)


def test_nothing_due_is_nothing_to_claim(backlog: Backlog) -> None:
    assert backlog.quotas() == {}


def test_an_endpoint_that_answers_quickly_gets_half_of_the_connections(backlog: Backlog) -> None:
    backlog.list_due([A])
    assert backlog.quotas() == {A: 50}


def test_a_new_endpoint_begins_with_a_tenth_and_doubles_with_its_answers(backlog: Backlog) -> None:
    held = []
    for _ in range(4):
        backlog.add_due(["new"])
        (count,) = claim(backlog, new=99).values()
        held.append(count)
        for _ in range(count):
            backlog.note_answer("new", Outcome.ACCEPTED, 0.01)
            backlog.release("new")
    assert held == [10, 20, 40, 50]


def test_new_endpoints_together_hold_half_until_they_have_answered(backlog: Backlog) -> None:
    """However many of them hang from the start, the proven ones have the other half."""
    ids = [f"new-{number}" for number in range(20)]
    backlog.list_due([*ids, A])
    assert claim(backlog, a=99, **dict.fromkeys(ids, 99)) == {**dict.fromkeys(ids[:16], 3), ids[16]: 2, A: 39}
    backlog.note_answer("new-0", Outcome.ACCEPTED, 0.01)
    backlog.release("new-0")
    # the two that "new-0" still holds count no more among what new endpoints hold
    assert backlog.quotas() == {"new-17": 1, "new-18": 1, "new-19": 1, "new-0": 9, A: 11}


def test_new_endpoints_share_their_half_equally(backlog: Backlog) -> None:
    """A moment later all of them have answered. Few endpoints with many deliveries each would need more answers."""
    ids = [f"new-{number}" for number in range(200)]
    backlog.list_due(ids)
    assert claim(backlog, **dict.fromkeys(ids, 99)) == dict.fromkeys(ids[:50], 1)
    for id_ in ids[:50]:
        backlog.note_answer(id_, Outcome.ACCEPTED, 0.01)
        backlog.release(id_)
    assert backlog.quotas() == dict.fromkeys(ids[50:100], 1) | dict.fromkeys(ids[:50], 4)


def test_what_proven_endpoints_are_given_is_not_taken_from_the_half_for_new_ones(backlog: Backlog) -> None:
    backlog.list_due([A, "new-0"])
    assert backlog.quotas() == {A: 50, "new-0": 10}


def test_the_next_of_a_line_of_a_new_endpoint_counts_among_what_new_endpoints_hold(backlog: Backlog) -> None:
    for number in range(5):
        backlog.add_outstanding(f"new-{number}", 9)
    assert backlog.room_for_next("new-0") == 1
    backlog.add_outstanding("new-5", 5)
    assert backlog.room_for_next("new-0") == 0
    assert backlog.room_for_next(A) == 50


def test_what_becomes_due_during_a_claim_is_claimed_next(backlog: Backlog) -> None:
    backlog.list_due([A])
    quotas = backlog.quotas()
    backlog.add_due([A])
    backlog.note_claim(quotas, {A: 1})
    assert list(backlog.quotas()) == [A]


def test_what_becomes_due_during_a_look_stays_due_though_the_look_did_not_find_it(backlog: Backlog) -> None:
    backlog.add_due([B])
    backlog.begin_look()
    backlog.add_due([A])
    backlog.list_due([C])
    assert set(backlog.quotas()) == {A, C}


def test_many_endpoints_share_what_may_be_held(backlog: Backlog) -> None:
    backlog.list_due([f"m-{number}" for number in range(300)])
    quotas = backlog.quotas()
    assert sum(quotas.values()) == 800
    assert set(quotas.values()) == {3, 2} or set(quotas.values()) == {3}


def test_those_without_a_share_come_first_the_next_time(backlog: Backlog) -> None:
    """800 endpoints fill what may be held; the 801st has its turn before any other one's second."""
    ids = [f"m-{number}" for number in range(801)]
    backlog.list_due(ids)
    first = claim(backlog, **dict.fromkeys(ids, 5))
    assert list(first) == ids[:800]
    for id_ in ids[:10]:
        backlog.release(id_)
    assert next(iter(backlog.quotas())) == ids[800]


def test_an_endpoint_that_did_not_fill_its_quota_is_not_asked_again(backlog: Backlog) -> None:
    backlog.list_due([A, B])
    assert claim(backlog, a=3, b=50) == {A: 3, B: 50}
    backlog.release(B)
    assert backlog.quotas() == {B: 1}


def test_an_endpoint_that_has_new_deliveries_comes_before_a_backlog(backlog: Backlog) -> None:
    backlog.list_due([A])
    claim(backlog, a=50)
    backlog.release(A)
    backlog.add_due([B, A])
    backlog.add_due([C])
    assert list(backlog.quotas()) == [C, B, A]


def test_a_complete_list_drops_what_is_due_no_more_and_keeps_the_order_of_turns(backlog: Backlog) -> None:
    backlog.list_due([A, B])
    backlog.list_due([C, A])
    assert list(backlog.quotas()) == [C, A]
    backlog.list_due([])
    assert backlog.quotas() == {}


def test_an_endpoint_without_an_answer_is_probed_by_one_delivery_at_a_time(backlog: Backlog) -> None:
    fail(backlog, A)
    backlog.list_due([A])
    assert claim(backlog, a=9) == {A: 1}
    assert backlog.quotas() == {}
    backlog.note_answer(A, Outcome.ACCEPTED, 0.01)
    backlog.release(A)
    assert claim(backlog, a=9) == {A: 2}


def test_an_attempt_that_is_overdue_narrows_the_window_at_once(backlog: Backlog) -> None:
    backlog.list_due([A])
    claim(backlog, a=50)
    backlog.narrow(A)
    for _ in range(40):
        backlog.release(A)
    assert backlog.quotas() == {}
    backlog.release(A)
    assert backlog.quotas() == {A: 1}


def test_all_endpoints_that_hang_together_hold_half_of_the_connections(backlog: Backlog) -> None:
    ids = [f"m-{number}" for number in range(60)]
    for id_ in ids:
        fail(backlog, id_)
    backlog.list_due([*ids, A])
    quotas = backlog.quotas()
    assert sum(quota for id_, quota in quotas.items() if id_ != A) == 50
    assert quotas[A] == 14, "800 shared out over 61"


def test_an_endpoint_that_fails_quickly_is_probed_and_not_counted_among_those_that_hang(backlog: Backlog) -> None:
    ids = [f"m-{number}" for number in range(60)]
    for id_ in ids:
        fail(backlog, id_)
    backlog.add_outstanding(A)
    backlog.note_answer(A, Outcome.CONNECTION_CLOSED, 0.01)
    backlog.release(A)
    backlog.list_due([*ids, A])
    quotas = backlog.quotas()
    assert quotas[A] == 1
    assert sum(quotas.values()) == 51


def test_nothing_is_claimed_of_a_paused_endpoint_and_its_turn_is_kept(backlog: Backlog) -> None:
    backlog.list_due([A, B])
    backlog.pause(A)
    assert backlog.is_paused(A)
    assert list(backlog.quotas()) == [B]
    backlog.resume(A)
    assert list(backlog.quotas()) == [A]


def test_a_narrow_endpoint_whose_window_is_wide_again_counts_no_more(backlog: Backlog) -> None:
    fail(backlog, A)
    for _ in range(49):
        backlog.note_answer(A, Outcome.ACCEPTED, 0.01)
    backlog.list_due([A])
    assert claim(backlog, a=99) == {A: 50}
    for id_ in (ids := [f"m-{number}" for number in range(60)]):
        fail(backlog, id_)
    backlog.list_due(ids)
    assert sum(backlog.quotas().values()) == 50


@pytest.mark.parametrize(("held", "again"), [(50, False), (26, False), (25, True), (10, True)])
def test_the_next_claim_waits_until_half_of_the_latest_is_used_up(backlog: Backlog, held: int, *, again: bool) -> None:
    backlog.list_due([A])
    claim(backlog, a=50)
    backlog.add_outstanding(A)  # so that the last release leaves `held`
    for _ in range(50 - held):
        backlog.release(A)
    assert backlog.release(A) is again


def test_attempts_that_hang_do_not_delay_the_next_claim(backlog: Backlog) -> None:
    """40 deliveries of an endpoint that hangs stay in hand: the quick one is claimed again as if they did not."""
    backlog.list_due([A])
    claim(backlog, a=40)
    backlog.narrow(A)
    backlog.list_due([B])
    claim(backlog, b=50)
    assert [backlog.release(B) for _ in range(25)] == [False] * 24 + [True]


def test_an_endpoint_with_nothing_due_asks_for_no_claim_for_the_others(backlog: Backlog) -> None:
    backlog.list_due([A])
    claim(backlog, a=50)
    backlog.add_outstanding(B)
    assert backlog.release(B) is False


def test_an_endpoint_with_nothing_in_hand_does_not_wait_for_the_others(backlog: Backlog) -> None:
    backlog.list_due([A, *(f"m-{number}" for number in range(200))])
    claim(backlog, a=4, **{f"m-{number}": 4 for number in range(200)})
    assert [backlog.release(A) for _ in range(4)] == [False, False, False, True]


def test_where_nothing_is_due_no_end_of_an_attempt_asks_for_a_claim(backlog: Backlog) -> None:
    backlog.list_due([A])
    claim(backlog, a=1)
    assert backlog.release(A) is False


def test_the_next_of_a_line_is_claimed_unless_other_lines_of_its_endpoint_wait(backlog: Backlog) -> None:
    assert backlog.room_for_next(A) == 50
    backlog.add_outstanding(A, 48)
    assert backlog.room_for_next(A) == 2
    backlog.add_due([A])
    assert backlog.room_for_next(A) == 0


def test_the_next_of_a_line_is_not_claimed_beyond_what_may_be_held(backlog: Backlog) -> None:
    for number in range(40):
        backlog.add_outstanding(f"m-{number}", 20)
    assert backlog.room_for_next(A) == 0


def test_an_endpoint_whose_window_became_narrow_has_no_room_for_the_next_of_a_line(backlog: Backlog) -> None:
    backlog.add_outstanding(A, 50)
    backlog.narrow(A)
    assert backlog.room_for_next(A) == 0


def test_an_answer_of_just_a_second_is_a_quick_one(backlog: Backlog) -> None:
    backlog.note_answer(A, Outcome.ACCEPTED, SLUGGISH)
    backlog.list_due([A, "new-0"])
    assert backlog.quotas() == {A: 50, "new-0": 10}


@given(
    st.integers(4, 400),  # of fewer connections half is one, so no window is narrower
    st.lists(st.tuples(st.booleans(), st.integers(0, 200)), min_size=1, max_size=60),
)
def test_however_many_hang_half_of_the_connections_are_for_the_quick(
    connections: int, endpoints: list[tuple[bool, int]]
) -> None:
    backlog = Backlog(connections)
    names = {f"m-{number}": (hangs, due) for number, (hangs, due) in enumerate(endpoints)}
    held = dict.fromkeys(names, 0)
    for id_, (hangs, _) in names.items():
        prove(backlog, id_)
        if hangs:
            fail(backlog, id_)
    for _ in range(3):
        backlog.list_due(list(names))
        for id_, count in claim(backlog, **{id_: due for id_, (_, due) in names.items()}).items():
            held[id_] += count
    half = connections // 2
    assert sum(count for id_, count in held.items() if names[id_][0]) <= half
    assert all(count <= half for count in held.values())
    assert all(held[id_] > 0 for id_, (hangs, due) in names.items() if due and not hangs)
    assert sum(held.values()) == backlog.outstanding <= 8 * connections
