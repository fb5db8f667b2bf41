"""Pages of rows for people to look through: merchants, deliveries, the inbox, what vendors are to be asked."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MerchantId, MethodId, WalletId

_MERCHANTS = text("SELECT id, name FROM merchants ORDER BY id")


async def merchants(connection: AsyncConnection) -> list[tuple[MerchantId, str]]:
    """All of them, each with its name."""
    return [(merchant_id, name) for merchant_id, name in await connection.execute(_MERCHANTS)]


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One event to one endpoint; `due_at` is None for a finished one, and while another must go out first."""

    id: int
    event_id: UUID
    name: str
    merchant_id: MerchantId
    endpoint_id: str
    wallet_id: WalletId | None
    method_id: MethodId | None
    sequence: int | None
    status: str
    attempts: int
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


_WANTED = """
    (CAST(:status AS text) IS NULL OR status = :status)
    AND (CAST(:endpoint AS text) IS NULL OR endpoint_id = :endpoint)
    AND (CAST(:merchant AS text) IS NULL OR endpoint_id IN (SELECT id FROM endpoints WHERE merchant_id = :merchant))
"""
_LIVE = text(f"""
    SELECT delivery.id, event_id, name, merchant_id, endpoint_id, CAST(events.wallet_id AS text),
           CAST(payment_method_id AS text), events.sequence, status, attempt, due_at, delivery.created_at, NULL
    FROM (SELECT id, event_id, endpoint_id, status, attempt, due_at, created_at
          FROM deliveries WHERE {_WANTED} ORDER BY id DESC LIMIT :limit) AS delivery
    JOIN events ON events.id = event_id
    ORDER BY delivery.id DESC
""")
_FINISHED = """
    SELECT delivery.id, event_id, name, merchant_id, endpoint_id, CAST(events.wallet_id AS text),
           CAST(payment_method_id AS text), events.sequence, status, attempt, NULL, delivery.created_at, finished_at
    FROM (SELECT id, event_id, endpoint_id, status, attempt, created_at, finished_at
          FROM delivery_history WHERE {wanted} ORDER BY finished_at DESC, id DESC LIMIT :limit) AS delivery
    JOIN events ON events.id = event_id
    ORDER BY finished_at DESC, delivery.id DESC
"""
_HISTORY = text(_FINISHED.format(wanted=_WANTED))
# The dead ones have an index of their own, which is found by the constant. A replay may have delivered an event since.
_DEAD = text(
    _FINISHED.format(
        wanted=f"""{_WANTED} AND status = 'DEAD' AND NOT EXISTS (
            SELECT FROM delivery_history AS arrived
            WHERE arrived.event_id = delivery_history.event_id AND arrived.endpoint_id = delivery_history.endpoint_id
              AND arrived.status = 'DELIVERED')"""
    )
)


async def deliveries(
    connection: AsyncConnection, *, status: str | None, endpoint: str | None, merchant: str | None, limit: int
) -> list[DeliveryRow]:
    """Live deliveries first, then finished ones, each newest first. A filter that is None matches all."""
    wanted = {"status": status, "endpoint": endpoint, "merchant": merchant}
    rows = list(await connection.execute(_LIVE, {**wanted, "limit": limit}))
    if len(rows) < limit:
        statement = _DEAD if status == "DEAD" else _HISTORY
        rows += await connection.execute(statement, {**wanted, "limit": limit - len(rows)})
    return [DeliveryRow(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A row of the inbox: an update, where it was read, and what became of it."""

    id: int
    vendor: str
    update_id: str
    type: str
    outcome: str
    reason: str | None
    occurred_at: datetime
    received_at: datetime
    topic: str
    partition: int
    offset: int


_INBOX_COLUMNS = """
    SELECT id, vendor, update_id, type, outcome, reason, occurred_at, received_at, topic, partition, kafka_offset
    FROM inbox
"""
_INBOX_ROW = text(f"{_INBOX_COLUMNS} WHERE id = :id")
_INBOX = text(f"""
    {_INBOX_COLUMNS}
    WHERE (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
      AND (CAST(:vendor AS text) IS NULL OR vendor = :vendor)
      AND (CAST(:update_id AS text) IS NULL OR update_id = :update_id)
    ORDER BY id DESC LIMIT :limit
""")


async def inbox(
    connection: AsyncConnection, *, outcome: str | None, vendor: str | None, update_id: str | None, limit: int
) -> list[InboxRow]:
    """The newest first; None is any."""
    rows = await connection.execute(
        _INBOX, {"outcome": outcome, "vendor": vendor, "update_id": update_id, "limit": limit}
    )
    return [InboxRow(*row) for row in rows]


async def inbox_row(connection: AsyncConnection, id_: int) -> InboxRow | None:
    """The row of that number; None if there is none."""
    row = (await connection.execute(_INBOX_ROW, {"id": id_})).one_or_none()
    return None if row is None else InboxRow(*row)


_HAS_VENDOR = text("SELECT EXISTS (SELECT FROM inbox WHERE vendor = :vendor)")
_HAS_UPDATE = text("SELECT EXISTS (SELECT FROM inbox WHERE update_id = :update_id)")


async def has_updates(connection: AsyncConnection, *, vendor: str | None = None, update_id: str | None = None) -> bool:
    """Whether any update has come from `vendor`, or with the id `update_id`: one of them is named."""
    statement, named = (
        (_HAS_VENDOR, {"vendor": vendor}) if vendor is not None else (_HAS_UPDATE, {"update_id": update_id})
    )
    return bool(await connection.scalar(statement, named))


@dataclass(frozen=True, slots=True)
class FetchRow:
    """A thin event that its vendor is to be asked about, without what it says.

    `status` is `ASKING` while somebody holds it, `PARKED` until `due_at` where the vendor (or Kafka) was away, else
    `DUE`. The event came `times_received` times.
    """

    id: int
    feed: str
    status: str
    times_received: int
    failures: int
    failure: str | None
    received_at: datetime
    due_at: datetime
    topic: str
    partition: int
    offset: int


_FETCHES = text("""
    SELECT id, feed,
           CASE WHEN leased_until > now() THEN 'ASKING' WHEN due_at > now() THEN 'PARKED' ELSE 'DUE' END,
           told, failures, failure, created_at, due_at, topic, partition, kafka_offset
    FROM fetches
    WHERE CAST(:feed AS text) IS NULL OR feed = :feed
    ORDER BY due_at, id LIMIT :limit
""")


async def fetches(connection: AsyncConnection, *, feed: str | None, limit: int) -> list[FetchRow]:
    """Fetches in the order in which they are due. A feed of None matches all."""
    rows = await connection.execute(_FETCHES, {"feed": feed, "limit": limit})
    return [FetchRow(*row) for row in rows]
