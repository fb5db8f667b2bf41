"""The table in `domain.delivery.states`, row by row: what is not in it is illegal."""

import pytest

from domain.delivery.states import IllegalTransition, Status, Trigger, transition

LEGAL = [
    (Status.PENDING, Trigger.ACCEPTED, Status.DELIVERED),
    (Status.PENDING, Trigger.FAILED, Status.PENDING),
    (Status.PENDING, Trigger.EXHAUSTED, Status.DEAD),
    (Status.PENDING, Trigger.GONE, Status.PARKED),
    (Status.PENDING, Trigger.ENDPOINT_DISABLED, Status.PARKED),
    (Status.PENDING, Trigger.ENDPOINT_REMOVED, Status.CANCELLED),
    (Status.PARKED, Trigger.ENDPOINT_ENABLED, Status.PENDING),
    (Status.PARKED, Trigger.ENDPOINT_REMOVED, Status.CANCELLED),
    (Status.PENDING, Trigger.CANCELLED, Status.CANCELLED),
    (Status.PARKED, Trigger.CANCELLED, Status.CANCELLED),
    (Status.PARKED, Trigger.ACCEPTED, Status.DELIVERED),
    (Status.PARKED, Trigger.FAILED, Status.PARKED),
    (Status.PARKED, Trigger.EXHAUSTED, Status.DEAD),
    (Status.PARKED, Trigger.GONE, Status.PARKED),
    (Status.DEAD, Trigger.REPLAYED, Status.PENDING),
    (Status.DELIVERED, Trigger.REPLAYED, Status.PENDING),
]
ILLEGAL = [
    (status, trigger)
    for status in Status
    for trigger in Trigger
    if (status, trigger) not in {(legal, by) for legal, by, _ in LEGAL}
]


@pytest.mark.parametrize(("status", "trigger", "becomes"), LEGAL)
def test_what_can_happen(status: Status, trigger: Trigger, becomes: Status) -> None:
    assert transition(status, trigger) is becomes


@pytest.mark.parametrize(("status", "trigger"), ILLEGAL)
def test_what_cannot_happen(status: Status, trigger: Trigger) -> None:
    with pytest.raises(IllegalTransition, match=f"{trigger} of a delivery that is {status}"):
        transition(status, trigger)
