"""Deliveries are cancelled while a dispatcher finishes the head of their line, and while a batch adds to its end."""

import asyncio
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from merchants.endpoint_events import send_test
from store import cancelled_deliveries, deliveries, endpoints, new_deliveries, postponed_deliveries
from store.deliveries import AttemptResult
from store.replays import send_again
from store.selection import Selection
from tests.parts.until import until
from tests.store.outbox import Outbox, Row


async def claim_head(outbox: Outbox) -> AttemptResult:
    """The result with which the head of the only line is delivered."""
    async with outbox.engine.begin() as connection:
        (claimed,) = await deliveries.claim(connection, {"m": 1}, {}, lease=timedelta(minutes=1))
    return AttemptResult(claimed, Outcome.ACCEPTED, 200, 0.01, 0.0, NextState(Status.DELIVERED))


async def record(outbox: Outbox, result: AttemptResult) -> None:
    async with outbox.engine.begin() as connection:
        await deliveries.record(connection, [result])


async def id_of(outbox: Outbox, sequence: int) -> int:
    ((id_,),) = await outbox.execute("SELECT id FROM deliveries WHERE sequence = :sequence", sequence=sequence)
    return int(id_)


async def lock_wallet(connection: AsyncConnection, wallet: str) -> None:
    """Lock as a batch does before it adds to the lines of a wallet."""
    lock = text("SELECT FROM wallets WHERE id = CAST(:id AS uuid) FOR NO KEY UPDATE")
    await connection.execute(lock, {"id": wallet})


async def waiting(outbox: Outbox) -> int:
    """How many locks are waited for in this database."""
    ((number,),) = await outbox.execute(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND datname = current_database()"
    )
    return int(number)


async def test_a_line_has_a_head_if_the_next_delivery_is_cancelled_while_the_head_is_finished(
    engine: AsyncEngine,
) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m")
    wallet = await outbox.add_wallet()
    await outbox.tell("m", wallet, 3)
    result = await claim_head(outbox)

    async with engine.connect() as command:
        await cancelled_deliveries.cancel(command, [await id_of(outbox, 2)])
        recording = asyncio.create_task(record(outbox, result))
        await until(lambda: waiting(outbox))
        await command.commit()
        await recording
    assert await outbox.live() == [Row("m", wallet, 3, "PENDING", "head", 0)]


async def test_a_line_has_a_head_if_its_last_delivery_is_cancelled_while_a_batch_adds_to_it(
    engine: AsyncEngine,
) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m")
    wallet = await outbox.add_wallet()
    await outbox.tell("m", wallet, 2)
    result = await claim_head(outbox)
    last = await id_of(outbox, 2)
    new = await outbox.write("m", wallet)

    async def enqueue(batch: AsyncConnection) -> None:
        await lock_wallet(batch, wallet)
        await new_deliveries.enqueue(batch, new)

    async with engine.connect() as command, engine.connect() as batch:
        await cancelled_deliveries.cancel(command, [last])
        enqueueing = asyncio.create_task(enqueue(batch))
        await until(lambda: waiting(outbox))
        await command.commit()
        await enqueueing
        recording = asyncio.create_task(record(outbox, result))
        await asyncio.wait((recording,), timeout=0.2)  # it waits for the batch, unless the batch locked nothing
        await batch.commit()
        await recording
    assert await outbox.live() == [Row("m", wallet, 3, "PENDING", "head", 0)]


async def test_a_line_has_a_head_if_the_head_is_finished_while_the_command_waits_for_it(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("m")
    wallet = await outbox.add_wallet()
    await outbox.tell("m", wallet, 3)
    result = await claim_head(outbox)
    second = await id_of(outbox, 2)

    async def cancel() -> list[int]:
        async with engine.begin() as command:
            return await cancelled_deliveries.cancel(command, [second])

    async with engine.connect() as recording:
        await deliveries.record(recording, [result])
        cancelling = asyncio.create_task(cancel())
        await until(lambda: waiting(outbox))
        await recording.commit()
        assert await cancelling == [second]
    assert await outbox.live() == [Row("m", wallet, 3, "PENDING", "head", 0)]


async def attempt_with_an_older_replay(outbox: Outbox) -> tuple[str, AttemptResult]:
    """The wallet of the only line, and the result of the attempt under way at its head.

    Event 1 was replayed during the attempt at event 2, so it stands before the head. Events 3 and 4 follow.
    """
    await outbox.add_endpoint("m")
    wallet = await outbox.add_wallet()
    first, *_ = await outbox.tell("m", wallet, 4)
    await record(outbox, await claim_head(outbox))
    result = await claim_head(outbox)
    async with outbox.engine.begin() as connection:
        await send_again(connection, [new_deliveries.NewDelivery(first, "m", wallet, 1)])
    return wallet, result


async def test_a_line_whose_head_is_being_attempted_gets_no_second_one(engine: AsyncEngine) -> None:
    """Two heads would be sent at the same time."""
    outbox = Outbox(engine)
    wallet, result = await attempt_with_an_older_replay(outbox)
    async with engine.begin() as command:
        await cancelled_deliveries.cancel(command, [await id_of(outbox, 3)])
    assert await outbox.heads("m") == [2]
    await record(outbox, result)
    assert await outbox.live() == [
        Row("m", wallet, 1, "PENDING", "head", 0),
        Row("m", wallet, 4, "PENDING", "waits", 0),
    ]


async def test_a_line_has_a_head_if_what_stands_before_the_head_is_cancelled_while_the_head_is_finished(
    engine: AsyncEngine,
) -> None:
    outbox = Outbox(engine)
    _, result = await attempt_with_an_older_replay(outbox)
    async with engine.connect() as command:
        await cancelled_deliveries.cancel(command, [await id_of(outbox, 1)])
        recording = asyncio.create_task(record(outbox, result))
        await until(lambda: waiting(outbox))
        await command.commit()
        await recording
    assert await outbox.heads("m") == [3]


async def test_live_deliveries_are_chosen_by_what_they_have_in_common(engine: AsyncEngine) -> None:
    """Two endpoints of one merchant and one of another, two wallets; and a test, which is an event of no wallet."""
    outbox = Outbox(engine)
    for name, merchant in (("a", "m"), ("b", "m"), ("c", "c")):
        await outbox.add_endpoint(name, merchant=merchant)
    wallets = [await outbox.add_wallet(), await outbox.add_wallet()]
    written = [await outbox.write("m", wallet, 2) for wallet in wallets]
    async with engine.begin() as connection:
        new = [each._replace(endpoint_id=name) for of_wallet in written for name in ("a", "b") for each in of_wallet]
        await new_deliveries.enqueue(connection, new)
    event_of_m = written[1][0].event_id
    async with engine.begin() as connection:
        [endpoint] = await endpoints.read(connection, ["a"])
        sent = await send_test(connection, endpoint)
    await outbox.tell("c", wallets[1])
    ids = {
        (row.endpoint_id, str(row.wallet_id), row.sequence): row.id
        for row in await outbox.execute("SELECT * FROM deliveries")
    }
    of_event = [ids[name, wallets[1], 1] for name in ("a", "b")]
    of_c = ids["c", wallets[1], 1]

    async def chosen(**wanted: Any) -> list[int]:
        async with engine.connect() as connection:
            return [each.id for each in await cancelled_deliveries.select(connection, Selection(**wanted))]

    assert await chosen() == sorted(ids.values())
    assert await chosen(endpoint="c") == await chosen(merchant="c") == [of_c]
    assert await chosen(merchant="m") == [id_ for id_ in sorted(ids.values()) if id_ != of_c]
    assert await chosen(event_ids=[event_of_m]) == of_event
    assert await chosen(event_ids=[event_of_m], endpoint="b") == of_event[1:]
    assert await chosen(event_ids=[sent.event_id]) == [sent.delivery_id]
    assert await chosen(ids=[of_c], event_ids=[event_of_m]) == [*of_event, of_c]
    assert await chosen(ids=[of_c], merchant="m") == await chosen(ids=[]) == []


async def test_only_a_pending_delivery_that_waits_for_its_next_attempt_is_postponed(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    for name in ("due", "waits", "parked"):
        await outbox.add_endpoint(name)
        await outbox.tell(name, await outbox.add_wallet(), 2)
    await outbox.execute(
        "UPDATE deliveries SET due_at = now() + interval '1 hour' WHERE endpoint_id <> 'due' AND sequence = 1"
    )
    await outbox.execute("UPDATE deliveries SET status = 'PARKED' WHERE endpoint_id = 'parked'")
    all_ids = [row.id for row in await outbox.execute("SELECT id FROM deliveries")]
    async with engine.begin() as connection:
        [selected] = await postponed_deliveries.select(connection, Selection())
        assert selected.endpoint_id == "waits"
        assert await postponed_deliveries.make_due(connection, all_ids) == 1
    rows = await outbox.execute("SELECT endpoint_id FROM deliveries WHERE due_at > now()")
    assert [row.endpoint_id for row in rows] == ["parked"]


async def test_of_removed_endpoints_all_but_attempts_under_way_are_cancelled(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    for name in ("a", "b", "stays"):
        await outbox.add_endpoint(name)
        await outbox.tell(name, await outbox.add_wallet(), 3)
    lease = "UPDATE deliveries SET leased_until = now() + CAST(:time AS interval) WHERE sequence = 1"
    await outbox.execute(lease, time=timedelta(minutes=1))
    await outbox.execute("UPDATE deliveries SET status = 'PARKED' WHERE sequence = 2")
    async with engine.begin() as connection:
        for name in ("a", "b"):
            assert await endpoints.remove(connection, name, "moved")
        assert await cancelled_deliveries.cancel_removed(connection, "stays") == 0
        assert await cancelled_deliveries.cancel_removed(connection, "a") == 2
        assert await cancelled_deliveries.cancel_removed(connection) == 2
    assert [(row.endpoint_id, row.sequence) for row in await outbox.live()] == [
        ("a", 1), ("b", 1), ("stays", 1), ("stays", 2), ("stays", 3),
    ]  # fmt: skip
    await outbox.execute("UPDATE deliveries SET status = 'PARKED' WHERE endpoint_id = 'a'")
    async with engine.begin() as connection:
        assert await cancelled_deliveries.cancel_removed(connection) == 0
    await outbox.execute(lease, time=timedelta(0))
    async with engine.begin() as connection:
        assert await cancelled_deliveries.cancel_removed(connection) == 2
    assert [status for _, status, _ in await outbox.history()] == ["CANCELLED"] * 6
