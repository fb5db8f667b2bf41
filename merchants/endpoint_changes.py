"""Endpoints that a person adds and removes, with the audit of it: what a command and the API do alike."""

from enum import Enum
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId
from schemas import endpoint_headers
from schemas.event import url_host
from schemas.merchant import EndpointLine
from schemas.sealing import Keys
from schemas.views import EndpointView
from store import audit, cancelled_deliveries, endpoints, merchants
from store.audit import Act
from store.endpoints import Endpoint
from store.merchants import NewEndpoint


def as_stored(keys: Keys, merchant_id: MerchantId, endpoint: EndpointLine, *, sealed_secret: str) -> NewEndpoint:
    """The row of an endpoint that a file or a command describes."""
    headers = endpoint_headers.write(endpoint.headers)
    return NewEndpoint(
        endpoint.id,
        merchant_id,
        endpoint.url,
        sealed_secret,
        endpoint.event_types,
        endpoint.max_per_second,
        endpoint.retry_schedule,
        keys.seal(headers, "headers", endpoint.id) if endpoint.headers else None,
        sorted(endpoint.headers),
    )


class NotAdded(Enum):
    """Why an endpoint was not added."""

    NO_MERCHANT = "there is no such merchant"
    ID_IN_USE = "an endpoint has this id"
    ID_OF_REMOVED = "an endpoint with this id was removed, and its id is not given out again"


async def add(
    connection: AsyncConnection, keys: Keys, merchant_id: MerchantId, endpoint: EndpointLine, *, actor: str
) -> Endpoint | NotAdded:
    """Add an endpoint to a merchant. It receives the events of changes that are made from now on.

    The caller has checked that webhooks may go to its URL.
    """
    if not await merchants.known(connection, [merchant_id]):
        return NotAdded.NO_MERCHANT
    new = as_stored(keys, merchant_id, endpoint, sealed_secret=keys.seal(endpoint.secret, "secret", endpoint.id))
    if not await merchants.add_endpoint(connection, new):
        [existing] = await endpoints.read(connection, [endpoint.id], with_removed=True)
        return NotAdded.ID_IN_USE if existing.removed_at is None else NotAdded.ID_OF_REMOVED
    [added] = await endpoints.read(connection, [endpoint.id])
    await audit.record(connection, [Act(actor, "endpoint added", added.id, after=_settings(added))])
    return added


class Removed(NamedTuple):
    """An endpoint as it was, and its undelivered events: of 100,000 at most."""

    endpoint: Endpoint
    undelivered: int


async def remove(connection: AsyncConnection, endpoint_id: str, reason: str, *, actor: str) -> Removed | None:
    """Remove an endpoint: nothing more is sent to it, and its secrets are dropped. None if there is none.

    After the commit, call `cancel_undelivered` until it cancels none. Dispatchers cancel what it leaves.
    """
    await endpoints.lock(connection, [endpoint_id])
    former = await endpoints.read(connection, [endpoint_id])
    if not former:
        return None
    [endpoint] = former
    number, _ = (await endpoints.undelivered(connection, [endpoint_id]))[endpoint_id]
    await endpoints.remove(connection, endpoint_id, reason)
    before = {**_settings(endpoint), "status": endpoint.status, "undelivered": number}
    await audit.record(connection, [Act(actor, "endpoint removed", endpoint_id, reason, before=before)])
    return Removed(endpoint, number)


async def cancel_undelivered(connection: AsyncConnection, endpoint_id: str) -> int:
    """Cancel some live deliveries of a removed endpoint, each with its place in the history; how many."""
    return await cancelled_deliveries.cancel_removed(connection, endpoint_id)


def _settings(endpoint: Endpoint) -> dict[str, object]:
    """What was set for an endpoint, for the audit: without the path and the query of its URL, which may be secret."""
    shown = EndpointView.of(endpoint).as_json()
    return {
        "urlHost": url_host(endpoint.url),
        **{key: shown[key] for key in ("merchantId", "eventTypes", "headerNames", "maxPerSecond", "retrySchedule")},
    }
