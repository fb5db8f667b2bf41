"""Replay jobs: which events are selected, in which order they are enqueued, at which rate, and what a crash changes."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.replay import ReplayScope, ReplayStatus
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from store import cancelled_deliveries, deliveries, new_deliveries, replay_jobs
from store.deliveries import AttemptResult
from store.replay_jobs import Enqueued, ReplayJob, ReplayRequest
from tests.store.outbox import Outbox

REPLACED, DELETED = "PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED"


@pytest.fixture
async def outbox(engine: AsyncEngine) -> Outbox:
    """An outbox with one endpoint, `shop`."""
    outbox = Outbox(engine)
    await outbox.add_endpoint("shop")
    return outbox


async def finish(outbox: Outbox, *statuses: Status, endpoint: str = "shop") -> None:
    """Give the heads of the lines these statuses, one after the other."""
    for status in statuses:
        async with outbox.engine.begin() as connection:
            (head,) = await deliveries.claim(connection, {endpoint: 1}, {}, lease=timedelta(minutes=1))
            outcome = Outcome.ACCEPTED if status is Status.DELIVERED else Outcome.UNAVAILABLE
            at = datetime.now(UTC).timestamp()
            await deliveries.record(connection, [AttemptResult(head, outcome, 200, 0.1, at, NextState(status))])


async def start(outbox: Outbox, scope: ReplayScope = ReplayScope.ALL, **wanted: Any) -> ReplayJob:
    request = {"endpoint_ids": ["shop"], "per_second": 10_000, "kept_for": timedelta(days=180), **wanted}
    async with outbox.engine.begin() as connection:
        return await replay_jobs.start(connection, ReplayRequest(scope, **request), {"endpoint": "shop"})


async def enqueue_all(outbox: Outbox) -> None:
    """Let every job enqueue what it has."""
    while True:
        async with outbox.engine.begin() as connection:
            if await replay_jobs.enqueue_next(connection) is None:
                return


async def job(outbox: Outbox) -> ReplayJob:
    async with outbox.engine.connect() as connection:
        return (await replay_jobs.jobs(connection))[0]


async def live_events(outbox: Outbox) -> list[UUID]:
    rows = await outbox.execute("SELECT event_id FROM deliveries ORDER BY endpoint_id, wallet_id, sequence")
    return [row.event_id for row in rows]


async def selected_by(outbox: Outbox, scope: ReplayScope, **wanted: Any) -> list[UUID]:
    """The events that a job of this scope enqueues. They are cancelled again."""
    await start(outbox, scope, **wanted)
    await enqueue_all(outbox)
    selected = await live_events(outbox)
    await outbox.execute("DELETE FROM deliveries")
    return selected


async def test_each_scope_selects_the_events_of_its_state(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    (missing,) = [delivery.event_id for delivery in await outbox.write("shop", wallet)]
    dead, delivered, cancelled = await outbox.tell("shop", wallet, 3)
    await finish(outbox, Status.DEAD, Status.DELIVERED)
    async with outbox.engine.begin() as connection:
        ids = list(await connection.scalars(text("SELECT id FROM deliveries")))
        await cancelled_deliveries.cancel(connection, ids)
    assert await selected_by(outbox, ReplayScope.DEAD) == [dead]
    assert await selected_by(outbox, ReplayScope.MISSING) == [missing]
    assert await selected_by(outbox, ReplayScope.DELIVERED) == [delivered]
    assert await selected_by(outbox, ReplayScope.ALL) == [missing, dead, delivered]
    assert await selected_by(outbox, ReplayScope.ALL, event_ids=[cancelled]) == []
    assert await selected_by(outbox, ReplayScope.ALL, event_ids=[dead]) == [dead]


async def test_an_event_that_was_given_up_and_arrived_later_is_delivered(outbox: Outbox) -> None:
    (event,) = await outbox.tell("shop", await outbox.add_wallet())
    await finish(outbox, Status.DEAD)
    await start(outbox, ReplayScope.DEAD)
    await enqueue_all(outbox)
    await finish(outbox, Status.DELIVERED)
    assert await selected_by(outbox, ReplayScope.DEAD) == []
    assert await selected_by(outbox, ReplayScope.DELIVERED) == [event]


@pytest.mark.parametrize("end", [Status.CANCELLED, Status.DEAD])
async def test_an_event_that_arrived_is_delivered_whatever_became_of_its_replay(outbox: Outbox, end: Status) -> None:
    (event,) = await outbox.tell("shop", await outbox.add_wallet())
    await finish(outbox, Status.DELIVERED)
    await start(outbox, ReplayScope.DELIVERED)
    await enqueue_all(outbox)
    if end is Status.DEAD:
        await finish(outbox, end)
    else:
        async with outbox.engine.begin() as connection:
            await cancelled_deliveries.cancel(
                connection, list(await connection.scalars(text("SELECT id FROM deliveries")))
            )
    assert await selected_by(outbox, ReplayScope.DELIVERED) == [event]
    assert await selected_by(outbox, ReplayScope.ALL) == [event]
    assert await selected_by(outbox, ReplayScope.DEAD) == []


async def test_each_endpoint_has_its_own_state_of_an_event(outbox: Outbox) -> None:
    """Of one merchant: the event arrived at `shop`, was given up at `later`, and was never sent to `third`."""
    (new,) = await outbox.write("shop", await outbox.add_wallet())
    for name, status in (("shop", Status.DELIVERED), ("later", Status.DEAD), ("third", None)):
        if name != "shop":
            await outbox.add_endpoint(name, merchant="shop")
        if status is not None:
            async with outbox.engine.begin() as connection:
                await new_deliveries.enqueue(connection, [new._replace(endpoint_id=name)])
            await finish(outbox, status, endpoint=name)
    all_three = ["shop", "later", "third"]
    for scope, expected in (
        (ReplayScope.DEAD, ["later"]),
        (ReplayScope.DELIVERED, ["shop"]),
        (ReplayScope.MISSING, ["third"]),
    ):
        await start(outbox, scope, endpoint_ids=all_three)
        await enqueue_all(outbox)
        assert [row.endpoint_id for row in await outbox.live()] == expected
        await outbox.execute("DELETE FROM deliveries")


async def test_missing_are_the_events_that_the_endpoint_subscribed_to(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    await outbox.add_endpoint("later", merchant="shop", event_types=[REPLACED])
    events = [delivery.event_id for delivery in await outbox.write("shop", wallet, 2)]
    await outbox.execute("UPDATE events SET name = :name WHERE id = :id", name=REPLACED, id=events[1])
    assert await selected_by(outbox, ReplayScope.MISSING, endpoint_ids=["later"]) == [events[1]]
    assert await selected_by(outbox, ReplayScope.MISSING, endpoint_ids=["shop"]) == [events[0]]


@pytest.mark.parametrize(
    ("wanted", "selected"),
    [
        ({"since": 1}, [1, 2]),
        ({"until": 1}, [0]),
        ({"since": 1, "until": 2}, [1]),
        ({"names": [REPLACED]}, [2]),
        ({"names": [DELETED], "since": 1}, [1]),
        ({"kept_for": timedelta(days=8)}, [2]),
        ({"endpoint_ids": ["gym"]}, []),
    ],
)
async def test_a_selection_narrows(outbox: Outbox, wanted: dict[str, Any], selected: Collection[int]) -> None:
    """Three events, made nine, eight and seven days ago and a second; times are given by their events."""
    await outbox.add_endpoint("gym")
    times = [datetime.now(UTC) - timedelta(days=days, seconds=1) for days in (9, 8, 7)]
    events = [delivery.event_id for delivery in await outbox.write("shop", await outbox.add_wallet(), 3)]
    for event, at in zip(events, times, strict=True):
        await outbox.execute("UPDATE events SET created_at = :at WHERE id = :id", at=at, id=event)
    await outbox.execute("UPDATE events SET name = :name WHERE id = :id", name=REPLACED, id=events[2])
    await outbox.execute("UPDATE endpoints SET event_types = :names WHERE id = 'shop'", names=[REPLACED, DELETED])
    moments = {name: times[value] if name in {"since", "until"} else value for name, value in wanted.items()}
    assert await selected_by(outbox, ReplayScope.ALL, **moments) == [events[index] for index in selected]


async def test_an_event_that_is_on_its_way_is_not_selected(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    await outbox.tell("shop", wallet, 2)
    await finish(outbox, Status.DELIVERED)
    started = await start(outbox)
    assert (started.selected, started.status) == (1, ReplayStatus.RUNNING)


async def test_each_wallets_events_are_enqueued_in_their_order_before_newer_ones(outbox: Outbox) -> None:
    """The clock went back between the first and the second event. A newer event waits for its retry."""
    wallet = await outbox.add_wallet()
    events = await outbox.tell("shop", wallet, 3)
    await outbox.execute("UPDATE events SET created_at = created_at - interval '1 hour' WHERE id = :id", id=events[1])
    await finish(outbox, Status.DEAD, Status.DEAD)
    await start(outbox, ReplayScope.DEAD, per_second=2)
    for head in (1, 1):
        async with outbox.engine.begin() as connection:
            assert isinstance(await replay_jobs.enqueue_next(connection), Enqueued)
        assert await outbox.heads("shop") == [head]
        await outbox.execute("UPDATE replay_jobs SET next_at = now()")
    assert await live_events(outbox) == events


async def test_the_oldest_events_of_all_wallets_go_first(outbox: Outbox) -> None:
    """A line is a wallet's: the newest event, number 1 of its wallet, comes before no older one of another wallet."""
    newest, *older = [
        delivery.event_id
        for wallet, count in ((await outbox.add_wallet(), 1), (await outbox.add_wallet(), 2))
        for delivery in await outbox.write("shop", wallet, count)
    ]
    for hours, event in enumerate((newest, *reversed(older)), 1):
        await outbox.execute(
            "UPDATE events SET created_at = created_at - make_interval(hours => :hours) WHERE id = :id",
            hours=hours,
            id=event,
        )
    await start(outbox)
    rows = await outbox.execute("SELECT event_id FROM replay_job_events ORDER BY place")
    assert [row.event_id for row in rows] == [*older, newest]


async def test_what_is_on_its_way_elsewhere_keeps_no_event_back(outbox: Outbox) -> None:
    """The same event to another endpoint, and the event of the same number of another wallet."""
    await outbox.add_endpoint("later", merchant="shop")
    (event,) = await outbox.write("shop", await outbox.add_wallet())
    await outbox.tell("shop", await outbox.add_wallet())
    async with outbox.engine.begin() as connection:
        await new_deliveries.enqueue(connection, [event._replace(endpoint_id="later")])
    assert (await start(outbox, ReplayScope.MISSING)).selected == 1


async def test_a_notice_that_speaks_of_no_wallet_is_never_missing(outbox: Outbox) -> None:
    await outbox.write("shop", await outbox.add_wallet(), 2)
    await outbox.execute(
        "UPDATE events SET name = 'ENDPOINT_DISABLED', wallet_id = NULL, sequence = NULL, payment_method_id = NULL"
        " WHERE sequence = 1"
    )
    await outbox.execute("UPDATE endpoints SET event_types = event_types || ARRAY['ENDPOINT_DISABLED']")
    assert (await start(outbox, ReplayScope.MISSING)).selected == 1


async def test_jobs_are_listed_the_newest_first_by_status_and_up_to_a_limit(outbox: Outbox) -> None:
    ids = [(await start(outbox)).id for _ in range(3)]
    async with outbox.engine.begin() as connection:
        await replay_jobs.change(connection, ids[1], ReplayStatus.PAUSED)
        assert [row.id for row in await replay_jobs.jobs(connection, limit=2)] == [ids[2], ids[1]]
        paused = await replay_jobs.jobs(connection, status=ReplayStatus.PAUSED)
        running = await replay_jobs.jobs(connection, status=ReplayStatus.RUNNING)
    assert [row.id for row in paused] == [ids[1]]
    assert [row.id for row in running] == [ids[2], ids[0]]


async def test_a_cancelled_job_is_over_and_drops_no_list_but_its_own(outbox: Outbox) -> None:
    await outbox.write("shop", await outbox.add_wallet(), 2)
    first, second = await start(outbox), await start(outbox)
    async with outbox.engine.begin() as connection:
        await replay_jobs.change(connection, first.id, ReplayStatus.CANCELLED)
        cancelled = await replay_jobs.lock(connection, first.id)
    assert cancelled is not None
    assert (cancelled.remaining, cancelled.finished_at is not None) == (0, True)
    rows = await outbox.execute("SELECT job_id, count(*) AS number FROM replay_job_events GROUP BY job_id")
    assert rows == [(second.id, 2)]


async def test_a_resumed_job_is_due_at_once(outbox: Outbox) -> None:
    await outbox.write("shop", await outbox.add_wallet())
    started = await start(outbox)
    await outbox.execute("UPDATE replay_jobs SET next_at = now() + interval '1 hour'")
    async with outbox.engine.begin() as connection:
        await replay_jobs.change(connection, started.id, ReplayStatus.PAUSED)
        await replay_jobs.change(connection, started.id, ReplayStatus.RUNNING)
        assert isinstance(await replay_jobs.enqueue_next(connection), Enqueued)


async def test_no_process_enqueues_for_a_job_that_a_person_is_changing(outbox: Outbox) -> None:
    await outbox.write("shop", await outbox.add_wallet())
    started = await start(outbox)
    async with outbox.engine.begin() as changing, outbox.engine.begin() as other:
        await replay_jobs.lock(changing, started.id)
        await other.execute(text("SET LOCAL lock_timeout = '100ms'"))
        assert await replay_jobs.enqueue_next(other) is None


async def test_a_job_enqueues_at_its_rate_and_catches_up_on_a_second_at_most(outbox: Outbox) -> None:
    """In one transaction, in which no time passes."""
    await outbox.write("shop", await outbox.add_wallet(), 12)
    await start(outbox, per_second=4)
    async with outbox.engine.begin() as connection:

        async def enqueue_due_in(seconds: float) -> tuple[int, timedelta]:
            """The number of parts that a job enqueues which is due in so many seconds, and the pause after them."""
            due = text("UPDATE replay_jobs SET next_at = now() + CAST(:wait AS interval)")
            await connection.execute(due, {"wait": timedelta(seconds=seconds)})
            parts = 0
            while isinstance(enqueued := await replay_jobs.enqueue_next(connection), Enqueued):
                parts += 1
            assert isinstance(enqueued, timedelta)
            return parts, enqueued

        assert await enqueue_due_in(0) == (1, timedelta(seconds=0.5))
        assert await enqueue_due_in(0.3) == (0, timedelta(seconds=0.3))
        # two parts of the second that has passed, and the one that is due now
        assert await enqueue_due_in(-3600) == (3, timedelta(seconds=0.5))
    assert len(await live_events(outbox)) == 8


async def test_what_became_of_each_delivery_is_counted_and_the_job_ends(outbox: Outbox) -> None:
    """Of four dead ones one arrives meanwhile, one is on its way, and the event of one is gone."""
    events = [(await outbox.tell("shop", await outbox.add_wallet()))[0] for _ in range(4)]
    await finish(outbox, *[Status.DEAD] * 4)
    started = await start(outbox, ReplayScope.DEAD)
    for event in events[:2]:
        await start(outbox, ReplayScope.DEAD, event_ids=[event])
    await outbox.execute("UPDATE replay_jobs SET next_at = now() + interval '1 day' WHERE id = :id", id=started.id)
    for _ in range(4):
        async with outbox.engine.begin() as connection:
            await replay_jobs.enqueue_next(connection)
    await finish(outbox, Status.DELIVERED)
    await outbox.execute("DELETE FROM events WHERE id = :id", id=events[3])
    await outbox.execute("UPDATE replay_jobs SET next_at = now()")
    await enqueue_all(outbox)
    async with outbox.engine.begin() as connection:
        ended = await replay_jobs.lock(connection, started.id)
    assert ended is not None
    assert (ended.selected, ended.enqueued, ended.left_alone, ended.remaining) == (4, 1, 3, 0)
    assert (ended.status, ended.finished_at is not None) == (ReplayStatus.DONE, True)


async def test_an_endpoint_that_is_removed_while_a_job_runs_gets_nothing(outbox: Outbox) -> None:
    await outbox.write("shop", await outbox.add_wallet(), 2)
    await start(outbox, per_second=2)
    await outbox.execute(
        "UPDATE endpoints SET status = 'DISABLED', removed_at = now(), sealed_secrets = '{}' WHERE id = 'shop'"
    )
    for left_alone in (1, 2, 2):
        await outbox.execute("UPDATE replay_jobs SET next_at = now()")
        async with outbox.engine.begin() as connection:
            assert isinstance(await replay_jobs.enqueue_next(connection), Enqueued)
        assert (await job(outbox)).left_alone == left_alone
    assert await live_events(outbox) == []
    assert (await job(outbox)).left_alone == 2
    assert (await start(outbox)).selected == 0


async def test_a_crash_before_the_commit_leaves_the_list_as_it_was(outbox: Outbox) -> None:
    (event,) = [delivery.event_id for delivery in await outbox.write("shop", await outbox.add_wallet())]
    await start(outbox)
    async with outbox.engine.connect() as crashing:
        assert isinstance(await replay_jobs.enqueue_next(crashing), Enqueued)
        await crashing.rollback()
    assert await live_events(outbox) == []
    await enqueue_all(outbox)
    assert await live_events(outbox) == [event]


async def test_two_processes_enqueue_each_event_once(outbox: Outbox) -> None:
    await outbox.write("shop", await outbox.add_wallet(), 30)
    await start(outbox, per_second=10)
    await outbox.execute("UPDATE replay_jobs SET next_at = '2020-01-01', per_second = 10")

    async def work() -> None:
        while (await job(outbox)).status == ReplayStatus.RUNNING:
            async with outbox.engine.begin() as connection:
                await replay_jobs.enqueue_next(connection)
            await outbox.execute("UPDATE replay_jobs SET next_at = now() - interval '1 minute'")

    await asyncio.gather(work(), work())
    ended = await job(outbox)
    assert (ended.enqueued, ended.left_alone) == (30, 0)
    assert len(await live_events(outbox)) == 30


@pytest.mark.parametrize("status", [ReplayStatus.PAUSED, ReplayStatus.CANCELLED])
async def test_a_job_that_does_not_run_enqueues_nothing(outbox: Outbox, status: ReplayStatus) -> None:
    await outbox.write("shop", await outbox.add_wallet(), 2)
    started = await start(outbox)
    async with outbox.engine.begin() as connection:
        await replay_jobs.change(connection, started.id, status)
    await enqueue_all(outbox)
    assert await live_events(outbox) == []
    rows = await outbox.execute("SELECT count(*) AS number FROM replay_job_events")
    assert rows[0].number == (2 if status is ReplayStatus.PAUSED else 0)
    if status is ReplayStatus.PAUSED:
        async with outbox.engine.begin() as connection:
            await replay_jobs.change(connection, started.id, ReplayStatus.RUNNING)
        await enqueue_all(outbox)
        assert len(await live_events(outbox)) == 2


async def test_a_delivery_to_a_disabled_endpoint_waits_for_it(outbox: Outbox) -> None:
    await outbox.write("shop", await outbox.add_wallet())
    await outbox.execute("UPDATE endpoints SET status = 'DISABLED'")
    await start(outbox)
    await enqueue_all(outbox)
    assert [row.status for row in await outbox.live()] == ["PARKED"]


async def test_an_event_whose_history_was_removed_is_not_missing(outbox: Outbox) -> None:
    """The process that keeps the history up has a shorter `REPOINT_HISTORY_FOR` than the command."""
    await outbox.write("shop", await outbox.add_wallet())
    assert (await start(outbox, ReplayScope.MISSING)).selected == 1
    await outbox.execute("INSERT INTO retention_horizons VALUES ('delivery_history', now() + interval '1 minute')")
    assert (await start(outbox, ReplayScope.MISSING)).selected == 0


async def test_an_event_that_a_clock_ahead_made_after_it_arrived_is_not_missing(outbox: Outbox) -> None:
    await outbox.tell("shop", await outbox.add_wallet())
    await finish(outbox, Status.DELIVERED)
    ahead = datetime.now(UTC) + timedelta(minutes=5)
    await outbox.execute("UPDATE events SET created_at = :ahead", ahead=ahead)
    assert (await start(outbox, ReplayScope.MISSING, since=ahead - timedelta(minutes=1))).selected == 0


@pytest.mark.parametrize(
    ("states", "scope", "goes"),
    [
        ((Status.DEAD,), ReplayScope.DEAD, True),
        ((Status.DEAD, Status.CANCELLED), ReplayScope.DEAD, False),
        ((Status.DEAD, Status.CANCELLED), ReplayScope.ALL, False),
        ((Status.DELIVERED, Status.CANCELLED), ReplayScope.DELIVERED, True),
    ],
    ids=["dead", "dead cancelled", "all cancelled", "delivered cancelled"],
)
async def test_what_a_person_cancels_after_the_start_of_a_job_is_left_alone(
    outbox: Outbox, states: tuple[Status, ...], scope: ReplayScope, *, goes: bool
) -> None:
    [event] = await outbox.tell("shop", await outbox.add_wallet())
    await finish(outbox, states[0])
    await start(outbox, scope)
    for state in states[1:]:
        await outbox.execute(
            "INSERT INTO delivery_history (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at,"
            " finished_at) SELECT id + 1, event_id, endpoint_id, wallet_id, sequence, :state, 0, created_at, now()"
            " FROM delivery_history",
            state=state,
        )
    await enqueue_all(outbox)
    assert await live_events(outbox) == ([event] if goes else [])
    ended = await job(outbox)
    assert (ended.enqueued, ended.left_alone) == ((1, 0) if goes else (0, 1))
