"""Signing secrets of endpoints, as they are stored: sealed (schemas/sealing.py)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.sealing import PREFIX, CannotOpen, Keys
from store import endpoints

AT_ONCE = 500
"""Endpoints whose secrets are sealed anew in one transaction: a few milliseconds, and no import waits for longer."""


async def seal_given(connection: AsyncConnection, keys: Keys, secrets: Mapping[str, str]) -> dict[str, str]:
    """The sealed form of these secrets, by endpoint. One that is the endpoint's newest already keeps its sealed form.

    Sealing gives another text each time, so only opened texts can be compared.
    """
    stored = await endpoints.lock_secrets(connection, list(secrets))
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
    stored = await endpoints.lock_secrets(connection, [endpoint_id])
    return _opened(keys, stored[endpoint_id][0], endpoint_id) == secret


async def rotate(
    connection: AsyncConnection, keys: Keys, endpoint_id: str, secret: str, overlap: timedelta
) -> datetime | None:
    """Give an endpoint a new secret; the newest one signs beside it for `overlap`. Until when; None without overlap."""
    return await endpoints.rotate_secret(connection, endpoint_id, keys.seal(secret, "secret", endpoint_id), overlap)


class Reencrypted(NamedTuple):
    """The number of secrets that were sealed anew; why others cannot be opened, by endpoint; the last endpoint."""

    number: int
    refused: Mapping[str, str]
    last_id: str | None


async def reencrypt(connection: AsyncConnection, keys: Keys, *, after: str) -> Reencrypted:
    """Seal the secrets of the next AT_ONCE endpoints after `after` with the first key, where another key sealed them.

    `last_id` is None if there are no more. A secret that cannot be opened stays as it is.
    """
    beginning = f"{PREFIX}{keys.current_version}:"
    stored = await endpoints.lock_secrets_under_other_keys(connection, beginning, after=after, limit=AT_ONCE)
    replaced: dict[str, list[str]] = {}
    refused: dict[str, str] = {}
    number = 0
    for id_, sealed_secrets in stored.items():
        try:
            opened = [keys.open(sealed, "secret", id_) for sealed in sealed_secrets]
        except CannotOpen as why:
            refused[id_] = str(why)
            continue
        number += sum(not sealed.startswith(beginning) for sealed in sealed_secrets)
        replaced[id_] = [keys.seal(secret, "secret", id_) for secret in opened]
    if replaced:
        await endpoints.replace_secrets(connection, replaced)
    return Reencrypted(number, refused, max(stored, default=None))
