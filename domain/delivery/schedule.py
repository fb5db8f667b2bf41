"""When a delivery is attempted again, and when it is given up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from domain.delivery.outcome import Outcome
from domain.delivery.states import Status, Trigger, transition

# The example schedule of the Standard Webhooks specification: ten attempts over three days and a bit, so that
# an endpoint that breaks on a Friday evening is mended on Monday without a replay.
RETRY_SCHEDULE = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)

# A fifth either way: deliveries that failed together, because their endpoint was down, do not come back
# together.
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class NextState:
    """Where an attempt leaves its delivery; one that is still live is due again `delay` from now.

    `uses_a_try` is whether the attempt was one of those that the schedule allows.
    """

    status: Status
    delay: timedelta | None = None
    uses_a_try: bool = False


def after_attempt(
    status: Status,
    tries: int,
    outcome: Outcome,
    *,
    free_delay: timedelta | None = None,
    schedule: Sequence[timedelta],
    roll: float,
) -> NextState:
    """Where an attempt leaves its delivery, which is `status` now and has used up `tries` before; `roll` is in [0, 1).

    The first retry waits `schedule[0]`; a schedule of n delays allows n + 1 tries. A failure that is not held against
    the delivery uses up none: the delivery waits `free_delay`, which is None for all other failures. `roll` spreads
    the delays. They count by the database's clock, which is why no time is passed in.

    Raises:
        IllegalTransition: no attempt can be under way for a delivery in this state.
    """
    if outcome is Outcome.ACCEPTED:
        return NextState(transition(status, Trigger.ACCEPTED), uses_a_try=True)
    if outcome is Outcome.GONE:
        return NextState(transition(status, Trigger.GONE))
    if free_delay is not None:
        return NextState(transition(status, Trigger.FAILED), jittered(free_delay, roll))
    if tries >= len(schedule):
        return NextState(transition(status, Trigger.EXHAUSTED), uses_a_try=True)
    return NextState(transition(status, Trigger.FAILED), jittered(schedule[tries], roll), uses_a_try=True)


def jittered(delay: timedelta, roll: float) -> timedelta:
    """The delay, made longer or shorter by a fifth at most; `roll` is in [0, 1)."""
    return delay * (1 + JITTER * (2 * roll - 1))
