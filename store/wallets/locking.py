"""Wallets by the credentials that they know and the customers that they belong to."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Identity, Key, WalletId
from store.rows import IDENTITY

_LOCK = text(f"""
    WITH named AS (
        SELECT wallet_id FROM payment_method_credentials WHERE key = ANY(CAST(:keys AS text[]))
        UNION
        SELECT wallet_id FROM wallet_leads WHERE key = ANY(CAST(:keys AS text[]))
        UNION
        SELECT coalesce(merged_into, id)
        FROM wallets JOIN customer_identities ON wallet_id = id
        WHERE (name, value) IN (SELECT name, value FROM {IDENTITY.array("identities")})
    )
    SELECT CAST(id AS text) FROM wallets
    WHERE id IN (SELECT wallet_id FROM named WHERE CAST(:after AS uuid) IS NULL OR wallet_id > CAST(:after AS uuid)
                 ORDER BY wallet_id LIMIT CAST(:most AS bigint))
    ORDER BY wallets.id FOR NO KEY UPDATE
""")


async def lock(
    connection: AsyncConnection,
    keys: Collection[Key],
    identities: Collection[Identity] = (),
    *,
    after: WalletId | None = None,
    most: int | None = None,
) -> list[WalletId]:
    """Lock the wallets that know any of `keys`, and those of the customers so identified; their ids, in order.

    `after` leaves out the wallets up to that id, `most` those beyond so many.

    The credentials of `keys` are locked already (`store.knowledge.lock`), so no further wallet can come to know one.
    """
    rows = await connection.execute(
        _LOCK, {"keys": list(keys), "identities": list(identities), "after": after, "most": most}
    )
    return list(rows.scalars())


_KEYS_OF = text(f"""
    WITH named AS (
        SELECT coalesce(merged_into, id) AS wallet_id
        FROM wallets JOIN customer_identities ON wallet_id = id
        WHERE (name, value) IN (SELECT name, value FROM {IDENTITY.array("identities")})
    )
    SELECT key FROM payment_method_credentials WHERE wallet_id IN (SELECT wallet_id FROM named)
    UNION
    SELECT key FROM wallet_leads WHERE wallet_id IN (SELECT wallet_id FROM named)
""")


async def keys_of(connection: AsyncConnection, identities: Collection[Identity]) -> set[Key]:
    """The credentials in the wallets of these customers: a merge lets another wallet come to know them."""
    return set(await connection.scalars(_KEYS_OF, {"identities": list(identities)}))
