"""Dead letters: refused messages, with card numbers masked, kept until an operator closes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.rows import DEAD_LETTER, selected

MaskedHeaders: TypeAlias = Sequence[tuple[str, str | None]]
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
    headers: MaskedHeaders = ()


_KEEP = text(f"""
    INSERT INTO dead_letters ({DEAD_LETTER.columns}, incarnation)
    SELECT {DEAD_LETTER.values}, :incarnation FROM {DEAD_LETTER.array("letters")}
    ON CONFLICT DO NOTHING
""")


async def keep(connection: AsyncConnection, letters: Sequence[DeadLetter], incarnation: int = 0) -> None:
    """Store letters, all of one incarnation of their topic. A letter with the same place and body is stored once."""
    rows = [
        DEAD_LETTER.row(
            topic=letter.topic,
            partition=letter.partition,
            kafka_offset=letter.offset,
            digest=letter.digest,
            reason=letter.reason,
            message_key=letter.key,
            headers=json.dumps(letter.headers),
            body=letter.body,
        )
        for letter in letters
    ]
    await connection.execute(_KEEP, {"letters": rows, "incarnation": incarnation})


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A row of `dead_letters`, without its body and headers."""

    id: int
    topic: str
    partition: int
    offset: int
    reason: str
    key: str | None
    received_at: datetime
    status: str


_columns = schema.dead_letters.c
_KEPT = [
    _columns.id,
    _columns.topic,
    _columns.partition,
    _columns.kafka_offset,
    _columns.reason,
    _columns.message_key,
    _columns.received_at,
    _columns.status,
]
"""In the order of the fields of DeadLetterRow."""
_LIST = text(f"""
    SELECT {selected(_KEPT)}
    FROM dead_letters
    WHERE (CAST(:status AS text) IS NULL OR status = :status) AND id > :after
    ORDER BY id LIMIT :limit
""")
_BODY = text(f"SELECT {selected([*_KEPT, _columns.headers, _columns.body])} FROM dead_letters WHERE id = :id")
_CLOSE = text("""
    UPDATE dead_letters SET status = :status, closed_at = now()
    WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'OPEN' RETURNING id
""")


async def page(
    connection: AsyncConnection, *, status: str | None = "OPEN", after: int = 0, limit: int = 100
) -> list[DeadLetterRow]:
    """Up to `limit` letters after the id `after`, oldest first; `status` None is any."""
    rows = await connection.execute(_LIST, {"status": status, "after": after, "limit": limit})
    return [DeadLetterRow(*row) for row in rows]


async def find(connection: AsyncConnection, letter_id: int) -> tuple[DeadLetterRow, MaskedHeaders, bytes] | None:
    """A letter with its headers and its body, both masked; None if there is none."""
    row = (await connection.execute(_BODY, {"id": letter_id})).one_or_none()
    if row is None:
        return None
    *kept, headers, body = row
    return DeadLetterRow(*kept), [(name, value) for name, value in json.loads(headers)], body


DEFECT = schema.DEFECT
_OPEN_DEFECTS = f"SELECT count(*) FROM dead_letters WHERE {schema.IS_OPEN_DEFECT}"
_RECENT_DEFECTS = text(f"""
    {_OPEN_DEFECTS} AND received_at >= greatest(
        now() - interval '1 day', (SELECT received_at FROM inbox ORDER BY id DESC OFFSET :messages - 1 LIMIT 1))
""")
_ALL_DEFECTS = text(_OPEN_DEFECTS)


async def open_defects(connection: AsyncConnection, *, messages: int | None = None) -> int:
    """The number of open letters for defects of this program; among the latest `messages`, within a day, if given."""
    if messages is None:
        return int((await connection.execute(_ALL_DEFECTS)).scalar_one())
    return int((await connection.execute(_RECENT_DEFECTS, {"messages": messages})).scalar_one())


class Range(NamedTuple):
    """Ids from `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """Open letters by their ids, a text in their reason, when they were received, and their topic; None is any."""

    ranges: Sequence[Range] | None = None
    reason: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    topic: str | None = None


_SELECT = text("""
    SELECT id FROM dead_letters
    WHERE status = 'OPEN' AND id > :after AND id <= :last
      AND (CAST(:firsts AS bigint[]) IS NULL OR EXISTS (
          SELECT FROM unnest(CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[])) AS range(first, last)
          WHERE id BETWEEN first AND last))
      AND (CAST(:reason AS text) IS NULL OR position(:reason IN reason) > 0)
      AND (CAST(:since AS timestamptz) IS NULL OR received_at >= :since)
      AND (CAST(:before AS timestamptz) IS NULL OR received_at < :before)
      AND (CAST(:topic AS text) IS NULL OR topic = :topic)
    ORDER BY id LIMIT :limit
""")


_LAST = text("SELECT coalesce(max(id), 0) FROM dead_letters")


async def last_id(connection: AsyncConnection) -> int:
    """The id of the newest letter; 0 if there is none."""
    return int((await connection.execute(_LAST)).scalar_one())


async def select(
    connection: AsyncConnection, selection: LetterSelection, *, after: int = 0, last: int, limit: int
) -> list[int]:
    """The ids of the selected letters after the id `after` and up to `last`, in order; up to `limit`."""
    values = {
        "firsts": None if selection.ranges is None else [ids.first for ids in selection.ranges],
        "lasts": None if selection.ranges is None else [ids.last for ids in selection.ranges],
        "reason": selection.reason,
        "since": selection.since,
        "before": selection.before,
        "topic": selection.topic,
        "after": after,
        "last": last,
        "limit": limit,
    }
    return list(await connection.scalars(_SELECT, values))


async def close(connection: AsyncConnection, ids: Sequence[int], status: str) -> list[int]:
    """Mark open letters REPLAYED or DISCARDED; the ids of those that were open."""
    rows = await connection.execute(_CLOSE, {"ids": list(ids), "status": status})
    return list(rows.scalars())
