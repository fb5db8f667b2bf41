"""How an endpoint is treated by what it answers: held back when it asks for it, bounded when it is slow.

after an attempt               the endpoint
───────────────────────────    ─────────────────────────────────────────────────
410                            is disabled until a person enables it
429 or 503 with Retry-After    is held back as long as it asks, a day at most
slow, or no answer             is sluggish: few connections until it is quick again
"""

from datetime import timedelta

from domain.delivery.outcome import ANSWERED, Outcome

# A typing error in a header must not silence an endpoint for a year.
LONGEST_HOLD = timedelta(hours=24)

# Ten times what a receiver that queues the event and answers takes over a bad line.
SLUGGISH = 1.0  # seconds

_MAY_HOLD = frozenset({Outcome.TOO_MANY_REQUESTS, Outcome.UNAVAILABLE})


def hold(outcome: Outcome, retry_after: timedelta | None) -> timedelta | None:
    """How long the endpoint is held back from now on; None if it is not."""
    if retry_after is None or retry_after <= timedelta(0) or outcome not in _MAY_HOLD:
        return None
    return min(retry_after, LONGEST_HOLD)


def is_sluggish(outcome: Outcome, seconds: float) -> bool:
    """Whether its latest attempt, of `seconds`, kept a connection busy for long, or for nothing."""
    return seconds > SLUGGISH or outcome not in ANSWERED


def room(*, held: int, sluggish: bool, held_by_sluggish: int, connections: int) -> int:
    """How many more deliveries may be claimed for an endpoint that holds `held` of a sender's `connections`.

    A quick endpoint may hold half of them, a sluggish one a tenth, and all sluggish ones together half:
    however many endpoints hang, the quick ones always have the other half.
    """
    if sluggish:
        return max(0, min(max(1, connections // 10) - held, max(1, connections // 2) - held_by_sluggish))
    return max(0, max(1, connections // 2) - held)
