"""The claimer by itself: when it looks, sweeps and claims, and how it hands on what it claimed."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.backlog import Backlog
from domain.delivery.outcome import Outcome
from producers.webhooks import claimer as module
from producers.webhooks.claimer import Claimer
from store import deliveries, endpoints
from store.deliveries import ClaimedDelivery
from store.reused_connection import ReusedConnection
from tests.store.outbox import Outbox

HOUR = 3600.0


class Away(Exception):
    """The database, for one statement."""


class Claiming:
    """A claimer and what it hands on."""

    def __init__(self, connection: ReusedConnection, *, connections: int = 20) -> None:
        self.backlog = Backlog(connections)
        self.claimed: list[ClaimedDelivery] = []
        self.leased_after: list[float] = []
        self.claimer = Claimer(connection, self.backlog, lease=timedelta(hours=2), on_claimed=self._take)

    def _take(self, claimed: Sequence[ClaimedDelivery], leased_after: float) -> None:
        self.claimed += claimed
        self.leased_after.append(leased_after)

    async def run_once(self) -> list[str]:
        """The endpoints of the deliveries that a run claims, in the order that they are handed on."""
        self.claimed = []
        await self.claimer.run_once()
        return [claimed.endpoint_id for claimed in self.claimed]


@pytest.fixture
async def claiming(engine: AsyncEngine) -> AsyncIterator[Claiming]:
    async with ReusedConnection(engine.execution_options(isolation_level="AUTOCOMMIT")) as connection:
        yield Claiming(connection)


async def add(outbox: Outbox, name: str, count: int) -> None:
    await outbox.add_endpoint(name)
    for _ in range(count):
        await outbox.tell(name, await outbox.add_wallet())


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The next call of a function of `store.deliveries` fails."""
    whole = getattr(deliveries, name)

    async def fails(*_arguments: object, **_named: object) -> Any:
        monkeypatch.setattr(deliveries, name, whole)
        raise Away

    monkeypatch.setattr(deliveries, name, fails)


async def test_what_is_due_is_leased_and_handed_on(claiming: Claiming, outbox: Outbox) -> None:
    await add(outbox, "m", 2)
    await add(outbox, "n", 2)
    begun = time.monotonic()
    names = await claiming.run_once()
    assert sorted(names) == ["m", "m", "n", "n"]
    assert claiming.backlog.outstanding == 4
    assert REGISTRY.get_sample_value("repoint_deliveries_claimed") == 4
    assert begun <= claiming.leased_after[0] <= time.monotonic()
    ((shortest, longest),) = await outbox.execute(
        "SELECT min(extract(epoch FROM leased_until - now())), max(attempt) FROM deliveries"
    )
    assert 7100 < shortest <= 7200
    assert longest == 1


async def test_a_claim_that_fails_is_made_again_without_a_look(
    monkeypatch: pytest.MonkeyPatch, claiming: Claiming, outbox: Outbox
) -> None:
    monkeypatch.setattr(module, "_SWEEP_SECONDS", HOUR)
    await add(outbox, "m", 1)
    fail_once(monkeypatch, "claim")
    with pytest.raises(Away):
        await claiming.run_once()
    claiming.claimer._look_at = time.monotonic() + HOUR
    assert await claiming.run_once() == ["m"]


async def test_a_look_that_fails_is_made_again_at_once(
    monkeypatch: pytest.MonkeyPatch, claiming: Claiming, outbox: Outbox
) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", (HOUR, HOUR))
    monkeypatch.setattr(module, "_SWEEP_SECONDS", HOUR)
    await add(outbox, "m", 1)
    fail_once(monkeypatch, "due")
    with pytest.raises(Away):
        await claiming.run_once()
    assert await claiming.run_once() == ["m"]


async def test_looks_are_further_apart_while_nothing_is_due(
    monkeypatch: pytest.MonkeyPatch, claiming: Claiming, outbox: Outbox
) -> None:
    """0.1 s, doubled up to half a second; however slow a look is here."""
    monkeypatch.setattr(module, "_LOOKS_SHARE", inf)
    intervals = []
    for _ in range(4):
        claiming.claimer.wake(None)
        await claiming.run_once()
        intervals.append(claiming.claimer._look_interval)
    assert intervals == [0.2, 0.4, 0.5, 0.5]
    await add(outbox, "m", 1)
    claiming.claimer.wake(None)
    before = time.monotonic()
    assert await claiming.run_once() == ["m"]
    assert claiming.claimer._look_interval == 0.1
    assert before + 0.4 < claiming.claimer._look_at <= time.monotonic() + 0.5, "by the interval before this look"


@pytest.mark.parametrize(("seconds", "interval"), [(0.001, 0.1), (0.004, 0.2), (0.1, 0.5)])
async def test_looks_take_a_fiftieth_of_the_time_while_something_is_due(
    monkeypatch: pytest.MonkeyPatch, claiming: Claiming, outbox: Outbox, seconds: float, interval: float
) -> None:
    now = 0.0

    async def slow(*_: object) -> list[str]:
        nonlocal now
        now += seconds
        return ["m"]

    monkeypatch.setattr(deliveries, "due", slow)
    monkeypatch.setattr("producers.webhooks.claimer.time.monotonic", lambda: now)
    await claiming.run_once()
    assert claiming.claimer._look_interval == pytest.approx(interval)


async def test_named_endpoints_are_claimed_of_without_a_look_and_unnamed_ones_after_it(
    claiming: Claiming, outbox: Outbox
) -> None:
    await claiming.run_once()
    claiming.claimer._look_at = claiming.claimer._sweep_at = inf
    await add(outbox, "m", 1)
    await add(outbox, "n", 1)
    claiming.claimer.wake()
    assert await claiming.run_once() == []
    claiming.claimer.wake(["m"])
    assert await claiming.run_once() == ["m"]
    claiming.claimer.wake(None)
    assert await claiming.run_once() == ["n"]


async def test_an_endpoint_that_a_look_does_not_find_is_not_claimed_of(claiming: Claiming) -> None:
    """It was named before the look, which would have found its deliveries."""
    claiming.claimer.wake(["without"])
    claiming.claimer.wake(None)
    assert await claiming.run_once() == []
    assert claiming.leased_after == []


async def test_what_was_put_back_is_claimed_after_the_next_sweep(claiming: Claiming, outbox: Outbox) -> None:
    """It is due before the watermark of its endpoint, which a sweep drops; sweeps are 5 s apart."""
    await add(outbox, "m", 1)
    before = time.monotonic()
    assert await claiming.run_once() == ["m"]
    (delivery,) = claiming.claimed
    assert claiming.claimer._watermarks == {"m": delivery.due_at}
    assert before + 5 <= claiming.claimer._sweep_at <= time.monotonic() + 5
    await outbox.execute("UPDATE deliveries SET leased_until = NULL, due_at = due_at - interval '1 minute'")
    claiming.backlog.release("m")
    claiming.claimer.wake(None)
    assert await claiming.run_once() == []
    claiming.claimer._sweep_at = -inf
    assert await claiming.run_once() == ["m"]


async def test_a_watermark_is_the_latest_time_that_was_claimed(claiming: Claiming, outbox: Outbox) -> None:
    """Deliveries of one claim come in any order."""
    await add(outbox, "m", 2)
    await claiming.run_once()
    later, earlier = sorted(claiming.claimed, key=lambda claimed: claimed.due_at, reverse=True)
    for order in ([later, earlier], [earlier, later]):
        claiming.claimer._watermarks.clear()
        claiming.claimer._hand_over(order, {"m": 2}, 0.0)
        assert claiming.claimer._watermarks == {"m": later.due_at}


async def test_a_sweep_that_moved_deliveries_is_followed_by_another_one(claiming: Claiming, outbox: Outbox) -> None:
    """A sweep moves a limited number."""
    await add(outbox, "m", 1)
    async with outbox.engine.begin() as connection:
        await endpoints.disable(connection, ["m"], "a person's wish")
    await claiming.run_once()
    assert [row.status for row in await outbox.live()] == ["PARKED"]
    assert claiming.claimer._sweep_at == -inf
    await claiming.run_once()
    assert claiming.claimer._sweep_at > time.monotonic()


async def test_an_endpoint_that_filled_its_quota_takes_its_next_turn_at_once_while_there_is_much_room(
    claiming: Claiming, outbox: Outbox
) -> None:
    """The first turn brings one of each of 160 endpoints, most of which have nothing due after all."""
    await add(outbox, "m", 5)
    for _ in range(40):
        claiming.backlog.note_answer("m", Outcome.ACCEPTED, 0.01)
    await claiming.run_once()
    assert len(claiming.claimed) == 5
    await outbox.make_due()
    for _ in range(5):
        claiming.backlog.release("m")
    claiming.claimer._look_at = claiming.claimer._sweep_at = inf
    claiming.claimer._watermarks.clear()
    claiming.claimer.wake(["m", *(f"without-{number}" for number in range(159))])
    assert await claiming.run_once() == ["m"] * 5


async def test_told_to_stop_it_claims_nothing_more(claiming: Claiming, outbox: Outbox) -> None:
    await add(outbox, "m", 1)
    claiming.claimer.stop()
    async with asyncio.timeout(30):
        claiming.claimer._look_at = claiming.claimer._sweep_at = inf
        await claiming.claimer.wait()
    claiming.claimer.begin_anew()
    assert await claiming.run_once() == []
    assert [row.attempt for row in await outbox.live()] == [0]


@pytest.mark.parametrize("due", [(), ["m"], None])
async def test_a_wish_to_claim_ends_its_wait(claiming: Claiming, due: list[str] | None) -> None:
    await claiming.run_once()
    claiming.claimer._look_at = claiming.claimer._sweep_at = inf
    waiting = asyncio.create_task(claiming.claimer.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    claiming.claimer.wake(due)
    async with asyncio.timeout(30):
        await waiting
        await claiming.run_once()
        claiming.claimer._look_at = claiming.claimer._sweep_at = inf
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await claiming.claimer.wait()


@pytest.mark.parametrize(("look_in", "sweep_in"), [(0.05, HOUR), (HOUR, 0.05)])
async def test_it_waits_for_the_next_look_or_sweep_and_no_longer(
    claiming: Claiming, look_in: float, sweep_in: float
) -> None:
    await claiming.run_once()
    now = time.monotonic()
    claiming.claimer._look_at, claiming.claimer._sweep_at = now + look_in, now + sweep_in
    async with asyncio.timeout(30):
        await claiming.claimer.wait()
    assert time.monotonic() >= now + 0.05
