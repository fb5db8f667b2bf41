"""Deliveries wait in lines, are claimed by lease, and leave by their fence; driven through the interleavings too."""

import asyncio
import random
import time
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status, Trigger, transition
from store import (
    deliveries,
    delivery_answers,
    endpoints,
    finished_deliveries,
    listings,
    new_deliveries,
    postponed_deliveries,
    status,
)
from store.deliveries import AttemptResult, ClaimedDelivery
from store.failures import sqlstate
from store.selection import Selection
from tests.store.outbox import Outbox, Row

LEASE = timedelta(seconds=60)
DELIVERED = NextState(Status.DELIVERED)
DEAD = NextState(Status.DEAD)
LATER = NextState(Status.PENDING, timedelta(minutes=5))


# In this database alone: the tests share a server.
_WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()
"""


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


async def claim(outbox: Outbox, *names: str, most: int = 100) -> list[ClaimedDelivery]:
    async with outbox.engine.begin() as connection:
        return await deliveries.claim(connection, dict.fromkeys(names, most), {}, lease=LEASE)


def attempted(claimed: ClaimedDelivery, following: NextState, outcome: Outcome = Outcome.ACCEPTED) -> AttemptResult:
    return AttemptResult(claimed, outcome, 200, 0.012, time.time(), following)


async def record(outbox: Outbox, *results: AttemptResult) -> AbstractSet[int]:
    async with outbox.engine.begin() as connection:
        return (await deliveries.record(connection, results)).ids


async def record_and_claim(outbox: Outbox, *results: AttemptResult) -> deliveries.RecordResult:
    """With the next deliveries of all lines claimed."""
    lines = [(result.delivery.endpoint_id, result.delivery.wallet_id) for result in results]
    async with outbox.engine.begin() as connection:
        return await deliveries.record(connection, results, to_claim=lines, lease=LEASE)


async def due(outbox: Outbox) -> list[str]:
    async with outbox.engine.begin() as connection:
        return await deliveries.due(connection, {})


async def test_only_the_first_of_a_line_is_due(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    await outbox.add_endpoint("m")
    await outbox.tell("m", wallet, 3)
    await outbox.tell("m", wallet, 2)
    assert await outbox.live() == [
        Row("m", wallet, n, "PENDING", "head" if n == 1 else "waits", 0) for n in (1, 2, 3, 4, 5)
    ]


async def test_lines_are_of_one_wallet_to_one_endpoint(outbox: Outbox) -> None:
    first, second = await outbox.add_wallet(), await outbox.add_wallet()
    for name in ("m", "n"):
        await outbox.add_endpoint(name)
        await outbox.tell(name, first, 2)
        await outbox.tell(name, second, 2)
    assert await outbox.heads("m") == [1, 1]
    assert len(await claim(outbox, "m", "n")) == 4


async def test_a_line_is_in_the_order_of_its_sequences_however_its_deliveries_are_given(outbox: Outbox) -> None:
    """The list of deliveries is in the order of their ids."""
    wallets = [await outbox.add_wallet() for _ in range(3)]
    await outbox.add_endpoint("m")
    new = [delivery for wallet in wallets for delivery in await outbox.write("m", wallet, 40)]
    random.Random(5).shuffle(new)
    await enqueue(outbox, new)
    assert await outbox.heads("m") == [1] * 3
    async with outbox.engine.connect() as connection:
        rows = await listings.deliveries(connection, status=None, endpoint="m", merchant=None, limit=200)
    for wallet in wallets:
        assert [row.sequence for row in rows if row.wallet_id == wallet] == list(range(40, 0, -1))


async def test_enqueueing_takes_two_statements_whatever_the_number(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    new = [one for _ in range(50) for one in await outbox.write("m", await outbox.add_wallet(), 3)]
    statements: list[str] = []
    event.listen(
        outbox.engine.sync_engine, "before_cursor_execute", lambda *call: statements.append(call[2]), named=False
    )
    async with outbox.engine.begin() as connection:
        await new_deliveries.enqueue(connection, new)
    assert len(statements) == 2
    assert len(await outbox.heads("m")) == 50


async def test_for_a_disabled_endpoint_deliveries_are_parked_in_their_lines(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    await outbox.add_endpoint("m")
    async with outbox.engine.begin() as connection:
        assert await endpoints.disable(connection, ["m"], "by hand") == ["m"]
        assert await endpoints.disable(connection, ["m"], "again") == []
    await outbox.tell("m", wallet, 2)
    assert await outbox.live() == [Row("m", wallet, 1, "PARKED", "head", 0), Row("m", wallet, 2, "PARKED", "waits", 0)]
    assert await due(outbox) == []
    assert await claim(outbox, "m") == []


async def test_what_is_parked_goes_out_in_order_once_its_endpoint_is_enabled(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    await outbox.add_endpoint("m")
    await outbox.tell("m", wallet, 2)
    async with outbox.engine.begin() as connection:
        await endpoints.disable(connection, ["m"], "by hand")
        assert await endpoints.sort(connection) == 2
        assert await endpoints.sort(connection) == 0
    assert {row.status for row in await outbox.live()} == {"PARKED"}
    async with outbox.engine.begin() as connection:
        assert await endpoints.enable(connection, ["m", "unknown"]) == ["m"]
        assert await endpoints.sort(connection) == 2
    (claimed,) = await claim(outbox, "m")
    await record(outbox, attempted(claimed, DELIVERED))
    assert await outbox.live() == [Row("m", wallet, 2, "PENDING", "head", 0)]


async def test_an_unknown_endpoint_or_event_is_refused(outbox: Outbox) -> None:
    wallet = await outbox.add_wallet()
    await outbox.add_endpoint("m")
    (known,) = await outbox.write("m", wallet)
    with pytest.raises(IntegrityError):
        async with outbox.engine.begin() as connection:
            await new_deliveries.enqueue(connection, [new_deliveries.NewDelivery(known.event_id, "nobody", wallet, 1)])


async def test_a_claim_is_a_lease(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    (told,) = await outbox.tell("m", await outbox.add_wallet())
    (claimed,) = await claim(outbox, "m")
    assert (claimed.event_id, claimed.attempt, claimed.endpoint.url) == (told, 1, "http://127.0.0.1:9/")
    assert claimed.body.startswith(b'{"id": "evt_')
    assert await claim(outbox, "m") == []
    await outbox.make_due()
    (again,) = await claim(outbox, "m")
    assert (again.id, again.attempt) == (claimed.id, 2)


async def test_a_claim_takes_the_longest_due_first_and_no_more_than_asked_of_each(outbox: Outbox) -> None:
    for name in ("m", "n"):
        await outbox.add_endpoint(name)
        for _ in range(5):
            await outbox.tell(name, await outbox.add_wallet())
    claimed = await claim(outbox, "m", "n", most=2)
    assert sorted(one.endpoint_id for one in claimed) == ["m", "m", "n", "n"]
    rows = await outbox.execute("SELECT id FROM deliveries WHERE endpoint_id = 'm' ORDER BY id LIMIT 2")
    assert sorted(one.id for one in claimed if one.endpoint_id == "m") == [row.id for row in rows]


async def test_two_claimers_never_get_the_same_delivery(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    for _ in range(60):
        await outbox.tell("m", await outbox.add_wallet())
    claims = await asyncio.gather(*(claim(outbox, "m", most=20) for _ in range(4)))
    ids = [one.id for claimed in claims for one in claimed]
    assert len(ids) == len(set(ids))


async def test_a_held_endpoint_is_left_alone_until_the_hold_ends(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    async with outbox.engine.begin() as connection:
        await endpoints.hold(connection, {"m": timedelta(hours=1)})
        await endpoints.hold(connection, {"m": timedelta(seconds=1)})
    assert await due(outbox) == []
    assert await claim(outbox, "m") == []
    (held,) = await outbox.execute("SELECT held_until > now() + interval '59 minutes' FROM endpoints")
    assert held[0]
    await outbox.make_due()
    assert await due(outbox) == ["m"]


async def test_a_delivered_one_is_history_and_the_next_of_its_line_is_due(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 3)
    for sequence in (1, 2, 3):
        assert await outbox.heads("m") == [sequence]
        (claimed,) = await claim(outbox, "m")
        assert await record(outbox, attempted(claimed, DELIVERED)) == {claimed.id}
    assert await outbox.live() == []
    assert await outbox.history() == [(1, "DELIVERED", 1), (2, "DELIVERED", 1), (3, "DELIVERED", 1)]
    assert await outbox.attempts() == [(1, "ACCEPTED", 200)] * 3


async def test_the_next_of_a_line_comes_back_claimed_as_by_a_claim(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    events = await outbox.tell("m", await outbox.add_wallet(), 3)
    (first,) = await claim(outbox, "m")
    recorded = await record_and_claim(outbox, attempted(first, DELIVERED))
    (second,) = recorded.claimed
    assert (recorded.ids, recorded.due) == ({first.id}, set())
    assert (second.event_id, second.attempt) == (events[1], 1)
    assert second._replace(
        id=first.id, event_id=first.event_id, body=first.body, due_at=first.due_at
    ) == first._replace(leased_until=second.leased_until)
    ((body,),) = await outbox.execute("SELECT body FROM events WHERE id = :id", id=events[1])
    assert second.body == body
    assert await claim(outbox, "m") == []
    # its claimer dies: the lease ends, and the next claim is another attempt
    await outbox.make_due()
    (again,) = await claim(outbox, "m")
    assert (again.id, again.attempt) == (second.id, 2)
    # the results of both, the late one first
    assert (await record_and_claim(outbox, attempted(second, DELIVERED))).ids == set()
    (third,) = (await record_and_claim(outbox, attempted(again, DELIVERED))).claimed
    assert third.event_id == events[2]
    assert await record_and_claim(outbox, attempted(third, DELIVERED)) == ({third.id}, [], set())


async def test_the_next_of_a_line_that_is_not_to_be_claimed_is_due_for_any_claim(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (first,) = await claim(outbox, "m")
    async with outbox.engine.begin() as connection:
        recorded = await deliveries.record(connection, [attempted(first, DELIVERED)])
    assert recorded == ({first.id}, [], {"m"})
    (second,) = await claim(outbox, "m")
    assert second.attempt == 1


PAUSES = {
    "held": "UPDATE endpoints SET held_until = now() + interval '1 hour'",
    "disabled": "UPDATE endpoints SET status = 'DISABLED'",
}


@pytest.mark.parametrize(
    ("paused", "next_claim"),
    [
        (PAUSES["held"], 0),
        (PAUSES["disabled"], 0),
        ("UPDATE deliveries SET status = 'PARKED' WHERE sequence = 2", 0),
        ("UPDATE endpoints SET circuit = 'OPEN'", 1),
        ("UPDATE endpoints SET max_per_second = 5", 1),
    ],
    ids=["held", "disabled", "parked", "a probe", "a rate"],
)
async def test_the_next_of_a_line_is_not_claimed_while_its_endpoint_may_not_be_sent_to(
    outbox: Outbox, paused: str, next_claim: int
) -> None:
    """What an open circuit or a rate allows is shared by all claims."""
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (first,) = await claim(outbox, "m")
    await outbox.execute(paused)
    recorded = await record_and_claim(outbox, attempted(first, DELIVERED))
    assert recorded == ({first.id}, [], {"m"})
    assert await outbox.heads("m") == [2]
    assert [row.attempt for row in await outbox.live()] == [0]
    assert len(await claim(outbox, "m")) == next_claim


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("restraint", ["circuit = 'OPEN'", "max_per_second = 5", "failures = 0"])
async def test_nothing_is_claimed_of_an_endpoint_that_is_held_or_disabled(
    outbox: Outbox, pause: str, restraint: str
) -> None:
    """Its deliveries are not parked yet."""
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    await outbox.execute(f"UPDATE endpoints SET {restraint}")  # noqa: S608 - of this list
    await outbox.execute(PAUSES[pause])
    assert await due(outbox) == []
    assert await claim(outbox, "m") == []
    assert [row.attempt for row in await outbox.live()] == [0]


async def test_a_failure_that_is_recorded_again_postpones_nothing_again(outbox: Outbox) -> None:
    """The answer to the first COMMIT was lost; a person had the delivery sent now meanwhile."""
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    (claimed,) = await claim(outbox, "m")
    result = attempted(claimed, LATER, Outcome.UNAVAILABLE)
    await record(outbox, result)
    async with outbox.engine.begin() as connection:
        assert await postponed_deliveries.make_due(connection, [claimed.id]) == 1
    await record(outbox, result)
    assert await due(outbox) == ["m"]


async def test_of_a_failed_one_nothing_comes_back_claimed(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (first,) = await claim(outbox, "m")
    recorded = await record_and_claim(outbox, attempted(first, LATER, Outcome.UNAVAILABLE))
    assert recorded == ({first.id}, [], set())
    assert await outbox.heads("m") == [1]


async def test_a_failed_one_keeps_its_place_and_a_dead_one_makes_way(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (claimed,) = await claim(outbox, "m")
    await record(outbox, attempted(claimed, LATER, Outcome.CONNECTION_REFUSED))
    assert await outbox.heads("m") == [1]
    assert await due(outbox) == []
    (row,) = await outbox.execute(
        "SELECT due_at BETWEEN now() + interval '4 minutes' AND now() + interval '5 minutes' AS later "
        "FROM deliveries WHERE due_at IS NOT NULL"
    )
    assert row.later
    await outbox.make_due()
    (claimed,) = await claim(outbox, "m")
    await record(outbox, attempted(claimed, DEAD, Outcome.CONNECTION_REFUSED))
    assert await outbox.heads("m") == [2]
    assert await outbox.history() == [(1, "DEAD", 2)]


@pytest.mark.parametrize("parked", [False, True])
@pytest.mark.parametrize("trigger", [Trigger.ACCEPTED, Trigger.FAILED, Trigger.EXHAUSTED, Trigger.GONE])
async def test_an_attempt_leaves_its_delivery_where_the_table_of_states_says(
    outbox: Outbox, trigger: Trigger, *, parked: bool
) -> None:
    async def disable() -> None:
        async with outbox.engine.begin() as connection:
            await endpoints.disable(connection, ["m"], "gone")
            await endpoints.sort(connection)

    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    (claimed,) = await claim(outbox, "m")
    if parked:  # while the attempt is under way, which the dispatcher does not see
        await disable()
    following = NextState(
        transition(Status.PENDING, trigger), timedelta(minutes=5) if trigger is Trigger.FAILED else None
    )
    assert await record(outbox, attempted(claimed, following)) == {claimed.id}
    if trigger is Trigger.GONE:
        await disable()
    states = [row.status for row in await outbox.live()] + [status for _, status, _ in await outbox.history()]
    assert states == [transition(Status.PARKED if parked else Status.PENDING, trigger)]


async def test_a_result_that_comes_after_its_lease_records_nothing(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (stopped,) = await claim(outbox, "m")
    await outbox.make_due()
    (current,) = await claim(outbox, "m")
    assert await record(outbox, attempted(stopped, DEAD)) == set()
    assert await outbox.history() == await outbox.attempts() == []
    assert await record(outbox, attempted(current, DELIVERED)) == {current.id}
    assert await record(outbox, attempted(stopped, DEAD)) == set()
    assert await outbox.history() == [(1, "DELIVERED", 2)]


@pytest.mark.parametrize("following", [DELIVERED, DEAD, LATER])
async def test_recording_the_same_result_twice_changes_nothing(outbox: Outbox, following: NextState) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (claimed,) = await claim(outbox, "m")
    result = attempted(claimed, following)
    await record(outbox, result)
    before = await outbox.live(), await outbox.history(), await outbox.attempts()
    await record(outbox, result)
    assert (await outbox.live(), await outbox.history(), await outbox.attempts()) == before


async def test_what_was_put_back_is_due_at_once_and_does_not_count(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    unsent = await claim(outbox, "m")
    await put_back(outbox, unsent)
    (claimed,) = await claim(outbox, "m")
    assert claimed.attempt == 1
    await put_back(outbox, unsent)
    assert await due(outbox) == [], "the earlier claim is over, what it says is too late"


async def test_enqueueing_behind_a_head_that_is_just_finished_leaves_no_one_waiting(outbox: Outbox) -> None:
    """Both orders of the meeting: each time the later of the two sees what the earlier did."""
    await outbox.add_endpoint("m")
    wallet = await outbox.add_wallet()
    await outbox.tell("m", wallet)
    (claimed,) = await claim(outbox, "m")
    second = await outbox.write("m", wallet)
    async with outbox.engine.begin() as enqueuer:
        await new_deliveries.enqueue(enqueuer, second)
        finisher = asyncio.create_task(record(outbox, attempted(claimed, DELIVERED)))
        await until_blocked(outbox)
    assert await finisher == {claimed.id}
    assert await outbox.heads("m") == [2]

    (claimed,) = await claim(outbox, "m")
    third = await outbox.write("m", wallet)
    async with outbox.engine.begin() as finishing:
        await deliveries.record(finishing, [attempted(claimed, DELIVERED)])
        enqueuing = asyncio.create_task(enqueue(outbox, third))
        await until_blocked(outbox)
    await enqueuing
    assert await outbox.heads("m") == [3]


async def test_enqueueing_while_two_of_its_line_are_finished_one_after_the_other_leaves_no_one_waiting(
    outbox: Outbox,
) -> None:
    """The head goes while the batch enqueues, and the one after it before the batch commits."""
    await outbox.add_endpoint("m")
    wallet = await outbox.add_wallet()
    await outbox.tell("m", wallet, 2)
    (first,) = await claim(outbox, "m")
    third = await outbox.write("m", wallet)
    async with outbox.engine.begin() as enqueuer:
        async with outbox.engine.begin() as finishing:
            await deliveries.record(finishing, [attempted(first, DELIVERED)])
            enqueuing = asyncio.create_task(new_deliveries.enqueue(enqueuer, third))
            await asyncio.wait((enqueuing,), timeout=1)
        await enqueuing
        (second,) = await claim(outbox, "m")
        finisher = asyncio.create_task(record(outbox, attempted(second, DELIVERED)))
        await until_blocked(outbox)
    assert await finisher == {second.id}
    assert await outbox.heads("m") == [3]


async def test_lines_lose_no_one_while_batches_and_dispatchers_meet(outbox: Outbox) -> None:
    """Four lines, each filled by a batch at a time and emptied by two dispatchers, all at once."""
    await outbox.add_endpoint("m")
    wallets = [await outbox.add_wallet() for _ in range(4)]
    told = 0

    async def fill(wallet: str) -> None:
        nonlocal told
        for count in (1, 2, 1, 3, 1, 1, 2, 1):
            await outbox.tell("m", wallet, count)
            told += count

    async def empty(filling: asyncio.Future[list[None]]) -> None:
        while not filling.done() or await outbox.live():
            claimed = await claim(outbox, "m")
            await record(outbox, *(attempted(one, DELIVERED) for one in claimed))

    async with asyncio.timeout(60):
        filling = asyncio.gather(*(fill(wallet) for wallet in wallets))
        await asyncio.gather(filling, empty(filling), empty(filling))
    rows = await outbox.execute("SELECT wallet_id, sequence FROM delivery_history ORDER BY wallet_id, finished_at, id")
    by_wallet = {wallet: [row.sequence for row in rows if str(row.wallet_id) == wallet] for wallet in wallets}
    assert by_wallet == {wallet: list(range(1, 13)) for wallet in wallets}
    assert told == 48


async def test_a_dead_one_is_replayed_before_what_its_line_still_holds(outbox: Outbox) -> None:
    """Also before what waits for its next retry, which may be a day away."""
    await outbox.add_endpoint("m")
    wallet = await outbox.add_wallet()
    told = await outbox.tell("m", wallet, 4)
    dead = []
    for _ in range(2):
        (claimed,) = await claim(outbox, "m")
        await record(outbox, attempted(claimed, DEAD))
        dead.append(claimed.id)
    (third,) = await claim(outbox, "m")
    await record(outbox, attempted(third, NextState(Status.PENDING, timedelta(days=1))))
    assert await replay(outbox, dead[1]) == 1
    assert await replay(outbox, dead[1]) == 0, "it is on its way already"
    assert await outbox.heads("m") == [2], "one of a line at a time"
    assert await replay(outbox, *dead) == 1
    assert await outbox.heads("m") == [1]
    order = []
    while claimed_now := await claim(outbox, "m"):
        await record(outbox, attempted(claimed_now[0], DELIVERED))
        order += [one.event_id for one in claimed_now]
    assert order == told


async def test_an_attempt_under_way_is_not_overtaken(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    told = await outbox.tell("m", await outbox.add_wallet(), 3)
    (first,) = await claim(outbox, "m")
    await record(outbox, attempted(first, DEAD))
    (second,) = await claim(outbox, "m")
    assert await replay(outbox, first.id) == 1
    assert await outbox.heads("m") == [2]
    assert await claim(outbox, "m") == []
    await record(outbox, attempted(second, DELIVERED))
    assert [one.event_id for one in await claim(outbox, "m")] == [told[0]]


async def test_a_late_result_of_what_was_overtaken_makes_no_second_head(outbox: Outbox) -> None:
    """A dispatcher was stopped for longer than its lease; another claimed, and put back what it did not send."""
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (first,) = await claim(outbox, "m")
    await record(outbox, attempted(first, DEAD))
    (late,) = await claim(outbox, "m")
    await outbox.make_due()
    await put_back(outbox, await claim(outbox, "m"))
    assert await replay(outbox, first.id) == 1
    assert await outbox.heads("m") == [1]
    await record(outbox, attempted(late, NextState(Status.PENDING, timedelta(0))))
    assert await outbox.heads("m") == [1]


async def test_a_late_result_of_what_was_overtaken_makes_the_head_due_no_sooner(outbox: Outbox) -> None:
    """The head waits for its next retry; that a delivery behind it is finished is no reason to attempt it now."""
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (first,) = await claim(outbox, "m")
    await record(outbox, attempted(first, DEAD))
    (late,) = await claim(outbox, "m")
    await outbox.make_due()
    await put_back(outbox, await claim(outbox, "m"))
    assert await replay(outbox, first.id) == 1
    (again,) = await claim(outbox, "m")
    await record(outbox, attempted(again, LATER, Outcome.CONNECTION_REFUSED))
    assert await record(outbox, attempted(late, DELIVERED)) == {late.id}
    assert await outbox.heads("m") == [1]
    assert await due(outbox) == []
    (row,) = await outbox.execute("SELECT due_at > now() + interval '4 minutes' AS later FROM deliveries")
    assert row.later


async def test_replays_and_two_dispatchers_leave_every_line_one_head(outbox: Outbox) -> None:
    """However they meet, nothing is lost or stuck, and no two of a line are on their way at once."""
    await outbox.add_endpoint("m")
    wallets = [await outbox.add_wallet() for _ in range(4)]
    told = {event_id for wallet in wallets for event_id in await outbox.tell("m", wallet, 12)}
    dead: list[int] = []
    arrived: list[Any] = []
    fate = random.Random(7)

    async def dispatch() -> None:
        while len(set(arrived)) < len(told):
            claimed = await claim(outbox, "m", most=3)
            assert len({one.wallet_id for one in claimed}) == len(claimed)
            for one in claimed:
                outcome = fate.choice((DEAD, DELIVERED, NextState(Status.PENDING, timedelta(0))))
                assert await record(outbox, attempted(one, outcome))
                if outcome is DEAD:
                    dead.append(one.id)
                elif outcome is DELIVERED:
                    arrived.append(one.event_id)
            await asyncio.sleep(0)

    async def replay_on() -> None:
        while len(set(arrived)) < len(told):
            again, dead[:] = dead[:], []
            if again:
                await replay(outbox, *again)
            heads = [row.wallet_id for row in await outbox.live() if row.place == "head"]
            assert len(heads) == len(set(heads))
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await asyncio.gather(dispatch(), dispatch(), replay_on())
    assert await outbox.live() == []
    assert sorted(arrived) == sorted(told), "each once"


async def test_dead_ones_are_found_by_what_they_have_in_common(outbox: Outbox) -> None:
    for name in ("a", "b"):
        await outbox.add_endpoint(name)
    wallet = await outbox.add_wallet()
    events = {name: (await outbox.tell(name, wallet, 2)) for name in ("a", "b")}
    ids: dict[tuple[str, int], int] = {}
    for sequence in (1, 2):
        for name in ("a", "b"):
            (claimed,) = await claim(outbox, name)
            await record(outbox, attempted(claimed, DEAD))
            ids[name, sequence] = claimed.id
    await outbox.execute("UPDATE delivery_history SET finished_at = now() - interval '2 days' WHERE sequence = 1")
    cut = datetime.now(UTC) - timedelta(days=1)

    async def dead(**wanted: Any) -> list[tuple[str, int]]:
        async with outbox.engine.connect() as connection:
            found = [one.id for one in await finished_deliveries.select(connection, Selection(**wanted))]
        return [next(name for name, id_ in ids.items() if id_ == each) for each in found]

    assert await dead() == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert await dead(endpoint="a") == await dead(merchant="a") == [("a", 1), ("a", 2)]
    assert await dead(since=cut) == [("a", 2), ("b", 2)]
    assert await dead(until=cut, endpoint="b") == [("b", 1)]
    assert await dead(ids=[ids["a", 2]], event_ids=[events["b"][0]]) == [("a", 2), ("b", 1)]
    assert await dead(ids=[]) == []
    assert await dead(event_ids=events["a"], endpoint="b") == []
    # on its way, then dead once more, then arrived
    assert await replay(outbox, ids["a", 1]) == 1
    assert await dead(endpoint="a") == [("a", 2)]
    (again,) = await claim(outbox, "a")
    await record(outbox, attempted(again, DEAD))
    ids["a", 0] = again.id
    assert await dead(endpoint="a") == [("a", 1), ("a", 0), ("a", 2)]
    assert await replay(outbox, ids["a", 1], again.id) == 1
    (again,) = await claim(outbox, "a")
    await record(outbox, attempted(again, DELIVERED))
    assert await dead(endpoint="a") == [("a", 2)]


@pytest.mark.parametrize("has_arrived", [True, False], ids=["it has arrived", "it is on its way"])
async def test_what_died_at_one_endpoint_is_replayed_though_another_endpoint_has_it(
    outbox: Outbox, *, has_arrived: bool
) -> None:
    for name in ("a", "b"):
        await outbox.add_endpoint(name)
    (to_a,) = await outbox.write("a", await outbox.add_wallet())
    await enqueue(outbox, [to_a, to_a._replace(endpoint_id="b")])
    (arrived,), (dead,) = await claim(outbox, "a"), await claim(outbox, "b")
    if has_arrived:
        await record(outbox, attempted(arrived, DELIVERED))
    await record(outbox, attempted(dead, DEAD))
    async with outbox.engine.connect() as connection:
        found = await finished_deliveries.select(connection, Selection(event_ids=[to_a.event_id]))
    assert [one.id for one in found] == [dead.id]
    assert await replay(outbox, dead.id) == 1
    assert await outbox.heads("b") == [1]


async def test_only_dead_ones_are_replayed(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    (claimed,) = await claim(outbox, "m")
    assert await replay(outbox, claimed.id) == 0
    await record(outbox, attempted(claimed, DELIVERED))
    assert await replay(outbox, claimed.id, 4711) == 0


async def test_a_cancelled_one_is_never_sent_again(outbox: Outbox) -> None:
    died = await dead_one(outbox)
    await outbox.execute("UPDATE delivery_history SET status = 'CANCELLED'")
    async with outbox.engine.begin() as connection:
        assert await finished_deliveries.select(connection, Selection(), delivered=True) == []
        assert await finished_deliveries.replay(connection, [died.id], delivered=True) == 0


async def enqueue(outbox: Outbox, new: list[new_deliveries.NewDelivery]) -> None:
    async with outbox.engine.begin() as connection:
        await new_deliveries.enqueue(connection, new)


async def put_back(outbox: Outbox, unsent: list[ClaimedDelivery]) -> None:
    async with outbox.engine.begin() as connection:
        await deliveries.put_back(connection, unsent)


async def replay(outbox: Outbox, *ids: int) -> int:
    async with outbox.engine.begin() as connection:
        return await finished_deliveries.replay(connection, ids)


async def until_blocked(outbox: Outbox) -> None:
    """Until some transaction waits for another's lock."""
    async with asyncio.timeout(20):
        while not (await outbox.execute(_WAITING))[0][0]:  # noqa: ASYNC110 - the database has no event to wait for
            await asyncio.sleep(0.01)


async def dead_one(outbox: Outbox) -> Any:
    """The row of a delivery that is dead."""
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    (claimed,) = await claim(outbox, "m")
    await record(outbox, attempted(claimed, DEAD))
    (row,) = await outbox.execute("SELECT id, finished_at FROM delivery_history")
    return row


async def test_a_replay_waits_for_the_batch_that_writes_to_the_same_wallet(outbox: Outbox) -> None:
    """Both would put a delivery at the head of an empty line."""
    died = await dead_one(outbox)
    async with outbox.engine.begin() as batch:
        await batch.execute(text("SELECT FROM wallets FOR NO KEY UPDATE"))
        async with outbox.engine.connect() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(DBAPIError) as refused:
                await finished_deliveries.replay(connection, [died.id])
            assert sqlstate(refused.value) == "55P03"


async def test_what_died_is_found_from_its_moment_on_and_not_until_then(outbox: Outbox) -> None:
    died = await dead_one(outbox)
    instant = timedelta(microseconds=1)
    async with outbox.engine.connect() as connection:
        for since, until, count in (
            (died.finished_at, None, 1),
            (died.finished_at + instant, None, 0),
            (None, died.finished_at, 0),
            (None, died.finished_at + instant, 1),
        ):
            selection = Selection(since=since, until=until)
            assert len(await finished_deliveries.select(connection, selection)) == count


async def test_one_that_became_due_a_moment_before_the_watermark_is_not_passed_over(outbox: Outbox) -> None:
    """Two batches that end at once commit in any order, and a watermark is made of the later one."""
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    ((due_at,),) = await outbox.execute("SELECT due_at FROM deliveries")
    for ahead, claimed in ((3, 0), (1, 1)):
        watermarks = {"m": due_at + timedelta(seconds=ahead)}
        async with outbox.engine.begin() as connection:
            assert len(await deliveries.due(connection, watermarks)) == claimed
            assert len(await deliveries.claim(connection, {"m": 9}, watermarks, lease=LEASE)) == claimed


async def test_the_last_attempt_stands_in_the_row_of_the_finished_delivery_and_is_shown_with_the_others(
    outbox: Outbox,
) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    for following, outcome in ((LATER, Outcome.CONNECTION_REFUSED), (DELIVERED, Outcome.ACCEPTED)):
        (claimed,) = await claim(outbox, "m")
        await record(outbox, attempted(claimed, following, outcome))
        await outbox.make_due()
    assert await outbox.execute("SELECT number FROM attempts") == [(1,)]
    ((delivery_id, method_id),) = await outbox.execute(
        "SELECT delivery_history.id, CAST(payment_method_id AS text) FROM delivery_history CROSS JOIN events"
    )
    for migration in ("0024", "0023"):
        if migration == "0023":
            await outbox.execute(
                "INSERT INTO attempts"
                " SELECT id, attempt, last_outcome, last_status_code, last_took_ms, last_attempted_at"
                " FROM delivery_history"
            )
            await outbox.execute("UPDATE delivery_history SET last_outcome = NULL, last_attempted_at = NULL")
        async with outbox.engine.connect() as connection:
            shown = await delivery_answers.find(connection, delivery_id)
            listed = await status._deliveries(connection, [method_id])
        assert shown is not None
        for attempts in (shown.attempts, listed[0].attempts):
            assert [(attempt.number, attempt.outcome) for attempt in attempts] == [
                (1, "connection_refused"),
                (2, "ACCEPTED"),
            ]


async def test_an_attempt_is_written_down_in_milliseconds(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet())
    (claimed,) = await claim(outbox, "m")
    await record(outbox, attempted(claimed, DELIVERED)._replace(seconds=1.2345))
    assert await outbox.execute("SELECT last_took_ms FROM delivery_history") == [(1234,)]


async def test_what_arrived_at_one_endpoint_or_is_on_its_way_there_is_dead_at_another(outbox: Outbox) -> None:
    """The same event went to both; and a line of another wallet has the same number in it."""
    wallet, other = await outbox.add_wallet(), await outbox.add_wallet()
    for name in ("m", "n"):
        await outbox.add_endpoint(name)
    (new,) = await outbox.write("m", wallet)
    async with outbox.engine.begin() as connection:
        await new_deliveries.enqueue(connection, [new, new._replace(endpoint_id="n")])
    results = [
        attempted(claimed, DEAD if claimed.endpoint_id == "m" else DELIVERED)
        for claimed in await claim(outbox, "m", "n")
    ]
    await record(outbox, *results)
    await outbox.tell("m", other)
    async with outbox.engine.begin() as connection:
        (dead,) = await finished_deliveries.select(connection, Selection())
        assert dead.endpoint_id == "m"
        assert await finished_deliveries.replay(connection, [dead.id]) == 1
        assert await finished_deliveries.select(connection, Selection()) == []
        assert await finished_deliveries.replay(connection, [dead.id]) == 0


async def test_a_head_that_waits_for_its_retry_is_not_due_sooner_for_what_is_replayed_behind_it(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    await outbox.tell("m", await outbox.add_wallet(), 2)
    (first,) = await claim(outbox, "m")
    await record(outbox, attempted(first, DEAD))
    (second,) = await claim(outbox, "m")
    await record(outbox, attempted(second, DEAD))
    async with outbox.engine.begin() as connection:
        assert await finished_deliveries.replay(connection, [first.id]) == 1
    (again,) = await claim(outbox, "m")
    await record(outbox, attempted(again, LATER, Outcome.UNAVAILABLE))
    async with outbox.engine.begin() as connection:
        assert await finished_deliveries.replay(connection, [second.id]) == 1
    assert await outbox.heads("m") == [1]
    assert await claim(outbox, "m") == []
