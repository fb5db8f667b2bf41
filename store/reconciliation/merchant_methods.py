"""The payment methods that a merchant stores: what each is now, and the deliveries that would tell it so."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId, MethodId
from store.new_deliveries import NewDelivery


class StoredMethod(NamedTuple):
    """A method as it is now. `current_id` is the live one that has replaced it.

    A method of a wallet that the merchant does not share is not `is_known`, like one that does not exist.
    """

    is_known: bool
    is_live: bool
    current_id: MethodId | None


# 100 steps: see `links`.
_METHODS = text("""
    SELECT method.id IS NOT NULL, coalesce(method.live, false), CAST(current.id AS text)
    FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS wanted(id, place)
    LEFT JOIN LATERAL (
        SELECT id, wallet_id, live, replaced_by FROM payment_methods
        WHERE id = wanted.id
          AND (SELECT true FROM wallet_merchants
               WHERE wallet_id = payment_methods.wallet_id AND merchant_id = :merchant_id)
        OFFSET 0) AS method ON true
    LEFT JOIN LATERAL (
        WITH RECURSIVE successors AS (
            SELECT id, live, replaced_by, 1 AS step
            FROM payment_methods WHERE id = method.replaced_by AND wallet_id = method.wallet_id
            UNION ALL
            SELECT next.id, next.live, next.replaced_by, step + 1
            FROM successors CROSS JOIN LATERAL (
                SELECT id, live, replaced_by FROM payment_methods
                WHERE id = successors.replaced_by AND wallet_id = method.wallet_id OFFSET 0) AS next
            WHERE step < 100)
        SELECT id FROM successors WHERE live LIMIT 1) AS current ON true
    ORDER BY wanted.place
""")


async def find(connection: AsyncConnection, merchant_id: MerchantId, ids: Sequence[MethodId]) -> list[StoredMethod]:
    """What the methods of these ids are to the merchant, in the same order."""
    rows = await connection.execute(_METHODS, {"merchant_id": merchant_id, "ids": ids})
    return [StoredMethod._make(row) for row in rows]


class CopyDeliveryState(StrEnum):
    """The state of an event at an endpoint, for a merchant whose export does not show that it knows of the event."""

    MISSED = "MISSED"
    """It died, arrived before the export was made, or was never sent."""
    ON_ITS_WAY = "ON_ITS_WAY"
    RECEIVED = "RECEIVED"
    """It arrived after the export was made."""
    CANCELLED = "CANCELLED"


class CopyDelivery(NamedTuple):
    """A delivery that would tell the merchant what became of a method that it stores."""

    method_id: MethodId
    delivery: NewDelivery
    state: CopyDeliveryState


# The events by which a merchant with the method learns what is current: the DELETED of each method from it on, and each
# REPLACED of one of them by a later one. An event of the method's own past is none of them: the merchant has its id.
_DELIVERIES = text("""
    SELECT CAST(wanted.id AS text) AS method_id, event.id, endpoint.id, CAST(event.wallet_id AS text), event.sequence,
           CASE WHEN (
               SELECT true FROM deliveries
               WHERE endpoint_id = endpoint.id AND wallet_id = event.wallet_id AND sequence = event.sequence
               LIMIT 1) THEN 'ON_ITS_WAY'
           ELSE (
               SELECT CASE WHEN bool_or(status = 'DELIVERED' AND finished_at >= :exported_at) THEN 'RECEIVED'
                           WHEN bool_or(status = 'CANCELLED') AND NOT bool_or(status = 'DELIVERED') THEN 'CANCELLED'
                           ELSE 'MISSED' END
               FROM (SELECT endpoint_id, status, finished_at FROM delivery_history
                     WHERE event_id = event.id OFFSET 0) AS finished
               WHERE endpoint_id = endpoint.id) END AS state
    FROM unnest(CAST(:ids AS uuid[])) AS wanted(id)
    CROSS JOIN LATERAL (
        WITH RECURSIVE successors AS (
            SELECT id, wallet_id, replaced_by, 1 AS step FROM payment_methods WHERE id = wanted.id
            UNION ALL
            SELECT next.id, next.wallet_id, next.replaced_by, step + 1
            FROM successors CROSS JOIN LATERAL (
                SELECT id, wallet_id, replaced_by FROM payment_methods
                WHERE id = successors.replaced_by AND wallet_id = successors.wallet_id OFFSET 0) AS next
            WHERE step < 100)
        SELECT array_agg(id) AS ids FROM successors) AS chain
    CROSS JOIN LATERAL (
        SELECT id, wallet_id, merchant_id, sequence, name, body, payment_method_id
        FROM events WHERE payment_method_id = ANY(chain.ids) OFFSET 0) AS event
    CROSS JOIN LATERAL (
        SELECT id FROM endpoints
        WHERE merchant_id = :merchant_id AND removed_at IS NULL AND event.name = ANY(event_types) OFFSET 0) AS endpoint
    WHERE event.merchant_id = :merchant_id
      AND CASE event.name
          WHEN 'PAYMENT_METHOD_DELETED' THEN true
          WHEN 'PAYMENT_METHOD_REPLACED' THEN (
              SELECT true FROM unnest(chain.ids) AS former(id)
              WHERE position(convert_to('"deletedPaymentMethodId":"' || former.id || '"', 'UTF8') IN event.body) > 0
              LIMIT 1)
          END
    ORDER BY event.wallet_id, event.sequence, endpoint.id
""")


async def deliveries(
    connection: AsyncConnection, merchant_id: MerchantId, ids: Collection[MethodId], exported_at: datetime
) -> list[CopyDelivery]:
    """The deliveries of stored events by which the merchant learns what became of these methods, all its own."""
    values = {"merchant_id": merchant_id, "ids": list(ids), "exported_at": exported_at}
    return [
        CopyDelivery(method_id, NewDelivery._make(delivery), CopyDeliveryState(state))
        for method_id, *delivery, state in await connection.execute(_DELIVERIES, values)
    ]
