"""The audit: one row for each act of a person on a subject, written in the transaction of the act."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.rows import AUDIT, columns_of, selected


class Act(NamedTuple):
    """What `actor` did to a subject. `before` and `after` are JSON objects without secrets."""

    actor: str
    action: str
    subject: str
    reason: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


_RECORD = text(AUDIT.insert("audit", "acts"))


async def record(connection: AsyncConnection, acts: Sequence[Act]) -> None:
    """Write down what was done, in the transaction that does it."""
    if acts:
        rows = [AUDIT.row(*act[:4], *map(_json, act[4:])) for act in acts]
        await connection.execute(_RECORD, {"acts": rows})


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, default=str)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An act as it was recorded."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


_LIST = text(f"""
    SELECT {selected(columns_of(schema.audit))}
    FROM audit
    WHERE (CAST(:subject AS text) IS NULL OR subject = :subject)
    ORDER BY id DESC
    LIMIT :limit
""")


async def acts(connection: AsyncConnection, *, subject: str | None, limit: int) -> list[AuditRow]:
    """The newest first; a subject that is None matches all."""
    rows = await connection.execute(_LIST, {"subject": subject, "limit": limit})
    return [AuditRow(*row[:6], *map(_read, row[6:])) for row in rows]


def _read(value: str | None) -> Mapping[str, Any] | None:
    return None if value is None else json.loads(value)
