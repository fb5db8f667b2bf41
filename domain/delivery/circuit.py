"""What the answers of an endpoint change for it: holds, its window, its circuit, and an end.

The window of an endpoint is how many of its deliveries may be outstanding at a time in one dispatcher. It begins at a
tenth of the connections. It is a tenth at most while an attempt is under way for longer than SLUGGISH.

    after an attempt               the endpoint
    ───────────────────────────    ─────────────────────────────────────────────────────────
    410                            is disabled until a person enables it
    429 or 503 with Retry-After    is held back for as long as it asks, for a day at most
    429 without Retry-After        is held back for a second
    429                            has its window halved
    no answer                      has a window of one delivery
    a fault of our own             has a window of one; if it had one already, a pause of 5 s in this process
    a slow answer                  has its window widened by one, to a tenth at most
    a quick answer                 has its window widened by one, to half of the connections at most

The circuit of an endpoint is shared by all dispatchers, in the database:

    circuit      becomes      when
    ─────────    ─────────    ────────────────────────────────────────────────────────────────
    closed       open         attempts have failed for a minute, ten at least, without a success
    open         half-open    the time until the next probe is over: a claim takes one delivery
    half-open    closed       the probe is accepted
    half-open    open         the probe fails; the next probe comes later than this one did

An endpoint is disabled after failures of five days, 50 at least, without a success. A fault of this program or of its
surroundings counts for nothing here. Such a fault, a hold and a probe use up no try of the delivery.
"""

from datetime import timedelta
from enum import Enum
from typing import NamedTuple

from domain.delivery.outcome import ANSWERED, NOT_THE_ENDPOINTS, Outcome

# A typing error in a header must not silence an endpoint for a year.
LONGEST_HOLD = timedelta(hours=24)

# Ten times what a receiver that queues the event and answers takes over a bad line.
SLUGGISH = 1.0  # seconds

_MAY_HOLD = frozenset({Outcome.TOO_MANY_REQUESTS, Outcome.UNAVAILABLE})
# An endpoint that asks for fewer requests, and does not say when, gets one window of them a second.
_HOLD_AT_TOO_MANY = timedelta(seconds=1)


def hold_after(outcome: Outcome, retry_after: timedelta | None) -> timedelta | None:
    """How long the endpoint is held back from now on; None if it is not."""
    if retry_after is not None and retry_after > timedelta(0) and outcome in _MAY_HOLD:
        return min(retry_after, LONGEST_HOLD)
    return _HOLD_AT_TOO_MANY if outcome is Outcome.TOO_MANY_REQUESTS else None


# --- the circuit ----------------------------------------------------------------------------------------------------

# Shorter than the second retry of the usual schedule: a delivery uses up two tries before its endpoint's circuit opens.
OPENS_AFTER = timedelta(minutes=1)
_OPENS_AFTER_FAILURES = 10

DISABLED_AFTER = timedelta(days=5)
_DISABLED_AFTER_FAILURES = 50

# A probe comes after a quarter of the time for which the endpoint has failed, within these bounds.
_PROBE_SHARE = 4
_PROBES = (timedelta(seconds=10), timedelta(minutes=5))

# Of this program's own faults: by then the resolver has been restarted, or another attempt has shown that it works.
_OWN_FAULT_DELAY = timedelta(seconds=30)
# Without a pause each delivery of a backlog is attempted, and its attempt written down, every half a minute.
OWN_FAULT_PAUSE = timedelta(seconds=5)


class Failures(NamedTuple):
    """The failures of an endpoint since its latest success, of all dispatchers: for how long, and their number."""

    duration: timedelta
    number: int


class Restraint(Enum):
    """What failures without a success bring upon their endpoint."""

    NONE = "none"
    OPEN = "open"
    DISABLE = "disable"


def restraint(failures: Failures) -> Restraint:
    """What these failures bring upon their endpoint."""
    if failures.duration >= DISABLED_AFTER and failures.number >= _DISABLED_AFTER_FAILURES:
        return Restraint.DISABLE
    if failures.duration >= OPENS_AFTER and failures.number >= _OPENS_AFTER_FAILURES:
        return Restraint.OPEN
    return Restraint.NONE


def until_probe(failures: Failures) -> timedelta:
    """How long an open circuit waits for its next probe."""
    shortest, longest = _PROBES
    return min(max(failures.duration / _PROBE_SHARE, shortest), longest)


def free_delay(outcome: Outcome, hold: timedelta | None, *, is_probe: bool) -> timedelta | None:
    """When the delivery of a failure is due again that uses up none of its tries; None if the failure uses up one."""
    if outcome in NOT_THE_ENDPOINTS:
        return _OWN_FAULT_DELAY
    if hold is not None:
        return hold
    return timedelta(0) if is_probe else None


# --- the window -----------------------------------------------------------------------------------------------------


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
    if outcome is Outcome.TOO_MANY_REQUESTS:
        return max(1, window // 2)
    if outcome not in ANSWERED:
        return 1
    limit = widest_window(connections) if seconds <= SLUGGISH else _slow_window(connections)
    return min(limit, window + 1)


def _slow_window(connections: int) -> int:
    return max(1, connections // 10)
