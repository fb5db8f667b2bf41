"""The poster by itself: what is added to it is attempted, whenever it is added."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Any, cast
from uuid import UUID

import pytest

from domain.delivery.backlog import Backlog
from domain.delivery.outcome import Outcome
from producers.webhooks.poster import Poster
from producers.webhooks.sender import FailingAnswer, PostResult
from producers.webhooks.signer import Signer
from schemas.sealing import BUILT_IN_KEYS
from schemas.signing_keys import NO_SIGNING_KEYS
from store.deliveries import ClaimedDelivery, ClaimedEndpoint
from tests.store.outbox import SECRET, sealed


class QuickSender:
    async def post(self, *_: object, **__: object) -> PostResult:
        return PostResult(Outcome.ACCEPTED, 0.01, 200)


class Results:
    """In place of a recorder; calls `then` with each result."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.ids: list[int] = []
        self.outcomes: list[Outcome] = []
        self.unsent: list[int] = []
        self._then = then

    def add(self, delivery: ClaimedDelivery, _started_at: float, result: PostResult, _kept: object) -> None:
        self.ids.append(delivery.id)
        self.outcomes.append(result.outcome)
        self._then()

    def put_back(self, delivery: ClaimedDelivery) -> None:
        self.unsent.append(delivery.id)


def claimed(number: int, endpoint: str = "m", secret: str = SECRET) -> ClaimedDelivery:
    at, id_ = datetime(2026, 11, 20, tzinfo=UTC), UUID(int=number)
    return ClaimedDelivery(
        *(number, 1, id_, endpoint, id_, at, at, b"{}", 0),
        ClaimedEndpoint("https://shop.example/", [sealed(secret, endpoint)]),
    )


class SlowSender:
    """Answers once it is let go."""

    def __init__(self) -> None:
        self.under_way: list[str] = []
        self.let_go = asyncio.Event()

    async def post(self, *_: object, endpoint: str) -> PostResult:
        self.under_way.append(endpoint)
        await self.let_go.wait()
        return PostResult(Outcome.ACCEPTED, 0.01, 200)


def make(sender: object, results: Results, *, connections: int = 2, patience: float = 3600) -> Poster:
    return Poster(
        cast(Any, sender),
        Backlog(connections),
        cast(Any, results),
        keys=BUILT_IN_KEYS,
        connections=connections,
        patience=patience,
    )


async def test_what_is_added_when_an_attempt_has_just_ended_is_attempted() -> None:
    """With one connection, no further attempt would end and take it along."""
    loop, now = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    later = [2, 3]

    def add_next() -> None:
        if later:
            # runs when the task has ended, before what its end calls back
            loop.call_soon(poster.add, [claimed(later.pop(0))], now, tasks)

    results = Results(add_next)
    poster = Poster(
        cast(Any, QuickSender()), Backlog(1), cast(Any, results), keys=BUILT_IN_KEYS, connections=1, patience=3600
    )
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        poster.add([claimed(1)], now, tasks)
        while len(results.ids) < 3:  # noqa: ASYNC110 - a lost delivery gives no sign
            await asyncio.sleep(0.01)
    assert results.ids == [1, 2, 3]


async def test_no_more_attempts_run_at_a_time_than_there_are_connections() -> None:
    sender, results = SlowSender(), Results(lambda: None)
    poster, now = make(sender, results), asyncio.get_running_loop().time()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for numbers in ([1, 2, 3], [4, 5]):
            poster.add([claimed(number) for number in numbers], now, tasks)
            await asyncio.sleep(0)
        assert len(sender.under_way) == 2
        sender.let_go.set()
    assert sorted(results.ids) == [1, 2, 3, 4, 5]
    assert results.unsent == []


@pytest.mark.parametrize("name", ["a", "b"])
async def test_answers_that_take_long_to_read_keep_nothing_of_those_after_them(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    used, evidence_of = 0.0, list[object]()

    class Refusing:
        async def post(self, *_: object, **__: object) -> PostResult:
            return PostResult(Outcome.STATUS_REFUSED, 0.01, 500, None, FailingAnswer([], b"no"))

    class Kept(Results):
        def add(self, _delivery: ClaimedDelivery, _started_at: float, _result: PostResult, kept: object) -> None:
            evidence_of.append(kept)

    def slowly(*_: object, **__: object) -> str:
        nonlocal used
        used += 0.3
        return "kept"

    monkeypatch.setattr("producers.webhooks.poster.evidence", slowly)
    monkeypatch.setattr("producers.webhooks.poster.time.thread_time", lambda: used)
    poster = make(Refusing(), Kept(lambda: None), connections=1)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        poster.add([claimed(1, "a"), claimed(2, name)], time.monotonic(), tasks)
    assert evidence_of == ["kept", None]


@pytest.mark.parametrize(("ago", "unsent"), [(0, []), (11, [1])])
async def test_what_has_waited_longer_than_its_patience_is_put_back_and_not_posted(
    ago: float, unsent: list[int]
) -> None:
    sender, results = QuickSender(), Results(lambda: None)
    poster = make(sender, results, patience=10)
    async with asyncio.TaskGroup() as tasks:
        poster.add([claimed(1)], time.monotonic() - ago, tasks)
    assert results.unsent == unsent
    assert results.ids == ([] if unsent else [1])


async def test_what_is_ready_for_a_paused_endpoint_is_put_back_and_not_posted() -> None:
    results = Results(lambda: None)
    poster = make(QuickSender(), results)
    poster._backlog.pause("m")
    async with asyncio.TaskGroup() as tasks:
        poster.add([claimed(1), claimed(2, "n")], time.monotonic(), tasks)
    assert (results.unsent, results.ids) == ([1], [2])


async def test_the_endpoints_take_turns() -> None:
    results = Results(lambda: None)
    poster = make(QuickSender(), results, connections=1)
    async with asyncio.TaskGroup() as tasks:
        poster.add([claimed(number, name) for number, name in enumerate("aaab")], time.monotonic(), tasks)
        poster.add([claimed(number, name) for number, name in enumerate("cb", 4)], time.monotonic(), tasks)
    assert results.ids == [0, 3, 4, 1, 5, 2]


async def test_some_of_what_is_ready_or_all_of_it_is_put_back() -> None:
    sender, results = SlowSender(), Results(lambda: None)
    poster = make(sender, results, connections=1)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        poster.add([claimed(number, name) for number, name in enumerate("abcab")], time.monotonic(), tasks)
        await asyncio.sleep(0)
        poster.put_back(lambda endpoint_id: endpoint_id == "b")
        assert results.unsent == [1, 4]
        poster.put_back()
        assert results.unsent == [1, 4, 2, 3]
        sender.let_go.set()
    assert results.ids == [0]


async def test_endpoints_whose_attempts_are_overdue_have_a_narrower_window_and_what_is_ready_for_them_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One attempt began 11 s ago, one a moment ago."""
    sender, results = SlowSender(), Results(lambda: None)
    poster = make(sender, results, connections=20)
    window = poster._backlog._window("late")
    for _ in range(40):
        for name in ("late", "quick"):
            poster._backlog.note_answer(name, Outcome.ACCEPTED, 0.01)
    wide = poster._backlog._window("quick")
    assert wide > window
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        poster.add([claimed(1, "late"), claimed(2, "quick")], time.monotonic(), tasks)
        await asyncio.sleep(0)
        signer = Signer("m", [], {}, NO_SIGNING_KEYS)
        poster._ready.add("late", (claimed(3, "late"), inf, signer))
        poster._ready.add("quick", (claimed(4, "quick"), inf, signer))
        poster.narrow_overdue()
        assert (poster._backlog._window("late"), results.unsent) == (wide, [])
        poster._under_way[1] = (time.monotonic() - 11, "late")
        poster.narrow_overdue()
        assert (poster._backlog._window("late"), poster._backlog._window("quick")) == (window, wide)
        assert results.unsent == [3]
        sender.let_go.set()
    assert sorted(results.ids) == [1, 2, 4]
    assert poster._under_way == {}


async def test_an_attempt_that_is_abandoned_has_no_result() -> None:
    sender, results = SlowSender(), Results(lambda: None)
    poster = make(sender, results)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        poster.add([claimed(1)], time.monotonic(), tasks)
        await asyncio.sleep(0)
        poster.cancel()
    assert (sender.under_way, results.ids, results.unsent) == (["m"], [], [])


async def test_what_cannot_be_signed_is_not_posted() -> None:
    results = Results(lambda: None)
    poster = make(QuickSender(), results)
    async with asyncio.TaskGroup() as tasks:
        poster.add([claimed(1, "short", secret="whsec_c2hvcnQ="), claimed(2)], time.monotonic(), tasks)
    assert results.outcomes == [Outcome.UNSIGNABLE, Outcome.ACCEPTED]


async def test_what_goes_to_a_topic_needs_no_secret_that_opens() -> None:
    class Topics:
        async def send(self, url: str, _event: object) -> PostResult:
            sent.append(url)
            return PostResult(Outcome.ACCEPTED, 0.01)

    sent: list[str] = []
    results = Results(lambda: None)
    poster = Poster(
        cast(Any, QuickSender()),
        Backlog(2),
        cast(Any, results),
        keys=BUILT_IN_KEYS,
        destinations={"kafka": cast(Any, Topics())},
        connections=2,
        patience=3600,
    )
    lost = ClaimedEndpoint("kafka:ledger", ["sealed:9:AAAA"])
    async with asyncio.TaskGroup() as tasks:
        poster.add([claimed(1)._replace(endpoint=lost), claimed(2, "n")], time.monotonic(), tasks)
    assert (sent, results.unsent, sorted(results.ids)) == (["kafka:ledger"], [], [1, 2])


def test_a_claimed_delivery_shows_no_secret_no_url_and_no_body() -> None:
    assert repr(claimed(1)) == "ClaimedDelivery(id=1, attempt=1, endpoint_id='m')"
    assert repr(claimed(1).endpoint) == "ClaimedEndpoint(is_failing=False, is_probe=False)"
