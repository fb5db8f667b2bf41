"""New events and their deliveries, which are put at the end of their lines (`store.deliveries`)."""

from collections.abc import Sequence
from typing import NamedTuple, Self
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import WalletId
from store.events import Event
from store.lines import lock_ends
from store.rows import DELIVERY, EVENT


class NewDelivery(NamedTuple):
    """An event for an endpoint; `sequence` is the event's."""

    event_id: UUID
    endpoint_id: str
    wallet_id: WalletId
    sequence: int

    @classmethod
    def of(cls, event: Event, endpoint_id: str) -> Self:
        """The delivery of `event`. An event that speaks of no wallet's change is a line of its own: nothing waits."""
        return cls(event.id, endpoint_id, event.wallet_id or str(event.id), event.sequence or 0)


# Scalar subqueries in place of joins: their plan is an index probe a row whatever the statistics say.
_ADD = text(f"""
    WITH written AS ({EVENT.insert("events", "events")})
    INSERT INTO deliveries ({DELIVERY.columns}, status, due_at)
    SELECT {DELIVERY.values},
           CASE (SELECT status FROM endpoints WHERE id = endpoint_id)
               WHEN 'ENABLED' THEN 'PENDING' WHEN 'DISABLED' THEN 'PARKED' END,
           CASE WHEN place = 1 AND (
               SELECT min(live.sequence) FROM deliveries AS live
               WHERE live.endpoint_id = new.endpoint_id AND live.wallet_id = new.wallet_id) IS NULL
           THEN now() END
    FROM (SELECT {DELIVERY.values}, row_number() OVER (PARTITION BY endpoint_id, wallet_id ORDER BY sequence) AS place
          FROM {DELIVERY.array("deliveries")}) AS new
    ORDER BY wallet_id, endpoint_id, sequence
""")


async def enqueue(
    connection: AsyncConnection, deliveries: Sequence[NewDelivery], *, events: Sequence[Event] = ()
) -> None:
    """Write new `events`, and put deliveries at the end of their lines, in two statements whatever their number.

    The caller has locked the wallets of the events: no other transaction may add to a line of theirs meanwhile. Waits
    for a dispatcher that is just finishing a line's head.
    """
    if deliveries:
        await lock_ends(connection, {(delivery.endpoint_id, delivery.wallet_id) for delivery in deliveries})
    await add(connection, deliveries, events)


async def add(connection: AsyncConnection, deliveries: Sequence[NewDelivery], events: Sequence[Event]) -> None:
    """As `enqueue`, of lines whose ends the caller has locked (`store.lines`)."""
    if deliveries or events:
        await connection.execute(_ADD, {"events": events, "deliveries": deliveries})


_ID = text("""
    SELECT id FROM deliveries WHERE endpoint_id = :endpoint_id AND wallet_id = :wallet_id AND sequence = :sequence
""")


async def id_of(connection: AsyncConnection, delivery: NewDelivery) -> int:
    """The id of a delivery that was just enqueued."""
    _, endpoint_id, wallet_id, sequence = delivery
    row = {"endpoint_id": endpoint_id, "wallet_id": UUID(wallet_id), "sequence": sequence}
    return int((await connection.execute(_ID, row)).scalar_one())
