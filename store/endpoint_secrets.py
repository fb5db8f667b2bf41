"""What is sealed of endpoints: the secrets that sign, newest first, and headers of their own."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.rows import ENDPOINT_SEALED

_SECRETS = text("""
    SELECT id, sealed_secrets FROM endpoints WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id FOR NO KEY UPDATE
""")


async def lock(connection: AsyncConnection, ids: Collection[str]) -> dict[str, list[str]]:
    """The sealed secrets of these endpoints, newest first, by endpoint. Locks the endpoints."""
    rows = await connection.execute(_SECRETS, {"ids": list(ids)})
    return {id_: list(secrets) for id_, secrets in rows}


_ROTATE = text("""
    UPDATE endpoints
    SET sealed_secrets = CASE WHEN CAST(:overlap AS interval) > interval '0'
                         THEN ARRAY[CAST(:sealed AS text), sealed_secrets[1]] ELSE ARRAY[CAST(:sealed AS text)] END,
        former_secret_until = CASE WHEN CAST(:overlap AS interval) > interval '0'
                              THEN now() + CAST(:overlap AS interval) END
    WHERE id = :id
    RETURNING former_secret_until
""")


async def rotate(
    connection: AsyncConnection, endpoint_id: str, sealed_secret: str, overlap: timedelta
) -> datetime | None:
    """Give an endpoint a new secret; its newest one signs beside it for `overlap`. Until when; None without overlap."""
    row = {"id": endpoint_id, "sealed": sealed_secret, "overlap": overlap}
    until: datetime | None = await connection.scalar(_ROTATE, row)
    return until


_END_OVERLAPS = text("""
    UPDATE endpoints SET sealed_secrets = sealed_secrets[1:1], former_secret_until = NULL
    WHERE id = ANY(ARRAY(
        SELECT id FROM endpoints WHERE former_secret_until <= now() ORDER BY id FOR NO KEY UPDATE SKIP LOCKED))
""")


async def end_overlaps(connection: AsyncConnection) -> None:
    """Drop the former secrets whose end has come."""
    await connection.execute(_END_OVERLAPS)


_UNDER_OTHER_KEYS = text("""
    SELECT id, sealed_secrets, sealed_headers
    FROM endpoints
    WHERE id > :after
      AND (EXISTS (SELECT FROM unnest(sealed_secrets) AS sealed WHERE NOT starts_with(sealed, :beginning))
           OR NOT starts_with(sealed_headers, :beginning))
    ORDER BY id
    LIMIT :limit
    FOR NO KEY UPDATE
""")


class Sealed(NamedTuple):
    """What is sealed of an endpoint: its secrets, newest first, and its headers, if it has some."""

    secrets: Sequence[str]
    headers: str | None

    def __repr__(self) -> str:
        return f"Sealed({len(self.secrets)} secrets, …)"


async def lock_under_other_keys(
    connection: AsyncConnection, beginning: str, *, after: str, limit: int
) -> dict[str, Sealed]:
    """The next endpoints after the id `after` with a sealed text that has another beginning. Locks the endpoints."""
    wanted = {"beginning": beginning, "after": after, "limit": limit}
    rows = await connection.execute(_UNDER_OTHER_KEYS, wanted)
    return {row.id: Sealed(list(row.sealed_secrets), row.sealed_headers) for row in rows}


_REPLACE = text(f"""
    UPDATE endpoints SET sealed_secrets = new.sealed_secrets, sealed_headers = new.sealed_headers
    FROM {ENDPOINT_SEALED.array("rows")} AS new
    WHERE endpoints.id = new.id AND endpoints.id = ANY(CAST(:ids AS text[]))
""")


async def replace(connection: AsyncConnection, sealed: Mapping[str, Sealed]) -> None:
    """Give endpoints, which are locked, these sealed texts in place of theirs, by endpoint."""
    rows = [
        ENDPOINT_SEALED.row(id=id_, sealed_secrets=list(secrets), sealed_headers=headers)
        for id_, (secrets, headers) in sealed.items()
    ]
    await connection.execute(_REPLACE, {"rows": rows, "ids": list(sealed)})


class Sample(NamedTuple):
    """A sealed text, for all of the same key: what `schemas.sealing` opens it by, and how many there are."""

    version: str
    number: int
    kind: Literal["secret", "headers"]
    endpoint_id: str
    sealed: str

    def __repr__(self) -> str:
        return f"Sample({self.version}, {self.number})"


_SAMPLES = text("""
    SELECT DISTINCT ON (version) version, count(*) OVER (PARTITION BY version), kind, id, sealed
    FROM (
        SELECT split_part(sealed, ':', 2) AS version, kind, id, sealed
        FROM (SELECT id, 'secret' AS kind, unnest(sealed_secrets) AS sealed FROM endpoints
              UNION ALL
              SELECT id, 'headers', sealed_headers FROM endpoints WHERE sealed_headers IS NOT NULL) AS each) AS texts
    ORDER BY version, id
""")


async def samples(connection: AsyncConnection) -> list[Sample]:
    """A sealed text of each key."""
    return [Sample(*row) for row in await connection.execute(_SAMPLES)]


_KEY_VERSIONS = text("""
    SELECT split_part(sealed, ':', 2) AS version, count(*)
    FROM endpoints CROSS JOIN unnest(sealed_secrets || sealed_headers) AS sealed
    WHERE sealed IS NOT NULL
    GROUP BY version
    ORDER BY version
""")


async def key_versions(connection: AsyncConnection) -> dict[str, int]:
    """How many secrets are sealed with the key of each version; the headers of an endpoint count as one."""
    return dict((await connection.execute(_KEY_VERSIONS)).tuples().all())
