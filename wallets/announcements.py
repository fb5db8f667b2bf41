"""Announce changed wallets: write events, numbered per wallet and merchant, and their deliveries."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import ChangedWallet
from domain.wallet import WalletId
from schemas import event as wire
from store import events, lines, new_deliveries
from store.ids import uuid7

EVENTS = Counter("repoint_events_total", "Events made for merchants")
"""The caller counts its events here after the commit."""


OnDue: TypeAlias = Callable[[AbstractSet[str]], None]
"""Called after a commit with the ids of the endpoints that have new deliveries."""


class Announced(NamedTuple):
    """The number of `events` that were written, and the endpoints that have deliveries due by them."""

    events: int = 0
    due: AbstractSet[str] = frozenset()


async def announce(connection: AsyncConnection, changed: Sequence[ChangedWallet]) -> Announced:
    """Write the events of the changed wallets, and a delivery for each subscribed endpoint."""
    return await write_events(
        connection,
        [
            (wallet.after.id, announcement)
            for wallet in changed
            for announcement in wire.announcements(wallet.after, wallet.changes)
        ],
    )


async def write_events(
    connection: AsyncConnection, announced: Sequence[tuple[WalletId, wire.Announcement]]
) -> Announced:
    """Write an event for each announcement about a wallet, and a delivery for each subscribed endpoint.

    The caller has locked the wallets.
    """
    if not announced:
        return Announced()
    numbered = [(wallet_id, announcement.merchant_id) for wallet_id, announcement in announced]
    numbers, subscriptions = await lines.number(connection, numbered)
    now = datetime.now(UTC)
    created_at = wire.timestamp(now)
    written = []
    for (wallet_id, announcement), line in zip(announced, numbered, strict=True):
        sequence = numbers[line]
        numbers[line] = sequence + 1
        event_id = uuid7()
        body = wire.render(announcement, event_id, wallet_id, sequence, created_at)
        merchant_id, name, method_id = announcement.merchant_id, str(announcement.name), announcement.method_id
        written.append(events.Event(event_id, wallet_id, merchant_id, sequence, name, method_id, body, now))
    return Announced(len(written), await _enqueue(connection, written, subscriptions))


async def _enqueue(
    connection: AsyncConnection, written: Sequence[events.Event], subscriptions: lines.Subscriptions
) -> AbstractSet[str]:
    new = [
        new_deliveries.NewDelivery.of(event, endpoint_id)
        for event in written
        for endpoint_id, event_types in subscriptions.get(event.merchant_id, ())
        if event.name in event_types
    ]
    await new_deliveries.add(connection, new, written)
    return {delivery.endpoint_id for delivery in new}
