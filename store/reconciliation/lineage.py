"""Lineage and successors that do not agree: a replaced method names its successor, and has a row of lineage to it."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind
from domain.wallet import WalletId
from store.reconciliation.page import Page, page_of
from store.wallets import BEFORE_ALL

_DIFFERENCES = """
    SELECT method.id,
           CASE WHEN method.replaced_by IS NOT NULL AND lineage.old_id IS NULL THEN 'SUCCESSOR_WITHOUT_LINEAGE'
                WHEN method.replaced_by IS NULL AND lineage.old_id IS NOT NULL THEN 'LINEAGE_WITHOUT_SUCCESSOR'
                WHEN method.replaced_by <> lineage.new_id THEN 'OTHER_SUCCESSOR' END AS kind,
           CAST(coalesce(method.replaced_by, lineage.new_id) AS text) AS expected,
           CASE WHEN method.replaced_by IS NOT NULL THEN CAST(lineage.new_id AS text) END AS found
    FROM method
    LEFT JOIN LATERAL (SELECT old_id, new_id FROM lineage WHERE old_id = method.id OFFSET 0) AS lineage ON true
    ORDER BY method.id
"""
_PAGE = text(f"""
    WITH method AS (
        SELECT id, replaced_by FROM payment_methods WHERE id > CAST(:after AS uuid) ORDER BY id LIMIT :limit)
    {_DIFFERENCES}
""")
_OF_WALLETS = text(f"""
    WITH method AS (SELECT id, replaced_by FROM payment_methods WHERE wallet_id = ANY(CAST(:ids AS uuid[])))
    {_DIFFERENCES}
""")


async def examine(connection: AsyncConnection, after: str, limit: int) -> Page:
    """The next methods after the id `after`; an empty text is the beginning."""
    return page_of(await connection.execute(_PAGE, {"after": UUID(after or BEFORE_ALL), "limit": limit}), limit)


async def examine_wallets(connection: AsyncConnection, ids: Sequence[WalletId]) -> Page:
    """The methods of these wallets."""
    return page_of(await connection.execute(_OF_WALLETS, {"ids": list(ids)}))


_LOCK = text("""
    SELECT id FROM wallets
    WHERE id IN (SELECT wallet_id FROM payment_methods WHERE id = ANY(CAST(:ids AS uuid[])))
    ORDER BY id
    FOR NO KEY UPDATE
""")
# What the wallet holds is the truth that merchants see; the vendor's report is not known any more.
_WRITE = text("""
    INSERT INTO lineage (old_id, new_id, wallet_id, reason)
    SELECT id, replaced_by, wallet_id, coalesce(deleted_reason, 'UNKNOWN')
    FROM payment_methods
    WHERE id = ANY(CAST(:ids AS uuid[])) AND replaced_by IS NOT NULL
    ON CONFLICT (old_id) DO UPDATE SET new_id = excluded.new_id
""")
_NAME = text("""
    UPDATE payment_methods AS method SET replaced_by = lineage.new_id
    FROM lineage
    WHERE method.id = ANY(CAST(:ids AS uuid[])) AND lineage.old_id = method.id
      AND method.replaced_by IS NULL AND method.status = 'DELETED'
    RETURNING CAST(method.id AS text)
""")


async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
    """Write the rows of lineage that successors lack or contradict, and name the successors that lineage knows.

    Return the repaired. A live method with a row of lineage stays: a person decides whether it was replaced.
    """
    await connection.execute(_LOCK, {"ids": [UUID(finding.subject) for finding in findings]})
    written = {finding for finding in findings if finding.kind is not FindingKind.LINEAGE_WITHOUT_SUCCESSOR}
    await connection.execute(_WRITE, {"ids": [UUID(finding.subject) for finding in written]})
    successors = [UUID(finding.subject) for finding in findings if finding not in written]
    named = set(await connection.scalars(_NAME, {"ids": successors}))
    return written | {finding for finding in findings if finding.subject in named}
