"""A worker dies, or stops for longer than its group waits, at each point of its way.

After it another one finishes. Whatever the first left behind, the run ends as one that nothing interrupted.
"""

import asyncio
from collections.abc import Sequence

import pytest

from tests.crash.checks import check_consumed, check_delivered
from tests.crash.commits import LossyProxy
from tests.crash.runs import Run
from tests.crash.starting_points import StartingPoints

# The first statement that only a batch sends, once on each session.
_OF_A_BATCH = b"INSERT INTO inbox"

# Each is passed once in a poll, or once in each of its batches; so something is committed before, and much is left.
KILLED_AT = [
    [("polled", 2), ("took in", 3)],
    [("decided", 4), ("applied", 3)],
    [("announced", 4), ("committed", 3)],
    [("offsets committed", 2)],
]
STOPPED_AT = [[("polled", 2), ("announced", 3)], [("committed", 3)]]


def _named(points: Sequence[tuple[str, int]]) -> str:
    return " and ".join(point for point, _ in points)


@pytest.mark.parametrize("points", KILLED_AT, ids=_named)
async def test_a_worker_may_be_killed(starting_points: StartingPoints, points: Sequence[tuple[str, int]]) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for point, passing in points:
            side_by_side.create_task(_killed(starting_points, point, passing))


async def _killed(starting_points: StartingPoints, point: str, passing: int) -> None:
    async with starting_points.to_consume() as run:
        async with starting_points.running(
            run.plan("first", "consume", fault="kill", point=point, passing=passing)
        ) as first:
            await first.is_killed_at(point)
        await run.left_by("first")
        assert 0 < await run.taken_in() < len(run.fed.places)
        if point == "committed":
            assert await run.taken_in() > sum((await run.committed()).values()), "nothing will be read again"
        if point == "offsets committed":
            assert await run.taken_in() == sum((await run.committed()).values())
        await _finish(starting_points, run)


@pytest.mark.parametrize("lost", ["sent, not done", "done, not acknowledged"])
async def test_a_commit_may_get_lost(starting_points: StartingPoints, lost: str) -> None:
    """With the worker that sent it, or with its connection only."""
    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(_killed_at_commit(starting_points, forwards=lost.startswith("done")))
        side_by_side.create_task(_cut_off_at_commit(starting_points, forwards=lost.startswith("done")))


async def _killed_at_commit(starting_points: StartingPoints, *, forwards: bool) -> None:
    async with (
        starting_points.to_consume() as run,
        LossyProxy(run.database_url, statement=_OF_A_BATCH, passing=3, forwards=forwards) as proxy,
    ):
        async with starting_points.running(run.plan("first", "consume", database_url=proxy.url)) as first:
            await proxy.is_reached()
            await first.kill()
        proxy.cut()
        await run.left_by("first")
        if forwards:
            assert await run.taken_in() > sum((await run.committed()).values()), "it was not committed"
        await _finish(starting_points, run)


async def _cut_off_at_commit(starting_points: StartingPoints, *, forwards: bool) -> None:
    async with (
        starting_points.to_consume() as run,
        LossyProxy(run.database_url, statement=_OF_A_BATCH, passing=3, forwards=forwards) as proxy,
    ):
        async with starting_points.running(run.plan("only", "consume", "deliver", database_url=proxy.url)) as only:
            await proxy.is_reached()
            proxy.mend()
            await run.all_consumed()
            await run.all_delivered()
            await only.end()
        await _check(run, starting_points)


@pytest.mark.parametrize("points", STOPPED_AT, ids=_named)
async def test_a_worker_may_wake_up_after_its_group_went_on(
    starting_points: StartingPoints, points: Sequence[tuple[str, int]]
) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for point, passing in points:
            side_by_side.create_task(_stopped(starting_points, point, passing))


async def _stopped(starting_points: StartingPoints, point: str, passing: int) -> None:
    """The second finishes all that there is; then the first goes on where it was."""
    async with (
        starting_points.to_consume() as run,
        starting_points.running(run.plan("first", "consume", fault="stop", point=point, passing=passing)) as first,
    ):
        await first.reaches(point)
        await first.is_stopped()
        assert await run.holds_locks("first") or point != "announced"
        async with starting_points.running(run.plan("second", "consume", "deliver")) as second:
            await run.all_consumed()
            assert not await run.holds_locks("first"), "a stopped process keeps its locks"
            before = await run.rows("SELECT * FROM inbox ORDER BY id")
            first.go_on()
            await first.reaches("offsets committed")
            assert await run.rows("SELECT * FROM inbox ORDER BY id") == before
            await run.all_delivered()
            await first.end()
            await second.end()
        await _check(run, starting_points)


async def _finish(starting_points: StartingPoints, run: Run) -> None:
    async with starting_points.running(run.plan("last", "consume", "deliver")) as last:
        await run.all_consumed()
        await run.all_delivered()
        await last.end()
    await _check(run, starting_points)


async def _check(run: Run, starting_points: StartingPoints) -> None:
    await check_consumed(run, starting_points.uninterrupted)
    await check_delivered(run)
