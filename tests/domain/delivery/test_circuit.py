"""How long an endpoint is held, and how wide its window is."""

from datetime import timedelta

import pytest

from domain.delivery.circuit import hold_after, narrow_window, widest_window, window_after
from domain.delivery.outcome import Outcome


@pytest.mark.parametrize(
    ("outcome", "asked", "held"),
    [
        (Outcome.UNAVAILABLE, timedelta(seconds=30), timedelta(seconds=30)),
        (Outcome.TOO_MANY_REQUESTS, timedelta(seconds=1), timedelta(seconds=1)),
        (Outcome.UNAVAILABLE, timedelta(days=365), timedelta(hours=24)),
        (Outcome.UNAVAILABLE, timedelta(hours=23), timedelta(hours=23)),
        (Outcome.UNAVAILABLE, timedelta(hours=25), timedelta(hours=24)),
        (Outcome.UNAVAILABLE, timedelta(microseconds=1), timedelta(microseconds=1)),
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
    assert hold_after(outcome, asked) == held


@pytest.mark.parametrize(
    ("window", "outcome", "seconds", "after"),
    [
        (1, Outcome.ACCEPTED, 0.04, 2),
        (7, Outcome.STATUS_REFUSED, 1.0, 8),
        (49, Outcome.ACCEPTED, 0.04, 50),
        (50, Outcome.ACCEPTED, 0.04, 50),
        (1, Outcome.ACCEPTED, 1.1, 2),
        (9, Outcome.UNAVAILABLE, 3.0, 10),
        (10, Outcome.ACCEPTED, 3.0, 10),
        (50, Outcome.ACCEPTED, 3.0, 10),
        (50, Outcome.CONNECTION_REFUSED, 0.001, 1),
        (10, Outcome.RESPONSE_TIMEOUT, 15.0, 1),
        (1, Outcome.DNS_LOOKUP_FAILED, 0.1, 1),
    ],
)
def test_a_window_of_a_hundred_connections_widens_with_answers_and_shrinks_to_a_probe_without(
    window: int, outcome: Outcome, seconds: float, after: int
) -> None:
    assert window_after(window, outcome, seconds, connections=100) == after


@pytest.mark.parametrize(("window", "narrow"), [(50, 10), (10, 10), (3, 3), (1, 1)])
def test_while_an_attempt_is_overdue_the_window_is_that_of_a_slow_endpoint(window: int, narrow: int) -> None:
    assert narrow_window(window, 100) == narrow


@pytest.mark.parametrize("connections", [1, 2, 3])
def test_of_few_connections_every_endpoint_still_gets_one(connections: int) -> None:
    assert widest_window(connections) == 1
    assert narrow_window(1, connections) == 1
    assert window_after(1, Outcome.RESPONSE_TIMEOUT, 15.0, connections=connections) == 1
    assert window_after(1, Outcome.ACCEPTED, 0.01, connections=connections) == 1
