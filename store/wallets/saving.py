"""What changed of wallets, written back.

The order matters: a replaced method lets go of its flags and identity before another takes them, and the merchants
of a merged wallet are united before its links arrive. What is not true in between is deferred to the commit by the
schema.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import Turn
from domain.settle import Replaced
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
    -- what the source knew, the target knows now
    forgotten AS (DELETE FROM wallet_leads WHERE wallet_id = ANY(CAST(:sources AS uuid[]))),
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
# A method keeps its type and what only its file has; what deletes it is written by the statement above.
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


async def save(connection: AsyncConnection, turns: Sequence[Turn]) -> None:
    """Write the difference between each wallet before and after; `before` is what the database holds, locked."""
    await _save_merges(connection, turns)
    await _save_methods(connection, turns)
    await _save_links(connection, turns)
    await _save_lineage(connection, turns)
    leads = [
        WALLET_LEAD.row(wallet_id=turn.after.id, key=key)
        for turn in turns
        for key in sorted(turn.after.leads - turn.before.leads)
    ]
    if leads:
        await connection.execute(_ADD_LEADS, {"leads": leads})


async def _save_methods(connection: AsyncConnection, turns: Sequence[Turn]) -> None:
    before = {method.id: (turn.before, method) for turn in turns for method in turn.before.methods}
    deleted: dict[str, Values] = {}
    changed: dict[str, Values] = {}
    new: dict[str, Values] = {}
    credentials: list[Values] = []
    for turn in turns:
        wallet_id = turn.after.id
        for method in turn.after.methods:
            wallet, former = before.get(method.id, (None, None))
            if former is method and wallet is turn.before:
                continue
            if former is None:
                rows, keys = new, method.keys
            else:
                rows, keys = deleted if former.live and not method.live else changed, method.keys - former.keys
            rows[method.id] = write_method(wallet_id, method)
            credentials += write_credentials(wallet_id, method, keys)
    for statement, rows in ((_DELETE_METHODS, deleted), (_UPDATE_METHODS, changed)):
        if rows:
            await connection.execute(statement, {"methods": list(rows.values()), "ids": list(rows)})
    if new:
        await connection.execute(_INSERT_METHODS, {"methods": list(new.values())})
    if credentials:
        await connection.execute(ADD_CREDENTIALS, {"credentials": credentials})


async def _save_merges(connection: AsyncConnection, turns: Iterable[Turn]) -> None:
    merges = [
        WALLET_MERGE.row(id=turn.after.id, merged_into=turn.after.merged_into)
        for turn in turns
        if turn.after.merged_into != turn.before.merged_into
    ]
    if not merges:
        return
    merchants = [
        WALLET_MERCHANT.row(wallet_id=turn.after.id, merchant_id=merchant)
        for turn in turns
        for merchant in turn.after.merchants
        if merchant not in turn.before.merchants
    ]
    await connection.execute(ADD_MERCHANTS, {"merchants": merchants})
    sources = [turn.before.id for turn in turns if turn.after.merged_into != turn.before.merged_into]
    await connection.execute(_MERGE, {"merges": merges, "sources": sources})


async def _save_links(connection: AsyncConnection, turns: Iterable[Turn]) -> None:
    before = {link.id: link.method_id for turn in turns for link in turn.before.links}
    moved = [link for turn in turns for link in turn.after.links if link.method_id != before[link.id]]
    if moved:
        links = [LINK_MOVE.row(id=link.id, payment_method_id=link.method_id) for link in moved]
        await connection.execute(_MOVE_LINKS, {"links": links, "ids": [link.id for link in moved]})


async def _save_lineage(connection: AsyncConnection, turns: Iterable[Turn]) -> None:
    replacements = [
        LINEAGE.row(
            old_id=change.old.id,
            new_id=change.new.id,
            wallet_id=turn.after.id,
            reason=change.reason,
            vendor=None if change.fact is None else change.fact.stamp.vendor,
            update_id=None if change.fact is None else change.fact.stamp.update_id,
        )
        for turn in turns
        for change in turn.changes
        if isinstance(change, Replaced)
    ]
    if replacements:
        await connection.execute(ADD_LINEAGE, {"replacements": replacements})
