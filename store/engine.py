"""Connections to PostgreSQL."""

from sqlalchemy import AdaptedConnection, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_SERVER_SETTINGS = {
    "application_name": "repoint",
    # plans of set-based statements cost more to compile than to run
    "jit": "off",
    # a batch looks up some hundred rows, which are in memory or on an SSD: by index, however small the table still is
    "random_page_cost": "1.1",
    # a stopped process keeps its row locks: these end its transaction, and so its hold on wallets and deliveries
    "idle_in_transaction_session_timeout": "30s",
    "statement_timeout": "20s",
    "lock_timeout": "5s",
    # a peer that vanished without a word is noticed in about half a minute
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


# A process may be stopped between two messages of one statement, which no other timeout ends: PostgreSQL takes its
# session for active then. There is no such setting before PostgreSQL 17.
_END_LONG_ONES = """
    SELECT set_config(name, '30s', false) FROM pg_settings WHERE name = 'transaction_timeout'
"""


def connect(url: str, *, pool_size: int = 5, short: bool = False) -> AsyncEngine:
    """An engine on `url` (`postgresql://` or `postgresql+asyncpg://`); the caller disposes of it.

    `short` is for who makes short transactions only: one that takes longer than half a minute is ended then.
    No connection is made before the first statement. Transactions run at READ COMMITTED: what may not interleave is
    kept apart by row locks (see `store.knowledge` and `store.wallets`).
    """
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        # after a database restart the pool holds dead connections; finding out costs one round trip a transaction
        pool_pre_ping=True,
        # an error's text would hold tokens, secrets and webhook bodies
        hide_parameters=True,
        connect_args={"server_settings": _SERVER_SETTINGS, "timeout": 10, "command_timeout": 30},
    )
    if short:
        event.listen(engine.sync_engine, "connect", _end_long_ones)
    return engine


def _end_long_ones(connection: AdaptedConnection, _record: object) -> None:
    connection.run_async(lambda driver: driver.execute(_END_LONG_ONES))
