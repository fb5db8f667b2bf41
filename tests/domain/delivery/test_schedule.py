"""The table in `domain.delivery.schedule`, row by row, and the schedule over all numbers and rolls."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery.outcome import ANSWERED, Outcome, outcome_of_status
from domain.delivery.schedule import JITTER, RETRY_SCHEDULE, NextState, after_attempt
from domain.delivery.states import Status

SCHEDULE = (timedelta(seconds=5), timedelta(minutes=5), timedelta(hours=1))
FAILURES = sorted(set(Outcome) - {Outcome.ACCEPTED, Outcome.GONE})


@pytest.mark.parametrize(
    ("tries", "outcome", "following"),
    [
        (0, Outcome.ACCEPTED, NextState(Status.DELIVERED, None, uses_a_try=True)),
        (3, Outcome.ACCEPTED, NextState(Status.DELIVERED, None, uses_a_try=True)),
        (0, Outcome.CONNECTION_REFUSED, NextState(Status.PENDING, timedelta(seconds=5), uses_a_try=True)),
        (1, Outcome.STATUS_REFUSED, NextState(Status.PENDING, timedelta(minutes=5), uses_a_try=True)),
        (2, Outcome.UNAVAILABLE, NextState(Status.PENDING, timedelta(hours=1), uses_a_try=True)),
        (3, Outcome.RESPONSE_TIMEOUT, NextState(Status.DEAD, None, uses_a_try=True)),
        (8, Outcome.RESPONSE_TIMEOUT, NextState(Status.DEAD, None, uses_a_try=True)),
        (0, Outcome.GONE, NextState(Status.PARKED, None, uses_a_try=False)),
        (3, Outcome.GONE, NextState(Status.PARKED, None, uses_a_try=False)),
    ],
)
def test_the_table(tries: int, outcome: Outcome, following: NextState) -> None:
    assert after_attempt(Status.PENDING, tries, outcome, schedule=SCHEDULE, roll=0.5) == following


@pytest.mark.parametrize("tries", [0, 3, 50])
@pytest.mark.parametrize("status", [Status.PENDING, Status.PARKED])
def test_a_failure_that_is_not_held_against_the_delivery_is_never_its_last(tries: int, status: Status) -> None:
    minute = timedelta(minutes=1)
    following = after_attempt(status, tries, Outcome.RESPONSE_TIMEOUT, free_delay=minute, schedule=SCHEDULE, roll=0.5)
    assert following == NextState(status, minute, uses_a_try=False)


def test_a_delay_that_uses_up_no_try_is_spread_like_any_other() -> None:
    minute = timedelta(minutes=1)
    following = after_attempt(
        Status.PENDING, 0, Outcome.RESPONSE_TIMEOUT, free_delay=minute, schedule=SCHEDULE, roll=0.0
    )
    assert following == NextState(Status.PENDING, minute * (1 - JITTER), uses_a_try=False)


def test_a_probe_that_is_answered_410_parks_its_delivery() -> None:
    """A probe that fails is due again at once; but this endpoint is disabled, and its deliveries wait for a person."""
    following = after_attempt(Status.PENDING, 0, Outcome.GONE, free_delay=timedelta(0), schedule=SCHEDULE, roll=0.5)
    assert following == NextState(Status.PARKED, None, uses_a_try=False)


def test_an_endpoint_without_retries_has_one_try() -> None:
    assert after_attempt(Status.PENDING, 0, Outcome.UNAVAILABLE, schedule=(), roll=0.5).status is Status.DEAD


@pytest.mark.parametrize(
    ("status_code", "outcome"),
    [
        (200, Outcome.ACCEPTED),
        (204, Outcome.ACCEPTED),
        (299, Outcome.ACCEPTED),
        (300, Outcome.REDIRECT_REFUSED),
        (301, Outcome.REDIRECT_REFUSED),
        (308, Outcome.REDIRECT_REFUSED),
        (400, Outcome.STATUS_REFUSED),
        (410, Outcome.GONE),
        (429, Outcome.TOO_MANY_REQUESTS),
        (500, Outcome.STATUS_REFUSED),
        (503, Outcome.UNAVAILABLE),
        (101, Outcome.STATUS_REFUSED),
        (999, Outcome.STATUS_REFUSED),
    ],
)
def test_only_2xx_is_success(status_code: int, outcome: Outcome) -> None:
    assert outcome_of_status(status_code) is outcome
    assert outcome in ANSWERED


@given(st.sampled_from(FAILURES), st.integers(0, 20), st.floats(0, 1, exclude_max=True))
def test_a_retry_comes_within_the_jitter_around_its_delay_and_is_dead_after_the_last(
    outcome: Outcome, tries: int, roll: float
) -> None:
    following = after_attempt(Status.PENDING, tries, outcome, schedule=RETRY_SCHEDULE, roll=roll)
    if tries >= len(RETRY_SCHEDULE):
        assert following == NextState(Status.DEAD, None, uses_a_try=True)
    else:
        delay = RETRY_SCHEDULE[tries]
        assert following.status is Status.PENDING
        assert following.delay is not None
        assert delay * (1 - JITTER) <= following.delay <= delay * (1 + JITTER)


@given(st.lists(st.timedeltas(timedelta(0), timedelta(days=3)), max_size=12))
def test_a_schedule_of_n_delays_makes_n_plus_1_attempts(schedule: list[timedelta]) -> None:
    tries = 0
    while (
        after_attempt(Status.PENDING, tries, Outcome.UNAVAILABLE, schedule=schedule, roll=0.5).status is Status.PENDING
    ):
        tries += 1
    assert tries == len(schedule)


@given(st.sampled_from(FAILURES), st.integers(0, 8), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_roll_never_means_earlier(outcome: Outcome, tries: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    earlier = after_attempt(Status.PENDING, tries, outcome, schedule=RETRY_SCHEDULE, roll=low).delay
    later = after_attempt(Status.PENDING, tries, outcome, schedule=RETRY_SCHEDULE, roll=high).delay
    assert earlier is not None
    assert later is not None
    assert earlier <= later


def test_nothing_ends_before_an_endpoint_that_broke_on_friday_evening_is_mended_on_monday() -> None:
    assert sum(RETRY_SCHEDULE, timedelta(0)) * (1 - JITTER) > timedelta(hours=60)


def test_the_schedule_is_that_of_the_standard_webhooks_specification() -> None:
    hours = [delay / timedelta(hours=1) for delay in RETRY_SCHEDULE]
    assert hours == [5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]


@pytest.mark.parametrize(
    ("roll", "seconds"), [(0.0, 240), (0.25, 270), (0.5, 300), (0.75, 330), (0.999_999, 359.999_88)]
)
def test_a_retry_is_spread_by_a_fifth_either_way(roll: float, seconds: float) -> None:
    following = after_attempt(Status.PENDING, 1, Outcome.UNAVAILABLE, schedule=SCHEDULE, roll=roll)
    assert following.delay is not None
    assert following.delay.total_seconds() == pytest.approx(seconds, abs=1e-6)


def test_which_outcomes_are_an_answer() -> None:
    assert [outcome.value for outcome in Outcome if outcome in ANSWERED] == [
        *("ACCEPTED", "gone", "too_many_requests", "unavailable", "redirect_refused", "status_refused"),
    ]
