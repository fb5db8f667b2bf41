"""Wallets, whole, as the database holds them."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Wallet, WalletId
from store.rows import LINK, PAYMENT_METHOD, WALLET
from store.wallets.rows import read_wallet

_WALLETS = text(f"""
    SELECT {WALLET.selected},
           ARRAY(SELECT method
                 FROM (SELECT {PAYMENT_METHOD.selected},
                              ARRAY(SELECT key FROM payment_method_credentials
                                    WHERE payment_method_id = payment_methods.id)
                       FROM payment_methods WHERE wallet_id = wallets.id ORDER BY payment_methods.id) AS method),
           ARRAY(SELECT link
                 FROM (SELECT {LINK.selected}
                       FROM payment_links WHERE wallet_id = wallets.id ORDER BY payment_links.id) AS link),
           -- most have none, and need not be looked up
           CASE WHEN metadata <> '{{}}' THEN
               ARRAY(SELECT identity.name
                     FROM jsonb_each_text(metadata) AS described JOIN customer_identities AS identity
                     ON (identity.name, identity.value, identity.wallet_id)
                        = ('metadata.' || described.key, described.value, wallets.id))
           END,
           ARRAY(SELECT merchant_id FROM wallet_merchants WHERE wallet_id = id ORDER BY merchant_id),
           ARRAY(SELECT key FROM wallet_leads WHERE wallet_id = id),
           ARRAY(SELECT ARRAY[name, value] FROM customer_identities
                 WHERE wallet_id = ANY(ARRAY(
                     SELECT former.id FROM wallets AS former WHERE former.merged_into = wallets.id)))
    FROM wallets WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY wallets.id
""")


async def load(connection: AsyncConnection, ids: Collection[WalletId]) -> list[Wallet]:
    """The wallets of `ids`, whole, ordered by id; so are their methods and links."""
    return [read_wallet(row) for row in (await connection.execute(_WALLETS, {"ids": list(ids)})).all()]


_PAGE = text("""
    SELECT CAST(id AS text) FROM wallets WHERE id > CAST(:after AS uuid) ORDER BY wallets.id LIMIT :limit
""")
BEFORE_ALL = "00000000-0000-0000-0000-000000000000"


async def page_of_ids(connection: AsyncConnection, after: WalletId, limit: int) -> list[WalletId]:
    """Up to `limit` ids of wallets after the id `after`, in order."""
    return list(await connection.scalars(_PAGE, {"after": after, "limit": limit}))


async def page(connection: AsyncConnection, *, after: WalletId = BEFORE_ALL, limit: int = 1000) -> list[Wallet]:
    """Up to `limit` wallets after the id `after`, ordered by id."""
    return await load(connection, await page_of_ids(connection, after, limit))
