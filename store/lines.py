"""The lines that new events are added to: their numbers, their endpoints, and their ends.

A (wallet, merchant) numbers its events without gaps. A line is the deliveries of one wallet to one endpoint
(`store.deliveries`).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId, WalletId
from store.rows import EVENT_COUNT, LINE


def _last_of(lines: str) -> str:
    """A query that locks the last delivery of each line in the FROM item `lines`.

    The last, for it alone cannot go without the line being empty: were the head locked, it could be recorded while we
    wait for it, and the next one after it before we commit. KEY SHARE keeps it from being deleted, not released.
    """
    return f"""
        SELECT id
        FROM deliveries
        WHERE id = ANY(ARRAY(
            SELECT (SELECT id FROM deliveries
                    WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id
                    ORDER BY sequence DESC
                    LIMIT 1)
            FROM {lines} AS line))
        ORDER BY id
        FOR KEY SHARE
    """


_LOCK_ENDS = text(_last_of(LINE.array("lines")))


async def lock_ends(connection: AsyncConnection, lines: Collection[tuple[str, WalletId]]) -> None:
    """Lock the ends of lines, each an endpoint's id and a wallet's, whose wallets the caller has locked.

    Waits for a dispatcher that is finishing a line's head.
    """
    await connection.execute(_LOCK_ENDS, {"lines": list(lines)})


# A row is a (wallet, merchant) with its first number, or an endpoint with the names of the events it subscribed to, or
# of a locked end, and then empty.
_NUMBER = text(f"""
    WITH numbered AS (
        UPDATE wallet_merchants AS line SET sequence = line.sequence + counted.events
        FROM {EVENT_COUNT.array("counts")} AS counted
        WHERE (line.wallet_id, line.merchant_id) = (counted.wallet_id, counted.merchant_id)
          AND line.wallet_id = ANY(CAST(:wallet_ids AS uuid[]))
        RETURNING line.wallet_id, line.merchant_id, line.sequence - counted.events + 1 AS first),
    endpoint AS MATERIALIZED (
        SELECT merchant_id, id, event_types FROM endpoints
        WHERE merchant_id = ANY(CAST(:merchant_ids AS text[])) AND removed_at IS NULL),
    added_to AS MATERIALIZED (
        SELECT endpoint.id AS endpoint_id, counted.wallet_id
        FROM {EVENT_COUNT.array("counts")} AS counted JOIN endpoint USING (merchant_id)),
    locked AS MATERIALIZED ({_last_of("added_to")})
    SELECT CAST(wallet_id AS text), merchant_id, first, NULL, NULL FROM numbered
    UNION ALL
    SELECT NULL, merchant_id, NULL, id, event_types FROM endpoint
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL FROM locked
""")

Subscriptions: TypeAlias = Mapping[MerchantId, Sequence[tuple[str, Sequence[str]]]]
"""The endpoints of each merchant: id, and the names of the events that it subscribed to."""


async def number(
    connection: AsyncConnection, events: Collection[tuple[WalletId, MerchantId]]
) -> tuple[dict[tuple[WalletId, MerchantId], int], Subscriptions]:
    """Take a sequence number for each of `events`, and lock the ends of the lines that they may be added to.

    Return the first number of each (wallet, merchant), and the endpoints of the merchants. The caller has locked the
    wallets. Waits for a dispatcher that is finishing a line's head.
    """
    counts = [
        EVENT_COUNT.row(wallet_id=wallet_id, merchant_id=merchant_id, events=count)
        for (wallet_id, merchant_id), count in Counter(events).items()
    ]
    wallet_ids = list({wallet_id for wallet_id, _ in events})
    merchant_ids = list({merchant_id for _, merchant_id in events})
    parameters = {"counts": counts, "wallet_ids": wallet_ids, "merchant_ids": merchant_ids}
    firsts: dict[tuple[WalletId, MerchantId], int] = {}
    endpoints: dict[MerchantId, list[tuple[str, Sequence[str]]]] = {}
    for wallet_id, merchant_id, first, endpoint_id, names in (await connection.execute(_NUMBER, parameters)).all():
        if first is not None:
            firsts[wallet_id, merchant_id] = first
        elif endpoint_id is not None:
            endpoints.setdefault(merchant_id, []).append((endpoint_id, names))
    return firsts, endpoints
