"""The states of a delivery, and what leads from one to another.

    status      what happens                              becomes
    ─────────   ──────────────────────────────────────    ─────────────────────────────────────────────────
    PENDING     an attempt is accepted (2xx)              DELIVERED
    PENDING     an attempt fails, the schedule goes on    PENDING, after the schedule's delay
    PENDING     an attempt fails and uses up no try       PENDING, after the delay of `domain.delivery.circuit`
    PENDING     an attempt fails, the schedule is over    DEAD
    PENDING     an attempt is answered 410                PARKED: its endpoint is disabled, no event is lost
    PENDING     its endpoint is disabled                  PARKED
    PENDING     its endpoint is removed                   CANCELLED
    PENDING     a person cancels it                       CANCELLED
    PARKED      its endpoint is enabled                   PENDING
    PARKED      its endpoint is removed                   CANCELLED
    PARKED      a person cancels it                       CANCELLED
    PARKED      an attempt that began before is accepted  DELIVERED
    PARKED      an attempt that began before fails        PARKED, or DEAD if the schedule is over
    DEAD        a person replays it                       PENDING: a new delivery of the same event and body
    DELIVERED   a person replays it                       PENDING: a new delivery of the same event and body

A delivery that an attempt is under way for is PENDING too: its claim is a lease, `leased_until`. A delivery that is
CANCELLED stays so.
"""

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """PENDING and PARKED are live; the others are history."""

    PENDING = "PENDING"
    PARKED = "PARKED"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"


class Trigger(StrEnum):
    """What can happen to a delivery."""

    ACCEPTED = "ACCEPTED"
    FAILED = "FAILED"
    EXHAUSTED = "EXHAUSTED"
    GONE = "GONE"
    ENDPOINT_DISABLED = "ENDPOINT_DISABLED"
    ENDPOINT_ENABLED = "ENDPOINT_ENABLED"
    ENDPOINT_REMOVED = "ENDPOINT_REMOVED"
    CANCELLED = "CANCELLED"
    REPLAYED = "REPLAYED"


class IllegalTransition(Exception):
    """Nothing of this kind can happen to a delivery in this state: a defect of ours."""


TRANSITIONS: Mapping[Status, Mapping[Trigger, Status]] = {
    Status.PENDING: {
        Trigger.ACCEPTED: Status.DELIVERED,
        Trigger.FAILED: Status.PENDING,
        Trigger.EXHAUSTED: Status.DEAD,
        Trigger.GONE: Status.PARKED,
        Trigger.ENDPOINT_DISABLED: Status.PARKED,
        Trigger.ENDPOINT_REMOVED: Status.CANCELLED,
        Trigger.CANCELLED: Status.CANCELLED,
    },
    Status.PARKED: {
        Trigger.ACCEPTED: Status.DELIVERED,
        Trigger.FAILED: Status.PARKED,
        Trigger.EXHAUSTED: Status.DEAD,
        Trigger.GONE: Status.PARKED,
        Trigger.ENDPOINT_ENABLED: Status.PENDING,
        Trigger.ENDPOINT_REMOVED: Status.CANCELLED,
        Trigger.CANCELLED: Status.CANCELLED,
    },
    Status.DEAD: {Trigger.REPLAYED: Status.PENDING},
    Status.DELIVERED: {Trigger.REPLAYED: Status.PENDING},
    Status.CANCELLED: {},
}


def transition(status: Status, trigger: Trigger) -> Status:
    """The state that `trigger` leads to from `status`.

    Raises:
        IllegalTransition: it leads nowhere.
    """
    try:
        return TRANSITIONS[status][trigger]
    except KeyError:
        raise IllegalTransition(f"{trigger} of a delivery that is {status}") from None
