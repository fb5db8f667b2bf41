"""The topics of Kafka: their incarnations, the progress of each partition, and offsets that nobody read.

A topic that is deleted and made anew has the same name, another id of Kafka's, and offsets that begin at 0 again. Each
such *incarnation* has a number, which is part of every place of a message (`inbox`, `dead_letters`).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.rows import EMPTY_MESSAGE


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a topic, and its number."""

    topic: str
    number: int


class Loss(StrEnum):
    """Why messages were gone before they were read."""

    RETENTION = "RETENTION"
    TOPIC_MADE_ANEW = "TOPIC_MADE_ANEW"


class Empty(NamedTuple):
    """The place of a message without a value."""

    partition: int
    offset: int


# Two workers that meet a new incarnation at once wait for each other here.
_LOCK = text("SELECT pg_advisory_xact_lock(:space, hashtext(:topic))")
_SPACE = 0x746F7069  # "topi"
_LATEST = text("SELECT incarnation, topic_id FROM topics WHERE topic = :topic ORDER BY incarnation DESC LIMIT 1")
_KNOWN = text("SELECT incarnation FROM topics WHERE topic = :topic AND topic_id = :topic_id")
_MEET = text("INSERT INTO topics (topic, incarnation, topic_id) VALUES (:topic, :incarnation, :topic_id)")
_NAME = text("UPDATE topics SET topic_id = :topic_id WHERE topic = :topic AND incarnation = :incarnation")


async def meet(connection: AsyncConnection, topic: str, topic_id: UUID | None) -> Incarnation:
    """The incarnation with this id; a new one if the topic had another id before. Without an id, the latest."""
    await connection.execute(_LOCK, {"space": _SPACE, "topic": topic})
    latest = (await connection.execute(_LATEST, {"topic": topic})).one_or_none()
    if latest is None:
        number = 0
    elif topic_id is None or latest.topic_id == topic_id:
        return Incarnation(topic, latest.incarnation)
    elif latest.topic_id is None:
        named = {"topic": topic, "incarnation": latest.incarnation, "topic_id": topic_id}
        await connection.execute(_NAME, named)
        return Incarnation(topic, latest.incarnation)
    else:
        known: int | None = await connection.scalar(_KNOWN, {"topic": topic, "topic_id": topic_id})
        if known is not None:
            return Incarnation(topic, known)
        number = latest.incarnation + 1
    await connection.execute(_MEET, {"topic": topic, "incarnation": number, "topic_id": topic_id})
    return Incarnation(topic, number)


async def latest(connection: AsyncConnection, topic: str) -> Incarnation:
    """The latest incarnation of the topic; the first if none has been met yet."""
    row = (await connection.execute(_LATEST, {"topic": topic})).one_or_none()
    return Incarnation(topic, 0 if row is None else row.incarnation)


_BEGUN = text("""
    SELECT partition FROM topic_partitions
    WHERE topic = :topic AND incarnation = :incarnation AND partition = ANY(CAST(:partitions AS int[]))
""")
_BEGIN = text("""
    INSERT INTO topic_partitions (topic, incarnation, partition)
    SELECT :topic, :incarnation, partition FROM unnest(CAST(:partitions AS int[])) AS p(partition)
    ORDER BY partition
    ON CONFLICT DO NOTHING
""")


async def begun(connection: AsyncConnection, of: Incarnation, partitions: Collection[int]) -> set[int]:
    """The partitions among `partitions` that were read before."""
    rows = await connection.execute(_BEGUN, _named(of) | {"partitions": list(partitions)})
    return set(rows.scalars())


async def begin(connection: AsyncConnection, of: Incarnation, partitions: Collection[int]) -> None:
    """Record that the partitions are read from these offsets on."""
    await connection.execute(_BEGIN, _named(of) | {"partitions": list(partitions)})


# A batch that is read again after a crash has empty messages below `empty_to`, which were counted.
_COUNT_EMPTY = text(f"""
    INSERT INTO topic_partitions AS counted (topic, incarnation, partition, empty, empty_to)
    SELECT :topic, :incarnation, partition, count(*), max(kafka_offset) + 1
    FROM {EMPTY_MESSAGE.array("places")}
    GROUP BY partition
    ORDER BY partition
    ON CONFLICT (topic, incarnation, partition) DO UPDATE
    SET empty_to = greatest(counted.empty_to, excluded.empty_to),
        empty = counted.empty + (
            SELECT count(*)
            FROM {EMPTY_MESSAGE.array("places")} AS place
            WHERE place.partition = counted.partition AND place.kafka_offset >= counted.empty_to)
""")


async def count_empty(connection: AsyncConnection, of: Incarnation, empties: Iterable[Empty]) -> None:
    """Count messages without a value, each once; they come in the order of their offsets."""
    await connection.execute(_COUNT_EMPTY, _named(of) | {"places": list(empties)})


_TAKEN_TO = text("""
    SELECT greatest(
        (SELECT max(kafka_offset) + 1 FROM inbox
         WHERE topic = :topic AND partition = :partition AND incarnation = :incarnation),
        (SELECT max(kafka_offset) + 1 FROM dead_letters
         WHERE topic = :topic AND partition = :partition AND incarnation = :incarnation),
        (SELECT empty_to FROM topic_partitions
         WHERE topic = :topic AND partition = :partition AND incarnation = :incarnation),
        (SELECT max(to_offset) FROM skips
         WHERE topic = :topic AND partition = :partition AND incarnation = :incarnation))
""")
_LOSE = text("""
    WITH former AS (
        SELECT to_offset FROM losses
        WHERE topic = :topic AND incarnation = :incarnation AND partition = :partition AND from_offset = :from_offset),
    noted AS (
        INSERT INTO losses (topic, incarnation, partition, from_offset, to_offset, reason)
        VALUES (:topic, :incarnation, :partition, :from_offset, :to_offset, :reason)
        ON CONFLICT (topic, incarnation, partition, from_offset) DO UPDATE
        SET to_offset = greatest(losses.to_offset, excluded.to_offset)
        RETURNING to_offset)
    SELECT noted.to_offset - coalesce(former.to_offset, :from_offset) FROM noted LEFT JOIN former ON true
""")


async def taken_to(connection: AsyncConnection, of: Incarnation, partition: int) -> int:
    """The offset behind the last message that the inbox or the dead letters have; 0 if there is none."""
    return await connection.scalar(_TAKEN_TO, _named(of) | {"partition": partition}) or 0


async def lose(
    connection: AsyncConnection, of: Incarnation, partition: int, *, start: int, end: int, reason: Loss
) -> int:
    """Record that the offsets from `start` up to `end` were gone before they were read; how many were new."""
    row = {"partition": partition, "from_offset": start, "to_offset": end, "reason": reason.value}
    lost: int = (await connection.execute(_LOSE, _named(of) | row)).scalar_one()
    return lost


def _named(of: Incarnation) -> dict[str, object]:
    return {"topic": of.topic, "incarnation": of.number}
