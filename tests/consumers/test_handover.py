"""Partitions are given away once the batch at hand is finished and its offsets are committed, not before."""

import asyncio
from collections import Counter

from aiokafka import TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchResult, take_in
from consumers.handover import Handover
from consumers.letters import Message
from store.engine import connect
from tests.consumers.harness import Harness
from tests.consumers.test_worker import Post, as_told, closings, post, working  # noqa: F401 - a fixture
from tests.parts.until import until

PLACE = TopicPartition("updates", 0)


async def test_it_waits_for_the_batch_at_hand() -> None:
    enough, idle = asyncio.Event(), asyncio.Event()
    handover = Handover(enough, idle)
    giving = asyncio.create_task(handover.on_partitions_revoked({PLACE}))
    await enough.wait()
    for _ in range(100):
        await asyncio.sleep(0)  # every turn that a hand-over without a wait would need, and more
    assert not giving.done()
    assert handover.assignments == 0
    idle.set()
    await giving
    assert handover.assignments == 1


async def test_it_does_not_wait_where_nothing_is_at_hand() -> None:
    idle = asyncio.Event()
    idle.set()
    async with asyncio.timeout(20):
        await Handover(asyncio.Event(), idle).on_partitions_revoked({PLACE})


async def test_who_gets_a_partition_reads_nothing_that_the_former_owner_has_in_hand(
    harness: Harness,
    database_url: str,
    post: Post,  # noqa: F811 - the fixture
) -> None:
    """The first one's batch stands still before its commit until the other one has asked to join."""
    await post.send(*closings(20), partition=1)
    handed: dict[str, Counter[int]] = {"first": Counter(), "second": Counter()}
    holds, going_on = asyncio.Event(), asyncio.Event()

    async def take_its_time(engine: AsyncEngine, messages: list[Message], *rest: object, **more: object) -> BatchResult:
        handed["first"].update(message.offset for message in messages)
        holds.set()
        await going_on.wait()
        return await take_in(engine, messages, *rest, **more)  # type: ignore[arg-type]

    async def take_and_note(engine: AsyncEngine, messages: list[Message], *rest: object, **more: object) -> BatchResult:
        handed["second"].update(message.offset for message in messages)
        return await take_in(engine, messages, *rest, **more)  # type: ignore[arg-type]

    engine = connect(database_url)
    async with working(harness.engine, post, batch_size=5, take_in=take_its_time):
        await holds.wait()
        async with working(engine, post, batch_size=5, take_in=take_and_note):
            await until(post.is_joined_anew)
            going_on.set()
            await until(post.is_read_up, within=60)
    await engine.dispose()
    assert handed["first"].keys().isdisjoint(handed["second"])
    assert sorted(handed["first"] | handed["second"]) == list(range(20))
    assert len(await harness.outcomes()) == 20
