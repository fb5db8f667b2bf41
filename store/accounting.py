"""Whether the sums come out: every message read has one outcome or a dead letter, every event is somewhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.update import Outcome


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of all rows: updates by outcome, dead letters, events of wallets, and their deliveries by status.

    `empty` messages had no value (tombstones), `skipped` ones lay in a corrupt batch that an operator had skipped,
    `lost` ones were gone before they were read. The latter two are counted in offsets.
    """

    outcomes: Mapping[str, int]
    unreadable: int
    events: int
    deliveries: Mapping[str, int]
    empty: int = 0
    skipped: int = 0
    lost: int = 0

    @property
    def received(self) -> int:
        return sum(self.outcomes.values()) + self.unreadable + self.empty + self.skipped + self.lost

    @property
    def lines(self) -> Mapping[str, int]:
        """What the produced messages became, by name; the sum is all of them."""
        named = {outcome.value.lower(): self.outcomes.get(outcome.value, 0) for outcome in Outcome}
        return named | {
            "unreadable": self.unreadable,
            "empty": self.empty,
            "skipped": self.skipped,
            "lost before it was read": self.lost,
        }


_OUTCOMES = text("""
    SELECT outcome, count(*) FROM inbox WHERE topic = coalesce(CAST(:topic AS text), topic) GROUP BY outcome
""")
_UNREAD = text("""
    SELECT (SELECT count(*) FROM dead_letters WHERE topic = coalesce(CAST(:topic AS text), topic)) AS unreadable,
           (SELECT sum(empty) FROM topic_partitions WHERE topic = coalesce(CAST(:topic AS text), topic)) AS empty,
           (SELECT sum(to_offset - from_offset) FROM skips
            WHERE topic = coalesce(CAST(:topic AS text), topic)) AS skipped,
           (SELECT sum(to_offset - from_offset) FROM losses
            WHERE topic = coalesce(CAST(:topic AS text), topic)) AS lost
""")
# Events about endpoints have no wallet, and may have no receiver. The wallet of their deliveries is the event itself.
_EVENTS = text("SELECT count(*) FROM events WHERE wallet_id IS NOT NULL")
_DELIVERIES = text("""
    SELECT status, count(*)
    FROM (SELECT status FROM deliveries WHERE wallet_id <> event_id
          UNION ALL
          SELECT status FROM delivery_history WHERE wallet_id <> event_id) AS delivery
    GROUP BY status
""")


async def take_stock(connection: AsyncConnection, topic: str | None = None) -> Totals:
    """Counts every row, so for small databases; messages of `topic` alone, if one is named.

    Several statements: give it a snapshot.
    """
    outcomes = await connection.execute(_OUTCOMES, {"topic": topic})
    unread = (await connection.execute(_UNREAD, {"topic": topic})).one()
    deliveries = await connection.execute(_DELIVERIES)
    return Totals(
        dict(outcomes.all()),
        unread.unreadable,
        (await connection.execute(_EVENTS)).scalar_one(),
        dict(deliveries.all()),
        int(unread.empty or 0),
        int(unread.skipped or 0),
        int(unread.lost or 0),
    )
