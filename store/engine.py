"""Connections to PostgreSQL, straight or through a pooler."""

import socket
import ssl
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from sqlalchemy import AdaptedConnection, Connection, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from store.address import Address, read

log = structlog.get_logger()

_PLANNING = {
    # plans of set-based statements cost more to compile than to run
    "jit": "off",
    # a batch looks up some hundred rows, which are in memory or on an SSD: by index, however small the table still is
    "random_page_cost": "1.1",
    # A plan is kept from when the tables were empty, and reading all of an empty table costs nothing. Each statement
    # has an index for what it looks up, and to plan it anew each time would cost half as much as it does.
    "enable_seqscan": "off",
}
_TIMEOUTS = {
    # a stopped process keeps its row locks: these timeouts end its transaction, and so release wallets and deliveries
    "idle_in_transaction_session_timeout": "30s",
    "statement_timeout": "20s",
    "lock_timeout": "5s",
}
_KEEPALIVES = {
    # a peer that vanished without a word is noticed in about half a minute
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# A process may be stopped between two messages of one statement, which no other timeout ends: PostgreSQL takes its
# session for active then. There is no such setting before PostgreSQL 17.
_LONGEST_TRANSACTION = "30s"
_END_LONG_ONES = "SELECT set_config(name, $1, false) FROM pg_settings WHERE name = 'transaction_timeout'"
_SET_FOR_THE_TRANSACTION = text("""
    SELECT set_config(name, value, true)
    FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])) AS wanted(name, value)
    WHERE name <> 'transaction_timeout' OR current_setting('transaction_timeout', true) IS NOT NULL
""")
_CONNECT_SECONDS = 10
_DRIVER = "postgresql+asyncpg"
_POOLED = "repoint_pooled"


def connect(url: str, *, pool_size: int = 5, short: bool = False, patience: float = 30) -> AsyncEngine:
    """An engine on `url`, in the form that psql takes (`store.address`); the caller disposes of it.

    With `short`, a transaction that takes longer than half a minute is ended. `patience` is how many seconds the client
    waits for a statement. No connection is made before the first statement. Transactions run at READ COMMITTED; row
    locks keep apart what must not interleave (see `store.knowledge` and `store.wallets`).

    Raises:
        ValueError: the URL is not that of a database.
        OSError: a certificate that it names cannot be read.
    """
    address = read(url)
    for file in address.files:
        # the error of a missing file names it here; TLS's own error would not
        Path(file).open("rb").close()
    engine = create_async_engine(
        _shown(url, address),
        async_creator=_Connector(address, patience),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        # an error's text would hold tokens, secrets and webhook bodies
        hide_parameters=True,
        execution_options={_POOLED: address.pooled},
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    if address.socket_options:
        event.listen(engine.sync_engine, "connect", partial(_set_socket_options, address.socket_options))
    if address.pooled:
        limits = _PLANNING | _TIMEOUTS | ({"transaction_timeout": _LONGEST_TRANSACTION} if short else {})
        wanted = {name: value for name, value in address.settings.items() if name != "application_name"} | limits
        event.listen(engine.sync_engine, "begin", partial(_set_for_the_transaction, wanted))
        event.listen(engine.sync_engine, "connect", _leave_jit_alone)
    elif short:
        event.listen(engine.sync_engine, "connect", _end_long_ones)
    return engine


def _refuse_closed(connection: AdaptedConnection, *_: object) -> None:
    """Have the pool make another connection where the server has closed this one: a restart closes all of them.

    The driver knows. SQLAlchemy's `pool_pre_ping` asks the server instead, in three round trips a transaction.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


class _Connector:
    """Makes the connections of an engine. Logs that the database is back when one succeeds after others failed."""

    def __init__(self, address: Address, patience: float) -> None:
        self._name = address.name
        self._connect = partial(asyncpg.connect, command_timeout=patience, **_arguments(address))
        self._away_since: float | None = None

    async def __call__(self) -> "asyncpg.Connection[Any]":
        try:
            connection = await self._connect()
        except Exception:
            self._away_since = self._away_since or time.monotonic()
            raise
        if self._away_since is not None:
            log.info("database is back", database=self._name, seconds=round(time.monotonic() - self._away_since, 1))
            self._away_since = None
        return connection


def is_pooled(engine: AsyncEngine) -> bool:
    """Whether the engine's connections go through a pooler, so that two transactions may be in two sessions."""
    return bool(engine.get_execution_options()[_POOLED])


def _arguments(address: Address) -> dict[str, Any]:
    """The arguments for `asyncpg.connect`."""
    arguments: dict[str, Any] = {
        "dsn": address.dsn,
        "timeout": address.connect_timeout or _CONNECT_SECONDS,
    }
    if address.system_authorities:
        arguments["ssl"] = _verifying(address)
    if not address.pooled:
        return arguments | {"server_settings": {**address.settings, **_PLANNING, **_TIMEOUTS, **_KEEPALIVES}}
    return arguments | {
        # PgBouncer refuses every other startup parameter, and would keep them for one session of many
        "server_settings": {"application_name": address.settings["application_name"]},
        # a named statement is known to the session that it was prepared in; without a name it is sent each time
        "statement_cache_size": 0,
    }


def _shown(url: str, address: Address) -> URL:
    """The URL as the engine shows it. Connections are made by `_arguments`, not by this."""
    several = "," in address.name
    if several:
        return URL.create(_DRIVER, query={"to": address.name})
    return make_url(url).set(drivername=_DRIVER).difference_update_query(("password", "sslpassword"))


def _verifying(address: Address) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    if address.client_certificate is not None:
        certificate, key, password = address.client_certificate
        context.load_cert_chain(certificate, key, password)
    return context


def _set_for_the_transaction(wanted: Mapping[str, str], connection: Connection) -> None:
    # a statement that is its own transaction can be given nothing beforehand; the client's own timeout ends it
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.execute(_SET_FOR_THE_TRANSACTION, {"names": list(wanted), "values": list(wanted.values())})


def _leave_jit_alone(connection: AdaptedConnection, _record: object) -> None:
    """Keep the driver from turning `jit` off for a session that another client may have next.

    The driver does so while it looks up a type. Each transaction of this program turns `jit` off anyway.
    """
    driver: Any = connection.driver_connection
    driver._server_caps = driver._server_caps._replace(jit=False)  # noqa: SLF001 - asyncpg has no other way to say so


def _set_socket_options(options: Mapping[str, int], connection: AdaptedConnection, _record: object) -> None:
    driver: Any = connection.driver_connection
    own = driver._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg has no other way to its socket
    if own is None or own.family == socket.AF_UNIX:
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, min(options["keepalives"], 1))
    for name, option in _TCP_OPTIONS.items():
        if name in options and hasattr(socket, option):
            own.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), options[name])


# Not every system has all of them; libpq leaves out what is missing, too.
_TCP_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


def _end_long_ones(connection: AdaptedConnection, _record: object) -> None:
    connection.run_async(lambda driver: driver.execute(_END_LONG_ONES, _LONGEST_TRANSACTION))
