"""The loop of the replay jobs: it wakes the dispatcher, goes on while the database is away, and ends when told to."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.replay import ReplayScope, ReplayStatus
from producers.webhooks import replaying
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.replaying import Replaying
from store import replay_jobs
from store.replay_jobs import ReplayRequest
from tests.parts.receiver import Receiver
from tests.parts.until import until
from tests.store.outbox import Outbox


async def start(outbox: Outbox, *endpoints: str, per_second: float = 10_000) -> int:
    request = ReplayRequest(ReplayScope.ALL, endpoints, per_second, timedelta(days=180))
    async with outbox.engine.begin() as connection:
        return (await replay_jobs.start(connection, request, {})).id


async def is_done(outbox: Outbox) -> bool:
    async with outbox.engine.connect() as connection:
        return (await replay_jobs.jobs(connection))[0].status == ReplayStatus.DONE


async def test_events_from_before_an_endpoint_was_added_reach_it_in_order(
    engine: AsyncEngine, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("shop")
    wallet = await outbox.add_wallet()
    events = [delivery.event_id for delivery in await outbox.write("shop", wallet, 3)]
    await outbox.add_endpoint("later", receiver.url("/later"), merchant="shop")
    await start(outbox, "later")
    stopping = asyncio.Event()
    running = [asyncio.create_task(Replaying(engine, dispatcher.wake).run(stopping)),
               asyncio.create_task(dispatcher.run(stopping))]  # fmt: skip
    requests = await receiver.arrived(3, "/later")
    await until(lambda: is_done(outbox))
    stopping.set()
    await asyncio.gather(*running)
    assert [request.headers["webhook-id"] for request in requests] == [f"evt_{event.hex}" for event in events]


async def test_the_endpoints_of_a_part_are_named_after_its_commit(engine: AsyncEngine, outbox: Outbox) -> None:
    await outbox.add_endpoint("shop")
    await outbox.write("shop", await outbox.add_wallet())
    await start(outbox, "shop")
    named: list[list[str]] = []
    loop = Replaying(engine, lambda endpoint_ids: named.append(list(endpoint_ids)))
    assert await loop.run_once() < timedelta(seconds=1), "the next look may find the next part"
    assert named == [["shop"]]
    assert len(await outbox.live()) == 1
    await loop.run_once()
    assert await is_done(outbox)
    assert named == [["shop"]], "nothing was enqueued by the last part"
    assert await loop.run_once() == timedelta(seconds=2), "no job"


async def test_a_pause_is_no_longer_than_the_look_for_new_jobs(engine: AsyncEngine, outbox: Outbox) -> None:
    await outbox.add_endpoint("shop")
    await outbox.write("shop", await outbox.add_wallet(), 2)
    await start(outbox, "shop", per_second=0.01)
    loop = Replaying(engine, lambda _: None)
    await loop.run_once()
    assert await loop.run_once() == timedelta(seconds=2)


async def test_a_database_that_is_away_is_waited_for(
    outbox: Outbox, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await outbox.add_endpoint("shop")
    await outbox.write("shop", await outbox.add_wallet())
    await start(outbox, "shop")
    monkeypatch.setattr(replaying, "_LONGEST_PAUSE", timedelta(milliseconds=10))
    away, enqueue_next = [OSError("away"), OSError("away")], replay_jobs.enqueue_next

    async def enqueue(connection: object) -> object:
        if away:
            raise away.pop()
        return await enqueue_next(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(replay_jobs, "enqueue_next", enqueue)
    stopping = asyncio.Event()
    running = asyncio.create_task(Replaying(engine, lambda _: None).run(stopping))
    await until(lambda: is_done(outbox))
    stopping.set()
    await running
