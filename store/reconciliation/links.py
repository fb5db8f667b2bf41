"""Links that are not where their method is. Constraints refuse them, but a restore or a script may go around those."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind
from domain.wallet import WalletId
from store.reconciliation.page import Page, page_of
from store.wallets import BEFORE_ALL

# 100 steps: a circle of successors must not keep the statement going.
_CURRENT = """
    (WITH RECURSIVE successors AS (
         SELECT method.id, method.status, method.replaced_by, 0 AS step
         UNION ALL
         SELECT next.id, next.status, next.replaced_by, step + 1
         FROM successors CROSS JOIN LATERAL (
             SELECT id, status, replaced_by FROM payment_methods WHERE id = successors.replaced_by OFFSET 0) AS next
         WHERE step < 100)
     SELECT id FROM successors WHERE status <> 'DELETED')
"""
# A link that no method can pay is not touched: the check of its method would end every run at its page.
# A link whose method was deleted by a script is left alone. It is counted: a page that lacks a row would be taken for
# the last one.
_DIFFERENCES = f"""
    SELECT link.id, difference.kind,
           CASE difference.kind WHEN 'LINK_IN_OTHER_WALLET' THEN CAST(method.wallet_id AS text)
                                WHEN 'LINK_ON_DELETED_METHOD' THEN CAST({_CURRENT} AS text)
                                WHEN 'LINK_WITHOUT_MERCHANT' THEN link.merchant_id END AS expected,
           CASE difference.kind WHEN 'LINK_IN_OTHER_WALLET' THEN CAST(link.wallet_id AS text)
                                WHEN 'LINK_ON_DELETED_METHOD' THEN CAST(method.id AS text) END AS found
    FROM link
    LEFT JOIN LATERAL (
        SELECT id, wallet_id, status, replaced_by FROM payment_methods WHERE id = link.payment_method_id OFFSET 0
    ) AS method ON true
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN method.id IS NULL THEN NULL
            WHEN link.status <> 'CANCELLED' AND method.status = 'DELETED'
                 AND (link.wallet_id = method.wallet_id OR {_CURRENT} IS NULL) THEN 'LINK_ON_DELETED_METHOD'
            WHEN link.wallet_id <> method.wallet_id THEN 'LINK_IN_OTHER_WALLET'
            WHEN NOT EXISTS (SELECT FROM wallet_merchants AS shared
                             WHERE (shared.wallet_id, shared.merchant_id) = (link.wallet_id, link.merchant_id))
            THEN 'LINK_WITHOUT_MERCHANT' END AS kind) AS difference
    ORDER BY link.id
"""
_PAGE = text(f"""
    WITH link AS (SELECT * FROM payment_links WHERE id > CAST(:after AS uuid) ORDER BY id LIMIT :limit)
    {_DIFFERENCES}
""")
_OF_WALLETS = text(f"""
    WITH link AS (SELECT * FROM payment_links WHERE wallet_id = ANY(CAST(:ids AS uuid[]))) {_DIFFERENCES}
""")


async def examine(connection: AsyncConnection, after: str, limit: int) -> Page:
    """The next links after the id `after`; an empty text is the beginning."""
    return page_of(await connection.execute(_PAGE, {"after": UUID(after or BEFORE_ALL), "limit": limit}), limit)


async def examine_wallets(connection: AsyncConnection, ids: Sequence[WalletId]) -> Page:
    """The links of these wallets."""
    return page_of(await connection.execute(_OF_WALLETS, {"ids": list(ids)}))


# The wallets that updates lock too: a link is not moved while one of them changes it.
_LOCK = text("""
    SELECT id FROM wallets WHERE id IN (
        SELECT wallet_id FROM payment_links WHERE id = ANY(CAST(:ids AS uuid[]))
        UNION
        SELECT method.wallet_id FROM payment_links JOIN payment_methods AS method ON method.id = payment_method_id
        WHERE payment_links.id = ANY(CAST(:ids AS uuid[])))
    ORDER BY id
    FOR NO KEY UPDATE
""")
_SHARE = text("""
    INSERT INTO wallet_merchants (wallet_id, merchant_id)
    SELECT DISTINCT method.wallet_id, link.merchant_id
    FROM payment_links AS link JOIN payment_methods AS method ON method.id = link.payment_method_id
    WHERE link.id = ANY(CAST(:ids AS uuid[]))
    ON CONFLICT DO NOTHING
""")
_TO_WALLET = text("""
    UPDATE payment_links AS link SET wallet_id = method.wallet_id
    FROM payment_methods AS method
    WHERE link.id = ANY(CAST(:ids AS uuid[])) AND method.id = link.payment_method_id
      AND link.wallet_id <> method.wallet_id
""")
_TO_METHOD = text(f"""
    UPDATE payment_links AS link SET payment_method_id = (
        SELECT {_CURRENT} FROM payment_methods AS method WHERE method.id = link.payment_method_id)
    WHERE id = ANY(CAST(:ids AS uuid[])) AND status <> 'CANCELLED'
      AND (SELECT method.status FROM payment_methods AS method WHERE method.id = link.payment_method_id) = 'DELETED'
""")


async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
    """Put links where their method is: in its wallet, and on the one that replaced it. Return the repaired.

    A link on a method that was deleted without a successor stays: a person decides what it is paid with.
    """
    repairable = {finding for finding in findings if finding.expected is not None}
    ids = [UUID(finding.subject) for finding in repairable]
    if ids:
        await connection.execute(_LOCK, {"ids": ids})
        await connection.execute(_SHARE, {"ids": ids})
        await connection.execute(_TO_WALLET, {"ids": _of(repairable, FindingKind.LINK_IN_OTHER_WALLET)})
        await connection.execute(_TO_METHOD, {"ids": _of(repairable, FindingKind.LINK_ON_DELETED_METHOD)})
    return repairable


def _of(findings: Collection[Finding], kind: FindingKind) -> list[Any]:
    return [UUID(finding.subject) for finding in findings if finding.kind is kind]
