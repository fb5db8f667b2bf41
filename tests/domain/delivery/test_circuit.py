"""How long an endpoint is held, when its circuit opens, and how wide its window is."""

from datetime import timedelta

import pytest

from domain.delivery.circuit import (
    OWN_FAULT_PAUSE,
    SLUGGISH,
    Failures,
    Restraint,
    free_delay,
    hold_after,
    narrow_window,
    restraint,
    until_probe,
    widest_window,
    window_after,
)
from domain.delivery.outcome import Outcome


@pytest.mark.parametrize(
    ("outcome", "asked", "held"),
    [
        (Outcome.UNAVAILABLE, timedelta(seconds=30), timedelta(seconds=30)),
        (Outcome.TOO_MANY_REQUESTS, timedelta(seconds=1), timedelta(seconds=1)),
        (Outcome.TOO_MANY_REQUESTS, None, timedelta(seconds=1)),
        (Outcome.TOO_MANY_REQUESTS, timedelta(seconds=-5), timedelta(seconds=1)),
        (Outcome.TOO_MANY_REQUESTS, timedelta(days=2), timedelta(hours=24)),
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
    ("duration", "number", "expected"),
    [
        (timedelta(0), 0, Restraint.NONE),
        (timedelta(seconds=59), 1000, Restraint.NONE),
        (timedelta(minutes=1), 9, Restraint.NONE),
        (timedelta(minutes=1), 10, Restraint.OPEN),
        (timedelta(days=30), 9, Restraint.NONE),
        (timedelta(days=4, hours=23), 5000, Restraint.OPEN),
        (timedelta(days=5), 49, Restraint.OPEN),
        (timedelta(days=5), 50, Restraint.DISABLE),
    ],
)
def test_failures_of_a_minute_open_the_circuit_and_those_of_five_days_disable(
    duration: timedelta, number: int, expected: Restraint
) -> None:
    assert restraint(Failures(duration, number)) is expected


@pytest.mark.parametrize(
    ("failing", "probe"),
    [
        (timedelta(minutes=1), timedelta(seconds=15)),
        (timedelta(seconds=30), timedelta(seconds=10)),
        (timedelta(minutes=10), timedelta(minutes=2.5)),
        (timedelta(minutes=20), timedelta(minutes=5)),
        (timedelta(days=3), timedelta(minutes=5)),
    ],
)
def test_the_longer_an_endpoint_fails_the_rarer_its_probes_down_to_five_minutes(
    failing: timedelta, probe: timedelta
) -> None:
    assert until_probe(Failures(failing, 10)) == probe


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("outcome", "held", "is_probe", "delay"),
    [
        (Outcome.STATUS_REFUSED, None, False, None),
        (Outcome.RESPONSE_TIMEOUT, None, False, None),
        (Outcome.DNS_LOOKUP_FAILED, None, False, None),
        (Outcome.UNAVAILABLE, None, False, None),
        (Outcome.UNAVAILABLE, SECOND, False, SECOND),
        (Outcome.TOO_MANY_REQUESTS, SECOND, True, SECOND),
        (Outcome.STATUS_REFUSED, None, True, timedelta(0)),
        (Outcome.RESOLVER_UNAVAILABLE, None, False, timedelta(seconds=30)),
        (Outcome.UNSIGNABLE, None, True, timedelta(seconds=30)),
    ],
)
def test_holds_probes_and_faults_of_our_own_use_up_no_try(
    outcome: Outcome, held: timedelta | None, *, is_probe: bool, delay: timedelta | None
) -> None:
    assert free_delay(outcome, held, is_probe=is_probe) == delay


@pytest.mark.parametrize(
    ("window", "outcome", "seconds", "after"),
    [
        (1, Outcome.ACCEPTED, 0.04, 2),
        (7, Outcome.STATUS_REFUSED, 1.0, 8),
        (49, Outcome.ACCEPTED, 0.04, 50),
        (50, Outcome.ACCEPTED, 0.04, 50),
        (10, Outcome.ACCEPTED, 1.0, 11),
        (1, Outcome.ACCEPTED, 1.1, 2),
        (9, Outcome.UNAVAILABLE, 3.0, 10),
        (10, Outcome.ACCEPTED, 3.0, 10),
        (50, Outcome.ACCEPTED, 3.0, 10),
        (50, Outcome.CONNECTION_REFUSED, 0.001, 1),
        (10, Outcome.RESPONSE_TIMEOUT, 15.0, 1),
        (1, Outcome.DNS_LOOKUP_FAILED, 0.1, 1),
        (50, Outcome.TOO_MANY_REQUESTS, 0.01, 25),
        (3, Outcome.TOO_MANY_REQUESTS, 9.0, 1),
        (1, Outcome.TOO_MANY_REQUESTS, 0.01, 1),
        (50, Outcome.RESOLVER_UNAVAILABLE, 7.5, 1),
        (7, Outcome.UNSIGNABLE, 0.0, 1),
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


@pytest.mark.parametrize(("connections", "slow"), [(9, 1), (19, 1), (20, 2), (29, 2)])
def test_a_slow_endpoint_gets_a_tenth_of_the_connections_rounded_down(connections: int, slow: int) -> None:
    assert narrow_window(9, connections) == slow
    assert window_after(9, Outcome.ACCEPTED, SLUGGISH + 0.01, connections=connections) == slow


def test_after_a_fault_of_our_own_an_endpoint_pauses_for_seconds() -> None:
    assert timedelta(seconds=5) == OWN_FAULT_PAUSE
    assert free_delay(Outcome.RESOLVER_UNAVAILABLE, None, is_probe=False) == timedelta(seconds=30)
