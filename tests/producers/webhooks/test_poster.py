"""The poster by itself: what is added to it is attempted, whenever it is added."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from domain.delivery.backlog import Backlog
from domain.delivery.outcome import Outcome
from producers.webhooks.poster import Poster
from producers.webhooks.sender import PostResult
from store.deliveries import ClaimedDelivery
from tests.store.outbox import SECRET


class QuickSender:
    async def post(self, *_: object, **__: object) -> PostResult:
        return PostResult(Outcome.ACCEPTED, 0.01, 200)


class Results:
    """In place of a recorder; calls `then` with each result."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.ids: list[int] = []
        self._then = then

    def add(self, claimed: ClaimedDelivery, *_: object) -> None:
        self.ids.append(claimed.id)
        self._then()


def claimed(number: int) -> ClaimedDelivery:
    at, id_ = datetime(2026, 11, 20, tzinfo=UTC), UUID(int=number)
    return ClaimedDelivery(number, 1, id_, "m", id_, at, at, b"{}", "https://shop.example/", [SECRET])


async def test_what_is_added_when_an_attempt_has_just_ended_is_attempted() -> None:
    """With one connection, no further attempt would end and take it along."""
    loop, now = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    later = [2, 3]

    def add_next() -> None:
        if later:
            # runs when the task has ended, before what its end calls back
            loop.call_soon(poster.add, [claimed(later.pop(0))], now, tasks)

    results = Results(add_next)
    poster = Poster(cast(Any, QuickSender()), Backlog(1), cast(Any, results), connections=1, patience=3600)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        poster.add([claimed(1)], now, tasks)
        while len(results.ids) < 3:  # noqa: ASYNC110 - a lost delivery gives no sign
            await asyncio.sleep(0.01)
    assert results.ids == [1, 2, 3]
