"""Signing secrets and headers of endpoints, as they are stored: sealed (schemas/sealing.py)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.sealing import PREFIX, CannotOpen, Keys
from store import endpoint_secrets
from store.endpoint_secrets import Sealed

AT_ONCE = 500
"""Endpoints whose secrets are sealed anew in one transaction: a few milliseconds, and no import waits for longer."""


async def seal_given(connection: AsyncConnection, keys: Keys, secrets: Mapping[str, str]) -> dict[str, str]:
    """The sealed form of these secrets, by endpoint. One that is the endpoint's newest already keeps its sealed form.

    Sealing gives another text each time, so only opened texts can be compared.
    """
    stored = await endpoint_secrets.lock(connection, list(secrets))
    return {
        id_: stored[id_][0]
        if stored.get(id_) and _opened(keys, stored[id_][0], id_) == secret
        else keys.seal(secret, "secret", id_)
        for id_, secret in secrets.items()
    }


def _opened(keys: Keys, sealed: str, endpoint_id: str) -> str | None:
    try:
        return keys.open(sealed, "secret", endpoint_id)
    except CannotOpen:
        return None


async def is_newest(connection: AsyncConnection, keys: Keys, endpoint_id: str, secret: str) -> bool:
    """Whether the endpoint has this secret already. Locks the endpoint."""
    stored = await endpoint_secrets.lock(connection, [endpoint_id])
    return _opened(keys, stored[endpoint_id][0], endpoint_id) == secret


async def rotate(
    connection: AsyncConnection, keys: Keys, endpoint_id: str, secret: str, overlap: timedelta
) -> datetime | None:
    """Give an endpoint a new secret; the newest one signs beside it for `overlap`. Until when; None without overlap."""
    return await endpoint_secrets.rotate(connection, endpoint_id, keys.seal(secret, "secret", endpoint_id), overlap)


class Reencrypted(NamedTuple):
    """The number of secrets that were sealed anew; why others cannot be opened, by endpoint; the last endpoint."""

    number: int
    refused: Mapping[str, str]
    last_id: str | None


async def reencrypt(connection: AsyncConnection, keys: Keys, *, after: str) -> Reencrypted:
    """Seal the secrets of the next AT_ONCE endpoints after `after` with the first key, where another key sealed them.

    The headers of an endpoint count as one secret. `last_id` is None if there are no more. The secrets of an endpoint
    stay as they are if one of them cannot be opened.
    """
    beginning = f"{PREFIX}{keys.current_version}:"
    stored = await endpoint_secrets.lock_under_other_keys(connection, beginning, after=after, limit=AT_ONCE)
    replaced: dict[str, Sealed] = {}
    refused: dict[str, str] = {}
    number = 0
    for id_, (sealed_secrets, sealed_headers) in stored.items():
        try:
            secrets = [keys.open(sealed, "secret", id_) for sealed in sealed_secrets]
            headers = None if sealed_headers is None else keys.open(sealed_headers, "headers", id_)
        except CannotOpen as why:
            refused[id_] = str(why)
            continue
        all_sealed = [*sealed_secrets, *([sealed_headers] if sealed_headers else [])]
        number += sum(not sealed.startswith(beginning) for sealed in all_sealed)
        replaced[id_] = Sealed(
            [keys.seal(secret, "secret", id_) for secret in secrets],
            None if headers is None else keys.seal(headers, "headers", id_),
        )
    if replaced:
        await endpoint_secrets.replace(connection, replaced)
    return Reencrypted(number, refused, max(stored, default=None))
