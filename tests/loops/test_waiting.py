"""What a loop says while it waits, how long it waits, and when it stops."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from loops.giving_way import _SLICE_SECONDS, TimeSlice
from loops.progress import STALLED_SECONDS, Progress
from loops.waiting import _REMIND_SECONDS, Reminder, Stopped, Waiting, event_or_timeout, retry, wait_for_first

AWAY, SLOW = "the database cannot be reached", "the database is too slow"


def passes(error: BaseException) -> bool:
    return isinstance(error, ConnectionError)


def test_a_state_that_lasts_is_due_once_a_minute() -> None:
    reminder = Reminder()
    assert [reminder.is_due(AWAY) for _ in range(3)] == [True, False, False]
    reminder._due -= _REMIND_SECONDS - 1
    assert not reminder.is_due(AWAY)
    reminder._due -= 1
    assert [reminder.is_due(AWAY) for _ in range(2)] == [True, False]


def test_another_state_is_due_at_once() -> None:
    reminder = Reminder()
    assert [reminder.is_due(state) for state in (AWAY, SLOW, SLOW, AWAY)] == [True, True, False, True]


async def test_a_resource_is_named_again_when_it_is_missing_again() -> None:
    """Also within the minute: in between it was there."""
    waiting = Waiting("the test")
    with capture_logs() as logs:
        waiting.report_missing(AWAY)
        waiting.report_missing(AWAY)
        waiting.missing = None
        waiting.report_missing(AWAY)
    assert [entry["reason"] for entry in logs] == [AWAY, AWAY]


async def test_the_missing_resource_is_named_by_the_latest_failure() -> None:
    waiting = Waiting("the test")
    failures = [ConnectionResetError("second"), ConnectionRefusedError("first")]
    named: list[str | None] = []
    async for attempt in waiting.attempts(passes, str):
        with attempt:
            named.append(waiting.missing)
            if failures:
                raise failures.pop()
    assert named == [None, "first", "second"]


async def test_a_sleep_ends_by_itself_or_when_the_loop_is_stopped() -> None:
    waiting = Waiting("the test")
    await waiting.sleep_or_stop(0.001)
    sleeping = asyncio.create_task(waiting.sleep_or_stop(3600))
    await asyncio.sleep(0)
    waiting.stopping.set()
    with pytest.raises(Stopped):
        await sleeping


async def fail(waiting: Waiting, error: Exception) -> tuple[int, Exception | None]:
    """Fail with `error` under the waits of `attempts`: how often, and what ends it."""
    tries = 0
    try:
        async for attempt in waiting.attempts(passes, AWAY):
            with attempt:
                tries += 1
                raise error
    except (ConnectionError, ZeroDivisionError, Stopped) as ended:
        return tries, ended
    return tries, None


async def test_a_failure_that_does_not_pass_is_raised_as_it_is() -> None:
    error = ZeroDivisionError()
    assert await fail(Waiting("the test"), error) == (1, error)


async def test_a_wait_for_a_resource_ends_when_the_loop_is_stopped() -> None:
    waiting = Waiting("the test")
    waiting.stopping.set()
    tries, ended = await fail(waiting, ConnectionError())
    assert tries == 1
    assert isinstance(ended, Stopped)


class Sleepless(Waiting):
    """Notes for how long it would have slept."""

    async def sleep_or_stop(self, seconds: float) -> None:
        self.slept = [*getattr(self, "slept", []), seconds]


async def test_the_tries_are_further_and_further_apart_but_for_a_few_seconds_at_most() -> None:
    waiting = Sleepless("the test")
    tries = 0
    async for attempt in waiting.attempts(passes, AWAY):
        with attempt:
            tries += 1
            if tries < 20:
                raise ConnectionError
    assert len(waiting.slept) == 19
    assert waiting.slept[0] < 2
    assert set(waiting.slept[10:]) == {5}


async def test_a_loop_that_waits_for_a_resource_makes_progress_with_every_try() -> None:
    waiting = Sleepless("the test")
    stalled: list[str | None] = []
    async for attempt in waiting.attempts(passes, AWAY):
        with attempt:
            stalled.append(waiting.progress.stalled())
            waiting.progress._advanced_at -= STALLED_SECONDS + 1
            if len(stalled) < 3:
                raise ConnectionError
    assert stalled == [None] * 3


async def test_an_event_is_waited_for_and_no_longer_than_asked() -> None:
    event = asyncio.Event()
    await event_or_timeout(event, 0.001)
    event.set()
    await event_or_timeout(event, 3600)


async def test_a_step_is_repeated_until_it_succeeds_and_each_failure_is_announced() -> None:
    failures: list[Exception] = [ConnectionResetError(), ConnectionRefusedError()]
    announced: list[tuple[type[BaseException], int]] = []

    async def step() -> str:
        if failures:
            raise failures.pop()
        return "done"

    def announce(error: BaseException, tries: int) -> None:
        announced.append((type(error), tries))

    assert await retry(step, passes, announce=announce, until=asyncio.Event()) == "done"
    assert announced == [(ConnectionRefusedError, 1), (ConnectionResetError, 2)]


async def test_a_step_that_fails_is_not_repeated_once_the_loop_is_stopped() -> None:
    stopping = asyncio.Event()
    tries = 0

    async def step() -> str:
        nonlocal tries
        tries += 1
        stopping.set()
        raise ConnectionError if tries == 1 else ZeroDivisionError

    assert await retry(step, passes, announce=lambda *_: None, until=stopping) is None
    assert tries == 1


async def test_a_step_that_fails_for_good_is_not_repeated() -> None:
    async def step() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await retry(step, passes, announce=lambda *_: None)


def test_what_is_missing_is_logged_at_first_and_once_a_minute() -> None:
    waiting = Waiting("the test")
    with capture_logs() as logs:
        for missing in ("the broker", "the broker", "the topic", "the topic"):
            waiting.report_missing(missing)
        assert [line["reason"] for line in logs] == ["the broker", "the topic"]
        waiting._reminder._due -= 59
        waiting.report_missing("the topic")
        assert len(logs) == 2
        waiting._reminder._due -= 2
        waiting.report_missing("the topic")
        assert len(logs) == 3, "a minute later"
        waiting.missing = None
        waiting.report_missing("the topic")
        assert len(logs) == 4, "missing again"
    assert waiting.missing == "the topic"


@pytest.mark.parametrize(("idle", "is_stalled"), [(STALLED_SECONDS - 5, False), (STALLED_SECONDS + 5, True)])
def test_a_loop_is_stalled_after_its_time_and_moves_with_its_next_step(idle: float, is_stalled: bool) -> None:  # noqa: FBT001
    assert STALLED_SECONDS == 180
    progress = Progress("the test")
    assert progress.stalled() is None
    for _ in range(2):  # since it began, and since its next step
        progress._advanced_at -= idle
        assert (progress.stalled() is not None) is is_stalled
        progress.advance()
        assert progress.stalled() is None


@pytest.mark.parametrize(
    ("is_over", "expected"),
    [(False, ["work", "work", "work", "other"]), (True, ["work", "other", "work", "work"])],
    ids=["within the slice", "beyond it"],
)
async def test_work_gives_way_once_its_slice_is_over_and_has_another_one_then(
    is_over: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    order: list[str] = []
    time_slice = TimeSlice()
    time_slice._ends += -1 if is_over else 3600
    asyncio.get_running_loop().call_soon(order.append, "other")
    for _ in range(3):
        order.append("work")
        await time_slice.pause_when_over()
        assert time_slice._ends > time.monotonic() - 1 + _SLICE_SECONDS
        time_slice._ends += 3600  # however slow this machine is
    await asyncio.sleep(0)
    assert order == expected


async def test_the_wait_for_several_ends_with_the_first_and_leaves_no_other() -> None:
    ended: list[str] = []

    async def wait(name: str, event: asyncio.Event) -> None:
        try:
            await event.wait()
        finally:
            ended.append(name)

    slow, quick = asyncio.Event(), asyncio.Event()
    waiting = asyncio.create_task(wait_for_first(wait("slow", slow), wait("quick", quick)))
    await asyncio.sleep(0)
    assert not waiting.done()
    quick.set()
    await waiting
    await asyncio.sleep(0)
    assert sorted(ended) == ["quick", "slow"]


async def test_a_cancelled_wait_for_several_leaves_none_of_them() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_for_first(event.wait(), event.wait()))
    await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
