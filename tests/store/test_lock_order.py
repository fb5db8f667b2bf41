"""Two workers that write the same rows never wait for each other in a circle: rows are written by their keys."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from ops.commands import merchants
from producers.webhooks import restraints
from producers.webhooks.restraints import Gathered
from schemas.merchant import EndpointLine, MerchantLine
from schemas.sealing import BUILT_IN_KEYS
from store import deliveries, endpoints, fetches, knowledge, new_deliveries, topics
from store.deliveries import AttemptResult
from store.fetches import NewFetch
from store.topics import Empty, Incarnation
from tests.parts.until import until
from tests.store.outbox import SECRET, Outbox

TOPIC = Incarnation("updates", 0)


async def ensure_credentials(connection: AsyncConnection, numbers: Sequence[int]) -> None:
    await knowledge.lock(connection, [f"vau:{number}" for number in numbers], keep=timedelta(hours=1))


async def keep_fetches(connection: AsyncConnection, numbers: Sequence[int]) -> None:
    events = [NewFetch("stripe", bytes([number]), b"{}", "thin", 0, number) for number in numbers]
    # the earliest of several equal ones is kept, so they are looked through from the last to the first
    await fetches.keep(connection, events[::-1])


async def begin_partitions(connection: AsyncConnection, numbers: Sequence[int]) -> None:
    await topics.begin(connection, TOPIC, numbers)


async def count_empty_messages(connection: AsyncConnection, numbers: Sequence[int]) -> None:
    await topics.count_empty(connection, TOPIC, [Empty(number, 0) for number in numbers])


async def somebody_waits(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(await connection.scalar(waiting))


@pytest.mark.parametrize("write", [ensure_credentials, keep_fetches, begin_partitions, count_empty_messages])
async def test_rows_are_written_in_the_order_of_their_keys(
    engine: AsyncEngine, write: Callable[[AsyncConnection, Sequence[int]], Coroutine[None, None, None]]
) -> None:
    async with engine.connect() as first, engine.connect() as second:
        await write(first, [1])
        writing = asyncio.create_task(write(second, [3, 2, 1]))
        await until(partial(somebody_waits, engine))
        await write(first, [2, 3])
        await first.commit()
        await writing
        await second.commit()


async def record_holds_and_failures(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await restraints.write(connection, Gathered((), {"b": timedelta(hours=1)}, {"a": (False, 1)}))


async def import_without_one(engine: AsyncEngine) -> None:
    endpoint = EndpointLine("b", "https://shop.example/", SECRET, ("PAYMENT_METHOD_DELETED",))
    read = {1: MerchantLine("m", "m", (endpoint,))}
    await merchants.put(engine, read, Path("merchants.jsonl"), BUILT_IN_KEYS, dry_run=False)


@pytest.mark.parametrize("write", [record_holds_and_failures, import_without_one])
async def test_endpoints_are_locked_in_the_order_of_their_ids_before_several_statements(
    engine: AsyncEngine, write: Callable[[AsyncEngine], Coroutine[None, None, None]]
) -> None:
    outbox = Outbox(engine)
    for name in ("a", "b"):
        await outbox.add_endpoint(name, merchant="m")
    async with engine.connect() as first:
        await endpoints.hold(first, {"a": timedelta(minutes=1)})
        writing = asyncio.create_task(write(engine))
        await until(partial(somebody_waits, engine))
        await endpoints.hold(first, {"b": timedelta(minutes=1)})
        await first.commit()
        await writing


async def test_the_ends_of_lines_are_locked_in_the_order_of_their_ids(engine: AsyncEngine) -> None:
    """A dispatcher records its results in that order, while a batch adds to the same lines."""
    outbox = Outbox(engine)
    await outbox.add_endpoint("m")
    wallets = [await outbox.add_wallet() for _ in range(2)]
    for wallet in wallets:
        await outbox.tell("m", wallet)
    # a row that was written again lies behind the others
    await outbox.execute("UPDATE deliveries SET due_at = now() WHERE id = (SELECT min(id) FROM deliveries)")
    async with engine.begin() as connection:
        claimed = await deliveries.claim(connection, {"m": 2}, {}, lease=timedelta(minutes=1))
    first, second = (
        AttemptResult(delivery, Outcome.ACCEPTED, 200, 0.1, time.time(), NextState(Status.DELIVERED))
        for delivery in sorted(claimed, key=lambda delivery: delivery.id)
    )
    new = [delivery for wallet in wallets[::-1] for delivery in await outbox.write("m", wallet)]

    async def enqueue() -> None:
        async with engine.begin() as connection:
            await new_deliveries.enqueue(connection, new)

    async with engine.connect() as recording:
        await deliveries.record(recording, [first])
        enqueuing = asyncio.create_task(enqueue())
        await until(partial(somebody_waits, engine))
        await deliveries.record(recording, [second])
        await recording.commit()
        await enqueuing
    assert await outbox.heads("m") == [2, 2]


async def test_two_workers_that_meet_a_topic_at_once_meet_the_same_incarnation(engine: AsyncEngine) -> None:
    for number in (0, 1):
        topic_id = UUID(int=number + 1)
        async with engine.connect() as first, engine.connect() as second:
            assert await topics.meet(first, "updates", topic_id) == Incarnation("updates", number)
            meeting = asyncio.create_task(topics.meet(second, "updates", topic_id))
            await until(partial(somebody_waits, engine))
            await first.commit()
            assert await meeting == Incarnation("updates", number)
            await second.commit()


async def test_topics_do_not_wait_for_each_other(engine: AsyncEngine) -> None:
    async with engine.connect() as first, engine.connect() as second, asyncio.timeout(20):
        await topics.meet(first, "updates", None)
        await topics.meet(second, "thin", None)
