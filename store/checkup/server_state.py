"""The state of the PostgreSQL server, as its statistics and system views have it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.checkup.server import SAFE_SETTINGS, Holder, Prepared, ServerState, Session, Slot, TableRows

_SERVER = text("""
    SELECT CAST(current_setting('server_version_num') AS int), pg_is_in_recovery(),
           current_setting('default_transaction_read_only') = 'on',
           ARRAY(SELECT ARRAY[name, setting] FROM pg_settings WHERE name = ANY(CAST(:settings AS text[]))),
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
           CAST(current_setting('max_connections') AS int)
               - CAST(current_setting('superuser_reserved_connections') AS int),
           (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database())
""")


async def server(connection: AsyncConnection) -> ServerState:
    """Version, settings and connections."""
    version, replica, read_only, settings, *counts = (
        await connection.execute(_SERVER, {"settings": list(SAFE_SETTINGS)})
    ).one()
    return ServerState(version, replica, read_only, dict(settings), *counts)


_CLOCK = text("SELECT clock_timestamp()")


async def clock(connection: AsyncConnection) -> datetime:
    """The database's time, now."""
    now: datetime = await connection.scalar(_CLOCK)
    return now


_SESSIONS = text("""
    SELECT pid, coalesce(application_name, ''), coalesce(state, 'of another user'),
           CAST(extract(epoch FROM clock_timestamp() - xact_start) AS float8)
    FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()
      AND backend_type = 'client backend'
    ORDER BY xact_start
    LIMIT 100
""")
_SEES_ALL = text("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')")


async def sessions(connection: AsyncConnection) -> list[Session]:
    """Sessions of this database with an open transaction, the oldest first."""
    return [Session(*row) for row in await connection.execute(_SESSIONS)]


async def sees_all_sessions(connection: AsyncConnection) -> bool:
    """Whether this user may see the transactions of others."""
    return bool(await connection.scalar(_SEES_ALL))


_PREPARED = text("""
    SELECT gid, CAST(extract(epoch FROM clock_timestamp() - prepared) AS float8)
    FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 100
""")


async def prepared(connection: AsyncConnection) -> list[Prepared]:
    """Transactions that were prepared and not ended."""
    return [Prepared(*row) for row in await connection.execute(_PREPARED)]


_SLOTS = text("""
    SELECT slot_name, active, wal_status,
           CASE WHEN NOT pg_is_in_recovery()
                THEN CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS bigint) END
    FROM pg_replication_slots ORDER BY slot_name
""")


async def slots(connection: AsyncConnection) -> list[Slot]:
    """All replication slots of the server: each of them keeps the write-ahead log of all databases."""
    return [Slot(*row) for row in await connection.execute(_SLOTS)]


_HOLDERS = text("""
    SELECT 'session', CAST(pid AS text), age(backend_xmin)
    FROM pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
      AND coalesce(datname, current_database()) = current_database()
    UNION ALL
    SELECT 'session', CAST(pid AS text), age(backend_xid)
    FROM pg_stat_activity
    WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()
    UNION ALL
    SELECT 'prepared transaction', gid, age(transaction) FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'replication slot', slot_name, greatest(age(xmin), age(catalog_xmin))
    FROM pg_replication_slots WHERE num_nonnulls(xmin, catalog_xmin) > 0
""")


async def holders(connection: AsyncConnection) -> list[Holder]:
    """What keeps dead rows of this database."""
    return [Holder(*row) for row in await connection.execute(_HOLDERS)]


HOT_TABLES: Sequence[str] = (
    "credentials",
    "deliveries",
    "delivery_ledger",
    "endpoints",
    "fetches",
    "inbox",
    "parked_updates",
    "payment_methods",
    "wallet_merchants",
)
"""Tables of which rows are changed or deleted by every batch or delivery."""

_TABLES = text("""
    SELECT relname, n_live_tup, n_dead_tup
    FROM pg_stat_user_tables
    WHERE schemaname = current_schema() AND relname = ANY(CAST(:names AS text[]))
    ORDER BY relname
""")


async def tables(connection: AsyncConnection) -> list[TableRows]:
    """Live and dead rows of HOT_TABLES."""
    return [TableRows(*row) for row in await connection.execute(_TABLES, {"names": list(HOT_TABLES)})]
