"""Fetches: thin events whose vendor is to be asked, until the updates of the answer are on the topic.

A claim is a lease, and the attempt fences late writers, as with deliveries. The feeds are claimed separately, so a
vendor that does not answer delays no other. An event that comes again while its vendor is asked is asked for once more:
the first answer may be older.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.rows import FETCH, FETCH_CLAIM


@dataclass(frozen=True, slots=True)
class NewFetch:
    """A fetch to be kept: `digest` is of the question, `event` the message, the other fields its place."""

    feed: str
    digest: bytes
    event: bytes
    topic: str
    partition: int
    offset: int


class ClaimedFetch(NamedTuple):
    """A fetch that belongs to the claimer until its lease ends, after `failures`; its event came `times_received`
    times.
    """

    id: int
    attempt: int
    times_received: int
    failures: int
    feed: str
    event: bytes
    topic: str
    partition: int
    offset: int


# In the order of their key, so that two workers never wait for each other in a circle.
_KEEP = text(f"""
    {FETCH.insert("fetches", "events")}
    ORDER BY feed, digest
    ON CONFLICT (feed, digest) DO UPDATE SET told = fetches.told + 1
""")


async def keep(connection: AsyncConnection, events: Sequence[NewFetch]) -> None:
    """Add a fetch for each event, due now. If the event has one already, count the arrival."""
    new = {(event.feed, event.digest): event for event in reversed(events)}.values()
    rows = [
        FETCH.row(
            feed=event.feed,
            digest=event.digest,
            event=event.event,
            topic=event.topic,
            partition=event.partition,
            kafka_offset=event.offset,
        )
        for event in new
    ]
    await connection.execute(_KEEP, {"events": rows})


_CLAIM = text(f"""
    UPDATE fetches SET attempt = attempt + 1, leased_until = now() + CAST(:lease AS interval)
    WHERE id = ANY(ARRAY(
        SELECT due.id
        FROM {FETCH_CLAIM.array("wanted")} AS wanted
        CROSS JOIN LATERAL (
            SELECT id
            FROM fetches
            WHERE feed = wanted.feed AND due_at <= now() AND (leased_until IS NULL OR leased_until <= now())
            ORDER BY due_at
            LIMIT wanted.most
            FOR NO KEY UPDATE SKIP LOCKED) AS due))
    RETURNING id, attempt, told, failures, feed, event, topic, partition, kafka_offset
""")


async def claim(connection: AsyncConnection, quotas: Mapping[str, int], *, lease: timedelta) -> list[ClaimedFetch]:
    """Claim fetches that are due, at most `quotas` of each feed, for `lease` from now."""
    rows = await connection.execute(_CLAIM, {"wanted": list(quotas.items()), "lease": lease})
    return [ClaimedFetch._make(row) for row in rows]


_EXTEND = text("""
    UPDATE fetches SET leased_until = now() + CAST(:lease AS interval) WHERE id = :id AND attempt = :attempt
    RETURNING id
""")


async def extend(connection: AsyncConnection, claimed: ClaimedFetch, lease: timedelta) -> bool:
    """Extend the lease to `lease` from now; False if another claimer holds the fetch."""
    named = {"id": claimed.id, "attempt": claimed.attempt, "lease": lease}
    return await connection.scalar(_EXTEND, named) is not None


_FINISH = text("DELETE FROM fetches WHERE id = :id AND attempt = :attempt AND told = :told")
_ASK_AGAIN = text("""
    UPDATE fetches SET due_at = now(), leased_until = NULL, failures = 0, failure = NULL, waits_for_address = false
    WHERE id = :id AND attempt = :attempt
""")


async def finish(connection: AsyncConnection, claimed: ClaimedFetch) -> None:
    """Delete a fetch whose updates are on the topic. If the event came again meanwhile, the fetch is due at once.

    A fetch whose lease has passed to another claim is left alone.
    """
    await connection.execute(_FINISH, {"id": claimed.id, "attempt": claimed.attempt, "told": claimed.times_received})
    await connection.execute(_ASK_AGAIN, {"id": claimed.id, "attempt": claimed.attempt})


_POSTPONE = text("""
    UPDATE fetches
    SET due_at = now() + CAST(:delay AS interval), leased_until = NULL,
        failures = failures + CAST(CAST(:failure AS text) IS NOT NULL AS int), waits_for_address = false,
        failure = coalesce(:failure, CASE WHEN failures > 0 THEN failure END)
    WHERE id = :id AND attempt = :attempt
""")


async def postpone(connection: AsyncConnection, claimed: ClaimedFetch, delay: timedelta, failure: str | None) -> None:
    """Make a fetch due again after `delay`; `failure` is the vendor's failure, None if the vendor is not at fault."""
    await connection.execute(
        _POSTPONE, {"id": claimed.id, "attempt": claimed.attempt, "delay": delay, "failure": failure}
    )


_WAIT_FOR_ADDRESS = text("""
    UPDATE fetches SET due_at = now() + CAST(:delay AS interval), leased_until = NULL, failure = :problem,
                       waits_for_address = true
    WHERE id = :id AND attempt = :attempt
""")
_RELEASE = text("""
    UPDATE fetches
    SET due_at = now(), failure = CASE WHEN failures > 0 THEN failure END, waits_for_address = false
    WHERE waits_for_address AND feed = ANY(CAST(:feeds AS text[]))
""")


async def wait_for_address(connection: AsyncConnection, claimed: ClaimedFetch, delay: timedelta, problem: str) -> None:
    """Make a fetch due after `delay`, or when a process with an address for the feed starts; no failure is counted."""
    named = {"id": claimed.id, "attempt": claimed.attempt, "delay": delay, "problem": problem}
    await connection.execute(_WAIT_FOR_ADDRESS, named)


async def release(connection: AsyncConnection, feeds: Collection[str]) -> None:
    """Make fetches of `feeds` due that waited for an address."""
    await connection.execute(_RELEASE, {"feeds": list(feeds)})


_GIVE_UP = text("DELETE FROM fetches WHERE id = :id AND attempt = :attempt RETURNING id")


async def give_up(connection: AsyncConnection, claimed: ClaimedFetch) -> bool:
    """Delete a fetch, in the transaction that keeps its dead letter; whether the claimer still had it."""
    return await connection.scalar(_GIVE_UP, {"id": claimed.id, "attempt": claimed.attempt}) is not None
