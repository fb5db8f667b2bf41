"""The database and the broker that a command works on: those of the settings, or embedded ones.

An embedded database stays in REPOINT_EMBEDDED_DIRECTORY for the next command. An embedded broker ends with the process
that started it; meanwhile other commands find its address in the same directory.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from ops import embedded, logs, loop, secret_keys
from ops.setting_checks import doubtful
from ops.settings import Settings, misspelled, read
from ops.terminal import INTERRUPTED, Failed, remark
from store import connectivity, migrate
from store.failures import DATABASE_ERRORS, Failure, failure, refused_by
from store.refusals import explain, needs_pooling, reason

T = TypeVar("T")


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The URL of the database: from the settings as it is, or of the embedded one, migrated."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    directory = settings.embedded_directory / "postgres"
    remark(f"REPOINT_DATABASE_URL is not set: using an embedded PostgreSQL, with its data in {directory}")
    with embedded.postgres(directory.resolve()) as url:
        asyncio.run(migrate.upgrade(url, settings.identifiers, seal=secret_keys.seal(settings)))
        yield url


@contextmanager
def broker(settings: Settings) -> Iterator[str]:
    """The bootstrap servers: from the settings, of an embedded broker that runs, or of one that is started here."""
    running = known_broker(settings)
    if running is not None:
        yield running
        return
    remark("REPOINT_KAFKA_BOOTSTRAP_SERVERS is not set: using an embedded broker, which keeps nothing when it ends")
    address = _address(settings)
    with embedded.broker(settings.kafka_topic, settings.kafka_thin_topic) as servers:
        address.parent.mkdir(parents=True, exist_ok=True)
        address.write_text(servers)
        try:
            yield servers
        finally:
            address.unlink(missing_ok=True)


def known_broker(settings: Settings) -> str | None:
    """The bootstrap servers from the settings, or of the embedded broker of a `repoint run`; None if none runs."""
    return settings.kafka_bootstrap_servers or _embedded_that_runs(settings)


def running_broker(settings: Settings) -> str:
    """The bootstrap servers from the settings, or of the embedded broker of a `repoint run`. Failed if none runs."""
    servers = known_broker(settings)
    if servers is None:
        raise Failed(
            "no broker: set REPOINT_KAFKA_BOOTSTRAP_SERVERS, or let `repoint run` go on beside this; of one that runs"
            f" the address would be in {_address(settings).absolute()} (REPOINT_EMBEDDED_DIRECTORY)"
        )
    return servers


def _embedded_that_runs(settings: Settings) -> str | None:
    address = _address(settings)
    if not address.is_file():
        return None
    try:
        servers = address.read_text()
        host, _, port = servers.partition(",")[0].rpartition(":")
        socket.create_connection((host, int(port)), timeout=1).close()
    except (OSError, ValueError, OverflowError):  # its process was killed, perhaps while it wrote
        return None
    return servers


def read_settings() -> Settings:
    """The settings. Warns of variables, and vendors, whose names are nearly known ones."""
    settings = read()
    for line in (*misspelled(), *doubtful(settings)):
        remark(f"warning: {line}")
    return settings


def settings_of_a_command() -> Settings:
    """The settings, with logs from level WARNING on: a command itself reports the rest."""
    settings = read_settings()
    logs.configure(form=settings.log_format, level="WARNING")
    # aiokafka logs every error that it then raises
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return settings


def on_database(settings: Settings, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Run `work` on the database; its result.

    Raises:
        Failed, store.connectivity.Unusable: the database cannot be reached, or does not take what is written.
    """

    async def opened(url: str) -> T:
        async with connectivity.opened(url) as engine:
            return await work(engine)

    with database(settings) as url:
        try:
            return loop.run(opened(url))
        except KeyboardInterrupt:
            unchanged = "interrupted: what was not finished is undone, and the same command can be repeated"
            raise Failed(unchanged, code=INTERRUPTED) from None
        except DATABASE_ERRORS as error:
            kind = failure(error)
            if needs_pooling(error):
                raise Failed(f"the database {explain(error)}") from None
            if kind is None or _is_about_a_file(error):
                raise
            rule = f" ({refused_by(error)})" if kind is Failure.REFUSED else ""
            why = reason(error) if kind is Failure.UNUSABLE else f"{kind.value}{rule}"
            raise Failed(f"nothing was changed: {why}") from None


def _is_about_a_file(error: BaseException) -> bool:
    """Whether a file, or stdout, failed. Failures on the way to the database are about a connection."""
    return isinstance(error, OSError) and not isinstance(
        error, ConnectionRefusedError | ConnectionResetError | TimeoutError
    )


def _address(settings: Settings) -> Path:
    return settings.embedded_directory / "broker"
