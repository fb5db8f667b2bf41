"""What time does to what was told. Time is let pass by moving the rows back."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import text

from consumers import upkeep
from consumers.batch import take_in
from domain.update import Update, UpdateType
from domain.wallet import MethodStatus
from store.engine import connect
from tests.consumers.harness import RETENTION, Harness, merging
from tests.domain.build import Names, live, method, replaced, reported, wallet, who
from tests.parts.proxy import Proxy
from tests.parts.until import until
from wallets.change import Retention

PAST = RETENTION.unknown + timedelta(hours=1)
CLOSED = UpdateType.CLOSED


async def let_pass(harness: Harness, time: timedelta) -> None:
    await move_back(harness, time)
    await upkeep.run_once(harness.engine, parked_for=RETENTION.unknown)


async def move_back(harness: Harness, time: timedelta) -> None:
    for table, column in (("inbox", "received_at"), ("credentials", "kept_until"), ("replacement_facts", "kept_until")):
        await harness.rows(f"UPDATE {table} SET {column} = {column} - CAST(:time AS interval)", time=time)  # noqa: S608


async def test_who_nobody_knew_in_time_is_given_up(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(
        replaced("X", "Y", on=1),
        reported(CLOSED, "X", on=2),
        merging(who("e8"), who("e9")),
        replaced("A", "B", on=3),
        b"{",
    )
    await let_pass(harness, RETENTION.unknown - timedelta(hours=1))
    assert await harness.outcome("vau-1") == ("PARKED", None)
    await harness.report(reported(CLOSED, "Z", on=4))
    await let_pass(harness, timedelta(hours=2))

    assert await harness.outcomes() == [
        ("vau-1", "IGNORED", "UNKNOWN_PAYMENT_METHOD"),
        ("vau-2", "IGNORED", "UNKNOWN_PAYMENT_METHOD"),
        ("merge", "IGNORED", "UNKNOWN_PAYMENT_METHOD"),
        ("vau-3", "APPLIED", None),
        ("vau-4", "PARKED", None),
    ]
    assert [row.key for row in await harness.rows("SELECT key FROM parked_updates")] == ["vau:Z"]


async def test_who_is_told_again_waits_as_long_as_what_is_known(harness: Harness) -> None:
    await harness.report(replaced("A", "B", on=1), reported(CLOSED, "X", on=2))
    await let_pass(harness, RETENTION.unknown - timedelta(hours=1))
    await harness.report(replaced("A", "B", on=3, id="again"))
    await let_pass(harness, timedelta(hours=2))
    await harness.import_wallets(wallet(method("A"), method("X")))
    assert await harness.outcomes() == [
        ("vau-1", "APPLIED", None),
        ("vau-2", "IGNORED", "UNKNOWN_PAYMENT_METHOD"),
        ("again", "DUPLICATE", "ALREADY_KNOWN"),
    ]


@pytest.mark.parametrize("named", ["X", ("X", ":x")], ids=["by token", "by token and fingerprint"])
async def test_a_status_that_is_told_again_waits_as_long_as_it_is_known(harness: Harness, named: Names) -> None:
    """No fact keeps it waiting, only what is kept of the credential itself."""
    await harness.report(reported(CLOSED, named, on=1))
    await let_pass(harness, RETENTION.unknown - timedelta(hours=1))
    await harness.report(reported(CLOSED, named, on=2, id="again"))
    await let_pass(harness, timedelta(hours=2))
    assert await harness.outcome("vau-1") == ("PARKED", None)
    await harness.import_wallets(wallet(method("X")))
    assert live(await harness.wallet())["X"].status is MethodStatus.CLOSED


@pytest.mark.parametrize(
    "update",
    [replaced("A", "B", on=1, customer="e9"), reported(CLOSED, "A", on=1, customer="e9")],
    ids=["a replacement", "a status"],
)
async def test_who_is_quarantined_waits_as_long_as_what_is_known(harness: Harness, update: Update) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(update)
    assert await harness.outcome("vau-1") == ("QUARANTINED", "OWNER_MISMATCH")
    await let_pass(harness, PAST)
    assert [row.key for row in await harness.rows("SELECT key FROM parked_updates")] == ["vau:A"]
    await let_pass(harness, RETENTION.known)
    await let_pass(harness, timedelta())
    assert await harness.rows("SELECT key FROM parked_updates") == []
    assert await harness.outcome("vau-1") == ("QUARANTINED", "OWNER_MISMATCH")


async def test_what_was_told_of_no_wallet_is_forgotten_and_of_a_wallet_is_not(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(
        replaced("A", "B", on=1), reported(CLOSED, "B", on=2), replaced("X", "Y", on=3), reported(CLOSED, "X", on=4)
    )
    await let_pass(harness, PAST)
    assert await states_of(harness) == {"vau:B": "CLOSED", "vau:A > vau:B": None}
    # what comes late is measured against it still
    await harness.report(replaced("A", "C", on=0), reported(UpdateType.RESUMED, "B", on=1, id="late"))
    assert live(await harness.wallet()).keys() == {"B"}
    await let_pass(harness, RETENTION.known)
    assert await states_of(harness) == {}


async def test_what_a_wallet_came_to_know_of_later_is_kept_from_then_on(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("B", "C", on=2), reported(CLOSED, "C", on=3))
    await harness.report(replaced("A", "B", on=1))
    await let_pass(harness, PAST)
    assert await states_of(harness) == {"vau:C": "CLOSED", "vau:A > vau:B": None, "vau:B > vau:C": None}


async def test_a_fact_is_kept_from_when_a_wallet_came_to_know_its_old_credential_by_the_other_name(
    harness: Harness,
) -> None:
    """The fact names another customer, so the wallet does not follow it, and never knows its token."""
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced(("B", ":fp_B"), "C", on=2, customer="e9"))
    await harness.report(replaced("A", ":fp_B", on=1))
    assert live(await harness.wallet()).keys() == {":fp_B"}
    await let_pass(harness, PAST)
    assert await states_of(harness) == {"vau:A > :fp_B": None, "vau:B > vau:C": None}


@pytest.mark.parametrize("again", ["under another id", "by another vendor's word"])
async def test_what_is_heard_again_is_kept_from_then_on(harness: Harness, again: str) -> None:
    """Of a wallet's method and of one that is nobody's yet."""

    def tell(n: int) -> list[Update]:
        later = 100 * n if again == "by another vendor's word" else 0
        return [
            replaced("A", "B", on=1 + later, id=f"1-{n}"),
            reported(CLOSED, "B", on=2 + later, id=f"2-{n}"),
            replaced("X", "Y", on=3 + later, id=f"3-{n}"),
            reported(CLOSED, "X", on=4 + later, id=f"4-{n}"),
        ]

    await harness.import_wallets(wallet(method("A")))
    await harness.report(*tell(0))
    known = await states_of(harness)
    assert len(known) == 4
    for n in (1, 2):
        await let_pass(harness, RETENTION.unknown - timedelta(hours=1))
        await harness.report(*tell(n))
        assert await states_of(harness) == known
    await let_pass(harness, PAST)
    assert (await states_of(harness)).keys() == {"vau:B", "vau:A > vau:B"}
    await let_pass(harness, RETENTION.known - PAST - timedelta(days=1))
    assert (await states_of(harness)).keys() == {"vau:B", "vau:A > vau:B"}


async def test_what_is_heard_again_is_kept_no_shorter_where_the_setting_has_become_shorter(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1), reported(CLOSED, "B", on=2))
    known = await states_of(harness)
    shorter = Retention(known=PAST, unknown=RETENTION.unknown)
    again = [replaced("A", "B", on=1, id="again"), reported(CLOSED, "B", on=2, id="and again")]
    await take_in(harness.engine, [harness.message(update) for update in again], shorter)
    await let_pass(harness, RETENTION.known - timedelta(days=1))
    assert await states_of(harness) == known


async def states_of(harness: Harness) -> Mapping[str, str | None]:
    """The facts, and the status that was told of credentials."""
    rows = await harness.rows(
        "SELECT key AS what, status FROM credentials WHERE status IS NOT NULL"
        " UNION ALL SELECT old_key || ' > ' || new_key, NULL FROM replacement_facts"
    )
    return {row.what: row.status for row in rows}


async def test_what_is_forgotten_can_be_told_again(harness: Harness) -> None:
    await harness.report(replaced("A", "B", on=1))
    await let_pass(harness, PAST)
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=3, id="again"))
    assert await harness.outcome("again") == ("APPLIED", None)
    assert await harness.outcome("vau-1") == ("IGNORED", "UNKNOWN_PAYMENT_METHOD")


async def test_who_learns_of_something_at_that_moment_is_left_alone(harness: Harness) -> None:
    await harness.report(reported(CLOSED, "X", on=1))
    await harness.rows("UPDATE credentials SET kept_until = now() - interval '1 day'")
    async with harness.engine.begin() as learner:
        await learner.execute(text("SELECT * FROM credentials FOR UPDATE"))
        async with asyncio.timeout(5):
            await upkeep.run_once(harness.engine, parked_for=RETENTION.unknown)
    assert await states_of(harness) == {"vau:X": "CLOSED"}


async def test_it_may_run_twice_at_once_and_as_often_as_one_likes(harness: Harness) -> None:
    await harness.report(*(replaced(f"X{n}", f"Y{n}", on=1, id=f"{n}") for n in range(50)))
    await move_back(harness, PAST)
    await asyncio.gather(*(upkeep.run_once(harness.engine, parked_for=RETENTION.unknown) for _ in range(4)))
    assert {outcome for _, outcome, _ in await harness.outcomes()} == {"IGNORED"}
    assert await harness.rows("SELECT * FROM parked_updates") == []


@pytest.mark.parametrize("table", ["delivery_history", "attempts"])
async def test_the_days_to_come_have_a_partition_each(harness: Harness, table: str) -> None:
    for _ in range(2):
        await upkeep.run_once(harness.engine, parked_for=RETENTION.unknown)
    rows = await harness.rows(
        "SELECT CAST(inhrelid AS regclass) AS name, to_char((now() AT TIME ZONE 'UTC') + make_interval(days => ahead),"
        " '_YYYYMMDD') AS day FROM pg_inherits CROSS JOIN generate_series(1, 3) AS ahead"
        " WHERE inhparent = CAST(:table AS regclass)",
        table=table,
    )
    names = {str(row.name) for row in rows}
    assert {f"{table}{row.day}" for row in rows} <= names


async def test_it_waits_for_a_database_that_is_away_and_stops_when_told(harness: Harness, database_url: str) -> None:

    await harness.report(replaced("X", "Y", on=1))
    await move_back(harness, PAST)
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
            return (await harness.outcome("vau-1"))[0] == "IGNORED"

        await until(given_up)
        stopping.set()
        await running
        await engine.dispose()
