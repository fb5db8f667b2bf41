"""The checks of what is neither database nor broker: settings, certificates, and vendors that are asked."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeAlias

from domain.checkup.certificates import Certificate, certificate, latest
from domain.checkup.diagnosis import Diagnosis, Level
from ops import setting_checks
from ops.doctor import certificates
from ops.doctor.checks import Check
from ops.settings import Settings, misspelled
from producers.vendors.client import Unanswered, VendorClient
from store import address

_PORT_OF_POSTGRES = 5432

_Show: TypeAlias = Callable[[str, int], Awaitable[Certificate | None]]


def of_settings(settings: Settings) -> Iterable[Diagnosis]:
    """Judge the settings: what production would refuse, and what is a slip by its looks."""
    lines = [*misspelled(), *setting_checks.doubtful(settings), *setting_checks.cautions(settings)]
    if settings.environment == "development":
        lines += setting_checks.dangers(settings)
    expected = "settings as production needs them"
    problems = sorted({tuple(line.split(": ", 1)) for line in lines})
    for name, problem in problems:
        yield Diagnosis("settings", name, Level.WARNING, expected, problem, f"export {name}=…")
    if not problems:
        yield Diagnosis("settings", "environment", Level.OK, expected, "so they are")


def of_certificates(settings: Settings, database_url: str) -> Mapping[str, Check]:
    """The checks of the certificates that protect the way to the database and to the brokers."""
    database = address.read(database_url)
    files = [*database.files, *([str(settings.kafka_ca_file)] if settings.kafka_ca_file is not None else [])]
    checks: dict[str, Check] = {f"certificates {file}": partial(_file, file) for file in files}
    if database.verifies:
        checks |= _servers(database.servers, certificates.of_postgres, _PORT_OF_POSTGRES)
    if settings.kafka_security_protocol.endswith("SSL"):
        checks |= _servers((settings.kafka_bootstrap_servers or "").split(","), certificates.of_server, 0)
    return checks


def _servers(names: Iterable[str], show: _Show, port: int) -> Mapping[str, Check]:
    """A check of each server, `host:port` or a host with the usual port; not of a socket's folder."""
    return {f"certificates {name}": partial(_server, show, name, port) for name in names if not name.startswith("/")}


async def _server(show: _Show, name: str, usual_port: int) -> Iterable[Diagnosis]:
    host, colon, port = name.rpartition(":")
    shown = await show(*((host.strip("[]"), int(port)) if colon and not port.endswith("]") else (name, usual_port)))
    return [] if shown is None else [certificate(shown, datetime.now(UTC))]


async def _file(name: str) -> Iterable[Diagnosis]:
    newest = latest(certificates.of_file(Path(name)))
    return [] if newest is None else [certificate(newest, datetime.now(UTC))]


def of_vendors(client: VendorClient) -> Mapping[str, Check]:
    """The checks whether a connection can be made to each vendor that is asked."""
    return {f"vendors {feed}": partial(_vendor, client, feed) for feed in sorted(client.feeds)}


async def _vendor(client: VendorClient, feed: str) -> Iterable[Diagnosis]:
    expected = "a connection"
    try:
        await client.reach(feed)
    except Unanswered as error:
        command = f"repoint fetches list --feed {feed}"
        return [Diagnosis("vendors", feed, Level.FAULT, expected, str(error), command)]
    return [Diagnosis("vendors", feed, Level.OK, expected, "connected")]
