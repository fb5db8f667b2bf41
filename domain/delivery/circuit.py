"""How an endpoint is treated by what it answers: held back when it asks for it, restrained when it is slow.

after an attempt               the endpoint
───────────────────────────    ─────────────────────────────────────────────────────────────
410                            is disabled until a person enables it
429 or 503 with Retry-After    is held back as long as it asks, a day at most
no answer                      is probed: its window is one delivery
a slow answer                  has its window cut to a tenth of the connections, or widened by one up to that
a quick answer                 has its window widened by one, up to half of the connections

The window of an endpoint is how many of its deliveries a dispatcher may hold at a time. It begins at a tenth of the
connections. While an attempt is under way for longer than SLUGGISH, it is a tenth at most.
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


def widest(connections: int) -> int:
    """The window of an endpoint that answers quickly: half of a dispatcher's `connections`."""
    return max(1, connections // 2)


def narrowed(window: int, connections: int) -> int:
    """The window while an attempt has been under way for longer than SLUGGISH."""
    return min(window, _window_of_slow(connections))


def window_after(window: int, outcome: Outcome, seconds: float, *, connections: int) -> int:
    """The window after an attempt of `seconds`.

    After a failure one probe comes first. A window of n deliveries that are all answered quickly becomes one of 2 n.
    """
    if outcome not in ANSWERED:
        return 1
    limit = widest(connections) if seconds <= SLUGGISH else _window_of_slow(connections)
    return min(limit, window + 1)


def _window_of_slow(connections: int) -> int:
    return max(1, connections // 10)
