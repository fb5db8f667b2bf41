"""Unfinished updates: some wallets are not resolved by them yet. Each row has the last wallet that is, in id order."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import WaitingUpdate
from domain.update import Stamp, Update
from domain.wallet import WalletId
from store.knowledge_rows import read_scope, write_scope
from store.rows import UNFINISHED_UPDATE


class Unfinished(NamedTuple):
    """`update`, in the form of a waiting update. Wallets with ids up to `after` are resolved by it."""

    update: WaitingUpdate
    after: WalletId


_LEAVE = text(f"""
    INSERT INTO unfinished_updates ({UNFINISHED_UPDATE.columns}, after_wallet)
    SELECT {UNFINISHED_UPDATE.values}, CAST(:after AS uuid) FROM {UNFINISHED_UPDATE.array("updates")}
""")


async def leave(connection: AsyncConnection, updates: Iterable[tuple[int, Update]], *, after: WalletId) -> None:
    """Record that wallets after `after` are not resolved by the updates yet. Each update comes with its inbox id."""
    rows = [
        UNFINISHED_UPDATE.row(
            inbox_id=inbox_id, old_key=update.old.key, old_alias=update.old.alias, scope=write_scope(update.scope)
        )
        for inbox_id, update in updates
        if update.old is not None
    ]
    await connection.execute(_LEAVE, {"updates": rows, "after": after})


# Updates of one batch have the same last wallet and go on together: a wallet is resolved by everything known anyway.
_CLAIM = text("""
    WITH first AS (
        SELECT old_key, old_alias, after_wallet FROM unfinished_updates ORDER BY inbox_id LIMIT 1
        FOR UPDATE SKIP LOCKED)
    SELECT inbox_id, arrived.occurred_at, arrived.vendor, arrived.update_id, unfinished.old_key, unfinished.old_alias,
           unfinished.scope, CAST(unfinished.after_wallet AS text)
    FROM first
    JOIN unfinished_updates AS unfinished
      ON unfinished.old_key = first.old_key AND unfinished.old_alias IS NOT DISTINCT FROM first.old_alias
     AND unfinished.after_wallet = first.after_wallet
    CROSS JOIN LATERAL (SELECT occurred_at, vendor, update_id FROM inbox WHERE id = inbox_id OFFSET 0) AS arrived
    ORDER BY inbox_id
    FOR UPDATE OF unfinished SKIP LOCKED
""")


async def claim(connection: AsyncConnection) -> list[Unfinished]:
    """Lock the oldest unfinished updates of one credential with the same last wallet; [] if there are none."""
    claimed = []
    for inbox_id, at, vendor, update_id, key, alias, scope, after in await connection.execute(_CLAIM):
        keys = (key,) if alias is None else (key, alias)
        claimed.append(
            Unfinished(WaitingUpdate(inbox_id, Stamp(at, vendor, update_id), keys, read_scope(scope)), after)
        )
    return claimed


_MOVE_ON = text("""
    UPDATE unfinished_updates SET after_wallet = CAST(:after AS uuid) WHERE inbox_id = ANY(CAST(:inbox_ids AS bigint[]))
""")
_FINISH = text("DELETE FROM unfinished_updates WHERE inbox_id = ANY(CAST(:inbox_ids AS bigint[]))")
_COUNT = text("SELECT count(*) FROM unfinished_updates")


async def move_on(connection: AsyncConnection, updates: Sequence[Unfinished], *, after: WalletId) -> None:
    """Record that wallets up to `after` are resolved by the updates."""
    await connection.execute(
        _MOVE_ON, {"after": after, "inbox_ids": [unfinished.update.inbox_id for unfinished in updates]}
    )


async def finish(connection: AsyncConnection, updates: Sequence[Unfinished]) -> None:
    """Delete the rows of updates by which all wallets are resolved."""
    await connection.execute(_FINISH, {"inbox_ids": [unfinished.update.inbox_id for unfinished in updates]})


async def count(connection: AsyncConnection) -> int:
    updates: int = (await connection.execute(_COUNT)).scalar_one()
    return updates
