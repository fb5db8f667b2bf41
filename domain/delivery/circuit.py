"""What an answer changes for its endpoint: a hold if it asked for one, and its window.

The window of an endpoint is how many of its deliveries may be outstanding at a time. It begins at a tenth of the
connections. It is a tenth at most while an attempt is under way for longer than SLUGGISH.

    after an attempt               the endpoint
    ───────────────────────────    ─────────────────────────────────────────────────────────
    410                            is disabled until a person enables it
    429 or 503 with Retry-After    is held back for as long as it asks, for a day at most
    no answer                      has a window of one delivery: a probe
    a slow answer                  has its window widened by one, to a tenth at most
    a quick answer                 has its window widened by one, to half of the connections at most
"""

from datetime import timedelta

from domain.delivery.outcome import ANSWERED, Outcome

# A typing error in a header must not silence an endpoint for a year.
LONGEST_HOLD = timedelta(hours=24)

# Ten times what a receiver that queues the event and answers takes over a bad line.
SLUGGISH = 1.0  # seconds

_MAY_HOLD = frozenset({Outcome.TOO_MANY_REQUESTS, Outcome.UNAVAILABLE})


def hold_after(outcome: Outcome, retry_after: timedelta | None) -> timedelta | None:
    """How long the endpoint is held back after an attempt; None if it asked for no hold."""
    if retry_after is None or retry_after <= timedelta(0) or outcome not in _MAY_HOLD:
        return None
    return min(retry_after, LONGEST_HOLD)


def widest_window(connections: int) -> int:
    """The window of an endpoint that answers quickly: half of a dispatcher's `connections`."""
    return max(1, connections // 2)


def narrow_window(window: int, connections: int) -> int:
    """The window while an attempt has been under way for longer than SLUGGISH."""
    return min(window, _slow_window(connections))


def window_after(window: int, outcome: Outcome, seconds: float, *, connections: int) -> int:
    """The window after an attempt of `seconds`.

    After a failure one probe comes first. A window of n deliveries that are all answered quickly becomes one of 2 n.
    """
    if outcome not in ANSWERED:
        return 1
    limit = widest_window(connections) if seconds <= SLUGGISH else _slow_window(connections)
    return min(limit, window + 1)


def _slow_window(connections: int) -> int:
    return max(1, connections // 10)
