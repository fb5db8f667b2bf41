"""Endpoints that fail, ask for a pause or have a rate: who is sent to, how often, and what it costs a delivery."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.backlog import Backlog
from domain.delivery.outcome import Outcome
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.restraints import Gathered, Restraints, write
from producers.webhooks.sender import PostResult, Sender
from store import deliveries, endpoints
from store.deliveries import ClaimedDelivery, ClaimedEndpoint
from tests.parts.receiver import Answer, Receiver, unavailable
from tests.parts.until import until
from tests.producers.webhooks.conftest import AT_ONCE
from tests.store.outbox import SECRET, Outbox


def claimed(endpoint_id: str = "m", *, is_failing: bool = False, is_probe: bool = False) -> ClaimedDelivery:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    return ClaimedDelivery(
        *(1, 1, UUID(int=1), endpoint_id, UUID(int=2), at, at, b"{}", 0),
        ClaimedEndpoint("https://shop.example/", [SECRET], is_failing=is_failing, is_probe=is_probe),
    )


REFUSED = PostResult(Outcome.STATUS_REFUSED, 0.1, 500)
ACCEPTED = PostResult(Outcome.ACCEPTED, 0.1, 200)


@pytest.fixture
def restraints() -> Restraints:
    return Restraints(Backlog(100))


def test_successes_of_an_endpoint_that_has_not_failed_are_not_written(restraints: Restraints) -> None:
    assert restraints.add(claimed(), ACCEPTED) is None
    assert not restraints.gathered()


def test_the_first_success_after_failures_is_written_once(restraints: Restraints) -> None:
    restraints.add(claimed(), REFUSED)
    restraints.add(claimed(), REFUSED)
    assert restraints.gathered() == Gathered(set(), {}, {"m": (False, 2)})
    restraints.add(claimed(), ACCEPTED)
    assert restraints.gathered() == Gathered(set(), {}, {"m": (True, 0)})
    restraints.drop(restraints.gathered(), ())
    restraints.add(claimed(), ACCEPTED)
    assert not restraints.gathered()


def test_a_success_of_an_endpoint_that_failed_in_another_process_is_written(restraints: Restraints) -> None:
    restraints.add(claimed(is_failing=True), ACCEPTED)
    assert restraints.gathered().attempts == {"m": (True, 0)}


@pytest.mark.parametrize("outcome", [Outcome.RESOLVER_UNAVAILABLE, Outcome.UNSIGNABLE])
def test_faults_of_our_own_are_not_counted(restraints: Restraints, outcome: Outcome) -> None:
    assert restraints.add(claimed(), PostResult(outcome, 0.1)) == timedelta(seconds=30)
    assert not restraints.gathered()


def held(seconds: int) -> PostResult:
    return PostResult(Outcome.UNAVAILABLE, 0.1, 503, retry_after=timedelta(seconds=seconds))


def test_a_longer_pause_asked_for_while_a_shorter_one_is_written_down_is_written_the_next_time() -> None:
    restraints = Restraints(backlog := Backlog(100))
    restraints.add(claimed(), held(1))
    gathered = restraints.gathered()
    restraints.add(claimed(), held(3600))
    restraints.drop(gathered, ())
    assert restraints.gathered().holds == {"m": timedelta(hours=1)}
    assert backlog.is_paused("m")
    restraints.drop(restraints.gathered(), ())
    assert not backlog.is_paused("m")


@pytest.mark.parametrize("asked", [None, held(3600), PostResult(Outcome.GONE, 0.1, 410)], ids=["", "503", "410"])
async def test_a_pause_for_a_fault_of_ours_ends_by_itself_and_none_that_the_endpoint_brought_upon_itself_since(
    monkeypatch: pytest.MonkeyPatch, asked: PostResult | None
) -> None:
    monkeypatch.setattr("producers.webhooks.restraints.OWN_FAULT_PAUSE", timedelta(milliseconds=1))
    restraints = Restraints(backlog := Backlog(1))
    restraints.add(claimed(), PostResult(Outcome.RESOLVER_UNAVAILABLE, 0.1))
    assert backlog.is_paused("m")
    if asked is not None:
        restraints.add(claimed(), asked)
    await asyncio.sleep(0.03)
    assert backlog.is_paused("m") is (asked is not None)


def test_a_probe_that_failed_is_written_once(restraints: Restraints) -> None:
    """Else the next failure would end the hold for the lease of a probe under way."""
    restraints.add(claimed(is_probe=True), REFUSED)
    assert restraints.gathered().probed == {"m"}
    restraints.drop(restraints.gathered(), ())
    restraints.add(claimed(), REFUSED)
    assert restraints.gathered() == Gathered(set(), {}, {"m": (False, 1)})


@pytest.mark.parametrize(
    ("written", "later", "left"),
    [
        ([REFUSED], [REFUSED], (False, 1)),
        ([REFUSED], [ACCEPTED], (True, 0)),
        ([REFUSED], [ACCEPTED, REFUSED], (True, 1)),
        ([REFUSED, ACCEPTED], [REFUSED, REFUSED], (False, 2)),
        ([REFUSED, ACCEPTED, REFUSED, REFUSED], [ACCEPTED], (True, 0)),
        ([REFUSED, ACCEPTED, REFUSED], [REFUSED], (False, 1)),
    ],
)
def test_what_happens_while_attempts_are_written_down_is_written_the_next_time(
    restraints: Restraints, written: list[PostResult], later: list[PostResult], left: tuple[bool, int]
) -> None:
    for answer in written:
        restraints.add(claimed(), answer)
    gathered = restraints.gathered()
    for answer in later:
        restraints.add(claimed(), answer)
    restraints.drop(gathered, ())
    assert restraints.gathered().attempts == {"m": left}


# --- the whole dispatcher -------------------------------------------------------------------------------------------


async def add_events(outbox: Outbox, endpoint_id: str, count: int) -> None:
    for _ in range(count):
        await outbox.tell(endpoint_id, await outbox.add_wallet())


async def age(outbox: Outbox, endpoint_id: str, by: timedelta) -> None:
    """Let the endpoint have begun to fail so much earlier."""
    await outbox.execute(
        "UPDATE endpoints SET failing_since = failing_since - CAST(:by AS interval) WHERE id = :id",
        id=endpoint_id,
        by=by,
    )


async def end_hold(outbox: Outbox) -> None:
    await outbox.execute("UPDATE endpoints SET held_until = now() - interval '1 second' WHERE held_until > now()")


async def states(outbox: Outbox) -> list[tuple[str, str, int]]:
    """Status, circuit and failures of the endpoints."""
    return [
        (row.status, row.circuit, row.failures)
        for row in await outbox.execute("SELECT status, circuit, failures FROM endpoints ORDER BY id")
    ]


async def tries(outbox: Outbox) -> list[int]:
    return [row.tries for row in await outbox.execute("SELECT tries FROM deliveries ORDER BY tries")]


async def test_a_circuit_opens_probes_and_closes_and_its_deliveries_lose_no_try(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    opened = REGISTRY.get_sample_value("repoint_endpoint_circuits_opened_total") or 0
    receiver.answer("/m", Answer(500))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await add_events(outbox, "m", 10)
    assert await dispatcher.run_once() == 10
    assert await states(outbox) == [("ENABLED", "CLOSED", 10)]
    await age(outbox, "m", timedelta(minutes=1))
    assert await dispatcher.run_once() == 10, "the failure of the minute is the next one"
    assert await states(outbox) == [("ENABLED", "OPEN", 20)]
    assert await tries(outbox) == [2] * 10

    assert await dispatcher.run_once() == 0, "nothing before the probe"
    for failures in (21, 22, 23, 24, 25):
        await end_hold(outbox)
        assert await dispatcher.run_once() == 1, "one probe"
        assert await dispatcher.run_once() == 0
        assert await states(outbox) == [("ENABLED", "OPEN", failures)]
    assert await tries(outbox) == [2] * 10, "a probe uses up no try"
    assert REGISTRY.get_sample_value("repoint_endpoint_circuits_opened_total") == opened + 1

    receiver.answer("/m", Answer(200))
    await end_hold(outbox)
    assert await dispatcher.run_once() == 1
    assert await states(outbox) == [("ENABLED", "CLOSED", 0)]
    while await dispatcher.run_once():
        pass
    assert [status for _, status, _ in await outbox.history()] == ["DELIVERED"] * 10


@pytest.mark.parametrize(("answer", "seconds"), [(Answer(500), 15), (unavailable("90"), 90)])
async def test_after_a_failed_probe_the_next_one_waits_for_the_circuit_and_not_for_the_lease(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, answer: Answer, seconds: float
) -> None:
    receiver.answer("/m", answer)
    await outbox.add_endpoint("m", receiver.url("/m"))
    await add_events(outbox, "m", 3)
    await outbox.execute(
        "UPDATE endpoints SET circuit = 'OPEN', failures = 10, failing_since = now() - interval '60 s'"
    )
    ((before,),) = await outbox.execute("SELECT now()")
    assert await dispatcher.run_once() == 1
    ((held_until, after),) = await outbox.execute("SELECT held_until, now() FROM endpoints")
    # a quarter of the time for which it has failed, which grew meanwhile
    grown = (after - before) / 4
    assert before + timedelta(seconds=seconds) <= held_until <= after + timedelta(seconds=seconds) + grown


async def test_of_two_dispatchers_one_probes(engine: AsyncEngine, outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await add_events(outbox, "m", 3)
    await outbox.execute("UPDATE endpoints SET circuit = 'OPEN', failures = 10, failing_since = now()")
    lease = timedelta(minutes=1)
    async with engine.connect() as first, engine.connect() as second:
        (probe,) = await deliveries.claim(first, {"m": 5}, {}, lease=lease)
        assert (probe.endpoint.is_probe, probe.endpoint.is_failing) == (True, True)
        assert await deliveries.claim(second, {"m": 5}, {}, lease=lease) == [], "while the first one claims"
        await second.rollback()
        await first.commit()
        assert await deliveries.claim(second, {"m": 5}, {}, lease=lease) == [], "while the first one probes"
        assert await deliveries.due(second, {}) == []
        await second.rollback()
        await outbox.execute("UPDATE endpoints SET held_until = held_until - interval '1 minute'")
        assert await deliveries.due(second, {}) == ["m"]
        assert len(await deliveries.claim(second, {"m": 5}, {}, lease=lease)) == 1, "the first one died"


async def test_an_open_circuit_without_deliveries_is_not_held(engine: AsyncEngine, outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.execute("UPDATE endpoints SET circuit = 'OPEN', failures = 10, failing_since = now()")
    async with engine.connect() as connection:
        assert await deliveries.claim(connection, {"m": 5}, {}, lease=timedelta(minutes=1)) == []
        (endpoint,) = await endpoints.read(connection)
        assert endpoint.held_until is None


async def test_what_was_ready_is_put_back_when_the_circuit_opens(
    engine: AsyncEngine, outbox: Outbox, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(500), Answer(500, delay=3))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await add_events(outbox, "m", 10)
    await outbox.execute("UPDATE endpoints SET failures = 9, failing_since = now() - interval '1 minute'")
    # two of the ten are under way at a time
    dispatcher = Dispatcher(engine, sender, schedule=AT_ONCE, connections=2)
    for _ in range(50):
        dispatcher._backlog.note_answer("m", Outcome.ACCEPTED, 0.01)
    stopping = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stopping))
    await receiver.arrived(1)
    async with asyncio.timeout(30):
        while await states(outbox) == [("ENABLED", "CLOSED", 9)]:  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    assert len(receiver.requests) <= 3, "the first, and as many as there are connections"
    assert sum(row.attempt for row in await outbox.live()) == len(receiver.requests), "what was not sent does not count"


async def test_five_days_without_a_success_disable_the_endpoint_and_park_its_deliveries(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    receiver.answer("/m", Answer(500))
    await outbox.add_endpoint("m", receiver.url("/m"))
    await add_events(outbox, "m", 3)
    await outbox.execute(
        "UPDATE endpoints SET failures = 49, failing_since = now() - interval '5 days', circuit = 'OPEN'"
    )
    disabled = REGISTRY.get_sample_value("repoint_endpoints_disabled_total") or 0
    assert await dispatcher.run_once() == 1
    async with outbox.engine.begin() as connection:
        (endpoint,) = await endpoints.read(connection)
    assert (endpoint.status, endpoint.disabled_reason) == (
        "DISABLED",
        "50 attempts failed within 5 days, and none succeeded",
    )
    assert [row.status for row in await outbox.live()] == ["PARKED"] * 3
    assert REGISTRY.get_sample_value("repoint_endpoints_disabled_total") == disabled + 1


async def test_an_endpoint_that_is_gone_is_disabled_for_that_however_long_it_has_failed(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    for name in ("a", "m"):
        await outbox.add_endpoint(name)
    await outbox.execute(
        "UPDATE endpoints SET failures = 49, failing_since = now() - interval '5 days', circuit = 'OPEN'"
    )
    async with engine.begin() as connection:
        written = await write(connection, Gathered({"m"}, {}, {"a": (False, 1), "m": (False, 1)}))
    assert written.disabled == {
        "a": "50 attempts failed within 5 days, and none succeeded",
        "m": "answered 410 Gone",
    }


@pytest.mark.parametrize("answer", [unavailable("3600"), Answer(429), Answer(429, {"Retry-After": "3600"})])
async def test_a_pause_that_an_endpoint_asks_for_uses_up_no_try(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver, answer: Answer
) -> None:
    receiver.answer("/m", answer)
    await outbox.add_endpoint("m", receiver.url("/m"))
    await add_events(outbox, "m", 1)
    for attempt in range(1, 7):
        assert await dispatcher.run_once() == 1
        assert [(row.status, row.attempt) for row in await outbox.live()] == [("PENDING", attempt)]
        await outbox.make_due()
    assert await tries(outbox) == [0]


async def test_a_pause_asked_for_after_a_success_that_closes_the_circuit_stays(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    await outbox.add_endpoint("m")
    await outbox.execute("UPDATE endpoints SET circuit = 'OPEN', failing_since = now(), failures = 10")
    async with engine.begin() as connection:
        await write(connection, Gathered((), {"m": timedelta(hours=1)}, {"m": (True, 1)}))
        (endpoint,) = await endpoints.read(connection)
    assert endpoint.circuit == "CLOSED"
    assert endpoint.held_until is not None


async def test_dispatchers_lock_failing_endpoints_in_one_order(engine: AsyncEngine, outbox: Outbox) -> None:
    for name in ("a", "b"):
        await outbox.add_endpoint(name)

    async def write_failures() -> None:
        async with engine.begin() as connection:
            await write(connection, Gathered((), {"b": timedelta(hours=1)}, {"a": (False, 1), "b": (False, 1)}))

    lock = text("SELECT FROM endpoints WHERE id = :id FOR NO KEY UPDATE NOWAIT")
    async with engine.connect() as other:
        await other.execute(lock, {"id": "a"})
        writing = asyncio.create_task(write_failures())
        await until(
            lambda: outbox.execute("""
            SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()
        """)
        )
        await other.execute(lock, {"id": "b"})
        await other.rollback()
        await writing


async def test_a_503_without_a_time_uses_up_tries(outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver) -> None:
    receiver.answer("/m", unavailable())
    await outbox.add_endpoint("m", receiver.url("/m"))
    await add_events(outbox, "m", 1)
    assert [await dispatcher.run_once() for _ in range(5)] == [1, 1, 1, 1, 0]
    assert await outbox.history() == [(1, "DEAD", 4)]


async def test_an_endpoint_has_its_own_schedule(outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver) -> None:
    for name, schedule in (("none", []), ("two", [timedelta(0), timedelta(0)])):
        receiver.answer(f"/{name}", Answer(500))
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
        await outbox.execute(
            "UPDATE endpoints SET retry_schedule = CAST(:schedule AS interval[]) WHERE id = :id",
            id=name,
            schedule=schedule,
        )
        await outbox.tell(name, await outbox.add_wallet(), 2)
    while await dispatcher.run_once():
        pass
    assert len(receiver.at("/none")) == 2, "also of the second event, which is claimed with the result of the first"
    assert len(receiver.at("/two")) == 6


@pytest.mark.parametrize(("rate", "at_once", "in_a_second"), [(10, 3, 10), (0.5, 1, 1), (40, 9, 40)])
async def test_a_rate_is_shared_by_all_claims(
    engine: AsyncEngine, outbox: Outbox, rate: float, at_once: int, in_a_second: int
) -> None:
    await outbox.add_endpoint("m")
    await outbox.execute("UPDATE endpoints SET max_per_second = :rate", rate=rate)
    await add_events(outbox, "m", 60)
    counts = []
    began = time.monotonic()
    async with engine.connect() as first, engine.connect() as second:
        for step in range(21):
            connection = (first, second)[step % 2]
            counts.append(len(await deliveries.claim(connection, {"m": 50}, {}, lease=timedelta(hours=1))))
            await connection.commit()
            if step < 20:
                # fifty milliseconds later
                await outbox.execute("UPDATE endpoints SET paced_until = paced_until - interval '50 milliseconds'")
    assert counts[0] == at_once
    seconds = 1 + time.monotonic() - began
    assert in_a_second <= sum(counts) <= at_once + rate * seconds


async def test_the_next_of_a_line_at_an_endpoint_with_a_rate_is_left_to_the_claims(
    engine: AsyncEngine, outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"))
    await outbox.execute("UPDATE endpoints SET max_per_second = 0.001")
    await outbox.tell("m", await outbox.add_wallet(), 3)
    stopping = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stopping))
    await receiver.arrived(1)
    async with asyncio.timeout(30):
        while len(await outbox.live()) > 2:  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    assert len(receiver.requests) == 1
    assert [row.attempt for row in await outbox.live()] == [0, 0]


async def test_an_endpoint_that_a_clock_ahead_set_off_for_years_is_sent_to_once_it_is_enabled(
    engine: AsyncEngine, outbox: Outbox
) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    await outbox.execute("UPDATE endpoints SET max_per_second = 5, paced_until = now() + interval '9 years'")
    async with engine.begin() as connection:
        assert await deliveries.due(connection, {}) == []
        await endpoints.enable(connection, ["m"])
        assert await deliveries.due(connection, {}) == ["m"]
