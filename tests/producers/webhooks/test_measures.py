"""Times and numbers of attempts, as Prometheus reads them."""

from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import prometheus_client
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from producers.egress import parse_networks
from producers.webhooks import measures
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.distribution import Distribution
from producers.webhooks.sender import Sender
from store.deliveries import AttemptResult, ClaimedDelivery, ClaimedEndpoint
from store.ids import uuid7
from tests.parts.receiver import Receiver
from tests.store.outbox import Outbox

FIRST, DELIVERED = "repoint_delivery_first_attempt_seconds", "repoint_delivery_delivered_seconds"
ATTEMPTS, REQUEST = "repoint_delivery_delivered_attempts", "repoint_delivery_attempt_seconds"


def result(id_: int, attempt: int, outcome: Outcome, *, age: float, seconds: float) -> AttemptResult:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    event_id = uuid7()
    written_at = (event_id.int >> 80) / 1000
    endpoint = ClaimedEndpoint("https://shop.example/", ())
    delivery = ClaimedDelivery(id_, attempt, event_id, "m", UUID(int=1), at, at, b"", 0, endpoint)
    return AttemptResult(delivery, outcome, None, seconds, written_at + age, NextState(Status.DELIVERED))


def read(name: str) -> tuple[float, float]:
    """Number and sum."""
    return (
        REGISTRY.get_sample_value(f"{name}_bucket", {"le": "+Inf"}) or 0.0,
        REGISTRY.get_sample_value(f"{name}_sum") or 0.0,
    )


def test_each_kind_of_result_is_measured_where_it_belongs() -> None:
    names = (REQUEST, FIRST, DELIVERED, ATTEMPTS)
    before = {name: read(name) for name in names}
    measures.observe(
        [
            result(1, 1, Outcome.ACCEPTED, age=0.25, seconds=0.5),
            result(2, 1, Outcome.UNAVAILABLE, age=1.0, seconds=0.25),
            result(3, 4, Outcome.ACCEPTED, age=3600.0, seconds=0.5),
            result(4, 3, Outcome.GONE, age=60.0, seconds=0.25),
            result(5, 1, Outcome.ACCEPTED, age=-5.0, seconds=1.0),  # another machine's clock is ahead
            result(9, 1, Outcome.ACCEPTED, age=7.0, seconds=0.125),  # refused: its lease had passed on
        ],
        {1, 2, 3, 4, 5},
    )
    numbers = {name: read(name)[0] - before[name][0] for name in names}
    sums = {name: read(name)[1] - before[name][1] for name in names}
    assert numbers == {REQUEST: 6, FIRST: 3, DELIVERED: 3, ATTEMPTS: 3}
    assert sums == pytest.approx({REQUEST: 2.625, FIRST: 1.25, DELIVERED: 0.75 + 3600.5 + 0, ATTEMPTS: 1 + 4 + 1})


async def test_statements_that_claim_and_record_are_timed(engine: AsyncEngine, receiver: Receiver) -> None:
    names = ("repoint_delivery_claim_seconds", "repoint_delivery_record_seconds", FIRST, DELIVERED)
    before = {name: read(name) for name in names}
    outbox = Outbox(engine)
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.tell("m", await outbox.add_wallet())
    async with Sender(version="1", allow=parse_networks(["127.0.0.0/8"])) as sender:
        assert await Dispatcher(engine, sender).run_once() == 1
    for name in names:
        number, total = read(name)
        assert number == before[name][0] + 1, name
        assert 0 < total - before[name][1] < 60, name


def test_a_distribution_is_a_histogram_to_prometheus() -> None:
    distribution = Distribution("test_distribution_seconds", "Only for this test.", [0.005, 1, 432_000])
    try:
        distribution.observe([0.005, 0.006, 1, 2, 432_001])
        distribution.observe([])
        text = prometheus_client.generate_latest(REGISTRY).decode()
        (family,) = [
            family for family in text_string_to_metric_families(text) if family.name == "test_distribution_seconds"
        ]
        assert family.type == "histogram"
        samples = {
            (sample.name.removeprefix(family.name), sample.labels.get("le")): sample.value for sample in family.samples
        }
        assert samples == {
            ("_bucket", "0.005"): 1, ("_bucket", "1.0"): 3, ("_bucket", "432000.0"): 4, ("_bucket", "+Inf"): 5,
            ("_count", None): 5, ("_sum", None): pytest.approx(432_004.011),
        }  # fmt: skip
    finally:
        REGISTRY.unregister(distribution)


@pytest.mark.parametrize("name", [FIRST, DELIVERED])
def test_ages_fit_from_five_milliseconds_to_five_days(name: str) -> None:
    bounds = [
        float(sample.labels["le"])
        for family in REGISTRY.collect()
        if family.name == name
        for sample in family.samples
        if "le" in sample.labels
    ]
    assert (bounds[0], bounds[-2]) == (0.005, 5 * 86_400)
    assert all(lower < upper <= 5 * lower for lower, upper in pairwise(bounds[:-1]))


def test_there_is_no_merchant_and_no_endpoint_in_a_label() -> None:
    labels = {label for family in REGISTRY.collect() for sample in family.samples for label in sample.labels}
    assert labels.isdisjoint({"merchant", "merchant_id", "endpoint", "endpoint_id"})
