"""Write changed wallets back.

The order matters. A replaced method must lose its flags and identity before another method receives them. The merchants
of a merged wallet must be in the target before its links are. The schema defers all other constraints to the commit.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import ChangedWallet
from domain.resolve import Replaced
from store.rows import (
    LINEAGE,
    LINK_MOVE,
    METHOD_CREDENTIAL,
    PAYMENT_METHOD,
    WALLET_LEAD,
    WALLET_MERCHANT,
    WALLET_MERGE,
)
from store.wallets.rows import Values, write_credentials, write_method

ADD_MERCHANTS = text(f"{WALLET_MERCHANT.insert('wallet_merchants', 'merchants')} ON CONFLICT DO NOTHING")
ADD_CREDENTIALS = text(METHOD_CREDENTIAL.insert("payment_method_credentials", "credentials"))
ADD_LINEAGE = text(LINEAGE.insert("lineage", "replacements"))
_MERGE = text(f"""
    WITH merge AS MATERIALIZED (SELECT id AS source, merged_into AS target FROM {WALLET_MERGE.array("merges")}),
    -- the target knows the source's leads now
    forgotten AS (DELETE FROM wallet_leads WHERE wallet_id = ANY(ARRAY(SELECT source FROM merge))),
    moved AS MATERIALIZED (
        SELECT source AS id, target FROM merge
        UNION
        SELECT former.id, target
        FROM merge CROSS JOIN LATERAL (SELECT id FROM wallets WHERE merged_into = source OFFSET 0) AS former)
    UPDATE wallets SET merged_into = target
    FROM moved
    WHERE wallets.id = moved.id AND wallets.id = ANY(ARRAY(SELECT id FROM moved))
""")
_DELETE_METHODS = text(f"""
    UPDATE payment_methods AS method
    SET status = 'DELETED', is_default = false, is_subscription_default = false, replaced_by = deleted.replaced_by,
        deleted_reason = deleted.deleted_reason, wallet_id = deleted.wallet_id
    FROM {PAYMENT_METHOD.array("methods")} AS deleted
    WHERE method.id = deleted.id AND method.id = ANY(CAST(:ids AS uuid[]))
""")
# A method keeps its type and its extra details. The statement above writes the columns of a deletion.
_NEVER_UPDATED = ("id", "type", "extra_details", "replaced_by", "deleted_reason")
_UPDATE_METHODS = text(f"""
    UPDATE payment_methods AS method SET {PAYMENT_METHOD.assignments("changed", without=_NEVER_UPDATED)}
    FROM {PAYMENT_METHOD.array("methods")} AS changed
    WHERE method.id = changed.id AND method.id = ANY(CAST(:ids AS uuid[]))
""")
_INSERT_METHODS = text(PAYMENT_METHOD.insert("payment_methods", "methods"))
_MOVE_LINKS = text(f"""
    UPDATE payment_links AS link SET payment_method_id = moved.payment_method_id
    FROM {LINK_MOVE.array("links")} AS moved
    WHERE link.id = moved.id AND link.id = ANY(CAST(:ids AS uuid[]))
""")
_ADD_LEADS = text(f"{WALLET_LEAD.insert('wallet_leads', 'leads')} ON CONFLICT DO NOTHING")


async def save(connection: AsyncConnection, changed: Sequence[ChangedWallet]) -> None:
    """Write the difference between each wallet before and after; `before` is what the database holds, locked."""
    await _save_merges(connection, changed)
    await _save_methods(connection, changed)
    await _save_links(connection, changed)
    await _save_lineage(connection, changed)
    leads = [
        WALLET_LEAD.row(wallet_id=wallet.after.id, key=key)
        for wallet in changed
        for key in sorted(wallet.after.leads - wallet.before.leads)
    ]
    if leads:
        await connection.execute(_ADD_LEADS, {"leads": leads})


async def _save_methods(connection: AsyncConnection, changed: Sequence[ChangedWallet]) -> None:
    before = {method.id: (wallet.before, method) for wallet in changed for method in wallet.before.methods}
    deleted: dict[str, Values] = {}
    updated: dict[str, Values] = {}
    new: dict[str, Values] = {}
    credentials: list[Values] = []
    for wallet in changed:
        wallet_id = wallet.after.id
        for method in wallet.after.methods:
            owner, former = before.get(method.id, (None, None))
            if former is method and owner is wallet.before:
                continue
            if former is None:
                rows, keys = new, method.keys
            else:
                rows, keys = deleted if former.live and not method.live else updated, method.keys - former.keys
            rows[method.id] = write_method(wallet_id, method)
            credentials += write_credentials(wallet_id, method, keys)
    for statement, rows in ((_DELETE_METHODS, deleted), (_UPDATE_METHODS, updated)):
        if rows:
            await connection.execute(statement, {"methods": list(rows.values()), "ids": list(rows)})
    if new:
        await connection.execute(_INSERT_METHODS, {"methods": list(new.values())})
    if credentials:
        await connection.execute(ADD_CREDENTIALS, {"credentials": credentials})


async def _save_merges(connection: AsyncConnection, changed: Iterable[ChangedWallet]) -> None:
    merges = [
        WALLET_MERGE.row(id=wallet.after.id, merged_into=wallet.after.merged_into)
        for wallet in changed
        if wallet.after.merged_into != wallet.before.merged_into
    ]
    if not merges:
        return
    merchants = [
        WALLET_MERCHANT.row(wallet_id=wallet.after.id, merchant_id=merchant)
        for wallet in changed
        for merchant in wallet.after.merchants
        if merchant not in wallet.before.merchants
    ]
    await connection.execute(ADD_MERCHANTS, {"merchants": merchants})
    await connection.execute(_MERGE, {"merges": merges})


async def _save_links(connection: AsyncConnection, changed: Iterable[ChangedWallet]) -> None:
    before = {link.id: link.method_id for wallet in changed for link in wallet.before.links}
    moved = [link for wallet in changed for link in wallet.after.links if link.method_id != before[link.id]]
    if moved:
        links = [LINK_MOVE.row(id=link.id, payment_method_id=link.method_id) for link in moved]
        await connection.execute(_MOVE_LINKS, {"links": links, "ids": [link.id for link in moved]})


async def _save_lineage(connection: AsyncConnection, changed: Iterable[ChangedWallet]) -> None:
    replacements = [
        LINEAGE.row(
            old_id=change.old.id,
            new_id=change.new.id,
            wallet_id=wallet.after.id,
            reason=change.reason,
            vendor=None if change.fact is None else change.fact.stamp.vendor,
            update_id=None if change.fact is None else change.fact.stamp.update_id,
        )
        for wallet in changed
        for change in wallet.changes
        if isinstance(change, Replaced)
    ]
    if replacements:
        await connection.execute(ADD_LINEAGE, {"replacements": replacements})
