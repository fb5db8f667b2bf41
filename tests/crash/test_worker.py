"""A worker dies, or stops for longer than its group waits, at each point of its way.

After it another one finishes. Whatever the first left behind, the run ends as one that nothing interrupted.
"""

import asyncio
from collections.abc import Sequence

import pytest

from tests.crash.beginnings import Beginnings
from tests.crash.commits import LossyProxy
from tests.crash.runs import Run
from tests.crash.verdict import check_consumed, check_delivered

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
async def test_a_worker_may_be_killed(beginnings: Beginnings, points: Sequence[tuple[str, int]]) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for point, passing in points:
            side_by_side.create_task(_killed(beginnings, point, passing))


async def _killed(beginnings: Beginnings, point: str, passing: int) -> None:
    async with beginnings.to_consume() as run:
        async with beginnings.living(run.life("first", "consume", fault="kill", point=point, passing=passing)) as first:
            await first.is_killed_at(point)
        await run.left_by("first")
        assert 0 < await run.taken_in() < len(run.fed.places)
        if point == "committed":
            assert await run.taken_in() > sum((await run.committed()).values()), "nothing will be read again"
        if point == "offsets committed":
            assert await run.taken_in() == sum((await run.committed()).values())
        await _finish(beginnings, run)


@pytest.mark.parametrize("lost", ["sent, not done", "done, not acknowledged"])
async def test_a_commit_may_get_lost(beginnings: Beginnings, lost: str) -> None:
    """With the worker that sent it, or with its connection only."""
    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(_killed_at_commit(beginnings, forwards=lost.startswith("done")))
        side_by_side.create_task(_cut_off_at_commit(beginnings, forwards=lost.startswith("done")))


async def _killed_at_commit(beginnings: Beginnings, *, forwards: bool) -> None:
    async with (
        beginnings.to_consume() as run,
        LossyProxy(run.database_url, statement=_OF_A_BATCH, passing=3, forwards=forwards) as proxy,
    ):
        async with beginnings.living(run.life("first", "consume", database_url=proxy.url)) as first:
            await proxy.is_reached()
            await first.kill()
        proxy.cut()
        await run.left_by("first")
        if forwards:
            assert await run.taken_in() > sum((await run.committed()).values()), "it was not committed"
        await _finish(beginnings, run)


async def _cut_off_at_commit(beginnings: Beginnings, *, forwards: bool) -> None:
    async with (
        beginnings.to_consume() as run,
        LossyProxy(run.database_url, statement=_OF_A_BATCH, passing=3, forwards=forwards) as proxy,
    ):
        async with beginnings.living(run.life("only", "consume", "deliver", database_url=proxy.url)) as only:
            await proxy.is_reached()
            proxy.mend()
            await run.all_consumed()
            await run.all_delivered()
            await only.end()
        await _check(run, beginnings)


@pytest.mark.parametrize("points", STOPPED_AT, ids=_named)
async def test_a_worker_may_wake_up_after_its_group_went_on(
    beginnings: Beginnings, points: Sequence[tuple[str, int]]
) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for point, passing in points:
            side_by_side.create_task(_stopped(beginnings, point, passing))


async def _stopped(beginnings: Beginnings, point: str, passing: int) -> None:
    """The second finishes all that there is; then the first goes on where it was."""
    async with (
        beginnings.to_consume() as run,
        beginnings.living(run.life("first", "consume", fault="stop", point=point, passing=passing)) as first,
    ):
        await first.reaches(point)
        await first.is_stopped()
        assert await run.holds_locks("first") or point != "announced"
        async with beginnings.living(run.life("second", "consume", "deliver")) as second:
            await run.all_consumed()
            assert not await run.holds_locks("first"), "a stopped process keeps its locks"
            before = await run.rows("SELECT * FROM inbox ORDER BY id")
            first.go_on()
            await first.reaches("offsets committed")
            assert await run.rows("SELECT * FROM inbox ORDER BY id") == before
            await run.all_delivered()
            await first.end()
            await second.end()
        await _check(run, beginnings)


async def _finish(beginnings: Beginnings, run: Run) -> None:
    async with beginnings.living(run.life("last", "consume", "deliver")) as last:
        await run.all_consumed()
        await run.all_delivered()
        await last.end()
    await _check(run, beginnings)


async def _check(run: Run, beginnings: Beginnings) -> None:
    await check_consumed(run, beginnings.uninterrupted)
    await check_delivered(run)
