"""Events: what merchants are told, numbered per wallet and merchant without gaps."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId, MethodId, WalletId


class Event(NamedTuple):
    """A row of `events`; `body` is what is signed and sent."""

    id: UUID
    wallet_id: WalletId
    merchant_id: MerchantId
    sequence: int
    name: str
    method_id: MethodId
    body: bytes
    created_at: datetime


_NUMBER = text("""
    UPDATE wallet_merchants AS told SET sequence = told.sequence + more.events
    FROM unnest(CAST(:counts AS count_row[])) AS more
    WHERE (told.wallet_id, told.merchant_id) = (more.wallet_id, more.merchant_id)
    RETURNING CAST(told.wallet_id AS text), told.merchant_id, told.sequence - more.events + 1
""")


async def number(
    connection: AsyncConnection, told: Iterable[tuple[WalletId, MerchantId]]
) -> Mapping[tuple[WalletId, MerchantId], int]:
    """Take one sequence number for every (wallet, merchant) in `told`; the first of each one's numbers."""
    counts = Counter(told)
    rows = await connection.execute(_NUMBER, {"counts": [(*pair, count) for pair, count in counts.items()]})
    return {(wallet_id, merchant_id): first for wallet_id, merchant_id, first in rows}


_INSERT = text("""
    INSERT INTO events (id, wallet_id, merchant_id, sequence, name, payment_method_id, body, created_at)
    SELECT * FROM unnest(CAST(:events AS event_row[]))
""")


async def insert(connection: AsyncConnection, events: Sequence[Event]) -> None:
    await connection.execute(_INSERT, {"events": events})
