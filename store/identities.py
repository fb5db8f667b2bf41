"""Which metadata of a customer is a name of theirs: the rows of `customer_identities`, as the setting wants it."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import WalletId

_FORGET = text("""
    DELETE FROM customer_identities WHERE name LIKE 'metadata.%' AND name <> ALL(CAST(:identifiers AS text[]))
    RETURNING name
""")
_NAME = text("""
    INSERT INTO customer_identities (name, value, wallet_id)
    SELECT 'metadata.' || described.key, described.value, wallets.id
    FROM wallets CROSS JOIN jsonb_each_text(metadata) AS described
    WHERE metadata <> '{}' AND 'metadata.' || described.key = ANY(CAST(:identifiers AS text[]))
    ON CONFLICT DO NOTHING RETURNING name
""")
_NAMELESS = text("""
    SELECT CAST(id AS text) FROM wallets
    WHERE merged_into IS NULL AND erased_at IS NULL AND enterprise_id IS NULL AND hsid IS NULL
      AND NOT EXISTS (SELECT FROM customer_identities WHERE wallet_id = wallets.id)
    ORDER BY wallets.id
""")


@dataclass(frozen=True)
class Followed:
    """How many wallets each identifier was added to and removed from, and the wallets that nothing names any more."""

    added: Counter[str]
    removed: Counter[str]
    nameless: list[WalletId]


async def follow(connection: AsyncConnection, identifiers: Collection[str]) -> Followed:
    """Let `identifiers` name customers, and no other metadata."""
    removed = Counter(await connection.scalars(_FORGET, {"identifiers": list(identifiers)}))
    added = Counter(await connection.scalars(_NAME, {"identifiers": list(identifiers)}))
    return Followed(added, removed, list(await connection.scalars(_NAMELESS)))
