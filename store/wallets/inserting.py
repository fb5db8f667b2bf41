"""New wallets, as a file has them: whether they can be inserted, inserted, and taken back."""

from collections import Counter
from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import LinkId, MethodId, Wallet, WalletId
from store.inbox import GATE
from store.rows import CUSTOMER_IDENTITY, LINEAGE, LINK, PAYMENT_METHOD, WALLET, WALLET_MERCHANT
from store.wallets.rows import write_credentials, write_link, write_method, write_wallet
from store.wallets.saving import ADD_CREDENTIALS, ADD_LINEAGE, ADD_MERCHANTS

_PRESENT = text("""
    SELECT CAST(id AS text) FROM wallets WHERE id = ANY(CAST(:wallet_ids AS uuid[]))
    UNION ALL SELECT CAST(id AS text) FROM payment_methods WHERE id = ANY(CAST(:method_ids AS uuid[]))
    UNION ALL SELECT CAST(id AS text) FROM payment_links WHERE id = ANY(CAST(:link_ids AS uuid[]))
""")


def ids_of(wallet: Wallet) -> list[str]:
    """The ids of the wallet, of its methods and of its links."""
    return [wallet.id, *(method.id for method in wallet.methods), *(link.id for link in wallet.links)]


async def present(connection: AsyncConnection, new: Sequence[Wallet]) -> set[str]:
    """The ids of these wallets, of their methods and links, that are there already."""
    parameters = {
        "wallet_ids": [wallet.id for wallet in new],
        "method_ids": [method.id for wallet in new for method in wallet.methods],
        "link_ids": [link.id for wallet in new for link in wallet.links],
    }
    return set(await connection.scalars(_PRESENT, parameters))


_UNLESS_PRESENT = "ON CONFLICT (id) DO NOTHING RETURNING CAST(id AS text)"
_INSERT_WALLETS = text(f"{WALLET.insert('wallets', 'wallets')} {_UNLESS_PRESENT}")
_INSERT_METHODS = text(f"{PAYMENT_METHOD.insert('payment_methods', 'methods')} {_UNLESS_PRESENT}")
_INSERT_LINKS = text(f"{LINK.insert('payment_links', 'links')} {_UNLESS_PRESENT}")
_INSERT_IDENTITIES = text(CUSTOMER_IDENTITY.insert("customer_identities", "identities"))


async def insert(connection: AsyncConnection, new: Sequence[Wallet]) -> set[str]:
    """Insert wallets as they are given; the ids (of wallets, methods or links) that are there already, or twice.

    Where any are, the transaction is to be rolled back. What vendors reported of their credentials is not looked at:
    resolve the wallets before the commit, behind the gate (`close_the_gate`).
    """
    # a look beforehand would not see those of an import that is not committed yet: the insertion waits for it
    return (
        _repeated(new)
        or await _insert_wallets(connection, new)
        or await _insert_methods(connection, new)
        or await _insert_links(connection, new)
    )


def _repeated(new: Sequence[Wallet]) -> set[str]:
    counts = (
        Counter(wallet.id for wallet in new),
        Counter(method.id for wallet in new for method in wallet.methods),
        Counter(link.id for wallet in new for link in wallet.links),
    )
    return {id_ for ids in counts for id_, count in ids.items() if count > 1}


async def _insert_wallets(connection: AsyncConnection, new: Sequence[Wallet]) -> set[WalletId]:
    """The wallets alone, with what names their customers; the ids that are there already."""
    inserted = await connection.scalars(_INSERT_WALLETS, {"wallets": [write_wallet(wallet) for wallet in new]})
    present = {wallet.id for wallet in new}.difference(inserted)
    if present:
        return present
    identities = [
        CUSTOMER_IDENTITY.row(name=name, value=value, wallet_id=wallet.id)
        for wallet in new
        for name, value in wallet.customer.identities
    ]
    await connection.execute(_INSERT_IDENTITIES, {"identities": identities})
    merchants = [
        WALLET_MERCHANT.row(wallet_id=wallet.id, merchant_id=merchant)
        for wallet in new
        for merchant in wallet.merchants
    ]
    await connection.execute(ADD_MERCHANTS, {"merchants": merchants})
    return set()


async def _insert_methods(connection: AsyncConnection, new: Sequence[Wallet]) -> set[MethodId]:
    """The wallets' methods, with their credentials and what replaced them; the ids that are there already."""
    methods = [(wallet.id, method) for wallet in new for method in wallet.methods]
    inserted = await connection.scalars(
        _INSERT_METHODS, {"methods": [write_method(wallet_id, method) for wallet_id, method in methods]}
    )
    present = {method.id for _, method in methods}.difference(inserted)
    if present:
        return present
    credentials = [
        row for wallet_id, method in methods for row in write_credentials(wallet_id, method, method.keys, learnt=False)
    ]
    await connection.execute(ADD_CREDENTIALS, {"credentials": credentials})
    replacements = [
        LINEAGE.row(
            old_id=method.id,
            new_id=method.replaced_by,
            wallet_id=wallet_id,
            reason=method.deleted_reason or "REPLACED",
            vendor=None,
            update_id=None,
            links=None,
            was_default=None,
            was_subscription_default=None,
        )
        for wallet_id, method in methods
        if method.replaced_by is not None
    ]
    await connection.execute(ADD_LINEAGE, {"replacements": replacements})
    return set()


async def _insert_links(connection: AsyncConnection, new: Sequence[Wallet]) -> set[LinkId]:
    """The wallets' links; the ids that are there already."""
    links = [(wallet.id, link) for wallet in new for link in wallet.links]
    inserted = await connection.scalars(
        _INSERT_LINKS, {"links": [write_link(wallet_id, link) for wallet_id, link in links]}
    )
    return {link.id for _, link in links}.difference(inserted)


_MERGED_ASTRAY = text("""
    SELECT CAST(source.id AS text) FROM wallets AS source
    WHERE source.id = ANY(CAST(:ids AS uuid[])) AND source.merged_into IS NOT NULL
      AND (SELECT target.merged_into IS NULL FROM wallets AS target WHERE target.id = source.merged_into) IS NOT TRUE
""")


async def merged_astray(connection: AsyncConnection, ids: Collection[WalletId]) -> list[WalletId]:
    """Those of `ids` that are merged into no wallet, or into one that is merged itself."""
    return list(await connection.scalars(_MERGED_ASTRAY, {"ids": list(ids)}))


_METHODS_OF = "SELECT id FROM payment_methods WHERE wallet_id = ANY(CAST(:ids AS uuid[]))"
_REMOVE = [
    text("DELETE FROM payment_links WHERE wallet_id = ANY(CAST(:ids AS uuid[]))"),
    text(f"DELETE FROM lineage WHERE old_id = ANY(ARRAY({_METHODS_OF}))"),
    text(f"DELETE FROM payment_method_credentials WHERE payment_method_id = ANY(ARRAY({_METHODS_OF}))"),
    text("DELETE FROM payment_methods WHERE wallet_id = ANY(CAST(:ids AS uuid[]))"),
    text("DELETE FROM wallet_merchants WHERE wallet_id = ANY(CAST(:ids AS uuid[]))"),
    text("DELETE FROM customer_identities WHERE wallet_id = ANY(CAST(:ids AS uuid[]))"),
    text("DELETE FROM wallets WHERE id = ANY(CAST(:ids AS uuid[]))"),
]


async def remove(connection: AsyncConnection, ids: Collection[WalletId]) -> None:
    """Take back wallets that this transaction has inserted, and that no merchant has heard of."""
    for statement in _REMOVE:
        await connection.execute(statement, {"ids": list(ids)})


_CLOSE_THE_GATE = text("SELECT pg_advisory_xact_lock(:gate)")


async def close_the_gate(connection: AsyncConnection) -> None:
    """Wait for the batches that are under way, and keep others out until the transaction ends.

    An import lets wallets come to know credentials whose rows it has not locked. It resolves them behind the closed
    gate, so that no worker learns something of a credential in between.
    """
    await connection.execute(_CLOSE_THE_GATE, {"gate": GATE})


_TO_RESOLVE = text("""
    SELECT CAST(wallet_id AS text)
    FROM payment_methods
    CROSS JOIN LATERAL (
        SELECT key FROM payment_method_credentials WHERE payment_method_id = payment_methods.id OFFSET 0) AS known
    WHERE wallet_id = ANY(CAST(:ids AS uuid[])) AND coalesce(
        (SELECT true FROM credentials
         WHERE key = known.key AND (status IS NOT NULL OR expiry_year IS NOT NULL OR details IS NOT NULL) LIMIT 1),
        (SELECT true FROM replacement_facts WHERE old_key = known.key LIMIT 1),
        (SELECT true FROM replacement_facts WHERE old_alias = known.key LIMIT 1),
        (SELECT true FROM parked_updates WHERE key = known.key LIMIT 1))
    UNION
    SELECT CAST(wallet_id AS text) FROM customer_identities AS identity
    WHERE wallet_id = ANY(CAST(:ids AS uuid[]))
      AND (SELECT true FROM parked_updates WHERE key = '@' || identity.name || '=' || identity.value LIMIT 1)
""")


async def to_resolve(connection: AsyncConnection, ids: Collection[WalletId]) -> list[WalletId]:
    """Those of the new wallets `ids` whose credentials or customers vendors reported something of before."""
    return list(await connection.scalars(_TO_RESOLVE, {"ids": list(ids)}))
