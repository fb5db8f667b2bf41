"""How long an endpoint is held, and how many connections it may keep busy."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery.circuit import LONGEST_HOLD, hold, is_sluggish, room
from domain.delivery.outcome import Outcome


@pytest.mark.parametrize(
    ("outcome", "asked", "held"),
    [
        (Outcome.UNAVAILABLE, timedelta(seconds=30), timedelta(seconds=30)),
        (Outcome.TOO_MANY_REQUESTS, timedelta(seconds=1), timedelta(seconds=1)),
        (Outcome.UNAVAILABLE, timedelta(days=365), LONGEST_HOLD),
        (Outcome.UNAVAILABLE, None, None),
        (Outcome.UNAVAILABLE, timedelta(0), None),
        (Outcome.UNAVAILABLE, timedelta(seconds=-5), None),
        (Outcome.ACCEPTED, timedelta(seconds=30), None),
        (Outcome.STATUS_REFUSED, timedelta(seconds=30), None),
        (Outcome.REDIRECT_REFUSED, timedelta(seconds=30), None),
    ],
)
def test_only_429_and_503_hold_and_for_a_day_at_most(
    outcome: Outcome, asked: timedelta | None, held: timedelta | None
) -> None:
    assert hold(outcome, asked) == held


@pytest.mark.parametrize(
    ("outcome", "took", "sluggish"),
    [
        (Outcome.ACCEPTED, 0.04, False),
        (Outcome.STATUS_REFUSED, 0.04, False),
        (Outcome.ACCEPTED, 3.0, True),
        (Outcome.CONNECTION_REFUSED, 0.001, True),
        (Outcome.RESPONSE_TIMEOUT, 15.0, True),
    ],
)
def test_slow_or_silent_is_sluggish(outcome: Outcome, took: float, *, sluggish: bool) -> None:
    assert is_sluggish(outcome, took) is sluggish


@given(st.integers(2, 400), st.lists(st.booleans(), min_size=1, max_size=60))
def test_however_many_hang_half_of_the_connections_are_for_the_quick(connections: int, endpoints: list[bool]) -> None:
    held = [0] * len(endpoints)
    for _ in range(3):
        for number, sluggish in enumerate(endpoints):
            busy = sum(count for count, slow in zip(held, endpoints, strict=True) if slow)
            held[number] += room(held=held[number], sluggish=sluggish, held_by_sluggish=busy, connections=connections)
    hanging = sum(count for count, slow in zip(held, endpoints, strict=True) if slow)
    assert hanging <= connections // 2
    for count, sluggish in zip(held, endpoints, strict=True):
        assert 0 <= count <= connections // 2
        assert not sluggish or count <= max(1, connections // 10)
        assert sluggish or count > 0


def test_a_sluggish_endpoint_still_gets_one_connection_of_few() -> None:
    assert room(held=0, sluggish=True, held_by_sluggish=0, connections=1) == 1
    assert room(held=1, sluggish=True, held_by_sluggish=1, connections=1) == 0
    assert room(held=0, sluggish=False, held_by_sluggish=1, connections=1) == 1
