"""Orders to skip a corrupt record batch: written by an operator, obeyed by the worker that owns the partition."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.topics import Incarnation

_ORDER = text("""
    INSERT INTO skips (topic, incarnation, partition, kafka_offset, reason)
    VALUES (:topic, :incarnation, :partition, :offset, :reason)
    RETURNING id
""")


async def order(connection: AsyncConnection, of: Incarnation, partition: int, offset: int, reason: str) -> int:
    """Order the batch that holds `offset` to be skipped; the order's id."""
    row = {"topic": of.topic, "incarnation": of.number, "partition": partition, "offset": offset, "reason": reason}
    order_id: int = (await connection.execute(_ORDER, row)).scalar_one()
    return order_id


@dataclass(frozen=True, slots=True)
class Obeyed:
    """`is_new` says that what was skipped was not counted before."""

    end: int
    reason: str
    is_new: bool


# An order obeyed before counts too: a worker that died before it committed the offset meets the batch again.
_FIND = text("""
    SELECT id, reason, obeyed_at, to_offset FROM skips
    WHERE topic = :topic AND partition = :partition AND incarnation = :incarnation
      AND (obeyed_at IS NULL AND kafka_offset >= :start AND kafka_offset < :end
           OR from_offset <= :start AND to_offset > :start)
    ORDER BY obeyed_at IS NULL, id
    LIMIT 1
    FOR UPDATE
""")
_OBEY = text("UPDATE skips SET obeyed_at = now(), from_offset = :start, to_offset = :end WHERE id = :id")


async def obey(connection: AsyncConnection, of: Incarnation, partition: int, *, start: int, end: int) -> Obeyed | None:
    """Skip the offsets from `start` up to `end` if that was ordered; None if it was not."""
    place = {"topic": of.topic, "incarnation": of.number, "partition": partition, "start": start, "end": end}
    row = (await connection.execute(_FIND, place)).one_or_none()
    if row is None:
        return None
    if row.obeyed_at is not None:
        return Obeyed(row.to_offset, row.reason, is_new=False)
    await connection.execute(_OBEY, {"id": row.id, "start": start, "end": end})
    return Obeyed(end, row.reason, is_new=True)
