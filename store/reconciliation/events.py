"""Events that are lost: changes without their events, events without their deliveries, and gaps in the numbers.

What retention removed is not lost, and neither is what was never to be written: an event for a merchant who shares the
wallet since a later time, and a delivery for an endpoint that subscribed later.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId, MethodId, WalletId
from store.new_deliveries import NewDelivery
from store.rows import SEQUENCE_GAP


class LostEvent(NamedTuple):
    """An event named `name` that `merchant_id` lacks about the replacement of a method.

    `successor_id` is the method that it has come to by now: live, or the last one before a person removed it.
    """

    wallet_id: WalletId
    method_id: MethodId
    successor_id: MethodId
    merchant_id: MerchantId
    name: str
    reason: str


class Gap(NamedTuple):
    """The numbers from `first` to `last`, that no event of the wallet for the merchant has."""

    wallet_id: WalletId
    merchant_id: MerchantId
    first: int
    last: int


class LateCounter(NamedTuple):
    """The number of the latest event as the wallet's counter for a merchant has it, and as the events have it."""

    wallet_id: WalletId
    merchant_id: MerchantId
    counted: int
    latest: int


# Clocks of processes may be so far apart, and history goes by whole days.
_MARGIN = timedelta(days=1)

# A change in a wallet that was merged into this one since was announced to the merchants of that wallet. Its events
# have the id of that wallet; where all of them are lost, the gap in its numbers shows it. A replacement without a
# vendor was imported, which is announced to nobody, or made by a merge: then some event is about it.
# The successor may have been replaced since: an event that names any later one is as good. 100 steps: see `links`.
_LOST_EVENTS = text("""
    SELECT CAST(method.wallet_id AS text), CAST(method.id AS text), CAST(chain.end_id AS text), shared.merchant_id,
           expected.name, replacement.reason
    FROM (SELECT id, wallet_id FROM payment_methods
          WHERE wallet_id = ANY(CAST(:ids AS uuid[])) AND status = 'DELETED' OFFSET 0) AS method
    CROSS JOIN LATERAL (
        SELECT new_id, reason, vendor, replaced_at FROM lineage WHERE old_id = method.id
          AND replaced_at >= coalesce((SELECT removed_before FROM retention_horizons WHERE table_name = 'events'),
                                      '-infinity') + CAST(:margin AS interval)
        OFFSET 0) AS replacement
    CROSS JOIN LATERAL (
        WITH RECURSIVE successors AS (
            SELECT id, live, replaced_by, 1 AS step
            FROM payment_methods WHERE id = replacement.new_id AND wallet_id = method.wallet_id
            UNION ALL
            SELECT next.id, next.live, next.replaced_by, step + 1
            FROM successors CROSS JOIN LATERAL (
                SELECT id, live, replaced_by FROM payment_methods
                WHERE id = successors.replaced_by AND wallet_id = method.wallet_id OFFSET 0) AS next
            WHERE step < 100)
        SELECT array_agg(id) AS ids, bool_or(live) AS is_live,
               (array_agg(id ORDER BY live DESC, step DESC))[1] AS end_id
        FROM successors) AS chain
    CROSS JOIN LATERAL (
        SELECT bool_or(wallet_id = method.wallet_id) AS is_of_this_wallet
        FROM events WHERE payment_method_id = method.id OFFSET 0) AS reported
    CROSS JOIN LATERAL (
        SELECT merchant_id FROM wallet_merchants
        WHERE wallet_id = method.wallet_id AND shared_at <= replacement.replaced_at OFFSET 0) AS shared
    CROSS JOIN (VALUES ('PAYMENT_METHOD_REPLACED', 1), ('PAYMENT_METHOD_DELETED', 2)) AS expected(name, place)
    WHERE chain.ids IS NOT NULL
      AND coalesce(reported.is_of_this_wallet,
                       replacement.vendor IS NOT NULL
                       AND (SELECT true FROM wallets WHERE merged_into = method.wallet_id LIMIT 1) IS NULL)
      AND CASE expected.name
          WHEN 'PAYMENT_METHOD_DELETED' THEN (
              SELECT true
              FROM (SELECT merchant_id, name FROM events WHERE payment_method_id = method.id OFFSET 0) AS event
              WHERE merchant_id = shared.merchant_id AND name = expected.name
              LIMIT 1) IS NULL
          ELSE chain.is_live AND (
              SELECT true
              FROM (SELECT merchant_id, name, body FROM events WHERE payment_method_id = ANY(chain.ids) OFFSET 0)
                   AS event
              WHERE merchant_id = shared.merchant_id AND name = expected.name
                AND position(convert_to('"deletedPaymentMethodId":"' || method.id || '"', 'UTF8') IN body) > 0
              LIMIT 1) IS NULL END
    ORDER BY method.wallet_id, replacement.replaced_at, method.id, shared.merchant_id, expected.place
""")


async def lost_events(connection: AsyncConnection, wallet_ids: Collection[WalletId]) -> list[LostEvent]:
    """The events that merchants of these wallets lack about replacements, in the order in which they are sent."""
    rows = await connection.execute(_LOST_EVENTS, {"ids": list(wallet_ids), "margin": _MARGIN})
    return [LostEvent._make(row) for row in rows]


# The transaction that adds an endpoint, or an event type of one, commits a moment after the time that the row has.
_SUBSCRIBING = timedelta(minutes=1)
# The place in the line, and not the event: another one's delivery may have taken it, which the job `deliveries` puts
# where it belongs. All partitions of the history are looked at by the event: with bounds for their days, a plan might
# read a day whole whose statistics say that it is empty.
_MISSING_DELIVERIES = text("""
    SELECT event.id, endpoint.id, CAST(event.wallet_id AS text), event.sequence
    FROM events AS event
    CROSS JOIN LATERAL (
        SELECT id FROM endpoints
        WHERE merchant_id = event.merchant_id AND removed_at IS NULL AND event.name = ANY(event_types)
          AND subscribed_at <= event.created_at - CAST(:subscribing AS interval)
        OFFSET 0) AS endpoint
    WHERE event.wallet_id = ANY(CAST(:ids AS uuid[]))
      AND event.created_at >= CAST(:margin AS interval) + greatest(
          now() - CAST(:kept_for AS interval),
          (SELECT removed_before FROM retention_horizons WHERE table_name = 'delivery_history'))
      AND coalesce(
          (SELECT true FROM deliveries
           WHERE endpoint_id = endpoint.id AND wallet_id = event.wallet_id AND sequence = event.sequence LIMIT 1),
          (SELECT true
           FROM (SELECT endpoint_id FROM delivery_history WHERE event_id = event.id OFFSET 0) AS finished
           WHERE endpoint_id = endpoint.id LIMIT 1)) IS NULL
    ORDER BY event.wallet_id, endpoint.id, event.sequence
""")


async def missing_deliveries(
    connection: AsyncConnection, wallet_ids: Collection[WalletId], *, kept_for: timedelta
) -> list[NewDelivery]:
    """The deliveries that events of these wallets lack. `kept_for` is how long finished ones are kept."""
    values = {"ids": list(wallet_ids), "kept_for": kept_for, "margin": _MARGIN, "subscribing": _SUBSCRIBING}
    return [NewDelivery._make(row) for row in await connection.execute(_MISSING_DELIVERIES, values)]


# Retention removes the oldest events: before the first that is left, it may have removed any.
_GAPS = text("""
    SELECT CAST(line.wallet_id AS text), line.merchant_id, numbered.before + 1 AS first, numbered.sequence - 1 AS last
    FROM wallet_merchants AS line
    CROSS JOIN LATERAL (
        SELECT sequence, lag(sequence, 1, CAST(0 AS bigint)) OVER (ORDER BY sequence) AS before
        FROM (SELECT sequence FROM events WHERE wallet_id = line.wallet_id AND merchant_id = line.merchant_id
              UNION ALL
              SELECT line.sequence + 1) AS numbers) AS numbered
    WHERE line.wallet_id = ANY(CAST(:ids AS uuid[])) AND numbered.before < numbered.sequence - 1
      AND (numbered.before > 0 OR (SELECT true FROM retention_horizons WHERE table_name = 'events') IS NULL)
      AND (SELECT true FROM sequence_gaps AS gap
           WHERE gap.wallet_id = line.wallet_id AND gap.merchant_id = line.merchant_id
             AND gap.first <= numbered.before + 1 AND gap.last >= numbered.sequence - 1
           LIMIT 1) IS NULL
    ORDER BY line.wallet_id, line.merchant_id, first
""")
_LATE_COUNTERS = text("""
    SELECT CAST(line.wallet_id AS text), line.merchant_id, line.sequence, newest.sequence
    FROM wallet_merchants AS line
    CROSS JOIN LATERAL (
        SELECT sequence FROM events WHERE wallet_id = line.wallet_id AND merchant_id = line.merchant_id
        ORDER BY sequence DESC LIMIT 1) AS newest
    WHERE line.wallet_id = ANY(CAST(:ids AS uuid[])) AND newest.sequence > line.sequence
    ORDER BY line.wallet_id, line.merchant_id
""")


async def gaps(connection: AsyncConnection, wallet_ids: Collection[WalletId]) -> list[Gap]:
    """The gaps in the numbers of these wallets' events that were not noted before."""
    return [Gap._make(row) for row in await connection.execute(_GAPS, {"ids": list(wallet_ids)})]


async def late_counters(connection: AsyncConnection, wallet_ids: Collection[WalletId]) -> list[LateCounter]:
    """The counters of these wallets that would give a number out again: no batch can announce a change of such one."""
    return [LateCounter._make(row) for row in await connection.execute(_LATE_COUNTERS, {"ids": list(wallet_ids)})]


_NOTE = text(f"""
    {SEQUENCE_GAP.insert("sequence_gaps", "gaps")}
    ON CONFLICT (wallet_id, merchant_id, first)
    DO UPDATE SET last = greatest(sequence_gaps.last, excluded.last), noted_at = now()
""")
_COUNT_ON = text("""
    UPDATE wallet_merchants AS line SET sequence = greatest(line.sequence, (
        SELECT sequence FROM events WHERE wallet_id = line.wallet_id AND merchant_id = line.merchant_id
        ORDER BY sequence DESC LIMIT 1))
    WHERE wallet_id = ANY(CAST(:ids AS uuid[]))
""")


async def note(connection: AsyncConnection, gaps: Sequence[Gap]) -> None:
    """Note that the events of these numbers are lost for ever. The caller has locked the wallets."""
    await connection.execute(_NOTE, {"gaps": [SEQUENCE_GAP.row(*gap) for gap in gaps]})


async def count_on(connection: AsyncConnection, wallet_ids: Collection[WalletId]) -> None:
    """Have the counters of these wallets go on after the latest event. The caller has locked the wallets."""
    await connection.execute(_COUNT_ON, {"ids": list(wallet_ids)})
