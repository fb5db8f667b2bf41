"""Merchants and the endpoints they are told at."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    id: str
    merchant_id: MerchantId
    url: str
    secret: str
    event_types: Sequence[str]


_UPSERT = text("""
    INSERT INTO merchants (id, name)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:names AS text[]))
    ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name
""")
_UPSERT_ENDPOINTS = text("""
    INSERT INTO endpoints (id, merchant_id, url, secrets, event_types)
    SELECT id, merchant_id, url, ARRAY[secret], string_to_array(event_types, ' ')
    FROM unnest(CAST(:ids AS text[]), CAST(:merchant_ids AS text[]), CAST(:urls AS text[]), CAST(:secrets AS text[]),
                CAST(:event_types AS text[])) AS e(id, merchant_id, url, secret, event_types)
    ON CONFLICT (id) DO UPDATE
    SET url = EXCLUDED.url, event_types = EXCLUDED.event_types,
        secrets = CASE WHEN endpoints.secrets[1] = EXCLUDED.secrets[1] THEN endpoints.secrets ELSE EXCLUDED.secrets END
    WHERE endpoints.merchant_id = EXCLUDED.merchant_id
    RETURNING id
""")


async def put(
    connection: AsyncConnection, merchants: Sequence[tuple[MerchantId, str]], endpoints: Sequence[NewEndpoint]
) -> list[str]:
    """Insert merchants and their endpoints, or bring those that are there to what is given.

    The ids of endpoints that could not be put, because another merchant has them.
    """
    await connection.execute(
        _UPSERT, {"ids": [merchant for merchant, _ in merchants], "names": [name for _, name in merchants]}
    )
    put_ids = await connection.scalars(
        _UPSERT_ENDPOINTS,
        {
            "ids": [endpoint.id for endpoint in endpoints],
            "merchant_ids": [endpoint.merchant_id for endpoint in endpoints],
            "urls": [endpoint.url for endpoint in endpoints],
            "secrets": [endpoint.secret for endpoint in endpoints],
            "event_types": [" ".join(endpoint.event_types) for endpoint in endpoints],
        },
    )
    return sorted({endpoint.id for endpoint in endpoints}.difference(put_ids))


_KNOWN = text("SELECT id FROM merchants WHERE id = ANY(CAST(:ids AS text[]))")


async def known(connection: AsyncConnection, ids: Collection[MerchantId]) -> set[MerchantId]:
    """Those of `ids` that are merchants."""
    return set(await connection.scalars(_KNOWN, {"ids": list(ids)}))


_SUBSCRIBED = text("SELECT merchant_id, id, event_types FROM endpoints WHERE merchant_id = ANY(CAST(:ids AS text[]))")


async def subscribed(
    connection: AsyncConnection, ids: Collection[MerchantId]
) -> dict[MerchantId, list[tuple[str, list[str]]]]:
    """The endpoints of each merchant: their ids, and the names of the events they want."""
    found: dict[MerchantId, list[tuple[str, list[str]]]] = {}
    for merchant_id, endpoint_id, event_types in await connection.execute(_SUBSCRIBED, {"ids": list(ids)}):
        found.setdefault(merchant_id, []).append((endpoint_id, event_types))
    return found
