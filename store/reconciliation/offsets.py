"""What became of the offsets of a partition: those that the inbox, dead letters, losses and skips have."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.reconciliation import subjects
from store.topics import Incarnation


class OffsetRange(NamedTuple):
    """Offsets from `start` up to `end`, without `end`."""

    start: int
    end: int


_LATEST = text("""
    SELECT incarnation, topic_id FROM topics WHERE topic = :topic ORDER BY incarnation DESC LIMIT 1
""")


async def incarnation_of(connection: AsyncConnection, topic: str, topic_id: UUID | None) -> Incarnation | None:
    """The latest incarnation of the topic; None if that is not the one with this id, or none was read."""
    row = (await connection.execute(_LATEST, {"topic": topic})).one_or_none()
    if row is None or (None not in {topic_id, row.topic_id} and topic_id != row.topic_id):
        return None
    return Incarnation(topic, row.incarnation)


_PLACE = "topic = :topic AND partition = :partition AND incarnation = :incarnation"
# least() leaves out what is NULL
_FIRST = text(f"""
    SELECT least(
        (SELECT kafka_offset FROM inbox WHERE {_PLACE} ORDER BY kafka_offset LIMIT 1),
        (SELECT kafka_offset FROM dead_letters WHERE {_PLACE} ORDER BY kafka_offset LIMIT 1),
        (SELECT from_offset FROM losses WHERE {_PLACE} ORDER BY from_offset LIMIT 1),
        (SELECT min(from_offset) FROM skips WHERE {_PLACE}))
""")
_FIRST_SINCE = text(f"""
    SELECT kafka_offset FROM inbox WHERE id > :after AND {_PLACE} ORDER BY id LIMIT 1
""")


async def first(connection: AsyncConnection, of: Incarnation, partition: int, since: datetime | None) -> int | None:
    """The first offset that has an outcome, or the first of those received at `since` or later; None: there is none."""
    place = _place(of, partition)
    if since is None:
        offset: int | None = await connection.scalar(_FIRST, place)
        return offset
    after = await subjects.before_updates(connection, since)
    later: int | None = await connection.scalar(_FIRST_SINCE, place | {"after": after})
    return later


_TAKEN_IN = text(f"""
    SELECT DISTINCT kafka_offset
    FROM (
        (SELECT kafka_offset FROM inbox WHERE {_PLACE} AND kafka_offset >= :start AND kafka_offset < :end
         ORDER BY kafka_offset LIMIT :limit)
        UNION ALL
        (SELECT kafka_offset FROM dead_letters WHERE {_PLACE} AND kafka_offset >= :start AND kafka_offset < :end
         ORDER BY kafka_offset LIMIT :limit)) AS taken_in
    ORDER BY kafka_offset
    LIMIT :limit
""")
_PASSED = text(f"""
    SELECT from_offset, to_offset FROM losses WHERE {_PLACE} AND to_offset > :start AND from_offset < :end
    UNION ALL
    SELECT from_offset, to_offset FROM skips WHERE {_PLACE} AND to_offset > :start AND from_offset < :end
    ORDER BY 1, 2
""")


async def taken_in(
    connection: AsyncConnection, of: Incarnation, partition: int, within: OffsetRange, limit: int
) -> Sequence[int]:
    """The next offsets that the inbox or the dead letters have."""
    place = _place(of, partition) | within._asdict() | {"limit": limit}
    return list(await connection.scalars(_TAKEN_IN, place))


async def passed(
    connection: AsyncConnection, of: Incarnation, partition: int, within: OffsetRange
) -> list[OffsetRange]:
    """The ranges that were lost before they were read, or skipped by an operator, by their start."""
    rows = await connection.execute(_PASSED, _place(of, partition) | within._asdict())
    return [OffsetRange._make(row) for row in rows]


def _place(of: Incarnation, partition: int) -> dict[str, Any]:
    return {"topic": of.topic, "incarnation": of.number, "partition": partition}
