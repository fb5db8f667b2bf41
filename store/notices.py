"""Notices between processes, through PostgreSQL: which endpoints have new deliveries.

A notice is sent after the commit, in a transaction of its own: in the transaction that writes the deliveries, NOTIFY
would take a lock that all commits share. A notice may get lost, with a connection or behind a pooler. Nothing depends
on it: a dispatcher also looks for itself.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_CHANNEL = "repoint_deliveries_due"
# PostgreSQL refuses 8,000 bytes and more.
_LONGEST_BYTES = 7500

_SEND = text("SELECT pg_notify(:channel, :payload)")


async def send(connection: AsyncConnection, endpoint_ids: Collection[str]) -> None:
    """Tell all listeners that these endpoints have new deliveries."""
    payload = json.dumps(sorted(endpoint_ids))
    if len(payload) > _LONGEST_BYTES:
        payload = "null"
    await connection.execute(_SEND, {"channel": _CHANNEL, "payload": payload})


@asynccontextmanager
async def listening(
    engine: AsyncEngine, on_due: Callable[[Collection[str] | None], None]
) -> AsyncIterator[asyncio.Event]:
    """Call `on_due` with the endpoints of each notice, None where they were too many; on a connection of its own.

    The event that is given is set when the connection ends.
    """
    ended = asyncio.Event()

    def receive(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        on_due(_endpoint_ids(str(payload)))

    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        driver.add_termination_listener(lambda _: ended.set())
        await driver.add_listener(_CHANNEL, receive)
        try:
            yield ended
        finally:
            # not given back to the pool: what it listens to stays with it
            await connection.invalidate()


def _endpoint_ids(payload: str) -> list[str] | None:
    """The ids in a payload; None if there are none in it."""
    try:
        ids = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return ids if isinstance(ids, list) and all(map(_may_be_id, ids)) else None


def _may_be_id(value: object) -> bool:
    """Whether PostgreSQL takes the value as a text: any session of the database can send a notice."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
