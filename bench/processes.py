"""`repoint run` as processes of their own, as in production."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from bench import load


@asynccontextmanager
async def running(engine: AsyncEngine, roles: Sequence[str], **others: str) -> AsyncIterator[list[int]]:
    """A process of the program for each of `roles`, with `others` of its settings; gives their ids."""
    settings = {
        "DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "KAFKA_TOPIC": load.TOPIC,
        "EGRESS_ALLOW": "127.0.0.0/8",
        "HTTP_PORT": "0",
        "LOG_LEVEL": "WARNING",
        **others,
    }
    environment = os.environ | {f"REPOINT_{name}": value for name, value in settings.items()}
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", "ops.cli", "run", "--role", role, env=environment)
        for role in roles
    ]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            await process.wait()
