"""The wallets that a run is limited to: those about which something changed since a time.

They are written down when the run begins, in slices, so that its pages read them in the order of their ids. A wallet
changed if an event of it was made, or if a vendor reported on a credential that it knows.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import WalletId
from store.ids import first_at

# Rows of one statement: some tenths of a second.
_SLICE = 20_000

# An id of an event begins with its time, and later rows of the inbox have higher ids.
_ADD_OF_EVENTS = text("""
    WITH made AS MATERIALIZED (SELECT id, wallet_id FROM events WHERE id > :after ORDER BY id LIMIT :slice),
    added AS (
        INSERT INTO reconciliation_subjects (run_id, wallet_id)
        SELECT DISTINCT CAST(:run_id AS bigint), wallet_id FROM made WHERE wallet_id IS NOT NULL
        ON CONFLICT DO NOTHING)
    SELECT id FROM made ORDER BY id OFFSET :slice - 1
""")
_ADD_OF_UPDATES = text("""
    WITH read AS MATERIALIZED (SELECT id, old_key FROM inbox WHERE id > :after ORDER BY id LIMIT :slice),
    added AS (
        INSERT INTO reconciliation_subjects (run_id, wallet_id)
        SELECT DISTINCT CAST(:run_id AS bigint), knowing.wallet_id
        FROM read
        CROSS JOIN LATERAL (
            SELECT wallet_id FROM payment_method_credentials WHERE key = read.old_key OFFSET 0) AS knowing
        ON CONFLICT DO NOTHING)
    SELECT id FROM read ORDER BY id OFFSET :slice - 1
""")


async def add_of_events(connection: AsyncConnection, run_id: int, after: UUID) -> UUID | None:
    """Write down the wallets of the next events after an id; the id of the last one, None if there are no more."""
    last: UUID | None = await connection.scalar(_ADD_OF_EVENTS, {"run_id": run_id, "after": after, "slice": _SLICE})
    return last


async def add_of_updates(connection: AsyncConnection, run_id: int, after: int) -> int | None:
    """Write down the wallets that know the next updates' credentials; the last one's id, None if there are no more."""
    last: int | None = await connection.scalar(_ADD_OF_UPDATES, {"run_id": run_id, "after": after, "slice": _SLICE})
    return last


_ENDS = text("""
    SELECT (SELECT id FROM inbox ORDER BY id LIMIT 1), (SELECT id FROM inbox ORDER BY id DESC LIMIT 1)
""")
_AT = text("SELECT received_at < :since FROM inbox WHERE id >= :id ORDER BY id LIMIT 1")
# A row has the time at which its transaction began, half a minute before its commit at most, and ids of the meantime.
_MARGIN_SECONDS = 60


def before_events(since: datetime) -> UUID:
    """The highest id that no event made at `since` or later has, give or take a minute between clocks."""
    return UUID(int=first_at(datetime.fromtimestamp(since.timestamp() - _MARGIN_SECONDS, since.tzinfo)).int - 1)


async def before_updates(connection: AsyncConnection, since: datetime) -> int:
    """An id of the inbox that all rows received at `since` or later are above, found by halving."""
    first, last = (await connection.execute(_ENDS)).one()
    if first is None:
        return 0
    earlier, later = first - 1, last + 1
    moment = datetime.fromtimestamp(since.timestamp() - _MARGIN_SECONDS, since.tzinfo)
    while later - earlier > 1:
        middle = (earlier + later) // 2
        if await connection.scalar(_AT, {"id": middle, "since": moment}):
            earlier = middle
        else:
            later = middle
    return int(earlier)


_PAGE = text("""
    SELECT CAST(wallet_id AS text) FROM reconciliation_subjects
    WHERE run_id = :run_id AND wallet_id > CAST(:after AS uuid)
    ORDER BY reconciliation_subjects.wallet_id
    LIMIT :limit
""")
_FORGET = text("DELETE FROM reconciliation_subjects WHERE run_id = :run_id")


async def page_of_ids(connection: AsyncConnection, after: WalletId, limit: int, *, run_id: int) -> list[WalletId]:
    """Up to `limit` wallets of the run after the id `after`, in order."""
    return list(await connection.scalars(_PAGE, {"run_id": run_id, "after": after, "limit": limit}))


async def forget(connection: AsyncConnection, run_id: int) -> None:
    """Delete what was written down for the run."""
    await connection.execute(_FORGET, {"run_id": run_id})
