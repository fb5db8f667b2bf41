"""Events about endpoints: that one was disabled, and tests. They speak of no wallet's change, and wait for no other."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas import event as wire
from schemas.event import EventName
from store import endpoints, new_deliveries
from store.endpoints import Endpoint
from store.events import Event
from store.ids import uuid7
from store.new_deliveries import NewDelivery


async def announce_disabled(connection: AsyncConnection, ids: Collection[str]) -> AbstractSet[str]:
    """Write an ENDPOINT_DISABLED for each of these endpoints, which this transaction has disabled.

    It goes to the other enabled endpoints of the merchant that subscribed to it. Call it after the transaction has
    recorded results: it counts the undelivered events. An event that no endpoint receives is not written.

    Return the endpoints that have deliveries due by it, for the caller to wake a dispatcher after the commit.
    """
    if not ids:
        return frozenset()
    disabled = await endpoints.read(connection, ids)
    undelivered = await endpoints.undelivered(connection, ids)
    by_merchant = await endpoints.of_merchants(connection, {endpoint.merchant_id for endpoint in disabled})
    now = datetime.now(UTC)
    written: list[Event] = []
    new: list[NewDelivery] = []
    for endpoint in disabled:
        subscribed = [other.id for other in by_merchant[endpoint.merchant_id] if _subscribed_to_disabled(other)]
        if not subscribed:
            continue
        number, oldest_at = undelivered[endpoint.id]
        payload = wire.endpoint_disabled(
            endpoint.id,
            endpoint.url,
            endpoint.disabled_reason,
            wire.timestamp(now),
            undelivered=number,
            oldest_at=oldest_at,
        )
        event_id = uuid7()
        body = wire.render_notice(EventName.ENDPOINT_DISABLED, event_id, wire.timestamp(now), payload)
        written.append(_event(event_id, endpoint.merchant_id, EventName.ENDPOINT_DISABLED, body, now))
        new += [NewDelivery.of(written[-1], endpoint_id) for endpoint_id in subscribed]
    await new_deliveries.enqueue(connection, new, events=written)
    return {delivery.endpoint_id for delivery in new}


def _subscribed_to_disabled(endpoint: Endpoint) -> bool:
    return endpoint.status == "ENABLED" and EventName.ENDPOINT_DISABLED in endpoint.event_types


class TestSent(NamedTuple):
    """An ENDPOINT_TEST and its delivery."""

    event_id: UUID
    delivery_id: int


async def send_test(connection: AsyncConnection, endpoint: Endpoint) -> TestSent:
    """Write an ENDPOINT_TEST for this endpoint alone, whatever it subscribed to. It is due at once."""
    event_id, now = uuid7(), datetime.now(UTC)
    payload = wire.endpoint_test(endpoint.id, endpoint.url)
    body = wire.render_notice(EventName.ENDPOINT_TEST, event_id, wire.timestamp(now), payload)
    event = _event(event_id, endpoint.merchant_id, EventName.ENDPOINT_TEST, body, now)
    delivery = NewDelivery.of(event, endpoint.id)
    await new_deliveries.enqueue(connection, [delivery], events=[event])
    return TestSent(event_id, await new_deliveries.id_of(connection, delivery))


def _event(id_: UUID, merchant_id: str, name: EventName, body: bytes, created_at: datetime) -> Event:
    return Event(id_, None, merchant_id, None, name.value, None, body, created_at)
