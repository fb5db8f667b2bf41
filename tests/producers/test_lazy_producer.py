"""When a producer that fails is replaced by a new one."""

import asyncio
from typing import Any, cast

import pytest

from producers.lazy_producer import LazyProducer


class Failing:
    """In place of a producer that has connected."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()

    async def stop(self) -> None:
        self.stopped.set()


def make(monkeypatch: pytest.MonkeyPatch) -> tuple[LazyProducer, Failing, list[float]]:
    """A lazy producer that has connected, its connection, and the time."""
    now, lazy, failing = [100.0], LazyProducer({}), Failing()
    lazy._producer = cast(Any, failing)
    monkeypatch.setattr("producers.lazy_producer.time.monotonic", lambda: now[0])
    return lazy, failing, now


async def test_it_is_replaced_once_it_has_failed_for_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy, failing, now = make(monkeypatch)
    for now[0] in (100.0, 115.0, 129.9):
        lazy.note_failure()
        assert lazy._producer is not None
    now[0] = 130.0
    lazy.note_failure()
    assert lazy._producer is None
    await lazy.close()
    assert failing.stopped.is_set()


async def test_a_success_in_between_begins_the_half_minute_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy, _, now = make(monkeypatch)
    lazy.note_failure()
    lazy.note_success()
    for now[0] in (131.0, 160.0):
        lazy.note_failure()
        assert lazy._producer is not None
    now[0] = 161.0
    lazy.note_failure()
    assert lazy._producer is None
    await lazy.close()


async def test_the_half_minute_of_the_next_one_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy, _, now = make(monkeypatch)
    for now[0] in (100.0, 130.0):
        lazy.note_failure()
    following = Failing()
    lazy._producer = cast(Any, following)
    for now[0] in (131.0, 160.9):
        lazy.note_failure()
        assert lazy._producer is following
    await lazy.close()
    assert following.stopped.is_set()
