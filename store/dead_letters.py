"""Dead letters: messages that no update could be made of, kept, card numbers masked, until a person closes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Headers: TypeAlias = Sequence[tuple[str, str | None]]
"""A message's headers in their order, masked, as text."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An unreadable message, masked; `digest` (16 bytes) is of the masked body."""

    topic: str
    partition: int
    offset: int
    digest: bytes
    reason: str
    key: str | None
    body: bytes
    headers: Headers = ()


_KEEP = text("""
    INSERT INTO dead_letters (topic, partition, kafka_offset, digest, reason, message_key, body, headers)
    SELECT topic, partition, kafka_offset, digest, reason, message_key, body, CAST(headers AS jsonb)
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                CAST(:digests AS bytea[]), CAST(:reasons AS text[]), CAST(:keys AS text[]),
                CAST(:bodies AS bytea[]), CAST(:headers AS text[]))
         AS letter(topic, partition, kafka_offset, digest, reason, message_key, body, headers)
    ON CONFLICT DO NOTHING
""")


async def keep(connection: AsyncConnection, letters: Sequence[DeadLetter]) -> None:
    """Keep them; one that was kept before (the same place, the same body) is not kept twice."""
    await connection.execute(
        _KEEP,
        {
            "topics": [letter.topic for letter in letters],
            "partitions": [letter.partition for letter in letters],
            "offsets": [letter.offset for letter in letters],
            "digests": [letter.digest for letter in letters],
            "reasons": [letter.reason for letter in letters],
            "keys": [letter.key for letter in letters],
            "bodies": [letter.body for letter in letters],
            "headers": [json.dumps(letter.headers) for letter in letters],
        },
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of `dead_letters`, without its body and headers."""

    id: int
    topic: str
    partition: int
    offset: int
    reason: str
    key: str | None
    received_at: datetime
    status: str


_LIST = text("""
    SELECT id, topic, partition, kafka_offset, reason, message_key, received_at, status
    FROM dead_letters
    WHERE (CAST(:status AS text) IS NULL OR status = :status) AND id > :after
    ORDER BY id LIMIT :limit
""")
_BODY = text("""
    SELECT id, topic, partition, kafka_offset, reason, message_key, received_at, status, CAST(headers AS text), body
    FROM dead_letters WHERE id = :id
""")
_CLOSE = text("""
    UPDATE dead_letters SET status = :status, closed_at = now()
    WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'OPEN' RETURNING id
""")


async def page(
    connection: AsyncConnection, *, status: str | None = "OPEN", after: int = 0, limit: int = 100
) -> list[Kept]:
    """Up to `limit` letters after the id `after`, oldest first; `status` None is any."""
    rows = await connection.execute(_LIST, {"status": status, "after": after, "limit": limit})
    return [Kept(*row) for row in rows]


async def find(connection: AsyncConnection, letter_id: int) -> tuple[Kept, Headers, bytes] | None:
    """A letter, and its headers and body, masked."""
    row = (await connection.execute(_BODY, {"id": letter_id})).one_or_none()
    if row is None:
        return None
    *kept, headers, body = row
    return Kept(*kept), [(name, value) for name, value in json.loads(headers)], body


async def close(connection: AsyncConnection, ids: Sequence[int], status: str) -> list[int]:
    """Mark open letters REPLAYED or DISCARDED; the ids of those that were open."""
    rows = await connection.execute(_CLOSE, {"ids": list(ids), "status": status})
    return list(rows.scalars())
