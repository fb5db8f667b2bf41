"""The parent of `repoint run --processes N`: starts the children, restarts those that die, and ends all of them.

A child's stdin is a pipe that nobody writes to. It ends with the parent, however the parent ends, and the child ends
with it.
"""

import asyncio
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from loops.waiting import event_or_timeout, wait_for_first

log = structlog.get_logger()

# A child that dies at once would take a core for itself; one that dies once a day comes back at once.
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
_RAN_WELL_SECONDS = 60
# A child that is told to stop before it listens for signals is ended by ours: nothing was under way in it.
_GOOD_EXIT_CODES = (0, -signal.SIGTERM)


async def supervise(
    command: Sequence[str],
    environments: Sequence[Mapping[str, str]],
    *,
    stopping: asyncio.Event,
    end_within: float,
    first_delay: float = _FIRST_DELAY,
) -> bool:
    """Keep one child of `command` running for each of `environments`, which extend this process's, until `stopping` is
    set.

    The children are then told to stop, and killed after `end_within` seconds. True if all of them ended well.
    """
    children = [_Child(number, command, environment) for number, environment in enumerate(environments)]
    return all(await asyncio.gather(*(_keep(child, stopping, end_within, first_delay) for child in children)))


@dataclass(frozen=True, slots=True)
class _Child:
    number: int
    command: Sequence[str]
    environment: Mapping[str, str]

    async def start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            # In a session of its own: Ctrl-C at a terminal reaches the parent alone, which tells its children.
            *self.command,
            env={**os.environ, **self.environment},
            stdin=PIPE,
            start_new_session=True,
        )
        log.info("child started", child=self.number, process=process.pid)
        return process


async def _keep(child: _Child, stopping: asyncio.Event, end_within: float, first_delay: float) -> bool:
    delay = first_delay
    while True:
        begun = time.monotonic()
        process = await child.start()
        if not await _ends_before(process, stopping):
            return await _end(child, process, end_within)
        if time.monotonic() - begun > _RAN_WELL_SECONDS:
            delay = first_delay
        log.error("child died", child=child.number, exit_code=process.returncode, anew_in_seconds=delay)
        await event_or_timeout(stopping, delay)
        if stopping.is_set():
            return False
        delay = min(2 * delay, _LONGEST_DELAY)


async def _ends_before(process: Process, stopping: asyncio.Event) -> bool:
    """Wait until the process ends or `stopping` is set. Return whether the process ended by itself."""
    await wait_for_first(process.wait(), stopping.wait())
    return not stopping.is_set()


async def _end(child: _Child, process: Process, within: float) -> bool:
    with suppress(ProcessLookupError):
        process.terminate()
    ending = asyncio.create_task(process.wait())
    if not (await asyncio.wait((ending,), timeout=within))[0]:
        log.error("child did not stop in time: killed", child=child.number)
        process.kill()
    code = await ending
    log.info("child ended", child=child.number, exit_code=code)
    return code in _GOOD_EXIT_CODES
