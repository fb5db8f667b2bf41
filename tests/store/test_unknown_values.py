"""A value that is missing or unknown ends the statement: it is never taken for the usual one."""

import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from store import deliveries, endpoints
from store.deliveries import AttemptResult, ClaimedDelivery
from store.failures import Failure, failure
from tests.store.outbox import Outbox, Row

DELAY = timedelta(minutes=5)
FAILED = Outcome.UNAVAILABLE


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


async def claim(outbox: Outbox) -> ClaimedDelivery:
    async with outbox.engine.begin() as connection:
        (claimed,) = await deliveries.claim(connection, {"m": 1}, {}, lease=timedelta(seconds=60))
    return claimed


async def record(outbox: Outbox, claimed: ClaimedDelivery, outcome: Any, following: NextState) -> None:
    async with outbox.engine.begin() as connection:
        await deliveries.record(connection, [AttemptResult(claimed, outcome, 503, 0.012, time.time(), following)])


def becoming(status: Any, delay: timedelta | None = None) -> NextState:
    return NextState(status, delay)


@pytest.mark.parametrize(
    ("outcome", "following"),
    [
        pytest.param(None, becoming(Status.DELIVERED), id="no outcome"),
        pytest.param("ACCEPT", becoming(Status.DELIVERED), id="unknown outcome"),
        pytest.param(None, becoming(Status.DEAD), id="no outcome of a failure"),
        pytest.param("unavailabel", becoming(Status.DEAD), id="unknown outcome of a failure"),
        pytest.param(FAILED, becoming(None), id="no status"),
        pytest.param(FAILED, becoming("DELIVERD"), id="unknown status"),
        pytest.param(FAILED, becoming(Status.CANCELLED), id="a status that no attempt leads to"),
        pytest.param(FAILED, becoming(Status.PENDING), id="no delay"),
        pytest.param(FAILED, becoming(Status.PENDING, -DELAY), id="a delay into the past"),
    ],
)
async def test_a_result_with_a_value_that_is_missing_or_unknown_is_refused(
    outbox: Outbox, outcome: Any, following: NextState
) -> None:
    wallet = await outbox.add_wallet()
    await outbox.add_endpoint("m")
    await outbox.tell("m", wallet)
    claimed = await claim(outbox)
    with pytest.raises(DBAPIError) as refused:
        await record(outbox, claimed, outcome, following)
    assert failure(refused.value) is Failure.REFUSED
    assert await outbox.live() == [Row("m", wallet, 1, "PENDING", "head", 1)]
    assert await outbox.attempts() == []
    await record(outbox, claimed, FAILED, NextState(Status.PENDING, DELAY))
    assert await outbox.attempts() == [(1, "unavailable", 503)]


async def test_a_result_is_recorded_with_the_outcome_that_it_has(outbox: Outbox) -> None:
    """Also beside a status that goes with another outcome."""
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    await record(outbox, await claim(outbox), FAILED, NextState(Status.DELIVERED))
    assert await outbox.attempts() == [(1, "unavailable", 503)]


@pytest.mark.parametrize("outcome", Outcome)
async def test_every_outcome_of_an_attempt_can_be_recorded(outbox: Outbox, outcome: Outcome) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    await record(outbox, await claim(outbox), outcome, NextState(Status.DEAD))
    assert await outbox.attempts() == [(1, outcome.value, 503)]


async def without_rule(outbox: Outbox, table: str, rule: str) -> None:
    """As a later version of the program might leave it, with a status that this one does not know."""
    await outbox.execute(f"ALTER TABLE {table} DROP CONSTRAINT {rule}")


async def test_for_an_endpoint_of_unknown_status_no_delivery_is_enqueued(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await without_rule(outbox, "endpoints", "ck_endpoints_status")
    await outbox.execute("UPDATE endpoints SET status = 'PAUSED'")
    with pytest.raises(DBAPIError) as refused:
        await outbox.tell("m", await outbox.add_wallet())
    assert failure(refused.value) is Failure.REFUSED
    assert await outbox.live() == []


async def test_deliveries_to_an_endpoint_of_unknown_status_stay_as_they_are(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    await outbox.add_endpoint("m")
    await outbox.tell("m", wallet)
    await without_rule(outbox, "endpoints", "ck_endpoints_status")
    await outbox.execute("UPDATE endpoints SET status = 'PAUSED'")
    async with outbox.engine.begin() as connection:
        assert await endpoints.sort(connection) == 0
        assert await deliveries.due(connection, {}) == []
    assert await outbox.live() == [Row("m", wallet, 1, "PENDING", "head", 0)]
