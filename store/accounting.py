"""Whether the sums come out: every message read has one outcome or a dead letter, every event is somewhere."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.update import Outcome
from store.reconciliation import subjects
from store.retention import UNREADABLE, removed_messages


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of all rows: updates by outcome, dead letters, events of wallets, and their deliveries by status.

    Updates and dead letters that retention has removed are counted, events and deliveries are not.
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
    outcomes: Counter[str] = Counter(dict((await connection.execute(_OUTCOMES, {"topic": topic})).all()))
    removed = Counter(await removed_messages(connection, topic))
    unreadable = removed.pop(UNREADABLE, 0)
    unread = (await connection.execute(_UNREAD, {"topic": topic})).one()
    deliveries = await connection.execute(_DELIVERIES)
    return Totals(
        outcomes + removed,
        unread.unreadable + unreadable,
        (await connection.execute(_EVENTS)).scalar_one(),
        dict(deliveries.all()),
        int(unread.empty or 0),
        int(unread.skipped or 0),
        int(unread.lost or 0),
    )


_LIVE = text("""
    SELECT (SELECT coalesce(sum(accepted - delivered - dead - cancelled), 0) FROM delivery_ledger),
           (SELECT count(*) FROM deliveries)
""")


async def live_deliveries(connection: AsyncConnection) -> tuple[int, int]:
    """The number of live deliveries by the ledger, and by their rows. They differ if one was lost, or written twice."""
    by_ledger, by_rows = (await connection.execute(_LIVE)).one()
    return int(by_ledger), by_rows


class HourlyCount(NamedTuple):
    """So many updates of a vendor were received in an hour with this outcome; None is unreadable, of no vendor."""

    hour: datetime
    vendor: str | None
    outcome: str | None
    number: int


# Later rows have higher ids, by which the first ones are found.
_HOURLY = text("""
    SELECT date_trunc('hour', received_at, 'UTC') AS hour, vendor, outcome, count(*)
    FROM inbox
    WHERE id > :after AND received_at >= :since AND topic = :topic
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT date_trunc('hour', received_at, 'UTC'), NULL, NULL, count(*)
    FROM dead_letters
    WHERE received_at >= :since AND topic = :topic
    GROUP BY 1
    ORDER BY 1, 2 NULLS LAST, 3
""")


async def hourly(connection: AsyncConnection, topic: str, *, since: datetime) -> list[HourlyCount]:
    """What became of the messages received at `since` or later, by hour (UTC), vendor and outcome."""
    after = await subjects.before_updates(connection, since)
    rows = await connection.execute(_HOURLY, {"topic": topic, "since": since, "after": after})
    return [HourlyCount._make(row) for row in rows]
