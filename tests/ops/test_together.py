"""The parts of a process begin and end together, and an error of any of them ends the process."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from loops.progress import Stalled
from ops.jobs import run_together

Job = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


async def until_stopped(stopping: asyncio.Event) -> None:
    await stopping.wait()


async def at_once(_stopping: asyncio.Event) -> None:
    """A job that ends by itself."""


def failing(error: Exception, *, draining: bool = False) -> Job:
    async def job(stopping: asyncio.Event) -> None:
        if draining:
            await stopping.wait()
        raise error

    return job


async def never_drains(_stopping: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise OSError("while it was cancelled") from None


async def run(*jobs: Job, stopping: asyncio.Event | None = None, drain_within: float = 30) -> None:
    await run_together({f"part {at}": job for at, job in enumerate(jobs)}, stopping or asyncio.Event(), drain_within)


@pytest.mark.parametrize("at", [0, 1])
async def test_an_error_of_one_part_ends_all_and_is_raised(at: int) -> None:
    jobs: list[Job] = [until_stopped, until_stopped]
    jobs.insert(at, failing(RuntimeError("it broke")))
    with pytest.raises(RuntimeError, match="it broke"):
        await run(*jobs)


async def test_an_error_while_a_part_drains_is_raised() -> None:
    stopping = asyncio.Event()
    stopping.set()
    with pytest.raises(RuntimeError, match="it broke"):
        await run(until_stopped, failing(RuntimeError("it broke"), draining=True), stopping=stopping)


async def test_an_error_of_a_part_that_was_cancelled_is_raised() -> None:
    stopping = asyncio.Event()
    stopping.set()
    with pytest.raises(OSError, match="while it was cancelled"):
        await run(until_stopped, never_drains, stopping=stopping, drain_within=0.01)


async def test_of_several_errors_the_first_is_raised_and_the_others_are_logged() -> None:
    with capture_logs() as logs, pytest.raises(RuntimeError, match="first"):
        await run(failing(ValueError("second"), draining=True), failing(RuntimeError("first")))
    assert [(entry["part"], str(entry["exc_info"])) for entry in logs if entry["event"] == "a part failed too"] == [
        ("part 0", "second")
    ]


async def test_a_part_that_ends_although_nothing_was_to_stop_is_an_error() -> None:
    with pytest.raises(Stalled, match="part 1 ended"):
        await run(until_stopped, at_once)


async def test_parts_that_are_told_to_stop_end_well() -> None:
    stopping = asyncio.Event()
    stopping.set()
    await run(until_stopped, until_stopped, stopping=stopping)
