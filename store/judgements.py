"""Updates of the inbox that wait for a person's judgement, and what became of them by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import Verdict, WaitingUpdate
from domain.update import Outcome, Stamp, UpdateType
from store.inbox import waiting_update


@dataclass(frozen=True, slots=True)
class JudgedUpdate:
    """An update as a person judges it: what it waits for, and its outcome so far.

    `update` has no keys and no customers if nothing of it is kept. `is_original`: it was the first one with its id.
    """

    update: WaitingUpdate
    type: UpdateType
    verdict: Verdict
    is_original: bool


_FIND = """
    SELECT occurred_at, vendor, update_id, type, outcome, reason, original,
           ARRAY(SELECT key FROM parked_updates WHERE inbox_id = inbox.id),
           coalesce((SELECT CAST(about AS text) FROM parked_updates WHERE inbox_id = inbox.id LIMIT 1),
                    (SELECT CAST(about AS text) FROM quarantined_merges WHERE inbox_id = inbox.id))
    FROM inbox WHERE id = :id
"""
_LOOK = text(_FIND)
_LOCK = text(f"{_FIND} FOR UPDATE")


async def find(connection: AsyncConnection, inbox_id: int) -> JudgedUpdate | None:
    """The update of that row of the inbox; None if there is none."""
    return _judged(inbox_id, (await connection.execute(_LOOK, {"id": inbox_id})).one_or_none())


async def lock(connection: AsyncConnection, inbox_id: int) -> JudgedUpdate | None:
    """The same, locked until the transaction ends.

    The caller has locked the credentials or wallets that it waits for: a batch that decides the update locks these
    before it writes its outcome.
    """
    return _judged(inbox_id, (await connection.execute(_LOCK, {"id": inbox_id})).one_or_none())


def _judged(inbox_id: int, row: Sequence[Any] | None) -> JudgedUpdate | None:
    if row is None:
        return None
    at, vendor, update_id, type_, outcome, reason, is_original, keys, about = row
    update = waiting_update(inbox_id, Stamp(at, vendor, update_id), keys, about)
    return JudgedUpdate(update, UpdateType(type_), Verdict(Outcome(outcome), reason), is_original)


_END = text("""
    WITH waits AS (DELETE FROM parked_updates WHERE inbox_id = :id),
    merges AS (DELETE FROM quarantined_merges WHERE inbox_id = :id),
    held AS (DELETE FROM held_updates WHERE inbox_id = :id),
    further AS (DELETE FROM unfinished_updates WHERE inbox_id = :id)
    UPDATE inbox SET outcome = :outcome, reason = :reason WHERE id = :id
""")


async def end(connection: AsyncConnection, inbox_id: int, verdict: Verdict) -> None:
    """Give an update its outcome. It waits for nothing any more."""
    await connection.execute(_END, {"id": inbox_id, "outcome": verdict.outcome, "reason": verdict.reason})
