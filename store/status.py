"""The history of one payment method: what replaced it, its links, and the webhooks about it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Link, MerchantId, Method, MethodId, Wallet, WalletId
from store import wallets
from store.attempts import ATTEMPTS_OF_IDS


@dataclass(frozen=True, slots=True)
class Replacement:
    """A row of `lineage`."""

    old_id: MethodId
    new_id: MethodId
    reason: str
    vendor: str | None
    update_id: str | None
    replaced_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of `attempts`."""

    number: int
    outcome: str
    status_code: int | None
    milliseconds: int
    at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryWithAttempts:
    """A delivery, live or finished, with its attempts. An event of no wallet has no wallet, method and sequence."""

    id: int
    event_id: UUID
    name: str
    merchant_id: MerchantId
    endpoint_id: str
    wallet_id: WalletId | None
    method_id: MethodId | None
    sequence: int | None
    status: str
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class MethodHistory:
    """The history of `method`. `chain` are the replacements that lead to `current`, oldest first, among `methods`.

    `current` is None where the customer removed it. `links` are those of the method itself and of the current one;
    `deliveries` are about any method of the chain.
    """

    wallet_id: WalletId
    method: Method
    current: Method | None
    methods: Mapping[MethodId, Method]
    chain: tuple[Replacement, ...]
    links: tuple[Link, ...]
    deliveries: tuple[DeliveryWithAttempts, ...]


_WALLET_OF = text("SELECT CAST(wallet_id AS text) FROM payment_methods WHERE id = :id")


async def find(connection: AsyncConnection, method_id: MethodId) -> MethodHistory | None:
    """The history of a payment method; None if no method has this id. Several statements: give it a snapshot."""
    try:
        uuid = UUID(method_id)
    except ValueError:
        return None
    wallet_id = await connection.scalar(_WALLET_OF, {"id": uuid})
    if wallet_id is None:
        return None
    [wallet] = await wallets.load(connection, [wallet_id])
    methods = {method.id: method for method in wallet.methods}
    method = methods[str(uuid)]
    last = _last(method, methods)
    family = {member.id: member for member in wallet.methods if _last(member, methods) is last}
    return MethodHistory(
        wallet_id,
        method,
        last if last.live else None,
        family,
        await _chain(connection, wallet, family),
        tuple(link for link in wallet.links if link.method_id in {method.id, last.id}),
        await _deliveries(connection, family),
    )


def _last(method: Method, methods: Mapping[MethodId, Method]) -> Method:
    """The method at the end of the chain. Lineage has no circles, so there is an end."""
    while method.replaced_by is not None:
        method = methods[method.replaced_by]
    return method


_LINEAGE = text("""
    SELECT CAST(old_id AS text), CAST(new_id AS text), reason, vendor, update_id, replaced_at
    FROM lineage WHERE wallet_id = :wallet_id AND old_id = ANY(CAST(:ids AS uuid[]))
    ORDER BY replaced_at, old_id
""")


async def _chain(connection: AsyncConnection, wallet: Wallet, family: Collection[MethodId]) -> tuple[Replacement, ...]:
    rows = await connection.execute(_LINEAGE, {"wallet_id": wallet.id, "ids": list(family)})
    return tuple(Replacement(*row) for row in rows)


_DELIVERIES = text("""
    SELECT delivery.id, event.id, event.name, event.merchant_id, endpoint_id, CAST(delivery.wallet_id AS text),
           CAST(event.payment_method_id AS text), event.sequence, delivery.status, due_at, delivery.created_at,
           finished_at
    FROM events AS event
    CROSS JOIN LATERAL (
        SELECT id, endpoint_id, wallet_id, status, due_at, created_at, NULL AS finished_at
        FROM deliveries WHERE event_id = event.id
        UNION ALL
        SELECT id, endpoint_id, wallet_id, status, NULL, created_at, finished_at
        FROM delivery_history WHERE event_id = event.id) AS delivery
    WHERE event.payment_method_id = ANY(CAST(:ids AS uuid[]))
    ORDER BY event.merchant_id, event.sequence, delivery.endpoint_id, delivery.id
""")
_ATTEMPTS = text(f"""
    SELECT delivery_id, number, outcome, status_code, took_ms, attempted_at
    FROM {ATTEMPTS_OF_IDS} AS attempt ORDER BY delivery_id, number
""")


async def _deliveries(connection: AsyncConnection, methods: Collection[MethodId]) -> tuple[DeliveryWithAttempts, ...]:
    rows = list(await connection.execute(_DELIVERIES, {"ids": list(methods)}))
    attempts: dict[int, list[Attempt]] = {row[0]: [] for row in rows}
    for delivery_id, *attempt in await connection.execute(_ATTEMPTS, {"ids": list(attempts)}):
        attempts[delivery_id].append(Attempt(*attempt))
    return tuple(DeliveryWithAttempts(*(*row, tuple(attempts[row[0]]))) for row in rows)
