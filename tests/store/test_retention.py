"""What is old is removed, and what is undelivered, open or referred to stays, however old."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from consumers import upkeep
from consumers.upkeep import Keep
from store import replays, retention
from store.accounting import take_stock
from store.engine import connect
from store.ids import first_at
from store.new_deliveries import NewDelivery
from store.topics import Incarnation, taken_to
from tests.store.outbox import Outbox

KEEP = Keep(
    parked=timedelta(days=3),
    history=timedelta(days=30),
    events=timedelta(days=90),
    inbox=timedelta(days=60),
    dead_letters=timedelta(days=20),
    audit=timedelta(days=800),
)


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


async def rows(outbox: Outbox, statement: str, **values: object) -> Sequence[Any]:
    return [tuple(row) for row in await outbox.execute(statement, **values)]


async def the_time(outbox: Outbox) -> datetime:
    ((now,),) = await rows(outbox, "SELECT now()")
    assert isinstance(now, datetime)
    return now


# --- events -----------------------------------------------------------------------------------------------------------


async def old_event(outbox: Outbox, wallet_id: str, *, age: timedelta) -> UUID:
    """An event that was made so long ago, with its delivery to `ep`."""
    [event_id] = await outbox.tell("ep", wallet_id)
    made = first_at(await the_time(outbox) - age)
    old = UUID(int=int(made) | int(event_id) & 0xFFFF_FFFF)
    await outbox.execute("ALTER TABLE deliveries DROP CONSTRAINT fk_deliveries_event_id")
    await outbox.execute(
        "UPDATE events SET id = :old, created_at = now() - CAST(:age AS interval) WHERE id = :id",
        old=old, age=age, id=event_id,
    )  # fmt: skip
    await outbox.execute("UPDATE deliveries SET event_id = :old WHERE event_id = :id", old=old, id=event_id)
    await outbox.execute(
        "ALTER TABLE deliveries ADD CONSTRAINT fk_deliveries_event_id FOREIGN KEY (event_id) REFERENCES events (id)"
    )
    return old


async def finish(outbox: Outbox, event_id: UUID, *, ago: timedelta) -> None:
    """Move the event's delivery into the history."""
    await outbox.execute(
        "WITH gone AS (DELETE FROM deliveries WHERE event_id = :id RETURNING *)"
        " INSERT INTO delivery_history"
        " (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)"
        " SELECT id, event_id, endpoint_id, wallet_id, sequence, 'DELIVERED', 1, created_at,"
        " now() - CAST(:ago AS interval) FROM gone",
        id=event_id, ago=ago,
    )  # fmt: skip


async def test_an_event_goes_when_it_is_old_and_neither_under_way_nor_in_the_history(outbox: Outbox) -> None:
    await outbox.add_endpoint("ep")
    wallet_id = await outbox.add_wallet()
    delivered = await old_event(outbox, wallet_id, age=timedelta(days=91))
    late = await old_event(outbox, wallet_id, age=timedelta(days=91))
    parked = await old_event(outbox, wallet_id, age=timedelta(days=400))
    young = await old_event(outbox, wallet_id, age=timedelta(days=89))
    await finish(outbox, delivered, ago=timedelta(days=31))  # its day is dropped, too
    await finish(outbox, late, ago=timedelta(days=29))  # it was parked for long
    await finish(outbox, young, ago=timedelta(days=31))
    with capture_logs() as lines:
        await upkeep.run_once(outbox.engine, KEEP)
    left = {row[0] for row in await rows(outbox, "SELECT id FROM events")}
    assert left == {late, parked, young}
    [line] = [line for line in lines if line["event"] == "upkeep"]
    assert line == {"event": "upkeep", "log_level": "info", "delivery_history": 2, "events": 1}


async def test_old_events_that_stay_do_not_keep_others_from_being_removed(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page begins behind the last, and the first again where the end was reached."""
    monkeypatch.setattr(retention, "PAGE", 2)
    monkeypatch.setattr(upkeep, "_PAGES", 1)
    await outbox.add_endpoint("ep")
    wallet_id = await outbox.add_wallet()
    stay = [await old_event(outbox, wallet_id, age=timedelta(days=200 - number)) for number in range(3)]
    other = await outbox.add_wallet()
    gone = [await old_event(outbox, other, age=timedelta(days=100 - number)) for number in range(3)]
    for event_id in gone:
        await finish(outbox, event_id, ago=timedelta(days=40))
    places = upkeep.Places()
    for left in (6, 5, 3, 3):
        await upkeep.run_once(outbox.engine, KEEP, places)
        assert len(await rows(outbox, "SELECT id FROM events")) == left
    assert {row[0] for row in await rows(outbox, "SELECT id FROM events")} == set(stay)


async def test_no_hole_comes_into_the_numbers_of_a_line(outbox: Outbox) -> None:
    """What follows an event that stays, stays: a hole would mean that an event was lost."""
    await outbox.add_endpoint("ep")
    wallet_id = await outbox.add_wallet()
    ids = [await old_event(outbox, wallet_id, age=timedelta(days=100 - number)) for number in range(4)]
    for place in (0, 1, 3):  # the third is on its way
        await finish(outbox, ids[place], ago=timedelta(days=40))
    await upkeep.run_once(outbox.engine, KEEP)
    assert await rows(outbox, "SELECT sequence FROM events ORDER BY sequence") == [(3,), (4,)]
    ((horizon, bound),) = await rows(
        outbox,
        "SELECT removed_before, now() - interval '90 days' FROM retention_horizons WHERE table_name = 'events'",
    )
    assert timedelta(0) <= bound - horizon < timedelta(minutes=1)


async def test_an_event_that_is_sent_again_just_then_stays_or_is_left_alone(outbox: Outbox, database_url: str) -> None:
    """Whichever transaction is first: no delivery is left without its event, and none of them fails."""
    await outbox.add_endpoint("ep")
    wallets = [await outbox.add_wallet() for _ in range(2)]
    first, second = [await old_event(outbox, wallet_id, age=timedelta(days=100)) for wallet_id in wallets]
    for event_id in (first, second):
        await finish(outbox, event_id, ago=timedelta(days=40))
    await outbox.execute("DELETE FROM delivery_history")
    again = {id_: NewDelivery(id_, "ep", wallets[at], 1) for at, id_ in enumerate((first, second))}
    other = connect(database_url)
    async with outbox.engine.connect() as replay, other.connect() as removal:
        assert len(await replays.send_again(replay, [again[first]])) == 1
        page = await retention.remove_events(removal, keep=KEEP.events)
        assert page.removed == 1  # the second: the first one is locked
        await replay.commit()
        # not committed yet, so the replay waits for it
        waiting = asyncio.create_task(replays.send_again(replay, [again[second]]))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await removal.commit()
        assert await waiting == []
        await replay.commit()
        assert (await retention.remove_events(removal, keep=KEEP.events)).removed == 0
    await other.dispose()
    assert await rows(outbox, "SELECT id FROM events") == [(first,)]


# --- messages ---------------------------------------------------------------------------------------------------------

UPDATES = """
    INSERT INTO inbox (topic, partition, kafka_offset, digest, vendor, update_id, original, type, occurred_at,
                       received_at, outcome)
    SELECT 't', 0, number, 'x', 'v', 'u' || number, true, 'CLOSED', now(),
           now() - make_interval(days => age), outcome
    FROM unnest(CAST(:ages AS int[]), CAST(:outcomes AS text[])) WITH ORDINALITY AS update(age, outcome, number)
"""


async def test_old_updates_go_but_those_that_wait_and_the_last_of_each_partition(outbox: Outbox) -> None:
    await outbox.execute(
        UPDATES,
        ages=[100, 100, 100, 100, 100, 61, 59, 100],
        outcomes=["APPLIED", "APPLIED", "QUARANTINED", "DUPLICATE", "APPLIED", "IGNORED", "IGNORED", "APPLIED"],
    )
    ids = [row[0] for row in await rows(outbox, "SELECT id FROM inbox ORDER BY id")]
    await outbox.execute(
        "INSERT INTO unfinished_updates (inbox_id, old_key, after_wallet) VALUES (:id, 'v:A', gen_random_uuid())",
        id=ids[1],
    )
    async with outbox.engine.connect() as connection:
        before = await take_stock(connection)
    with capture_logs() as lines:
        await upkeep.run_once(outbox.engine, KEEP)
    assert [row[0] for row in await rows(outbox, "SELECT id FROM inbox ORDER BY id")] == [
        *(ids[1], ids[2], ids[6], ids[7])
    ]
    assert [line["updates"] for line in lines if line["event"] == "upkeep"] == [4]
    async with outbox.engine.connect() as connection:
        after = await take_stock(connection)
        assert await taken_to(connection, Incarnation("t", 0), 0) == 9
    assert after == before
    assert after.received == 8


async def test_a_dead_letter_goes_once_it_was_closed_for_long_enough(outbox: Outbox) -> None:
    await outbox.execute(
        "INSERT INTO dead_letters"
        " (topic, partition, kafka_offset, digest, reason, body, received_at, status, closed_at)"
        " SELECT 't', 0, number, 'x', 'r', 'b', now() - interval '400 days',"
        " CASE WHEN age IS NULL THEN 'OPEN' ELSE 'DISCARDED' END, now() - make_interval(days => age)"
        " FROM unnest(CAST(:ages AS int[])) WITH ORDINALITY AS letter(age, number)",
        ages=[21, 19, None, 21, 21],
    )
    await upkeep.run_once(outbox.engine, KEEP)
    assert await rows(outbox, "SELECT kafka_offset FROM dead_letters ORDER BY 1") == [(2,), (3,), (5,)]
    async with outbox.engine.connect() as connection:
        assert (await take_stock(connection, "t")).unreadable == 5
        assert (await take_stock(connection, "another")).unreadable == 0


# --- what people did --------------------------------------------------------------------------------------------------


async def test_acts_and_ended_jobs_go_when_they_are_old(outbox: Outbox) -> None:
    await outbox.execute(
        "INSERT INTO audit (at, actor, action, subject)"
        " SELECT now() - make_interval(days => age), 'a', 'b', 'c' FROM unnest(ARRAY[801, 801, 799]) AS age"
    )
    await outbox.execute(
        "INSERT INTO replay_jobs (scope, selection, per_second, status, finished_at)"
        " SELECT 'ALL', '{}', 1, status, now() - make_interval(days => age)"
        " FROM (VALUES ('DONE', 31), ('CANCELLED', 29), ('RUNNING', NULL)) AS job(status, age)"
    )
    with capture_logs() as lines:
        await upkeep.run_once(outbox.engine, KEEP)
    assert await rows(outbox, "SELECT count(*) FROM audit") == [(1,)]
    assert await rows(outbox, "SELECT status FROM replay_jobs ORDER BY 1") == [("CANCELLED",), ("RUNNING",)]
    [line] = [line for line in lines if line["event"] == "upkeep"]
    assert (line["acts"], line["replay_jobs"]) == (2, 1)


async def test_where_nothing_is_old_upkeep_says_nothing(outbox: Outbox) -> None:
    await outbox.add_endpoint("ep")
    await outbox.tell("ep", await outbox.add_wallet())
    with capture_logs() as lines:
        await upkeep.run_once(outbox.engine, KEEP)
    assert lines == []
