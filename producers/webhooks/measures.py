"""What is measured of deliveries as they are attempted and recorded: times, and numbers of attempts.

An event's id begins with the time at which it was written, so no column is read for its age. Clocks of two machines may
differ: an age below zero counts as zero. A replayed delivery is as old as its event.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

from domain.delivery.outcome import ACCEPTED
from producers.webhooks.distribution import Distribution
from store.deliveries import AttemptResult

# Seconds, from a lone webhook at its quickest to a replay after the schedule (three days and a bit).
_AGES = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    *(60, 300, 900, 3600, 14_400, 43_200, 86_400, 172_800, 432_000),
)
_REQUEST_TIMES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 15, 30)
# Up to the longest that a statement may take.
_STATEMENT_TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)

ATTEMPT_SECONDS = Distribution(
    "repoint_delivery_attempt_seconds", "Time of an attempt, name lookup to last byte", _REQUEST_TIMES
)
FIRST_ATTEMPT_SECONDS = Distribution(
    "repoint_delivery_first_attempt_seconds", "Time from an event to the first attempt at its delivery", _AGES
)
DELIVERED_SECONDS = Distribution(
    "repoint_delivery_delivered_seconds", "Time from an event to the answer that accepted it", _AGES
)
DELIVERED_ATTEMPTS = Distribution(
    "repoint_delivery_delivered_attempts",
    "Attempts that a delivery took until it was accepted",
    (*range(1, 11), 15, 20),
)
CLAIM_SECONDS = Distribution("repoint_delivery_claim_seconds", "Time of a statement that claims", _STATEMENT_TIMES)
RECORD_SECONDS = Distribution(
    "repoint_delivery_record_seconds", "Time of a transaction that records results, with its COMMIT", _STATEMENT_TIMES
)


def observe(results: Sequence[AttemptResult], ids: AbstractSet[int]) -> None:
    """Measure `results`. A result whose delivery is not among `ids` was refused: only its request is measured."""
    ATTEMPT_SECONDS.observe([result.seconds for result in results])
    first_attempts: list[float] = []
    delivered: list[float] = []
    attempts: list[float] = []
    for delivery, outcome, _, seconds, started_at, _ in results:
        is_accepted = outcome is ACCEPTED
        attempt = delivery.attempt
        if (is_accepted or attempt == 1) and delivery.id in ids:
            age = started_at - _written_at(delivery.event_id)
            if attempt == 1:
                first_attempts.append(age if age > 0 else 0.0)
            if is_accepted:
                age += seconds
                delivered.append(age if age > 0 else 0.0)
                attempts.append(attempt)
    FIRST_ATTEMPT_SECONDS.observe(first_attempts)
    DELIVERED_SECONDS.observe(delivered)
    DELIVERED_ATTEMPTS.observe(attempts)


def _written_at(event_id: UUID) -> float:
    """When an event was written, in Unix seconds: a UUID of version 7 begins with milliseconds."""
    return (event_id.int >> 80) / 1000
