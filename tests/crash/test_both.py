"""Worker and dispatcher side by side, each killed again and again wherever it happens to be."""

import asyncio
import random
from typing import Literal

import pytest

from tests.crash.checks import check_consumed, check_delivered
from tests.crash.runs import Run
from tests.crash.starting_points import StartingPoints

# How often each is killed, and how many points it passes at most before it is. All of them together are fewer than a
# worker passes in the stream's 16 batches of 20, or a dispatcher in its deliveries.
WORKER_KILLS, WORKER_PASSES = 8, 16
DISPATCHER_KILLS, DISPATCHER_PASSES = 8, 100


@pytest.mark.parametrize("seed", [2026])
async def test_any_number_of_kills_at_any_points(starting_points: StartingPoints, seed: int) -> None:
    chance = random.Random(seed)
    worker = [chance.randint(1, WORKER_PASSES) for _ in range(WORKER_KILLS)]
    dispatcher = [chance.randint(1, DISPATCHER_PASSES) for _ in range(DISPATCHER_KILLS)]
    async with starting_points.to_consume() as run:
        async with asyncio.TaskGroup() as side_by_side:
            delivering = side_by_side.create_task(_run_and_kill(starting_points, run, "deliver", dispatcher))
            await _run_and_kill(starting_points, run, "consume", worker)
            # where the worker has died its last before the stream's end, the dispatcher has too little to do
            async with starting_points.running(run.plan("consume on", "consume", batch_size=3)) as worker_of_the_rest:
                await delivering
                await worker_of_the_rest.end()
        async with starting_points.running(run.plan("last", "consume", "deliver")) as last:
            await run.all_consumed()
            await run.all_delivered()
            await last.end()
        await check_consumed(run, starting_points.uninterrupted)
        await check_delivered(run)


async def _run_and_kill(
    starting_points: StartingPoints, run: Run, role: Literal["consume", "deliver"], passes: list[int]
) -> None:
    for number, passing in enumerate(passes, 1):
        plan = run.plan(f"{role} {number}", role, batch_size=3, fault="kill", passing=passing)
        async with starting_points.running(plan) as child:
            await child.is_killed_at(None)
