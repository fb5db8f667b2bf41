"""Events for merchants, numbered for each wallet and merchant without gaps."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId, MethodId, WalletId
from store.rows import EVENT_COUNT


class Event(NamedTuple):
    """A row of `events`, its values in the order of the columns; `body` is what is signed and sent.

    An event that speaks of no wallet's change has no wallet, sequence and method.
    """

    id: UUID
    wallet_id: WalletId | None
    merchant_id: MerchantId
    sequence: int | None
    name: str
    method_id: MethodId | None
    body: bytes
    created_at: datetime


# A row is a line with its first number, or an endpoint of a merchant with the names of the events it subscribed to.
_NUMBER = text(f"""
    WITH numbered AS (
        UPDATE wallet_merchants AS line SET sequence = line.sequence + counted.events
        FROM {EVENT_COUNT.array("counts")} AS counted
        WHERE (line.wallet_id, line.merchant_id) = (counted.wallet_id, counted.merchant_id)
          AND line.wallet_id = ANY(CAST(:wallet_ids AS uuid[]))
        RETURNING line.wallet_id, line.merchant_id, line.sequence - counted.events + 1 AS first)
    SELECT CAST(wallet_id AS text), merchant_id, first, NULL, NULL FROM numbered
    UNION ALL
    SELECT NULL, merchant_id, NULL, id, event_types FROM endpoints
    WHERE merchant_id = ANY(CAST(:merchant_ids AS text[])) AND removed_at IS NULL
""")

Subscriptions: TypeAlias = Mapping[MerchantId, Sequence[tuple[str, Sequence[str]]]]
"""The endpoints of each merchant: id, and the names of the events that it subscribed to."""


async def number(
    connection: AsyncConnection, lines: Collection[tuple[WalletId, MerchantId]]
) -> tuple[dict[tuple[WalletId, MerchantId], int], Subscriptions]:
    """Take a sequence number for every (wallet, merchant) in `lines`.

    Return the first number of each line, and the endpoints that the merchants of `lines` have.
    """
    counts = [
        EVENT_COUNT.row(wallet_id=wallet_id, merchant_id=merchant_id, events=count)
        for (wallet_id, merchant_id), count in Counter(lines).items()
    ]
    wallet_ids = list({wallet_id for wallet_id, _ in lines})
    merchant_ids = list({merchant_id for _, merchant_id in lines})
    parameters = {"counts": counts, "wallet_ids": wallet_ids, "merchant_ids": merchant_ids}
    firsts: dict[tuple[WalletId, MerchantId], int] = {}
    endpoints: dict[MerchantId, list[tuple[str, Sequence[str]]]] = {}
    for wallet_id, merchant_id, first, endpoint_id, names in (await connection.execute(_NUMBER, parameters)).all():
        if first is not None:
            firsts[wallet_id, merchant_id] = first
        else:
            endpoints.setdefault(merchant_id, []).append((endpoint_id, names))
    return firsts, endpoints
