"""How often a batch is tried, with which limits, and what follows from each failure: the failures are written here."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchResult
from consumers.halving import BatchIntake
from consumers.letters import Message
from domain.effort import TooMuch
from domain.update import Outcome
from loops.waiting import Waiting
from store.dead_letters import DeadLetter
from store.knowledge import Contended
from tests.consumers.harness import RETENTION, Harness
from tests.parts.until import until
from wallets.loading import Limits

WHOLE, PART = Limits(seconds=12), Limits(seconds=2)
FEWER = Limits(seconds=12, of_a_credential=100)
DEAD_LETTER = DeadLetter("updates", 0, 0, bytes(16), "no JSON", None, b"")
NOTHING = BatchResult(Counter(), (), 0, 0)


class Script:
    """`consumers.batch.take_in` with failures of the test's own, by the message's offset, one after another."""

    def __init__(self, harness: Harness, failures: dict[int, list[BaseException]], **more: Any) -> None:
        self.failures = failures
        self.result = NOTHING
        self.tries: list[tuple[list[int], Limits]] = []
        self.arguments: dict[str, Any] = {}
        self.waiting = Waiting("the test")
        self.intake = BatchIntake(harness.engine, RETENTION, self.take_in, self.waiting, **more)
        self._harness = harness

    async def take_in(
        self, engine: AsyncEngine, messages: Sequence[Message], retention: object, *, limits: Limits, **more: Any
    ) -> BatchResult:
        assert (engine, retention) == (self._harness.engine, RETENTION)
        self.arguments = more
        offsets = [message.offset for message in messages]
        self.tries.append((offsets, limits))
        for offset in offsets:
            if self.failures.get(offset):
                raise self.failures[offset].pop(0)
        return self.result

    async def run(self, count: int = 1) -> None:
        await self.intake.take_in([self._harness.message(b"{}", offset=offset) for offset in range(count)])

    async def says(self, words: str) -> bool:
        return words in (self.waiting.missing or "")


def always(error: BaseException) -> list[BaseException]:
    return [error] * 20


async def letters(harness: Harness) -> list[tuple[int, str]]:
    return [(letter.offset, letter.reason) for letter in await harness.dead_letters()]


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


# --- halves -------------------------------------------------------------------------------------------------------


async def test_a_message_that_is_too_much_is_found_by_halves_and_tried_once_more_with_fewer_wallets(
    harness: Harness,
) -> None:
    script = Script(harness, {3: always(TooMuch("more than 9 wallets are affected"))})
    await script.run(5)
    assert script.tries == [
        ([0, 1, 2, 3, 4], WHOLE),
        ([0, 1], PART),
        ([2, 3, 4], PART),
        ([2], WHOLE),
        ([3, 4], PART),
        ([3], WHOLE),
        ([3], FEWER),
        ([4], WHOLE),
    ]
    assert await letters(harness) == [(3, "it is too much for one transaction: more than 9 wallets are affected")]


async def test_what_is_not_too_much_any_more_is_taken_in(harness: Harness) -> None:
    script = Script(harness, {0: [TooMuch("once")]})
    await script.run()
    assert script.tries == [([0], WHOLE), ([0], FEWER)]
    assert await letters(harness) == []


@pytest.mark.parametrize("first", [[], [TooMuch("at first")]], ids=["at once", "where it was too much"])
async def test_a_message_that_the_database_refuses_is_set_aside_at_that_try(
    harness: Harness, first: list[BaseException]
) -> None:
    script = Script(harness, {0: [*first, asyncpg.NumericValueOutOfRangeError()]})
    await script.run()
    assert len(script.tries) == len(first) + 1
    assert await letters(harness) == [(0, "the database refuses what was written: 22003")]


async def test_a_letter_is_cut_where_the_memory_does_not_suffice_for_all_of_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("consumers.halving.dead_letter", fail)
    await Script(harness, {0: always(MemoryError())}).run()
    (letter,) = await harness.dead_letters()
    assert (letter.reason, letter.body) == ("it is too much for one transaction: memory", "{}… (2 bytes)".encode())


# --- others in the way --------------------------------------------------------------------------------------------


async def test_a_batch_that_others_are_in_the_way_of_is_halved_at_the_fifth_try(harness: Harness) -> None:
    script = Script(harness, {1: [Contended(["A"]) for _ in range(5)]})
    await script.run(2)
    assert [offsets for offsets, _ in script.tries] == [[0, 1]] * 5 + [[0], [1]]
    assert script.waiting.missing is None


async def test_a_single_message_is_tried_until_it_gets_through_and_the_wait_is_named(harness: Harness) -> None:
    script = Script(harness, {0: [Contended(["A"]) for _ in range(6)]})
    work = asyncio.create_task(script.run())
    await until(partial(script.says, "another worker was in the way"))
    assert len(script.tries) >= 5
    await work
    assert len(script.tries) == 7
    assert script.waiting.missing is None
    assert await letters(harness) == []


async def test_a_statement_that_was_cancelled_early_is_tried_again(harness: Harness) -> None:
    """An administrator cancelled it: the message is not too much."""
    script = Script(harness, {0: [asyncpg.QueryCanceledError()]})
    await script.run()
    assert script.tries == [([0], WHOLE)] * 2


async def test_each_failure_that_is_tried_again_is_counted(harness: Harness) -> None:
    before = {kind: metric("repoint_batch_retries_total", failure=kind) for kind in ("contended", "too_much")}
    await Script(harness, {0: [Contended(["A"]), TooMuch("once"), Contended(["B"])]}).run()
    after = {kind: metric("repoint_batch_retries_total", failure=kind) for kind in before}
    assert after == {"contended": before["contended"] + 2, "too_much": before["too_much"] + 1}


async def test_after_a_few_quick_tries_the_next_ones_are_up_to_a_second_apart(harness: Harness) -> None:
    script = Script(harness, {0: [Contended(["A"]) for _ in range(40)]})
    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)

    script.waiting.sleep_or_stop = sleep  # type: ignore[method-assign]
    await script.run()
    assert len(sleeps) == 40
    assert max(sleeps[:4]) <= 0.05
    assert 0.3 < max(sleeps[4:]) <= 1


# --- a slow server ------------------------------------------------------------------------------------------------

SLOW = "the database is too slow"


class Pace:
    """`store.connectivity.keeps_up` with answers of the test's own, then none."""

    def __init__(self, script: Script, *answers: str | None) -> None:
        self.answers = list(answers)
        self.named: list[str | None] = []
        self.sleeps: list[float] = []
        self._script = script
        script.waiting.sleep_or_stop = self.sleep  # type: ignore[method-assign]

    async def __call__(self, engine: AsyncEngine) -> str | None:
        assert isinstance(engine, AsyncEngine)
        return self.answers.pop(0) if self.answers else None

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.named.append(self._script.waiting.missing)


@pytest.mark.parametrize(
    ("answers", "tries", "waits"),
    [
        pytest.param((None, None), 1, 0, id="at its usual pace before and after"),
        pytest.param((SLOW, SLOW, None, None), 1, 2, id="slow before: waited for, then tried"),
        pytest.param((None, SLOW, None, None, None), 2, 1, id="slow after: tried again"),
        pytest.param((None, SLOW, None) * 9, 5, 5, id="slow after each try: tried five times"),
    ],
)
async def test_a_message_that_is_too_much_is_set_aside_only_where_the_server_is_at_its_usual_pace(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, answers: tuple[str | None, ...], tries: int, waits: int
) -> None:
    script = Script(harness, {0: always(TooMuch("of it"))})
    pace = Pace(script, *answers)
    monkeypatch.setattr("consumers.halving.connectivity.keeps_up", pace)
    await script.run()
    assert script.tries == [([0], WHOLE)] + [([0], FEWER)] * tries
    assert (pace.sleeps, pace.named) == ([1] * waits, [SLOW] * waits)
    assert len(await letters(harness)) == 1


# --- the database away --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (ConnectionResetError(), "the database cannot be reached"),
        (asyncpg.InsufficientPrivilegeError(), "the database does not let this user read or change its tables"),
    ],
)
async def test_a_database_that_is_away_is_waited_for_with_the_whole_batch(
    harness: Harness, error: BaseException, named: str
) -> None:
    script = Script(harness, {1: [error, error]})
    work = asyncio.create_task(script.run(2))
    await until(partial(script.says, named))
    await work
    assert script.tries == [([0, 1], WHOLE)] * 3
    assert script.waiting.missing is None


async def test_a_connection_that_is_lost_late_was_lost_for_what_was_done_on_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends transactions of ours that take too long."""
    monkeypatch.setattr("consumers.halving._LONGEST_SECONDS", 0)
    script = Script(harness, {1: always(ConnectionResetError())})
    await script.run(2)
    assert script.tries == [([0, 1], WHOLE), ([0], WHOLE), ([1], WHOLE), ([1], FEWER)]
    assert [offset for offset, _ in await letters(harness)] == [1]


async def test_what_is_no_failure_of_the_database_ends_the_worker(harness: Harness) -> None:
    script = Script(harness, {0: [asyncpg.UndefinedColumnError()]})
    with pytest.raises(asyncpg.UndefinedColumnError):
        await script.run()
    assert await letters(harness) == []


# --- defects ------------------------------------------------------------------------------------------------------

DEFECT = asyncpg.CheckViolationError()
LETTER = (
    "INSERT INTO dead_letters (topic, partition, kafka_offset, digest, reason, body, headers, received_at)"
    " SELECT 'other', 0, n, '', 'DEFECT: it is refused', '', '[]', now() - CAST(:age AS interval)"
    " FROM generate_series(1, CAST(:count AS int)) AS n"
)


async def test_after_a_few_defects_the_next_message_is_kept_until_all_of_them_are_closed(harness: Harness) -> None:
    """Another version runs by then, perhaps: the message is tried again."""
    await harness.rows(LETTER, age=timedelta(hours=1), count=5)
    script = Script(harness, {0: [DEFECT]})
    work = asyncio.create_task(script.run())
    await until(partial(script.says, "5 open dead letters begin with DEFECT"))
    await harness.rows("UPDATE dead_letters SET status = 'DISCARDED', closed_at = now() WHERE kafka_offset > 1")
    await until(partial(script.says, "1 open dead letters begin with DEFECT"))
    await harness.rows("UPDATE dead_letters SET status = 'REPLAYED', closed_at = now() WHERE kafka_offset = 1")
    await work
    assert script.tries == [([0], WHOLE)] * 2
    assert [reason for offset, reason in await letters(harness) if offset == 0] == []


@pytest.mark.parametrize(("hours", "count"), [(1, 4), (30, 9)], ids=["fewer", "long ago"])
async def test_fewer_defects_or_old_ones_keep_nothing_back(harness: Harness, hours: int, count: int) -> None:
    await harness.rows(LETTER, age=timedelta(hours=hours), count=count)
    script = Script(harness, {0: [DEFECT]})
    async with asyncio.timeout(20):
        await script.run()
    assert (0, "DEFECT: the database refuses what was written: 23514") in await letters(harness)


# --- what a batch is given, and what it gives ---------------------------------------------------------------------


async def test_a_batch_is_taken_in_as_the_settings_say(harness: Harness) -> None:
    def on_point(_: object) -> None:
        raise AssertionError

    script = Script(harness, {}, on_point=on_point, digit_ids=frozenset({"vau"}))
    script.intake.incarnation = 3
    await script.run()
    assert script.arguments == {
        "within_reach": frozenset(),
        "digit_ids": frozenset({"vau"}),
        "incarnation": 3,
        "on_point": on_point,
    }


async def test_what_a_batch_made_due_is_announced_and_all_that_became_of_it_is_counted(harness: Harness) -> None:
    names = {
        "repoint_updates_total": ({"outcome": "APPLIED"}, 2),
        "repoint_dead_letters_total": ({}, 3),
        "repoint_messages_redelivered_total": ({}, 4),
        "repoint_events_total": ({}, 5),
        "repoint_messages_empty_total": ({}, 6),
    }
    before = {name: metric(name, **labels) for name, (labels, _) in names.items()}
    announced: list[AbstractSet[str]] = []
    script = Script(harness, {}, on_due=announced.append)
    await script.run()
    assert announced == []
    script.result = BatchResult(Counter({Outcome.APPLIED: 2}), [DEAD_LETTER] * 3, 4, 5, 6, frozenset({"pharmacy"}))
    await script.run()
    assert announced == [{"pharmacy"}]
    assert {name: metric(name, **labels) - before[name] for name, (labels, _) in names.items()} == {
        name: number for name, (_, number) in names.items()
    }


async def test_a_message_that_is_set_aside_is_a_dead_letter_that_is_counted(harness: Harness) -> None:
    before = metric("repoint_dead_letters_total")
    await Script(harness, {0: [asyncpg.NumericValueOutOfRangeError()]}).run()
    assert metric("repoint_dead_letters_total") == before + 1
