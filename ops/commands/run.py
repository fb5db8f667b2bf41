"""`repoint run`."""

import asyncio
import os
import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from ops import jobs, logs, loop, parts, supervisor
from ops import run as process
from ops.run import Role
from ops.settings import Settings, read
from ops.terminal import Failed
from store import connectivity

# After its drain timeout a child still closes its connections.
_BEYOND_DRAINING = 4

# In the environment of a child: its number, for its log lines.
_CHILD = "REPOINT_CHILD"


def run(
    *,
    role: Annotated[Role, typer.Option(help="What the process does; all is all of it.")] = Role.ALL,
    processes: Annotated[int, typer.Option(min=1, max=64, help="How many, under a parent that restarts them.")] = 1,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Consume vendor updates, deliver webhooks, take in what vendors post, and reconcile, until SIGTERM or Ctrl-C.

    Work in hand is finished then. Metrics and health are on REPOINT_HTTP_PORT, and feeds on REPOINT_API_PORT where
    REPOINT_FEED_SECRETS is set. With --processes, each process has the next port.
    """
    # taken out before the settings are read: it is none of them, and production refuses what is none
    child = os.environ.pop(_CHILD, None)
    # the parent has warned of misspelled settings
    settings = read() if with_parent else parts.read_settings()
    if role is Role.API and settings.feed_secrets is None:
        raise Failed("nothing could be taken in: expected REPOINT_FEED_SECRETS with the role api", code=2)
    logs.configure(form=settings.log_format, level=settings.log_level, child=None if child is None else int(child))
    with ExitStack() as stack:
        url = stack.enter_context(parts.database(settings)) if role.needs_database else ""
        servers = (
            stack.enter_context(parts.broker(settings)) if role.needs_broker else settings.kafka_bootstrap_servers or ""
        )
        if processes == 1:
            loop.run(_run(settings, role, url, servers, with_parent=with_parent))
        else:
            loop.run(_supervise(settings, role, processes, url, servers))


async def _run(settings: Settings, role: Role, url: str, servers: str, *, with_parent: bool) -> None:
    stopping = asyncio.Event()
    jobs.stop_on_signals(stopping)
    if with_parent:
        jobs.stop_with_parent(stopping)
    await process.run(settings, role, database_url=url, servers=servers, stopping=stopping)


async def _supervise(settings: Settings, role: Role, processes: int, url: str, servers: str) -> None:
    stopping = asyncio.Event()
    jobs.stop_on_signals(stopping)
    # a database that cannot be used is reported once by the parent, not by every child
    if role.needs_database:
        async with connectivity.opened(url):
            pass
    ended_well = await supervisor.supervise(
        [sys.executable, "-m", "ops.console", "run", "--role", role.value, "--with-parent"],
        [_environment(settings, number, url, servers) for number in range(processes)],
        stopping=stopping,
        end_within=settings.drain_timeout.total_seconds() + _BEYOND_DRAINING,
    )
    if not ended_well:
        raise Failed("not every process ended well; the log says why")


def _environment(settings: Settings, number: int, url: str, servers: str) -> dict[str, str]:
    """The variables of a child: the database and broker that the parent chose, and the child's ports."""
    ports = {"REPOINT_HTTP_PORT": settings.http_port, "REPOINT_API_PORT": settings.api_port}
    named = {name: str(port + number if port else 0) for name, port in ports.items()}
    chosen = {"REPOINT_DATABASE_URL": url, "REPOINT_KAFKA_BOOTSTRAP_SERVERS": servers}
    return named | {name: value for name, value in chosen.items() if value} | {_CHILD: str(number)}
