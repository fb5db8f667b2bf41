"""Whether the sums come out: every message read has one outcome or a dead letter, every event is somewhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Accounts:
    """Counts of all rows: updates by outcome, dead letters, events, and deliveries by status."""

    outcomes: Mapping[str, int]
    unreadable: int
    events: int
    deliveries: Mapping[str, int]

    @property
    def received(self) -> int:
        return sum(self.outcomes.values()) + self.unreadable


_OUTCOMES = text("SELECT outcome, count(*) FROM inbox GROUP BY outcome")
_UNREADABLE = text("SELECT count(*) FROM dead_letters")
_EVENTS = text("SELECT count(*) FROM events")
_DELIVERIES = text("""
    SELECT status, count(*)
    FROM (SELECT status FROM deliveries UNION ALL SELECT status FROM delivery_history) AS delivery
    GROUP BY status
""")


async def take_stock(connection: AsyncConnection) -> Accounts:
    """Counts every row, so for small databases. Several statements: give it a snapshot."""
    outcomes = await connection.execute(_OUTCOMES)
    deliveries = await connection.execute(_DELIVERIES)
    return Accounts(
        dict(outcomes.tuples().all()),
        await connection.scalar(_UNREADABLE) or 0,
        await connection.scalar(_EVENTS) or 0,
        dict(deliveries.tuples().all()),
    )
