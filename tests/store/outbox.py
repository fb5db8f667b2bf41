"""Merchants, endpoints and events for tests of what is sent, put into the database the way the program does it."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.sealing import BUILT_IN_KEYS
from schemas.signature import event_id, secret
from store import events, new_deliveries
from store.ids import uuid7

SECRET = secret(bytes(range(32)))


def sealed(secret: str, endpoint_id: str) -> str:
    """A secret as it is stored in development."""
    return BUILT_IN_KEYS.seal(secret, "secret", endpoint_id)


class Row(NamedTuple):
    """A live delivery."""

    endpoint_id: str
    wallet_id: str
    sequence: int
    status: str
    place: Literal["head", "waits"]
    attempt: int


class Outbox:
    """Writes what a batch would have written, and reads what became of it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._sequences: dict[tuple[str, str], int] = defaultdict(int)

    async def execute(self, statement: str, **values: object) -> Sequence[Any]:
        async with self.engine.begin() as connection:
            done = await connection.execute(text(statement), values)
            return done.all() if done.returns_rows else ()

    async def add_endpoint(
        self,
        name: str,
        url: str = "http://127.0.0.1:9/",
        secrets: Sequence[str] = (SECRET,),
        *,
        merchant: str | None = None,
        event_types: Sequence[str] = ("PAYMENT_METHOD_DELETED",),
    ) -> str:
        """An endpoint of `merchant`, or of a merchant of the same name."""
        merchant = name if merchant is None else merchant
        await self.execute("INSERT INTO merchants (id, name) VALUES (:id, :id) ON CONFLICT DO NOTHING", id=merchant)
        await self.execute(
            "INSERT INTO endpoints (id, merchant_id, url, sealed_secrets, event_types) "
            "VALUES (:name, :merchant, :url, :secrets, :event_types)",
            name=name,
            merchant=merchant,
            url=url,
            secrets=[sealed(secret, name) for secret in secrets],
            event_types=list(event_types),
        )
        return name

    async def add_wallet(self) -> str:
        wallet_id = str(uuid7())
        await self.execute("INSERT INTO wallets (id, hsid) VALUES (:id, :hsid)", id=wallet_id, hsid=wallet_id)
        return wallet_id

    async def tell(self, endpoint_id: str, wallet_id: str, count: int = 1) -> list[UUID]:
        """Write and enqueue so many events of a wallet for an endpoint, in one transaction."""
        made = [self._event(endpoint_id, wallet_id) for _ in range(count)]
        async with self.engine.begin() as connection:
            await new_deliveries.enqueue(connection, to(endpoint_id, made), events=made)
        return [event.id for event in made]

    async def write(self, endpoint_id: str, wallet_id: str, count: int = 1) -> list[new_deliveries.NewDelivery]:
        """Write so many events and leave their enqueueing to the caller."""
        made = [self._event(endpoint_id, wallet_id) for _ in range(count)]
        async with self.engine.begin() as connection:
            await new_deliveries.enqueue(connection, [], events=made)
        return to(endpoint_id, made)

    async def live(self) -> list[Row]:
        rows = await self.execute(
            "SELECT endpoint_id, CAST(wallet_id AS text), sequence, status, "
            "CASE WHEN due_at IS NULL THEN 'waits' ELSE 'head' END, attempt "
            "FROM deliveries ORDER BY endpoint_id, wallet_id, sequence"
        )
        return [Row(*row) for row in rows]

    async def heads(self, endpoint_id: str) -> list[int]:
        """The sequences that are due or claimed, one a line."""
        return [row.sequence for row in await self.live() if row.endpoint_id == endpoint_id and row.place == "head"]

    async def history(self) -> list[tuple[int, str, int]]:
        """Sequence, status and number of attempts of what is finished, in the order it was enqueued."""
        rows = await self.execute("SELECT sequence, status, attempt FROM delivery_history ORDER BY id, finished_at")
        return [(row.sequence, row.status, row.attempt) for row in rows]

    async def attempts(self) -> list[tuple[int, str, int | None]]:
        """Number, outcome and status code of every attempt, in the order they were made."""
        rows = await self.execute(
            "SELECT delivery_id, number, outcome, status_code, attempted_at FROM attempts UNION ALL"
            " SELECT id, attempt, last_outcome, last_status_code, last_attempted_at FROM delivery_history"
            " WHERE last_attempted_at IS NOT NULL ORDER BY attempted_at, delivery_id"
        )
        return [(row.number, row.outcome, row.status_code) for row in rows]

    async def make_due(self) -> None:
        """Let the time pass that retries, leases and holds wait for."""
        await self.execute(
            "UPDATE deliveries SET due_at = now() - interval '1 minute', leased_until = now() - interval '1 second' "
            "WHERE due_at IS NOT NULL"
        )
        await self.execute("UPDATE endpoints SET held_until = NULL")

    def _event(self, merchant_id: str, wallet_id: str) -> events.Event:
        self._sequences[merchant_id, wallet_id] += 1
        id_ = uuid7()
        return events.Event(
            id=id_,
            wallet_id=wallet_id,
            merchant_id=merchant_id,
            sequence=self._sequences[merchant_id, wallet_id],
            name="PAYMENT_METHOD_DELETED",
            method_id=str(uuid7()),
            body=f'{{"id": "{event_id(id_)}", "note": "größer"}}'.encode(),
            created_at=datetime.now(UTC),
        )


def to(endpoint_id: str, made: Sequence[events.Event]) -> list[new_deliveries.NewDelivery]:
    return [new_deliveries.NewDelivery.of(event, endpoint_id) for event in made]
