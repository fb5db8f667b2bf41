"""`repoint run`."""

import asyncio
import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from ops import logs, loop, parts, supervisor
from ops import run as process
from ops.run import Role
from ops.settings import Settings, read
from ops.terminal import Failed
from store import reach

# A child drains for as long as it may, and then closes its connections.
_BEYOND_DRAINING = 4


def run(
    *,
    role: Annotated[Role, typer.Option(help="What the process does; all is consume and deliver.")] = Role.ALL,
    processes: Annotated[int, typer.Option(min=1, max=64, help="How many, under a parent that restarts them.")] = 1,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Consume vendor updates and deliver webhooks until SIGTERM or Ctrl-C, then finish what is under way.

    Metrics and health are on REPOINT_HTTP_PORT; with --processes, on one port each from there on.
    """
    if not role.consumes and not role.delivers:
        raise Failed(f"the role {role} is not part of this version: expected all, consume or deliver", code=2)
    settings = read()
    logs.configure(form=settings.log_format, level=settings.log_level)
    with ExitStack() as stack:
        url = stack.enter_context(parts.database(settings))
        servers = stack.enter_context(parts.broker(settings)) if role.consumes else ""
        if processes == 1:
            loop.run(_run(settings, role, url, servers, with_parent=with_parent))
        else:
            loop.run(_supervise(settings, role, processes, url, servers))


async def _run(settings: Settings, role: Role, url: str, servers: str, *, with_parent: bool) -> None:
    stopping = asyncio.Event()
    process.stop_on_signals(stopping)
    if with_parent:
        process.stop_with_parent(stopping)
    await process.run(settings, role, database_url=url, servers=servers, stopping=stopping)


async def _supervise(settings: Settings, role: Role, processes: int, url: str, servers: str) -> None:
    stopping = asyncio.Event()
    process.stop_on_signals(stopping)
    # said once, by the parent, and not over and over by every child
    async with reach.opened(url):
        pass
    ended_well = await supervisor.supervise(
        [sys.executable, "-m", "ops.cli", "run", "--role", role.value, "--with-parent"],
        [_environment(settings, number, url, servers) for number in range(processes)],
        stopping=stopping,
        end_within=settings.drain_timeout.total_seconds() + _BEYOND_DRAINING,
    )
    if not ended_well:
        raise Failed("not every process ended well; the log says why")


def _environment(settings: Settings, number: int, url: str, servers: str) -> dict[str, str]:
    """What a child sees of its own: the parts that the parent chose, and its port."""
    port = settings.http_port + number if settings.http_port else 0
    named = {"REPOINT_DATABASE_URL": url, "REPOINT_HTTP_PORT": str(port)}
    return named | ({"REPOINT_KAFKA_BOOTSTRAP_SERVERS": servers} if servers else {})
