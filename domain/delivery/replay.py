"""Replay jobs: which events are sent again, and the states of a job."""

from enum import StrEnum


class ReplayScope(StrEnum):
    """Which events of a selection are sent to an endpoint again; never those that a person cancelled there.

    DEAD ones were given up. DELIVERED ones arrived. MISSING ones never had a delivery, such as those from before the
    endpoint was added. ALL are these three.
    """

    DEAD = "DEAD"
    MISSING = "MISSING"
    DELIVERED = "DELIVERED"
    ALL = "ALL"


class ReplayStatus(StrEnum):
    """A RUNNING job enqueues. PAUSED, it waits for a person. DONE and CANCELLED are its ends."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DONE = "DONE"
    CANCELLED = "CANCELLED"


# Deliveries of one transaction: their wallets are locked until it commits, and take in no update meanwhile.
_MOST_AT_ONCE = 500
# A transaction costs the same for one delivery as for many.
_MOST_PARTS_PER_SECOND = 2


def part_of(per_second: float) -> int:
    """The number of deliveries that a job of this rate enqueues at a time."""
    return max(1, min(_MOST_AT_ONCE, int(per_second / _MOST_PARTS_PER_SECOND)))
