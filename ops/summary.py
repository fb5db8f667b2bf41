"""A line a minute in the log of a process: what it did, and what waits for it.

Everything is read from the metrics of the process. What was counted is that of the minute, without what is zero.
"""

import asyncio
from collections.abc import Iterable, Mapping

import structlog
from prometheus_client import REGISTRY
from prometheus_client.samples import Sample

from loops.waiting import event_or_timeout

log = structlog.get_logger()

_EVERY_SECONDS = 60.0

# The name of a metric's sample, the field of the line, and the label by which the field lists its numbers.
_COUNTED = (
    ("repoint_updates_total", "updates", "outcome"),
    ("repoint_dead_letters_total", "dead_letters", None),
    ("repoint_events_total", "events", None),
    ("repoint_delivery_attempts_total", "attempts", "outcome"),
    ("repoint_deliveries_dead_total", "dead_deliveries", None),
    ("repoint_feed_records_total", "posted_records", "outcome"),
)
_LAG = "repoint_consumer_lag_messages"
_OLDEST = "repoint_delivery_oldest_seconds"

Counts = dict[tuple[str, str | None], float]
"""By field, and by the label's value where the field has a label."""


class MinuteSummary:
    """Writes the line every `every` seconds."""

    def __init__(self, every: float = _EVERY_SECONDS) -> None:
        self._every = every
        self._before: Counts = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Write the lines until `stopping` is set, and a last one for the rest of a minute."""
        self._before = counts(_samples())
        while not stopping.is_set():
            await event_or_timeout(stopping, self._every)
            self._write()

    def _write(self) -> None:
        samples = _samples()
        now = counts(samples)
        log.info("summary", **fields(self._before, now), **waiting(samples))
        self._before = now


def counts(samples: Iterable[Sample]) -> Counts:
    """What has been counted since the start of the process."""
    by_name = {name: (field, label) for name, field, label in _COUNTED}
    numbers_by_field: Counts = {}
    for sample in samples:
        if sample.name in by_name:
            field, label = by_name[sample.name]
            key = (field, None if label is None else sample.labels[label])
            numbers_by_field[key] = numbers_by_field.get(key, 0.0) + sample.value
    return numbers_by_field


def fields(before: Mapping[tuple[str, str | None], float], now: Counts) -> dict[str, int | dict[str, int]]:
    """The fields of the line: what was counted between two readings, without what is zero."""
    listed: dict[str, int | dict[str, int]] = {}
    for (field, value), number in sorted(now.items(), key=str):
        difference = round(number - before.get((field, value), 0.0))
        if not difference:
            continue
        if value is None:
            listed[field] = difference
        else:
            numbers = listed.setdefault(field, {})
            assert isinstance(numbers, dict)
            numbers[value] = difference
    return listed


def waiting(samples: Iterable[Sample]) -> dict[str, int]:
    """Messages of the topics that this process has not read, and the age of the oldest delivery that is due."""
    lag = oldest = None
    for sample in samples:
        if sample.name == _LAG:
            lag = (lag or 0.0) + sample.value
        elif sample.name == _OLDEST and sample.labels["state"] == "due":
            oldest = sample.value
    read = {"lag": lag, "oldest_due_seconds": oldest}
    return {name: round(value) for name, value in read.items() if value is not None}


def _samples() -> list[Sample]:
    return [sample for family in REGISTRY.collect() for sample in family.samples]
