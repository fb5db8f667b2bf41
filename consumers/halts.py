"""Partitions that stand still: at a corrupt record batch, or behind a transaction that stays open.

Both are logged once a minute for as long as they last, and counted by a gauge.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from prometheus_client import Gauge

from consumers.records import Corrupt
from loops.waiting import Reminder

log = structlog.get_logger()

HALTED = Gauge("repoint_partition_halted", "1 while a partition stands at a corrupt batch", ["topic", "partition"])
HELD = Gauge(
    "repoint_partition_held_messages",
    "Offsets behind the last stable one, which wait for an open transaction to end",
    ["topic", "partition"],
)

# Producers commit every few hundred milliseconds. A transaction is reported once it is open for this many looks.
_OPEN_LOOKS = 3


class Halts:
    """The partitions of one topic that are not read on, because a batch is corrupt."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._corrupt: dict[int, Corrupt] = {}
        self._reminder = Reminder()

    def __contains__(self, partition: int) -> bool:
        return partition in self._corrupt

    def items(self) -> list[tuple[int, Corrupt]]:
        return list(self._corrupt.items())

    def halt(self, partition: int, corrupt: Corrupt) -> None:
        self._corrupt[partition] = corrupt
        HALTED.labels(self._topic, partition).set(1)
        self.remind()

    def release(self, partitions: Iterable[int]) -> None:
        """End the halts of `partitions`: they are read on, or belong to another member now."""
        for partition in set(partitions) & self._corrupt.keys():
            del self._corrupt[partition]
            HALTED.labels(self._topic, partition).set(0)

    def release_all(self) -> None:
        self.release(list(self._corrupt))

    def remind(self) -> None:
        """Log the halted partitions, if a reminder is due."""
        if self._corrupt and self._reminder.is_due(tuple(self._corrupt)):
            for partition, corrupt in self._corrupt.items():
                log.error(
                    "partition halted",
                    topic=self._topic,
                    partition=partition,
                    offset=corrupt.first,
                    end=corrupt.end,
                    reason=corrupt.reason,
                    skip=self._command(partition, corrupt),
                )

    def reason(self) -> str | None:
        """Why a partition of the topic is not read; None if none is halted."""
        if not self._corrupt:
            return None
        return "; ".join(
            f"partition {partition} of {self._topic} is halted at offset {corrupt.first}: {corrupt.reason}"
            f" (`{self._command(partition, corrupt)}` passes it)"
            for partition, corrupt in sorted(self._corrupt.items())
        )

    def _command(self, partition: int, corrupt: Corrupt) -> str:
        return f"repoint topics skip {self._topic} {partition} {corrupt.first} --reason …"


@dataclass(slots=True)
class _HeldPartition:
    last_stable_offset: int
    looks: int
    reminder: Reminder


class OpenTransactions:
    """The partitions of a topic that are held by an open transaction: messages behind it cannot be read yet."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._open: dict[int, _HeldPartition] = {}

    def look(self, ends: Iterable[tuple[int, int, int]]) -> None:
        """Compare with the latest look. `ends` are (partition, last stable offset, high watermark)."""
        former, self._open = self._open, {}
        for partition, stable, high in ends:
            held = max(high - stable, 0)
            HELD.labels(self._topic, partition).set(held)
            if not held:
                continue
            known = former.pop(partition, None)
            if known is None or known.last_stable_offset != stable:
                known = _HeldPartition(stable, 0, Reminder())
            known.looks += 1
            self._open[partition] = known
            if known.looks >= _OPEN_LOOKS and known.reminder.is_due(stable):
                log.warning(
                    "partition held by an open transaction",
                    topic=self._topic,
                    partition=partition,
                    last_stable_offset=stable,
                    high_watermark=high,
                )
        for partition in former:
            HELD.labels(self._topic, partition).set(0)
