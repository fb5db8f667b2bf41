"""Events for merchants, numbered for each wallet and merchant without gaps."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple
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


_NUMBER = text(f"""
    UPDATE wallet_merchants AS line SET sequence = line.sequence + counted.events
    FROM {EVENT_COUNT.array("counts")} AS counted
    WHERE (line.wallet_id, line.merchant_id) = (counted.wallet_id, counted.merchant_id)
      AND line.wallet_id = ANY(CAST(:wallet_ids AS uuid[]))
    RETURNING CAST(line.wallet_id AS text), line.merchant_id, line.sequence - counted.events + 1
""")


async def number(
    connection: AsyncConnection, lines: Collection[tuple[WalletId, MerchantId]]
) -> Mapping[tuple[WalletId, MerchantId], int]:
    """Take a sequence number for every (wallet, merchant) in `lines`; the first number of each of them."""
    counts = [
        EVENT_COUNT.row(wallet_id=wallet_id, merchant_id=merchant_id, events=count)
        for (wallet_id, merchant_id), count in Counter(lines).items()
    ]
    wallet_ids = list({wallet_id for wallet_id, _ in lines})
    rows = (await connection.execute(_NUMBER, {"counts": counts, "wallet_ids": wallet_ids})).all()
    return {(wallet_id, merchant_id): first for wallet_id, merchant_id, first in rows}
