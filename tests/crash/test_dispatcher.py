"""A dispatcher dies, or stops for longer than its leases last, at each point of its way.

What it was at is sent again under the same id, and what it had written down is not.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests.crash.checks import check_delivered
from tests.crash.commits import LossyProxy
from tests.crash.runs import Run
from tests.crash.starting_points import StartingPoints
from tests.parts.receiver import ACCEPTED, Answer
from tests.parts.until import until

KILLED_AT = [[("claimed", 40), ("sent", 60)], [("read", 80), ("recorded", 3)]]
STOPPED_AT = [[("claimed", 40), ("sent", 60)], [("read", 80)]]

# What only results are written down by.
_OF_RESULTS = b"INSERT INTO delivery_history"


def _named(points: Sequence[tuple[str, int]]) -> str:
    return " and ".join(point for point, _ in points)


@pytest.mark.parametrize("points", KILLED_AT, ids=_named)
async def test_a_dispatcher_may_be_killed(starting_points: StartingPoints, points: Sequence[tuple[str, int]]) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for point, passing in points:
            side_by_side.create_task(_killed(starting_points, point, passing))


async def _killed(starting_points: StartingPoints, point: str, passing: int) -> None:
    async with starting_points.to_deliver() as run:
        _let_some_fail(run)
        async with starting_points.running(
            run.plan("first", "deliver", fault="kill", point=point, passing=passing)
        ) as first:
            await first.is_killed_at(point)
        await _finish(starting_points, run)
        if point in {"sent", "read"}:
            assert _received_twice(run), "nothing was under way"


@pytest.mark.parametrize("lost", ["sent, not done", "done, not acknowledged"])
async def test_the_commit_of_results_may_get_lost(starting_points: StartingPoints, lost: str) -> None:
    """With the dispatcher that sent it, or with its connection only. (A claim is a statement without one.)"""
    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(_killed_at_commit(starting_points, forwards=lost.startswith("done")))
        side_by_side.create_task(_cut_off_at_commit(starting_points, forwards=lost.startswith("done")))


async def _killed_at_commit(starting_points: StartingPoints, *, forwards: bool) -> None:
    async with (
        starting_points.to_deliver() as run,
        LossyProxy(run.database_url, statement=_OF_RESULTS, passing=3, forwards=forwards) as proxy,
    ):
        async with starting_points.running(run.plan("first", "deliver", database_url=proxy.url)) as first:
            await proxy.is_reached()
            await first.kill()
        proxy.cut()
        await _finish(starting_points, run)
        assert forwards or _received_twice(run), "it was done"


async def _cut_off_at_commit(starting_points: StartingPoints, *, forwards: bool) -> None:
    async with (
        starting_points.to_deliver() as run,
        LossyProxy(run.database_url, statement=_OF_RESULTS, passing=3, forwards=forwards) as proxy,
    ):
        _let_some_fail(run)
        async with starting_points.running(run.plan("only", "deliver", database_url=proxy.url)) as only:
            await proxy.is_reached()
            proxy.mend()
            await run.all_delivered()
            await only.end()
        await check_delivered(run)


@pytest.mark.parametrize("points", STOPPED_AT, ids=_named)
async def test_a_dispatcher_may_wake_up_after_its_leases_ended(
    starting_points: StartingPoints, points: Sequence[tuple[str, int]]
) -> None:
    async with asyncio.TaskGroup() as side_by_side:
        for point, passing in points:
            side_by_side.create_task(_stopped(starting_points, point, passing))


async def _stopped(starting_points: StartingPoints, point: str, passing: int) -> None:
    """The second claims what the first was at, and delivers it, but where it is refused. Then the first goes on."""
    async with (
        starting_points.to_deliver() as run,
        starting_points.running(run.plan("first", "deliver", fault="stop", point=point, passing=passing)) as first,
    ):
        _let_some_fail(run)
        await first.reaches(point)
        await first.is_stopped()
        assert 1 in await _attempts_refused(run), "it has claimed nothing that another could claim meanwhile"
        run.receiver.answer("/m2-shop", Answer(500))
        async with starting_points.running(run.plan("second", "deliver")) as second:
            await until(lambda: _all_are_claimed_anew(run), within=240)
            before = await _results(run)
            first.go_on()
            await first.reaches("recorded")
            assert await _results(run) == before, "a late result was written"
            run.receiver.answer("/m2-shop", ACCEPTED)
            await run.all_delivered()
            await first.end()
            await second.end()
        await check_delivered(run)


async def _attempts_refused(run: Run) -> set[int]:
    """The numbers of the attempts that the refusing endpoint's live deliveries are at."""
    rows = await run.rows("SELECT attempt FROM deliveries WHERE endpoint_id = 'm2-shop' AND due_at IS NOT NULL")
    return {row.attempt for row in rows}


async def _all_are_claimed_anew(run: Run) -> bool:
    others = await run.number("SELECT count(*) FROM deliveries WHERE endpoint_id <> 'm2-shop'")
    return not others and min(await _attempts_refused(run)) > 1


async def _finish(starting_points: StartingPoints, run: Run) -> None:
    await run.left_by("first")
    written_down = await _results(run)
    before = len(run.receiver.requests)
    async with starting_points.running(run.plan("last", "deliver")) as last:
        await run.all_delivered()
        await last.end()
    again = {(request.path, request.headers["webhook-id"]) for request in run.receiver.requests[before:]}
    assert not again & {(f"/{result.endpoint_id}", result.event_id) for result in written_down}
    await check_delivered(run)


async def _results(run: Run) -> list[Any]:
    """What is written down of each finished delivery, and of how many attempts."""
    return await run.rows(
        "SELECT endpoint_id, 'evt_' || replace(CAST(event_id AS text), '-', '') AS event_id, status, attempt, "
        "finished_at, num_nonnulls(last_outcome) "
        "+ (SELECT count(*) FROM attempts WHERE delivery_id = delivery_history.id) "
        "FROM delivery_history ORDER BY id"
    )


def _let_some_fail(run: Run) -> None:
    """Failed attempts are results too, which must not be written twice."""
    run.receiver.answer("/m1-shop", *(Answer(500), Answer(500), ACCEPTED) * 10)


def _received_twice(run: Run) -> int:
    times = Counter((request.path, request.headers["webhook-id"]) for request in run.receiver.requests)
    return sum(count > 1 for count in times.values())
