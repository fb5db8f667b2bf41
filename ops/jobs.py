"""Jobs of one process: they run together, end together, and end at a signal or with the parent process."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeAlias

import structlog

from loops.progress import Stalled

log = structlog.get_logger()

# A cancelled job has only its connections to close.
_CANCEL_SECONDS = 1

Job: TypeAlias = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Runs until the event is set, then drains."""


async def run_together(jobs: Mapping[str, Job], stopping: asyncio.Event, drain_within: float) -> None:
    """Run `jobs` until `stopping` is set or a job ends. Then stop all of them; they have `drain_within` seconds.

    A job that drains in time is not cancelled.

    Raises:
        BaseException: the first error of a job, also while it drained; further errors are logged.
        Stalled: a job ended before `stopping` was set.
    """
    tasks = [asyncio.create_task(job(stopping), name=name) for name, job in jobs.items()]
    first, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    early = [] if stopping.is_set() else [task.get_name() for task in first]
    stopping.set()
    _, late = await asyncio.wait(tasks, timeout=drain_within)
    for task in late:
        log.warning("did not drain in time", part=task.get_name())
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=_CANCEL_SECONDS)
    _raise_first([*first, *(task for task in tasks if task not in first)])
    if early:
        raise Stalled(f"{', '.join(early)} ended although nothing was to stop")


def _raise_first(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Raise the first error of `tasks`; the process ends with it, so the others are logged."""
    failed = [task for task in tasks if task.done() and not task.cancelled() and task.exception() is not None]
    for task in failed[1:]:
        log.error("a part failed too", part=task.get_name(), exc_info=task.exception())
    if failed:
        failed[0].result()


def stop_on_signals(stopping: asyncio.Event) -> None:
    """Set `stopping` on SIGTERM and Ctrl-C: work in hand is finished."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)


def stop_with_parent(stopping: asyncio.Event) -> None:
    """Set `stopping` when stdin ends: the parent, which has its other end, has ended then."""

    def read_stdin() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            asyncio.get_running_loop().remove_reader(sys.stdin)
            stopping.set()

    asyncio.get_running_loop().add_reader(sys.stdin, read_stdin)
