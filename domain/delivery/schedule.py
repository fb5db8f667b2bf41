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
    """Where an attempt leaves its delivery; one that is still live is due again `delay` from now."""

    status: Status
    delay: timedelta | None = None


def after_attempt(
    status: Status, number: int, outcome: Outcome, *, schedule: Sequence[timedelta], roll: float
) -> NextState:
    """Where attempt `number` (from 1) leaves its delivery, which is `status` now; `roll` in [0, 1) spreads the retries.

    The first retry waits `schedule[0]`; a schedule of n delays makes n + 1 attempts. The delay counts by the
    database's clock, which is why no time is passed in.

    Raises:
        IllegalTransition: no attempt can be under way for a delivery in this state.
    """
    if outcome is Outcome.ACCEPTED:
        trigger = Trigger.ACCEPTED
    elif outcome is Outcome.GONE:
        trigger = Trigger.GONE
    else:
        trigger = Trigger.FAILED if number <= len(schedule) else Trigger.EXHAUSTED
    delay = schedule[number - 1] * (1 + JITTER * (2 * roll - 1)) if trigger is Trigger.FAILED else None
    return NextState(transition(status, trigger), delay)
