"""Merchants and the endpoints they are told at."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId
from store.rows import ENDPOINT, MERCHANT


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    id: str
    merchant_id: MerchantId
    url: str
    sealed_secret: str = field(repr=False)
    event_types: Sequence[str]
    max_per_second: float | None = None
    retry_schedule: Sequence[timedelta] | None = None
    sealed_headers: str | None = field(default=None, repr=False)
    header_names: Sequence[str] = ()


_UPSERT = text(f"{MERCHANT.insert('merchants', 'merchants')} ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name")
# What was seen of an endpoint's server says nothing about the server of another URL. A pace is that of its rate.
_UPSERT_ENDPOINTS = text(f"""
    {ENDPOINT.insert("endpoints", "endpoints")}
    ON CONFLICT (id) DO UPDATE
    SET url = EXCLUDED.url, event_types = EXCLUDED.event_types,
        max_per_second = EXCLUDED.max_per_second,
        paced_until = CASE WHEN endpoints.max_per_second = EXCLUDED.max_per_second THEN endpoints.paced_until END,
        retry_schedule = EXCLUDED.retry_schedule,
        sealed_headers = EXCLUDED.sealed_headers, header_names = EXCLUDED.header_names,
        sealed_secrets = CASE WHEN endpoints.sealed_secrets[1] = EXCLUDED.sealed_secrets[1]
                         THEN endpoints.sealed_secrets ELSE EXCLUDED.sealed_secrets END,
        former_secret_until = CASE WHEN endpoints.sealed_secrets[1] = EXCLUDED.sealed_secrets[1]
                              THEN endpoints.former_secret_until END,
        circuit = CASE WHEN endpoints.url = EXCLUDED.url THEN endpoints.circuit ELSE 'CLOSED' END,
        held_until = CASE WHEN endpoints.url = EXCLUDED.url THEN endpoints.held_until END,
        failing_since = CASE WHEN endpoints.url = EXCLUDED.url THEN endpoints.failing_since END,
        failures = CASE WHEN endpoints.url = EXCLUDED.url THEN endpoints.failures ELSE 0 END
    WHERE endpoints.merchant_id = EXCLUDED.merchant_id AND endpoints.removed_at IS NULL
    RETURNING id
""")


async def put(
    connection: AsyncConnection, merchants: Sequence[tuple[MerchantId, str]], endpoints: Sequence[NewEndpoint]
) -> list[str]:
    """Insert merchants and their endpoints, or bring those that are there to what is given.

    An endpoint whose newest secret is the given sealed text keeps its former one, too.

    The ids of endpoints that could not be put, because another merchant has them, or they were removed.
    """
    await connection.execute(_UPSERT, {"merchants": merchants})
    put_ids = await connection.scalars(_UPSERT_ENDPOINTS, {"endpoints": list(map(_row, endpoints))})
    return sorted({endpoint.id for endpoint in endpoints}.difference(put_ids))


_ADD_ENDPOINT = text(f"{ENDPOINT.insert('endpoints', 'endpoints')} ON CONFLICT (id) DO NOTHING RETURNING id")


async def add_endpoint(connection: AsyncConnection, endpoint: NewEndpoint) -> bool:
    """Insert an endpoint of a merchant that exists; False if its id is or was an endpoint's."""
    return await connection.scalar(_ADD_ENDPOINT, {"endpoints": [_row(endpoint)]}) is not None


def _row(endpoint: NewEndpoint) -> tuple[Any, ...]:
    return ENDPOINT.row(
        id=endpoint.id,
        merchant_id=endpoint.merchant_id,
        url=endpoint.url,
        sealed_secrets=[endpoint.sealed_secret],
        event_types=list(endpoint.event_types),
        max_per_second=endpoint.max_per_second,
        retry_schedule=None if endpoint.retry_schedule is None else list(endpoint.retry_schedule),
        sealed_headers=endpoint.sealed_headers,
        header_names=list(endpoint.header_names),
    )


_KNOWN = text("SELECT id FROM merchants WHERE id = ANY(CAST(:ids AS text[]))")


async def known(connection: AsyncConnection, ids: Collection[MerchantId]) -> set[MerchantId]:
    """Those of `ids` that are merchants."""
    return set(await connection.scalars(_KNOWN, {"ids": list(ids)}))
