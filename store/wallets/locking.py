"""Wallets by the credentials that they know and the customers that they belong to."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Identity, Key, WalletId
from store.rows import IDENTITY

# Look-ups are driven by the values that are given: a join might turn round and compare each row of a table with each
# value, where the statistics say that the table is empty (see docs/decisions.md, "Plans do not hang on statistics").
_OF_CUSTOMERS = f"""
    SELECT (SELECT coalesce(merged_into, id) FROM wallets WHERE id = customer.wallet_id) AS wallet_id
    FROM {IDENTITY.array("identities")} AS wanted
    CROSS JOIN LATERAL (
        SELECT wallet_id FROM customer_identities WHERE name = wanted.name AND value = wanted.value
        OFFSET 0) AS customer
"""
_NAMED = f"""
    SELECT wallet_id FROM payment_method_credentials WHERE key = ANY(CAST(:keys AS text[]))
    UNION
    SELECT wallet_id FROM wallet_leads WHERE key = ANY(CAST(:keys AS text[]))
    UNION
    {_OF_CUSTOMERS}
"""
_FIND = text(f"SELECT CAST(wallet_id AS text) FROM ({_NAMED}) AS named ORDER BY named.wallet_id LIMIT :limit")
_LOCK = text(f"""
    WITH named AS ({_NAMED})
    SELECT CAST(id AS text) FROM wallets
    WHERE id = ANY(ARRAY(
        SELECT wallet_id FROM named WHERE CAST(:after AS uuid) IS NULL OR wallet_id > CAST(:after AS uuid)
        ORDER BY wallet_id LIMIT CAST(:limit AS bigint)))
    ORDER BY wallets.id FOR NO KEY UPDATE
""")


async def find(
    connection: AsyncConnection, keys: Collection[Key], identities: Collection[Identity], *, limit: int
) -> list[WalletId]:
    """The first wallets that know any of `keys`, or are of the customers so identified; nothing is locked."""
    rows = await connection.execute(_FIND, {"keys": list(keys), "identities": list(identities), "limit": limit})
    return list(rows.scalars())


async def lock(
    connection: AsyncConnection,
    keys: Collection[Key],
    identities: Collection[Identity] = (),
    *,
    after: WalletId | None = None,
    limit: int | None = None,
) -> list[WalletId]:
    """Lock the wallets that know any of `keys`, and those of the customers so identified; their ids, in order.

    `after` leaves out the wallets up to that id; `limit` is the largest number of wallets.

    The credentials of `keys` are locked already (`store.knowledge.lock`), so no further wallet can come to know one.
    """
    rows = await connection.execute(
        _LOCK, {"keys": list(keys), "identities": list(identities), "after": after, "limit": limit}
    )
    return list(rows.scalars())


_LOCK_BY_ID = text("""
    SELECT id FROM wallets WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")


async def lock_by_id(connection: AsyncConnection, ids: Collection[WalletId]) -> None:
    """Lock these wallets. A caller that changes their contents has locked the credentials that they know."""
    await connection.execute(_LOCK_BY_ID, {"ids": list(ids)})


_KEYS_OF = text(f"""
    WITH named AS MATERIALIZED ({_OF_CUSTOMERS})
    SELECT key FROM payment_method_credentials WHERE payment_method_id = ANY(ARRAY(
        SELECT id FROM payment_methods WHERE wallet_id = ANY(ARRAY(SELECT wallet_id FROM named))))
    UNION
    SELECT key FROM wallet_leads WHERE wallet_id = ANY(ARRAY(SELECT wallet_id FROM named))
""")


async def keys_of(connection: AsyncConnection, identities: Collection[Identity]) -> set[Key]:
    """The credentials in the wallets of these customers: a merge lets another wallet come to know them."""
    return set(await connection.scalars(_KEYS_OF, {"identities": list(identities)}))
