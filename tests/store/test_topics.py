"""Which incarnation of a topic is read, how far it was taken in, and what is counted of it."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store import skips, topics
from store.accounting import Totals, take_stock
from store.topics import Empty, Incarnation, Loss

FIRST, SECOND = UUID(int=1), UUID(int=2)


async def test_an_incarnation_is_known_by_its_id_and_a_new_id_begins_the_next(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        met = [(await topics.meet(connection, "updates", id_)).number for id_ in (None, FIRST, None, SECOND, SECOND)]
        assert met == [0, 0, 0, 1, 1]
        # a broker that has not heard yet that the topic was made anew
        assert (await topics.meet(connection, "updates", FIRST)).number == 0
        assert (await topics.meet(connection, "updates", None)).number == 1
        assert await topics.latest(connection, "updates") == Incarnation("updates", 1)
        assert (await topics.meet(connection, "thin", SECOND)).number == 0
        assert await topics.latest(connection, "never met") == Incarnation("never met", 0)


async def test_two_workers_that_meet_a_new_incarnation_at_once_agree_on_its_number(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await topics.meet(connection, "updates", FIRST)
    async with engine.begin() as first, engine.begin() as second:
        met = await topics.meet(first, "updates", SECOND)
        later = asyncio.create_task(topics.meet(second, "updates", SECOND))
        assert (await asyncio.wait([later], timeout=0.3))[0] == set()
        await first.commit()
        assert met == await later == Incarnation("updates", 1)


async def test_partitions_are_begun_once_in_each_incarnation(engine: AsyncEngine) -> None:
    of, other = Incarnation("updates", 0), Incarnation("updates", 1)
    async with engine.begin() as connection:
        await topics.begin(connection, of, [2, 0])
        await topics.begin(connection, of, [0, 1])
        await topics.begin(connection, other, [3])
        assert await topics.begun(connection, of, [0, 1, 3]) == {0, 1}
        assert await topics.begun(connection, other, [0, 1, 3]) == {3}
        assert await topics.begun(connection, Incarnation("thin", 0), [0, 1, 3]) == set()


async def test_an_empty_message_is_counted_once_however_often_its_batch_is_read(engine: AsyncEngine) -> None:
    of = Incarnation("updates", 0)
    async with engine.begin() as connection:
        for batch in (
            [Empty(0, 4), Empty(0, 5), Empty(1, 0)],
            [Empty(0, 5), Empty(0, 6)],  # 5 comes again
            [Empty(0, 4)],  # as by a worker that was stopped for long
            [Empty(0, 6), Empty(0, 7)],
        ):
            await topics.count_empty(connection, of, batch)
        await topics.count_empty(connection, Incarnation("updates", 1), [Empty(0, 0)])
        assert [await topics.taken_to(connection, of, partition) for partition in (0, 1, 2)] == [8, 1, 0]
        counted = await connection.execute(text("SELECT incarnation, partition, empty FROM topic_partitions"))
        assert sorted(tuple(row) for row in counted) == [(0, 0, 4), (0, 1, 1), (1, 0, 1)]


_ROWS: Mapping[str, str] = {
    "an update": "INSERT INTO inbox (topic, partition, kafka_offset, incarnation, digest, vendor, update_id, original,"
    " type, occurred_at, outcome) VALUES ('updates', 3, 7, :incarnation, '', 'vau', 'id', true, '', now(), 'IGNORED')",
    "a dead letter": "INSERT INTO dead_letters (topic, partition, kafka_offset, incarnation, digest, reason, body)"
    " VALUES ('updates', 3, 7, :incarnation, '', '', '')",
    "an empty message": "INSERT INTO topic_partitions (topic, partition, incarnation, empty, empty_to)"
    " VALUES ('updates', 3, :incarnation, 1, 8)",
    "a skipped batch": "INSERT INTO skips (topic, partition, incarnation, kafka_offset, reason, obeyed_at, from_offset,"
    " to_offset) VALUES ('updates', 3, :incarnation, 5, '', now(), 4, 8)",
}


@pytest.mark.parametrize("trace", _ROWS)
async def test_a_partition_is_taken_in_up_to_the_last_trace_of_any_kind(engine: AsyncEngine, trace: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(_ROWS[trace]), {"incarnation": 1})
        assert await topics.taken_to(connection, Incarnation("updates", 1), 3) == 8
        for of, partition in (
            (Incarnation("updates", 0), 3),
            (Incarnation("thin", 1), 3),
            (Incarnation("updates", 1), 2),
        ):
            assert await topics.taken_to(connection, of, partition) == 0


async def test_an_offset_is_lost_once_however_often_that_is_noted(engine: AsyncEngine) -> None:
    of = Incarnation("updates", 0)
    async with engine.begin() as connection:

        async def lose(start: int, end: int) -> int:
            return await topics.lose(connection, of, 0, start=start, end=end, reason=Loss.RETENTION)

        # by another worker at the same place, and by one whose look at the broker was older
        assert [await lose(3, 10), await lose(3, 10), await lose(3, 12), await lose(3, 11)] == [7, 0, 2, 0]
        assert await lose(20, 21) == 1
        assert (await take_stock(connection, "updates")).lost == 10
        # the same offsets of another partition, of another incarnation, and of another topic
        for other, partition in ((of, 1), (Incarnation("updates", of.number + 1), 0), (Incarnation("thin", 0), 0)):
            lost = await topics.lose(connection, other, partition, start=3, end=5, reason=Loss.RETENTION)
            assert lost == 2


async def add_one_of_each(connection: AsyncConnection, topic: str) -> None:
    of = Incarnation(topic, 0)
    for statement in (_ROWS["an update"], _ROWS["a dead letter"]):
        own = statement.replace("'updates'", f"'{topic}'").replace("'id'", f"'{topic}'")
        await connection.execute(text(own), {"incarnation": 0})
    await topics.count_empty(connection, of, [Empty(0, 0), Empty(0, 1)])
    await skips.order(connection, of, 0, 4, "a disk was broken")
    await skips.obey(connection, of, 0, start=3, end=6)
    await topics.lose(connection, of, 0, start=6, end=10, reason=Loss.TOPIC_MADE_ANEW)


async def test_the_account_of_a_topic_has_each_of_its_messages_and_none_of_another(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for topic in ("updates", "thin"):
            await add_one_of_each(connection, topic)
        of_one = await take_stock(connection, "updates")
        assert of_one == Totals({"IGNORED": 1}, 1, 0, {}, empty=2, skipped=3, lost=4)
        assert of_one.received == sum(of_one.lines.values()) == 11
        assert (await take_stock(connection)).received == 22
