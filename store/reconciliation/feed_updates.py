"""The updates of a vendor's file that the inbox has."""

from collections.abc import Collection
from typing import NamedTuple, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

UpdateName: TypeAlias = tuple[str, str]
"""An update's vendor and its id there."""


class InboxOriginal(NamedTuple):
    """The row of the first message with an update's id, and the digest of its content."""

    inbox_id: int
    digest: bytes


_ORIGINALS = text("""
    SELECT original.vendor, original.update_id, original.id, original.digest
    FROM unnest(CAST(:vendors AS text[]), CAST(:update_ids AS text[])) AS wanted(vendor, update_id)
    CROSS JOIN LATERAL (
        SELECT id, vendor, update_id, digest FROM inbox
        WHERE original AND vendor = wanted.vendor AND update_id = wanted.update_id
        OFFSET 0) AS original
""")


async def originals(connection: AsyncConnection, names: Collection[UpdateName]) -> dict[UpdateName, InboxOriginal]:
    """What the inbox has of the updates of these names."""
    values = {"vendors": [vendor for vendor, _ in names], "update_ids": [update_id for _, update_id in names]}
    rows = await connection.execute(_ORIGINALS, values)
    return {(vendor, update_id): InboxOriginal(id_, digest) for vendor, update_id, id_, digest in rows}
