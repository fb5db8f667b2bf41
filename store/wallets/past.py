"""How wallets came to their methods: what replaced what, and which credentials facts led to."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.undo import Past, Succession
from domain.wallet import Key, MethodId, Wallet

_LINEAGE = text("""
    SELECT CAST(old_id AS text), CAST(new_id AS text), vendor IS NOT NULL OR reason = 'RETRACTED',
           CAST(links AS text[]), was_default, was_subscription_default, replaced_at
    FROM lineage WHERE old_id = ANY(CAST(:ids AS uuid[]))
""")
_LEARNT = text("""
    SELECT CAST(payment_method_id AS text), key, learnt FROM payment_method_credentials
    WHERE payment_method_id = ANY(CAST(:ids AS uuid[])) AND learnt IS NOT FALSE
""")
# An id that we make begins with its time (UUID version 7), and the replacement's is that of the transaction.
_VERSION = 7
_OF_ONE_TRANSACTION = timedelta(minutes=1)


async def past(connection: AsyncConnection, wallets: Sequence[Wallet]) -> Past:
    """The past of these wallets.

    Rows from before these columns do not say what moved, nor which credentials were learnt. A method that was made in
    the transaction of its replacement has learnt all of its credentials; others are taken for the customer's.
    """
    ids = [method.id for wallet in wallets for method in wallet.methods]
    successions: dict[MethodId, Succession] = {}
    created: set[MethodId] = set()
    for old_id, new_id, by_fact, links, default, subscription_default, at in await connection.execute(
        _LINEAGE, {"ids": ids}
    ):
        successions[old_id] = Succession(
            old_id, new_id, by_fact, frozenset(links or ()), bool(default), bool(subscription_default)
        )
        if by_fact and _was_made_at(new_id, at):
            created.add(new_id)
    learnt: dict[MethodId, set[Key]] = {}
    for method_id, key, is_learnt in await connection.execute(_LEARNT, {"ids": ids}):
        if is_learnt or method_id in created:
            learnt.setdefault(method_id, set()).add(key)
    return Past({id_: frozenset(keys) for id_, keys in learnt.items()}, successions)


def _was_made_at(method_id: MethodId, at: datetime) -> bool:
    id_ = UUID(method_id)
    if id_.version != _VERSION:
        return False
    made_at = datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
    return abs(made_at - at) <= _OF_ONE_TRANSACTION
