"""The gauges of deliveries: what they count, who reads them, and that no delivery is lost under load."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers import delivery_gauges
from consumers.delivery_gauges import GAUGES, Measuring
from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from store import delivery_gauges as rows
from store import endpoints, finished_deliveries
from store.engine import connect
from store.ids import uuid7
from store.selection import Selection
from tests.parts.receiver import Answer, Receiver
from tests.parts.until import until
from tests.store.outbox import Outbox


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(version="1", deadline=5, allow=parse_networks(["127.0.0.0/8"])) as sender:
        yield sender


@pytest.fixture(autouse=True)
def clean() -> None:
    GAUGES.latest = None


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def measured(engine: AsyncEngine) -> rows.DeliveryGauges:
    async with engine.begin() as connection:
        return await rows.read(connection)


async def move_back(outbox: Outbox, endpoint_id: str, seconds: float, *, due_in: float | None = None) -> None:
    await outbox.execute(
        "UPDATE deliveries SET created_at = now() - make_interval(secs => :seconds), due_at = CASE WHEN due_at IS NOT"
        " NULL THEN now() + make_interval(secs => coalesce(CAST(:due_in AS float8), 0)) END WHERE endpoint_id = :id",
        seconds=seconds,
        due_in=due_in,
        id=endpoint_id,
    )


async def test_states_and_ages_and_endpoints_are_gauges(engine: AsyncEngine, outbox: Outbox) -> None:
    for name in ("due", "waiting", "parked"):
        await outbox.add_endpoint(name)
        await outbox.tell(name, await outbox.add_wallet(), 2)
    for name in ("gone", "held"):
        await outbox.add_endpoint(name)
    await move_back(outbox, "due", 100)
    await move_back(outbox, "waiting", 3000, due_in=600)
    await move_back(outbox, "parked", 70_000)
    async with engine.begin() as connection:
        await endpoints.disable(connection, ["parked", "gone"], "by hand")
        await endpoints.hold(connection, {"held": timedelta(hours=1)})
        await endpoints.sort(connection)
    await Measuring(engine).run_once()
    assert sample("repoint_deliveries", status="pending") == 4
    assert sample("repoint_deliveries", status="parked") == 2
    assert sample("repoint_deliveries", status="dead") == 0
    assert sample("repoint_delivery_oldest_seconds", state="due") == pytest.approx(100, abs=30)
    assert sample("repoint_delivery_oldest_seconds", state="waiting") == pytest.approx(3000, abs=30)
    assert sample("repoint_delivery_oldest_seconds", state="parked") == pytest.approx(70_000, abs=30)
    assert sample("repoint_endpoints", state="disabled") == 2
    assert sample("repoint_endpoints", state="held_back") == 1
    assert sample("repoint_deliveries_unaccounted") == 0


async def test_endpoints_that_left_a_state_are_counted_there_no_more(engine: AsyncEngine, outbox: Outbox) -> None:
    for name in ("disabled", "enabled", "free", "held", "removed"):
        await outbox.add_endpoint(name)
    async with engine.begin() as connection:
        await endpoints.disable(connection, ["disabled", "enabled"], "by hand")
        assert await endpoints.enable(connection, ["enabled"])
        await endpoints.hold(connection, {"free": timedelta(hours=1), "held": timedelta(hours=1)})
        for name in ("held", "removed"):
            assert await endpoints.remove(connection, name, "by hand")
    await outbox.execute("UPDATE endpoints SET held_until = now() - interval '1 second' WHERE id = 'free'")
    await Measuring(engine).run_once()
    assert sample("repoint_endpoints", state="disabled") == 1
    assert sample("repoint_endpoints", state="held_back") == 0


async def test_what_is_due_at_an_endpoint_that_is_held_back_waits(engine: AsyncEngine, outbox: Outbox) -> None:
    await outbox.add_endpoint("held")
    await outbox.tell("held", await outbox.add_wallet(), 2)
    await move_back(outbox, "held", 500)
    async with engine.begin() as connection:
        await endpoints.hold(connection, {"held": timedelta(hours=1)})
    await Measuring(engine).run_once()
    assert sample("repoint_delivery_oldest_seconds", state="due") == 0
    assert sample("repoint_delivery_oldest_seconds", state="waiting") == pytest.approx(500, abs=30)


async def test_of_nothing_the_age_is_zero(engine: AsyncEngine) -> None:
    await Measuring(engine).run_once()
    assert [sample("repoint_delivery_oldest_seconds", state=state) for state in ("due", "waiting", "parked")] == [
        0,
        0,
        0,
    ]
    assert sample("repoint_deliveries_unaccounted") == 0


async def test_a_delivery_that_vanishes_is_missed(engine: AsyncEngine, outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 3)
    await outbox.execute("DELETE FROM deliveries WHERE sequence = 2")
    await Measuring(engine).run_once()
    assert sample("repoint_deliveries_unaccounted") == 1
    await outbox.execute("DELETE FROM deliveries")
    assert (await measured(engine)).unaccounted == 3


async def test_under_load_all_are_accounted_for_at_every_moment(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    """With new deliveries, failures, deaths, replays, endpoints that come and go, and the ledger being folded."""
    receiver.answer("/dead", Answer(500))
    receiver.answer("/some", *[Answer(500), Answer(200)] * 200)
    for name in ("good", "dead", "some", "off"):
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
    stopping = asyncio.Event()
    dispatcher = Dispatcher(engine, sender, schedule=[timedelta(0)])
    delivering = asyncio.create_task(dispatcher.run(stopping))
    readings: list[rows.DeliveryGauges] = []

    async def measure() -> None:
        while not stopping.is_set():
            async with engine.begin() as connection:
                await rows.fold_ledger(connection)
            readings.append(await measured(engine))

    async def toggle() -> None:
        while not stopping.is_set():
            async with engine.begin() as connection:
                await endpoints.disable(connection, ["off"], "by hand")
            await asyncio.sleep(0.02)
            async with engine.begin() as connection:
                await endpoints.enable(connection, ["off"])
                given_up = await finished_deliveries.select(connection, Selection())
                await finished_deliveries.replay(connection, [one.id for one in given_up[:2]])

    tasks = [delivering, asyncio.create_task(measure()), asyncio.create_task(toggle())]
    for _ in range(15):
        wallet = await outbox.add_wallet()
        for name in ("good", "dead", "some", "off"):
            await outbox.tell(name, wallet, 3)
        dispatcher.wake()

    async def is_busy_enough() -> bool:
        return len(await outbox.history()) > 100 and len(readings) > 10

    await until(is_busy_enough)
    stopping.set()
    await asyncio.gather(*tasks)
    assert {reading.unaccounted for reading in readings} == {0}
    assert max(reading.pending for reading in readings) > 0
    last = await measured(engine)
    assert last.unaccounted == 0
    assert last.dead > 0
    ((ledger_rows,),) = await outbox.execute("SELECT count(*) FROM delivery_ledger")
    assert ledger_rows < len(await outbox.history())


async def test_one_process_of_all_measures_and_another_follows_when_it_has_ended(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    first, second = Measuring(engine), Measuring(engine)
    await first.run_once()
    assert sample("repoint_deliveries_unaccounted") == 0
    await second.run_once()
    assert sample("repoint_deliveries_unaccounted") is None
    assert sample("repoint_deliveries", status="pending") is None
    await outbox.execute("UPDATE upkeep_leases SET held_until = now() - interval '1 second'")
    await second.run_once()
    assert sample("repoint_deliveries_unaccounted") == 0
    await first.run_once()
    assert sample("repoint_deliveries_unaccounted") is None


async def test_a_lease_is_renewed_by_its_holder_alone(engine: AsyncEngine) -> None:
    holder, other = uuid7(), uuid7()
    lease = timedelta(minutes=1)
    async with engine.begin() as connection:
        assert await rows.lead(connection, holder, lease=lease)
        assert not await rows.lead(connection, other, lease=lease)
        assert await rows.lead(connection, holder, lease=timedelta(seconds=-1))
        assert await rows.lead(connection, other, lease=lease)
        assert not await rows.lead(connection, holder, lease=lease)


async def test_while_the_database_is_away_there_are_no_series(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_gauges, "EVERY_SECONDS", 0.01)
    stopping = asyncio.Event()
    away = connect("postgresql://u@127.0.0.1:9/none")
    GAUGES.latest = await measured(engine)
    running = asyncio.create_task(Measuring(away).run(stopping))

    async def are_gone() -> bool:
        return GAUGES.latest is None

    await until(are_gone)
    assert not running.done()
    stopping.set()
    await running
    await away.dispose()


async def test_a_process_that_stops_measuring_leaves_no_series_behind(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_gauges, "EVERY_SECONDS", 0.01)
    stopping = asyncio.Event()
    running = asyncio.create_task(Measuring(engine).run(stopping))

    async def is_measured() -> bool:
        return GAUGES.latest is not None

    await until(is_measured)
    GAUGES.latest = None
    await until(is_measured)  # at the next interval too
    stopping.set()
    await running
    assert sample("repoint_deliveries", status="pending") is None


async def test_one_that_measures_holds_the_lease_for_two_intervals_and_a_half_and_folds_the_ledger(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    await outbox.add_endpoint("m")
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet())
    await Measuring(engine).run_once()
    ((seconds,),) = await outbox.execute("SELECT extract(epoch FROM held_until - now()) FROM upkeep_leases")
    assert 30 < seconds <= 37.5
    assert await outbox.execute("SELECT accepted, delivered, dead, cancelled FROM delivery_ledger") == [(2, 0, 0, 0)]


async def test_what_the_database_refuses_ends_the_measuring(engine: AsyncEngine, outbox: Outbox) -> None:
    await outbox.execute("ALTER TABLE upkeep_leases ADD CONSTRAINT not_today CHECK (false) NOT VALID")
    try:
        with pytest.raises(DBAPIError, match="not_today"):
            async with asyncio.timeout(5):
                await Measuring(engine).run(asyncio.Event())
    finally:
        await outbox.execute("ALTER TABLE upkeep_leases DROP CONSTRAINT not_today")


async def test_of_too_many_parked_deliveries_nothing_is_said_of_the_sum_either(
    engine: AsyncEngine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_ROWS", 3)
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 3)
    async with engine.begin() as connection:
        await endpoints.disable(connection, ["m"], "by hand")
        await endpoints.sort(connection)
    reading = await measured(engine)
    assert (reading.pending, reading.parked, reading.unaccounted) == (0, 3, None)


async def test_counts_end_at_their_limit_and_nothing_is_said_of_the_sum(
    engine: AsyncEngine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_ROWS", 3)
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    assert (await measured(engine)).unaccounted == 0
    await outbox.tell("m", await outbox.add_wallet(), 2)
    reading = await measured(engine)
    assert (reading.pending, reading.unaccounted) == (3, None)
    GAUGES.latest = reading
    assert sample("repoint_deliveries", status="pending") == 3
    assert sample("repoint_deliveries_unaccounted") is None


async def test_many_parked_deliveries_leave_the_sum_unsaid_and_only_dead_ones_are_dead(
    engine: AsyncEngine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_ROWS", 3)
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 7)
    await outbox.execute("""
        INSERT INTO delivery_history
               (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)
        SELECT id, event_id, endpoint_id, wallet_id, sequence, CASE sequence WHEN 1 THEN 'DEAD' ELSE 'DELIVERED' END,
               1, now(), now()
        FROM deliveries WHERE sequence <= 3
    """)
    await outbox.execute("DELETE FROM deliveries WHERE sequence <= 3")
    await outbox.execute("UPDATE deliveries SET status = 'PARKED'")
    reading = await measured(engine)
    assert (reading.dead, reading.pending, reading.parked, reading.unaccounted) == (1, 0, 3, None)
    await outbox.execute("UPDATE delivery_history SET status = 'DEAD'")
    monkeypatch.setattr(rows, "MOST_ROWS", 2)
    assert (await measured(engine)).dead == 2


async def test_ages_are_of_heads_and_of_the_oldest_whatever_the_sample_holds(
    engine: AsyncEngine, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery behind the head of its line waits for that one, and for no time or endpoint."""
    for name in ("b", "a"):
        await outbox.add_endpoint(name)
        await outbox.tell(name, await outbox.add_wallet(), 2)
    await move_back(outbox, "b", 500)
    await move_back(outbox, "a", 100)
    for sample_size in (rows.SAMPLE, 1):
        monkeypatch.setattr(rows, "SAMPLE", sample_size)
        reading = await measured(engine)
        assert reading.oldest_due == pytest.approx(500, abs=30)
        assert (reading.oldest_waiting, reading.oldest_parked) == (None, None)
    # those that are older are all of the other state
    for older, newer in (("PARKED", "PENDING"), ("PENDING", "PARKED")):
        await outbox.execute(
            "UPDATE deliveries SET status = CASE endpoint_id WHEN 'b' THEN :older ELSE :newer END",
            older=older,
            newer=newer,
        )
        await outbox.execute("DELETE FROM deliveries WHERE sequence = 2")
        reading = await measured(engine)
        ages = {"PENDING": reading.oldest_due, "PARKED": reading.oldest_parked}
        assert ages == {older: pytest.approx(500, abs=30), newer: pytest.approx(100, abs=30)}


async def test_deliveries_of_a_transaction_that_is_rolled_back_count_nowhere(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    async with engine.connect() as connection:
        await connection.execute(
            text(
                "INSERT INTO deliveries (event_id, endpoint_id, wallet_id, sequence, status)"
                " SELECT event_id, endpoint_id, wallet_id, 9, 'PENDING' FROM deliveries"
            )
        )
        await connection.rollback()
    reading = await measured(engine)
    assert (reading.pending, reading.unaccounted) == (1, 0)
