"""Deliveries leave in turns of their endpoints, and in their order within an endpoint."""

from collections import defaultdict
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from domain.delivery.turns import Turns


def filled(*items: str) -> Turns[str]:
    """Items such as `a1`: the first letter names the endpoint."""
    turns = Turns[str]()
    for item in items:
        turns.add(item[0], item)
    return turns


def pop_all(turns: Turns[str]) -> list[str]:
    return list(iter(turns.pop, None))


def test_an_endpoint_with_many_items_waits_for_its_turn_after_each() -> None:
    assert pop_all(filled("a1", "a2", "a3", "b1", "c1", "b2")) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_what_is_added_to_an_endpoint_in_the_queue_moves_no_turn() -> None:
    turns = filled("a1", "a2", "b1")
    assert turns.pop() == "a1"
    assert len(turns) == 2
    turns.add("b", "b2")
    turns.add("c", "c1")
    assert len(turns) == 4
    assert pop_all(turns) == ["b1", "a2", "c1", "b2"]


def test_what_is_removed_leaves_the_turns_of_the_others() -> None:
    turns = filled("a1", "b1", "a2", "c1")
    assert list(turns.remove(lambda endpoint: endpoint == "a")) == ["a1", "a2"]
    assert len(turns) == 2
    turns.add("a", "a3")
    assert list(turns.remove()) == ["b1", "c1", "a3"]
    assert len(turns) == 0


def test_nothing_can_be_taken_of_nothing() -> None:
    assert filled().pop() is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3))))
def test_nothing_is_lost_and_each_endpoint_keeps_its_order(steps: list[tuple[str, int]]) -> None:
    """Each step adds an item to an endpoint and takes some."""
    turns = Turns[tuple[str, int]]()
    taken: dict[str, list[int]] = defaultdict(list)
    added: dict[str, list[int]] = defaultdict(list)
    for number, (endpoint, takes) in enumerate(steps):
        turns.add(endpoint, (endpoint, number))
        added[endpoint].append(number)
        for taker, item in islice(iter(turns.pop, None), takes):
            taken[taker].append(item)
    for taker, item in iter(turns.pop, None):
        taken[taker].append(item)
    assert taken == added
