"""Removing what is older than it is to be kept, a page of rows in a transaction.

Pages follow the order in which rows were made, so that no index is needed for their age. A row that is still needed
stays, and the next page begins behind it: the caller remembers where. Nothing is removed that is undelivered, open, or
referred to by something that stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store import horizons
from store.ids import first_at

PAGE = 10_000
"""Rows of a page: a fraction of a second."""

UNREADABLE = "UNREADABLE"
"""What stands in place of an outcome where dead letters are counted."""

FIRST_ID = 0
FIRST_EVENT = UUID(int=0)


@dataclass(frozen=True, slots=True)
class EventsPage:
    """How many events were removed, and the last one that was looked at; None if the page reached younger ones."""

    removed: int
    last: UUID | None


@dataclass(frozen=True, slots=True)
class InboxPage:
    """As `EventsPage`, of the inbox."""

    removed: int
    last: int | None


_NOW = text("SELECT coalesce(CAST(:now AS timestamptz), now())")
# Their ids begin with the time at which they were made. The lock keeps others from sending an event again meanwhile.
_OLD_EVENTS = text("""
    SELECT id FROM events WHERE id > :after AND id < :before AND created_at < :bound ORDER BY id LIMIT :most
    FOR UPDATE SKIP LOCKED
""")
# A statement of its own, which sees what was enqueued before the lock was given.
_NEEDED_EVENTS = text("""
    SELECT event_id FROM deliveries WHERE event_id = ANY(CAST(:ids AS uuid[]))
    UNION
    SELECT event_id FROM delivery_history WHERE event_id = ANY(CAST(:ids AS uuid[]))
""")
# Of the events of a wallet for a merchant, the first go first: a hole in their numbers would mean that one was lost.
_REMOVE_EVENTS = text("""
    DELETE FROM events
    WHERE id = ANY(CAST(:ids AS uuid[]))
      AND (SELECT true FROM events AS earlier
           WHERE earlier.wallet_id = events.wallet_id AND earlier.merchant_id = events.merchant_id
             AND earlier.sequence < events.sequence AND earlier.id <> ALL(CAST(:ids AS uuid[]))
           LIMIT 1) IS NULL
""")


async def remove_events(
    connection: AsyncConnection, after: UUID = FIRST_EVENT, *, keep: timedelta, now: datetime | None = None
) -> EventsPage:
    """Remove events that are older than `keep`; not those of deliveries, live or in the history, nor any after those.

    The horizon of `events` moves with them.
    """
    bound: datetime = await connection.scalar(_NOW, {"now": now}) - keep
    page = {"after": after, "before": first_at(bound), "bound": bound, "most": PAGE}
    ids = list(await connection.scalars(_OLD_EVENTS, page))
    if not ids:
        return EventsPage(0, None)
    needed = set(await connection.scalars(_NEEDED_EVENTS, {"ids": ids}))
    removed = await connection.execute(_REMOVE_EVENTS, {"ids": [id_ for id_ in ids if id_ not in needed]})
    if removed.rowcount:
        await horizons.move(connection, "events", keep=keep, now=now)
    return EventsPage(removed.rowcount, ids[-1] if len(ids) == PAGE else None)


# The last message of a partition stays: it says up to where the partition was read (`store.topics.taken_to`).
_REMOVE_UPDATES = text("""
    WITH page AS MATERIALIZED (
        SELECT id, topic, partition, incarnation, kafka_offset, outcome, received_at
        FROM inbox WHERE id > :after ORDER BY id LIMIT :most),
    removed AS (
        DELETE FROM inbox
        WHERE id = ANY(ARRAY(
            SELECT id FROM page
            WHERE received_at < coalesce(CAST(:now AS timestamptz), now()) - CAST(:keep AS interval)
              AND outcome NOT IN ('PARKED', 'QUARANTINED')
              AND (SELECT true FROM parked_updates WHERE inbox_id = page.id LIMIT 1) IS NULL
              AND (SELECT true FROM unfinished_updates WHERE inbox_id = page.id LIMIT 1) IS NULL
              AND kafka_offset < (
                  SELECT max(kafka_offset) FROM inbox AS latest
                  WHERE latest.topic = page.topic AND latest.partition = page.partition
                    AND latest.incarnation = page.incarnation)))
          AND outcome NOT IN ('PARKED', 'QUARANTINED')
        RETURNING topic, outcome),
    counted AS (
        INSERT INTO removed_messages (topic, outcome, count)
        SELECT topic, outcome, count(*) FROM removed GROUP BY topic, outcome ORDER BY topic, outcome
        ON CONFLICT (topic, outcome) DO UPDATE SET count = removed_messages.count + excluded.count)
    SELECT (SELECT count(*) FROM removed),
           (SELECT max(id) FROM page
            HAVING count(*) = :most
               AND max(received_at) < coalesce(CAST(:now AS timestamptz), now()) - CAST(:keep AS interval))
""")


async def remove_updates(
    connection: AsyncConnection, after: int = FIRST_ID, *, keep: timedelta, now: datetime | None = None
) -> InboxPage:
    """Remove updates of the inbox that are older than `keep`, and count them; not those that wait for something."""
    row = await connection.execute(_REMOVE_UPDATES, {"after": after, "most": PAGE, "keep": keep, "now": now})
    return InboxPage(*row.one())


_REMOVE_LETTERS = text("""
    WITH removed AS (
        DELETE FROM dead_letters
        WHERE id = ANY(ARRAY(
            SELECT id FROM dead_letters AS letter
            WHERE closed_at < coalesce(CAST(:now AS timestamptz), now()) - CAST(:keep AS interval)
              AND kafka_offset < (
                  SELECT max(kafka_offset) FROM dead_letters AS latest
                  WHERE latest.topic = letter.topic AND latest.partition = letter.partition
                    AND latest.incarnation = letter.incarnation)
            ORDER BY closed_at LIMIT :most))
        RETURNING topic),
    counted AS (
        INSERT INTO removed_messages (topic, outcome, count)
        SELECT topic, :unreadable, count(*) FROM removed GROUP BY topic ORDER BY topic
        ON CONFLICT (topic, outcome) DO UPDATE SET count = removed_messages.count + excluded.count)
    SELECT count(*) FROM removed
""")


async def remove_dead_letters(connection: AsyncConnection, *, keep: timedelta, now: datetime | None = None) -> int:
    """Remove dead letters that were closed more than `keep` ago, and count them; how many."""
    removed = await connection.scalar(
        _REMOVE_LETTERS, {"most": PAGE, "keep": keep, "now": now, "unreadable": UNREADABLE}
    )
    return int(removed or 0)


_REMOVE_ACTS = text("""
    DELETE FROM audit
    WHERE id = ANY(ARRAY(SELECT id FROM audit ORDER BY id LIMIT :most))
      AND at < coalesce(CAST(:now AS timestamptz), now()) - CAST(:keep AS interval)
""")


async def remove_acts(connection: AsyncConnection, *, keep: timedelta, now: datetime | None = None) -> int:
    """Remove rows of the audit that are older than `keep`; how many."""
    return (await connection.execute(_REMOVE_ACTS, {"most": PAGE, "keep": keep, "now": now})).rowcount


_REMOVE_JOBS = text("""
    DELETE FROM replay_jobs
    WHERE finished_at < coalesce(CAST(:now AS timestamptz), now()) - CAST(:keep AS interval)
""")


async def remove_replay_jobs(connection: AsyncConnection, *, keep: timedelta, now: datetime | None = None) -> int:
    """Remove replay jobs that ended more than `keep` ago; how many."""
    return (await connection.execute(_REMOVE_JOBS, {"keep": keep, "now": now})).rowcount


_REMOVED = text("""
    SELECT outcome, CAST(sum(count) AS bigint) FROM removed_messages
    WHERE topic = coalesce(CAST(:topic AS text), topic) GROUP BY outcome
""")


async def removed_messages(connection: AsyncConnection, topic: str | None) -> Mapping[str, int]:
    """How many messages of `topic` (None: of all) were removed, by outcome; UNREADABLE are dead letters."""
    return dict((await connection.execute(_REMOVED, {"topic": topic})).all())
