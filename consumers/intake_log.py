"""What the log says of messages that changed no wallet and wait for a person: quarantined updates and dead letters."""

from collections.abc import Iterable
from shlex import quote

import structlog

from consumers.batch import BatchResult
from domain.decide import Verdict
from loops.limited_log import EVERY_SECONDS, LimitedLog
from store.dead_letters import DeadLetter
from store.inbox import Arrival

log = structlog.get_logger()


class IntakeLog:
    """Writes a line for each of them; after ten of a kind within a minute, one line with the number of the others."""

    def __init__(self, every: float = EVERY_SECONDS) -> None:
        self._quarantined = LimitedLog(
            log.warning, "update quarantined", every=every, list="repoint inbox list --outcome QUARANTINED"
        )
        self._letters = LimitedLog(log.warning, "dead letter", every=every, list="repoint dead-letters list")

    def add(self, result: BatchResult) -> None:
        """Write down what a batch left for a person."""
        for arrival, verdict in result.quarantined:
            self._add_quarantined(arrival, verdict)
        self.add_letters(result.letters)

    def add_letters(self, letters: Iterable[DeadLetter]) -> None:
        """Write down dead letters."""
        for letter in letters:
            self._letters.write(
                topic=letter.topic, partition=letter.partition, offset=letter.offset, reason=letter.reason
            )

    def close(self) -> None:
        """Write how many were counted and not written."""
        self._quarantined.close()
        self._letters.close()

    def _add_quarantined(self, arrival: Arrival, verdict: Verdict) -> None:
        stamp = arrival.update.stamp
        self._quarantined.write(
            vendor=stamp.vendor,
            update=stamp.update_id,
            reason=verdict.reason,
            topic=arrival.topic,
            partition=arrival.partition,
            offset=arrival.offset,
            list=f"repoint inbox list --id {quote(stamp.update_id)}",
        )
