"""An order to skip a corrupt batch is for that batch alone, and is counted once however often it is met."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from store import skips
from store.skips import Obeyed
from store.topics import Incarnation

TOPIC = Incarnation("updates", 1)


@pytest.fixture(autouse=True)
async def ordered(engine: AsyncEngine) -> None:
    """The batch of partition 3 that holds offset 12 was ordered to be skipped."""
    async with engine.begin() as connection:
        await skips.order(connection, TOPIC, 3, 12, "a disk was broken")


async def obeyed(
    engine: AsyncEngine, start: int, end: int, *, of: Incarnation = TOPIC, partition: int = 3
) -> Obeyed | None:
    async with engine.begin() as connection:
        return await skips.obey(connection, of, partition, start=start, end=end)


async def test_the_batch_that_holds_the_offset_is_skipped_and_counted_once(engine: AsyncEngine) -> None:
    assert await obeyed(engine, 10, 15) == Obeyed(15, "a disk was broken", is_new=True)
    for start in (10, 12, 14):  # whoever committed no offset, or one inside, meets it again
        assert await obeyed(engine, start, 15) == Obeyed(15, "a disk was broken", is_new=False)


@pytest.mark.parametrize(("start", "end"), [(12, 15), (9, 13)], ids=["its first offset", "its last offset"])
async def test_a_batch_is_skipped_by_each_of_its_offsets(engine: AsyncEngine, start: int, end: int) -> None:
    assert await obeyed(engine, start, end) == Obeyed(end, "a disk was broken", is_new=True)


async def test_an_order_that_is_given_twice_is_counted_once(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await skips.order(connection, TOPIC, 3, 11, "an earlier place of the same batch")
    assert await obeyed(engine, 12, 15) == Obeyed(15, "a disk was broken", is_new=True)
    async with engine.begin() as connection:
        await skips.order(connection, TOPIC, 3, 14, "given again")
    assert await obeyed(engine, 12, 15) == Obeyed(15, "a disk was broken", is_new=False)
    # of two orders that nobody has obeyed, the first one stands
    assert await obeyed(engine, 10, 12) == Obeyed(12, "an earlier place of the same batch", is_new=True)


@pytest.mark.parametrize(("start", "end"), [(8, 12), (13, 20)], ids=["before it", "behind it"])
async def test_a_batch_that_does_not_hold_the_offset_is_not_skipped(engine: AsyncEngine, start: int, end: int) -> None:
    assert await obeyed(engine, start, end) is None


async def test_the_next_batch_needs_an_order_of_its_own(engine: AsyncEngine) -> None:
    await obeyed(engine, 10, 15)
    assert await obeyed(engine, 15, 20) is None
    assert await obeyed(engine, 5, 10) is None


async def test_an_order_is_for_one_partition_of_one_incarnation(engine: AsyncEngine) -> None:
    for of, partition in ((TOPIC, 2), (Incarnation("updates", 2), 3), (Incarnation("thin", 1), 3)):
        assert await obeyed(engine, 10, 15, of=of, partition=partition) is None
