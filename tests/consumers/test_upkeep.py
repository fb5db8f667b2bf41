"""What time does to what was told. Time is let pass by moving the rows back."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import text

from consumers import upkeep
from consumers.batch import take
from domain.update import Update, UpdateType
from domain.wallet import MethodStatus
from store.engine import connect
from tests.consumers.desk import RETENTION, Desk, merging
from tests.domain.build import Names, live, method, replaced, reported, wallet, who
from tests.parts.proxy import Proxy
from tests.parts.until import until
from wallets.change import Retention

PAST = RETENTION.unknown + timedelta(hours=1)
CLOSED = UpdateType.CLOSED


async def let_pass(desk: Desk, time: timedelta) -> None:
    await move_back(desk, time)
    await upkeep.run_once(desk.engine, parked_for=RETENTION.unknown)


async def move_back(desk: Desk, time: timedelta) -> None:
    for table, column in (("inbox", "received_at"), ("credentials", "kept_until"), ("replacement_facts", "kept_until")):
        await desk.rows(f"UPDATE {table} SET {column} = {column} - CAST(:time AS interval)", time=time)  # noqa: S608


async def test_who_nobody_knew_in_time_is_given_up(desk: Desk) -> None:
    await desk.bring(wallet(method("A")))
    await desk.tell(
        replaced("X", "Y", on=1),
        reported(CLOSED, "X", on=2),
        merging(who("e8"), who("e9")),
        replaced("A", "B", on=3),
        b"{",
    )
    await let_pass(desk, RETENTION.unknown - timedelta(hours=1))
    assert await desk.outcome("vau-1") == ("PARKED", None)
    await desk.tell(reported(CLOSED, "Z", on=4))
    await let_pass(desk, timedelta(hours=2))

    assert await desk.outcomes() == [
        ("vau-1", "IGNORED", "UNKNOWN_PAYMENT_METHOD"),
        ("vau-2", "IGNORED", "UNKNOWN_PAYMENT_METHOD"),
        ("merge", "IGNORED", "UNKNOWN_PAYMENT_METHOD"),
        ("vau-3", "APPLIED", None),
        ("vau-4", "PARKED", None),
    ]
    assert [row.key for row in await desk.rows("SELECT key FROM parked_updates")] == ["vau:Z"]


async def test_who_is_told_again_waits_as_long_as_what_is_known(desk: Desk) -> None:
    await desk.tell(replaced("A", "B", on=1), reported(CLOSED, "X", on=2))
    await let_pass(desk, RETENTION.unknown - timedelta(hours=1))
    await desk.tell(replaced("A", "B", on=3, id="again"))
    await let_pass(desk, timedelta(hours=2))
    await desk.bring(wallet(method("A"), method("X")))
    assert await desk.outcomes() == [
        ("vau-1", "APPLIED", None),
        ("vau-2", "IGNORED", "UNKNOWN_PAYMENT_METHOD"),
        ("again", "DUPLICATE", "ALREADY_TOLD"),
    ]


@pytest.mark.parametrize("named", ["X", ("X", ":x")], ids=["by token", "by token and fingerprint"])
async def test_a_status_that_is_told_again_waits_as_long_as_it_is_known(desk: Desk, named: Names) -> None:
    """No fact keeps it waiting, only what is kept of the credential itself."""
    await desk.tell(reported(CLOSED, named, on=1))
    await let_pass(desk, RETENTION.unknown - timedelta(hours=1))
    await desk.tell(reported(CLOSED, named, on=2, id="again"))
    await let_pass(desk, timedelta(hours=2))
    assert await desk.outcome("vau-1") == ("PARKED", None)
    await desk.bring(wallet(method("X")))
    assert live(await desk.wallet())["X"].status is MethodStatus.CLOSED


@pytest.mark.parametrize(
    "update",
    [replaced("A", "B", on=1, customer="e9"), reported(CLOSED, "A", on=1, customer="e9")],
    ids=["a replacement", "a status"],
)
async def test_who_is_quarantined_waits_as_long_as_what_is_known(desk: Desk, update: Update) -> None:
    await desk.bring(wallet(method("A")))
    await desk.tell(update)
    assert await desk.outcome("vau-1") == ("QUARANTINED", "OWNER_MISMATCH")
    await let_pass(desk, PAST)
    assert [row.key for row in await desk.rows("SELECT key FROM parked_updates")] == ["vau:A"]
    await let_pass(desk, RETENTION.known)
    await let_pass(desk, timedelta())
    assert await desk.rows("SELECT key FROM parked_updates") == []
    assert await desk.outcome("vau-1") == ("QUARANTINED", "OWNER_MISMATCH")


async def test_what_was_told_of_no_wallet_is_forgotten_and_of_a_wallet_is_not(desk: Desk) -> None:
    await desk.bring(wallet(method("A")))
    await desk.tell(
        replaced("A", "B", on=1), reported(CLOSED, "B", on=2), replaced("X", "Y", on=3), reported(CLOSED, "X", on=4)
    )
    await let_pass(desk, PAST)
    assert await states_of(desk) == {"vau:B": "CLOSED", "vau:A > vau:B": None}
    # what comes late is measured against it still
    await desk.tell(replaced("A", "C", on=0), reported(UpdateType.RESUMED, "B", on=1, id="late"))
    assert live(await desk.wallet()).keys() == {"B"}
    await let_pass(desk, RETENTION.known)
    assert await states_of(desk) == {}


async def test_what_a_wallet_came_to_know_of_later_is_kept_from_then_on(desk: Desk) -> None:
    await desk.bring(wallet(method("A")))
    await desk.tell(replaced("B", "C", on=2), reported(CLOSED, "C", on=3))
    await desk.tell(replaced("A", "B", on=1))
    await let_pass(desk, PAST)
    assert await states_of(desk) == {"vau:C": "CLOSED", "vau:A > vau:B": None, "vau:B > vau:C": None}


@pytest.mark.parametrize("again", ["under another id", "by another vendor's word"])
async def test_what_is_heard_again_is_kept_from_then_on(desk: Desk, again: str) -> None:
    """Of a wallet's method and of one that is nobody's yet."""

    def tell(n: int) -> list[Update]:
        later = 100 * n if again == "by another vendor's word" else 0
        return [
            replaced("A", "B", on=1 + later, id=f"1-{n}"),
            reported(CLOSED, "B", on=2 + later, id=f"2-{n}"),
            replaced("X", "Y", on=3 + later, id=f"3-{n}"),
            reported(CLOSED, "X", on=4 + later, id=f"4-{n}"),
        ]

    await desk.bring(wallet(method("A")))
    await desk.tell(*tell(0))
    known = await states_of(desk)
    assert len(known) == 4
    for n in (1, 2):
        await let_pass(desk, RETENTION.unknown - timedelta(hours=1))
        await desk.tell(*tell(n))
        assert await states_of(desk) == known
    await let_pass(desk, PAST)
    assert (await states_of(desk)).keys() == {"vau:B", "vau:A > vau:B"}
    await let_pass(desk, RETENTION.known - PAST - timedelta(days=1))
    assert (await states_of(desk)).keys() == {"vau:B", "vau:A > vau:B"}


async def test_what_is_heard_again_is_kept_no_shorter_where_the_setting_has_become_shorter(desk: Desk) -> None:
    await desk.bring(wallet(method("A")))
    await desk.tell(replaced("A", "B", on=1), reported(CLOSED, "B", on=2))
    known = await states_of(desk)
    shorter = Retention(known=PAST, unknown=RETENTION.unknown)
    again = [replaced("A", "B", on=1, id="again"), reported(CLOSED, "B", on=2, id="and again")]
    await take(desk.engine, [desk.message(update) for update in again], shorter)
    await let_pass(desk, RETENTION.known - timedelta(days=1))
    assert await states_of(desk) == known


async def states_of(desk: Desk) -> Mapping[str, str | None]:
    """The facts, and the status that was told of credentials."""
    rows = await desk.rows(
        "SELECT key AS what, status FROM credentials WHERE status IS NOT NULL"
        " UNION ALL SELECT old_key || ' > ' || new_key, NULL FROM replacement_facts"
    )
    return {row.what: row.status for row in rows}


async def test_what_is_forgotten_can_be_told_again(desk: Desk) -> None:
    await desk.tell(replaced("A", "B", on=1))
    await let_pass(desk, PAST)
    await desk.bring(wallet(method("A")))
    await desk.tell(replaced("A", "B", on=3, id="again"))
    assert await desk.outcome("again") == ("APPLIED", None)
    assert await desk.outcome("vau-1") == ("IGNORED", "UNKNOWN_PAYMENT_METHOD")


async def test_who_learns_of_something_at_that_moment_is_left_alone(desk: Desk) -> None:
    await desk.tell(reported(CLOSED, "X", on=1))
    await desk.rows("UPDATE credentials SET kept_until = now() - interval '1 day'")
    async with desk.engine.begin() as learner:
        await learner.execute(text("SELECT * FROM credentials FOR UPDATE"))
        async with asyncio.timeout(5):
            await upkeep.run_once(desk.engine, parked_for=RETENTION.unknown)
    assert await states_of(desk) == {"vau:X": "CLOSED"}


async def test_it_may_run_twice_at_once_and_as_often_as_one_likes(desk: Desk) -> None:
    await desk.tell(*(replaced(f"X{n}", f"Y{n}", on=1, id=f"{n}") for n in range(50)))
    await move_back(desk, PAST)
    await asyncio.gather(*(upkeep.run_once(desk.engine, parked_for=RETENTION.unknown) for _ in range(4)))
    assert {outcome for _, outcome, _ in await desk.outcomes()} == {"IGNORED"}
    assert await desk.rows("SELECT * FROM parked_updates") == []


@pytest.mark.parametrize("table", ["delivery_history", "attempts"])
async def test_the_days_to_come_have_a_partition_each(desk: Desk, table: str) -> None:
    for _ in range(2):
        await upkeep.run_once(desk.engine, parked_for=RETENTION.unknown)
    rows = await desk.rows(
        "SELECT CAST(inhrelid AS regclass) AS name, to_char((now() AT TIME ZONE 'UTC') + make_interval(days => ahead),"
        " '_YYYYMMDD') AS day FROM pg_inherits CROSS JOIN generate_series(1, 3) AS ahead"
        " WHERE inhparent = CAST(:table AS regclass)",
        table=table,
    )
    names = {str(row.name) for row in rows}
    assert {f"{table}{row.day}" for row in rows} <= names


async def test_it_waits_for_a_database_that_is_away_and_stops_when_told(desk: Desk, database_url: str) -> None:

    await desk.tell(replaced("X", "Y", on=1))
    await move_back(desk, PAST)
    stopping = asyncio.Event()
    async with Proxy(database_url) as proxy:
        proxy.refuse()
        engine = connect(proxy.url)
        running = asyncio.create_task(upkeep.run(engine, parked_for=RETENTION.unknown, stopping=stopping))
        await asyncio.wait((running,), timeout=0.3)
        assert not running.done()
        stopping.set()
        async with asyncio.timeout(5):
            await running
        proxy.pass_on()
        stopping.clear()
        running = asyncio.create_task(upkeep.run(engine, parked_for=RETENTION.unknown, stopping=stopping))

        async def given_up() -> bool:
            return (await desk.outcome("vau-1"))[0] == "IGNORED"

        await until(given_up)
        stopping.set()
        await running
        await engine.dispose()
