"""What becomes of a delivery: its states, what can happen to an attempt, and when the next one is due.

    status      what happens                              becomes
    ─────────   ──────────────────────────────────────    ─────────
    PENDING     an attempt is accepted (2xx)              DELIVERED
    PENDING     an attempt fails, the schedule goes on    PENDING, after the schedule's delay
    PENDING     an attempt fails, the schedule is over    DEAD
    PENDING     an attempt is told 410                    PARKED: its endpoint is disabled, no event lost
    PENDING     its endpoint is disabled                  PARKED
    PARKED      its endpoint is enabled                   PENDING
    DEAD        a person replays it                       PENDING, a new delivery of the same event and body

A delivery that an attempt is under way for is PENDING too: its claim is a lease, `leased_until`. An attempt that
was under way when the endpoint was disabled is recorded like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Status(StrEnum):
    """PENDING and PARKED are live; the others are history."""

    PENDING = "PENDING"
    PARKED = "PARKED"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"


class Outcome(StrEnum):
    """What one attempt came to. All but ACCEPTED are failures."""

    ACCEPTED = "ACCEPTED"
    # the endpoint answered, but did not accept
    GONE = "gone"
    TOO_MANY_REQUESTS = "too_many_requests"
    UNAVAILABLE = "unavailable"
    REDIRECT_REFUSED = "redirect_refused"
    STATUS_REFUSED = "status_refused"
    # it did not answer
    RESPONSE_TIMEOUT = "response_timeout"
    RESPONSE_UNREADABLE = "response_unreadable"
    CONNECTION_CLOSED = "connection_closed"
    CONNECTION_TIMEOUT = "connection_timeout"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_FAILED = "connection_failed"
    TLS_FAILED = "tls_failed"
    DNS_LOOKUP_FAILED = "dns_lookup_failed"
    # it was not asked
    EGRESS_DENIED = "egress_denied"
    URL_UNUSABLE = "url_unusable"
    UNSIGNABLE = "unsignable"


ANSWERED = (
    Outcome.ACCEPTED,
    Outcome.GONE,
    Outcome.TOO_MANY_REQUESTS,
    Outcome.UNAVAILABLE,
    Outcome.REDIRECT_REFUSED,
    Outcome.STATUS_REFUSED,
)
"""A status line came back. A tuple with the usual one first: hashing an enum's member costs more than looking."""

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

_BY_STATUS = {
    **dict.fromkeys(range(200, 300), Outcome.ACCEPTED),
    **dict.fromkeys(range(300, 400), Outcome.REDIRECT_REFUSED),
    410: Outcome.GONE,
    429: Outcome.TOO_MANY_REQUESTS,
    503: Outcome.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Next:
    """Where an attempt leaves its delivery; a PENDING one is due again `delay` from now."""

    status: Status
    delay: timedelta | None = None


_DELIVERED, _PARKED, _DEAD = Next(Status.DELIVERED), Next(Status.PARKED), Next(Status.DEAD)


def answered(status_code: int) -> Outcome:
    """The outcome that a status line tells. Only 2xx is success."""
    return _BY_STATUS.get(status_code, Outcome.STATUS_REFUSED)


def after_attempt(number: int, outcome: Outcome, *, schedule: Sequence[timedelta], roll: float) -> Next:
    """Where attempt `number` (from 1) leaves its delivery; `roll` in [0, 1) spreads the retries.

    The first retry waits `schedule[0]`; a schedule of n delays makes n + 1 attempts. The delay counts by the
    database's clock, which is why no time is passed in.
    """
    if outcome is Outcome.ACCEPTED:
        return _DELIVERED
    if outcome is Outcome.GONE:
        return _PARKED
    if number > len(schedule):
        return _DEAD
    return Next(Status.PENDING, schedule[number - 1] * (1 + JITTER * (2 * roll - 1)))
