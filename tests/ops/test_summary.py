"""A line a minute: what a process did since the line before, and what waits for it."""

import asyncio
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.samples import Sample
from structlog.testing import capture_logs

from api.feeds import RECORDS
from consumers import delivery_gauges
from consumers.halving import UNREADABLE, UPDATES
from consumers.reader import LAG
from ops import summary
from ops.summary import MinuteSummary, counts, fields, waiting
from producers.webhooks.recorder import ATTEMPTS
from tests.parts.until import until


def sample(name: str, value: float, **labels: str) -> Sample:
    return Sample(name, labels, value, None, None, None)


def test_the_difference_is_listed_by_outcome_without_what_is_zero() -> None:
    before = counts(
        [
            sample("repoint_updates_total", 5, outcome="APPLIED"),
            sample("repoint_updates_total", 2, outcome="PARKED"),
            sample("repoint_events_total", 7),
        ]
    )
    now = counts(
        [
            sample("repoint_updates_total", 9, outcome="APPLIED"),
            sample("repoint_updates_total", 2, outcome="PARKED"),
            sample("repoint_updates_total", 1, outcome="QUARANTINED"),
            sample("repoint_events_total", 7),
            sample("repoint_dead_letters_total", 3),
            sample("repoint_feed_records_total", 2, feed="adyen", outcome="sent"),
            sample("repoint_feed_records_total", 4, feed="stripe", outcome="sent"),
            sample("repoint_batch_seconds_sum", 8),
        ]
    )
    assert fields(before, now) == {
        "dead_letters": 3,
        "posted_records": {"sent": 6},
        "updates": {"APPLIED": 4, "QUARANTINED": 1},
    }


def test_what_waits_is_the_sum_over_the_partitions_and_the_oldest_that_is_due() -> None:
    assert waiting([]) == {}
    assert waiting(
        [
            sample("repoint_consumer_lag_messages", 5, topic="updates", partition="0"),
            sample("repoint_consumer_lag_messages", 7, topic="updates", partition="1"),
            sample("repoint_delivery_oldest_seconds", 90.4, state="due"),
            sample("repoint_delivery_oldest_seconds", 900, state="parked"),
        ]
    ) == {"lag": 12, "oldest_due_seconds": 90}


async def test_a_process_writes_its_line_every_minute_and_when_it_ends() -> None:
    assert MinuteSummary()._every == 60
    stopping = asyncio.Event()
    UPDATES.labels("APPLIED").inc()
    with capture_logs() as lines:
        writing = asyncio.create_task(MinuteSummary(every=0.3).run(stopping))
        await asyncio.sleep(0)
        UPDATES.labels("APPLIED").inc(3)
        UNREADABLE.inc(2)
        ATTEMPTS.labels("gone").inc()

        async def are_two() -> bool:
            return len(lines) == 2

        await until(are_two)
        UPDATES.labels("SUPERSEDED").inc()
        stopping.set()
        await writing
    counted: list[dict[str, Any]] = [
        {name: line[name] for name in ("updates", "dead_letters", "attempts") if name in line} for line in lines
    ]
    assert [line["event"] for line in lines] == ["summary"] * 3
    assert counted == [
        {"updates": {"APPLIED": 3}, "dead_letters": 2, "attempts": {"gone": 1}},
        {},
        {"updates": {"SUPERSEDED": 1}},
    ]


def test_the_metrics_that_it_reads_are_there() -> None:
    named = {family.name for family in REGISTRY.collect()}
    assert RECORDS._name in named
    assert {name.removesuffix("_total") for name, _, _ in summary._COUNTED} <= named
    assert LAG._name == summary._LAG
    assert summary._OLDEST in delivery_gauges._LABELLED
