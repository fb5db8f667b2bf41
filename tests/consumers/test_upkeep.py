"""What time does to what was told. Time is let pass by moving the rows back."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from consumers import upkeep
from consumers.batch import take_in
from consumers.upkeep import Keep
from domain.update import Update, UpdateType
from domain.wallet import MethodStatus
from store.engine import connect
from store.reconciliation import runs
from tests.consumers.harness import RETENTION, Harness, merging
from tests.domain.build import Names, live, method, replaced, reported, wallet, who
from tests.parts.proxy import Proxy
from tests.parts.until import until
from wallets.change import Retention

PAST = RETENTION.unknown + timedelta(hours=1)
CLOSED = UpdateType.CLOSED


async def let_pass(harness: Harness, time: timedelta) -> None:
    await move_back(harness, time)
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))


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
            await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    assert await states_of(harness) == {"vau:X": "CLOSED"}


async def test_an_update_that_a_worker_decides_at_that_moment_is_not_given_up(harness: Harness) -> None:
    await harness.report(reported(CLOSED, "X", on=1), reported(CLOSED, "Y", on=1, id="2"))
    await move_back(harness, PAST)
    async with harness.engine.begin() as worker:
        await worker.execute(text("SELECT FROM inbox WHERE update_id = '2' FOR UPDATE"))
        async with asyncio.timeout(4):
            await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["IGNORED", "PARKED"]


async def test_it_may_run_twice_at_once_and_as_often_as_one_likes(harness: Harness) -> None:
    await harness.report(*(replaced(f"X{n}", f"Y{n}", on=1, id=f"{n}") for n in range(50)))
    await move_back(harness, PAST)
    await asyncio.gather(*(upkeep.run_once(harness.engine, Keep(RETENTION.unknown)) for _ in range(4)))
    assert {outcome for _, outcome, _ in await harness.outcomes()} == {"IGNORED"}
    assert await harness.rows("SELECT * FROM parked_updates") == []


async def test_how_long_an_update_waits_is_the_setting(harness: Harness) -> None:
    shorter = timedelta(hours=5)
    retention = Retention(known=RETENTION.known, unknown=shorter)
    await take_in(harness.engine, [harness.message(replaced("X", "Y", on=1))], retention)
    await move_back(harness, timedelta(hours=6))
    await upkeep.run_once(harness.engine, Keep(shorter))
    assert await harness.outcome("vau-1") == ("IGNORED", "UNKNOWN_PAYMENT_METHOD")


async def test_what_was_given_up_or_forgotten_is_logged_and_nothing_if_nothing_was(harness: Harness) -> None:
    await harness.report(merging(who("e8"), who("e9")))
    with capture_logs() as logs:
        await let_pass(harness, PAST)
        await let_pass(harness, PAST)
        await harness.report(replaced("Y", "Z", on=4))
        await harness.rows("DELETE FROM parked_updates")
        await let_pass(harness, PAST)
    assert [(line.get("given_up"), line.get("forgotten")) for line in logs if line["event"] == "upkeep"] == [
        *((2, None), (None, 3))
    ]


async def test_what_the_database_refuses_ends_it(harness: Harness) -> None:
    """No later try would do better, and a log line once a minute is easily missed."""
    await harness.report(replaced("X", "Y", on=1))
    await harness.rows("ALTER TABLE inbox ADD CONSTRAINT not_today CHECK (outcome <> 'IGNORED') NOT VALID")
    try:
        with pytest.raises(DBAPIError, match="not_today"):
            await let_pass(harness, PAST)
    finally:
        await harness.rows("ALTER TABLE inbox DROP CONSTRAINT not_today")


PARENTS = ["delivery_history", "attempts", "attempt_evidence"]


@pytest.mark.parametrize("table", PARENTS)
async def test_the_days_to_come_have_a_partition_each(harness: Harness, table: str) -> None:
    for _ in range(2):
        await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    rows = await harness.rows(
        "SELECT CAST(inhrelid AS regclass) AS name, to_char((now() AT TIME ZONE 'UTC') + make_interval(days => ahead),"
        " '_YYYYMMDD') AS day FROM pg_inherits CROSS JOIN generate_series(1, 3) AS ahead"
        " WHERE inhparent = CAST(:table AS regclass)",
        table=table,
    )
    names = {str(row.name) for row in rows}
    assert {f"{table}{row.day}" for row in rows} <= names


ROWS_OF_A_MOMENT = [
    "INSERT INTO delivery_history SELECT 7, gen_random_uuid(), 'ep', gen_random_uuid(), 1, 'DEAD', 1, :at, :at",
    "INSERT INTO attempts VALUES (7, 1, 'gone', 410, 5, :at)",
    "INSERT INTO attempt_evidence VALUES (7, 1, :at, '{}', 'no')",
]


async def days_of(harness: Harness, table: str) -> list[str]:
    """The partitions of `table`, without the default one."""
    rows = await harness.rows(
        "SELECT CAST(CAST(inhrelid AS regclass) AS text) AS name FROM pg_inherits"
        " WHERE inhparent = CAST(:table AS regclass) ORDER BY 1",
        table=table,
    )
    return [row.name for row in rows if not row.name.endswith("_default")]


async def counts(harness: Harness) -> list[int]:
    return [(await harness.rows(f"SELECT count(*) AS n FROM {table}"))[0].n for table in PARENTS]  # noqa: S608


async def test_a_day_is_dropped_whole_when_it_is_old(harness: Harness) -> None:
    month, half_year = timedelta(days=30), timedelta(days=180)

    async def run_at(now: datetime) -> None:
        await upkeep.run_once(harness.engine, Keep(RETENTION.unknown, history=half_year), now=now)

    now = datetime.now(UTC).replace(hour=12)
    tomorrow = now + timedelta(days=1)
    await run_at(now)
    for statement in ROWS_OF_A_MOMENT:
        for at in (now, tomorrow):  # the first lies in the default partition
            await harness.rows(statement, at=at)
    name = f"attempt_evidence_{tomorrow:%Y%m%d}"
    assert name in await days_of(harness, "attempt_evidence")
    await run_at(tomorrow + month)
    assert await counts(harness) == [2, 2, 1]
    await run_at(tomorrow + month + timedelta(days=1))
    assert await counts(harness) == [2, 2, 0]
    assert name not in await days_of(harness, "attempt_evidence")
    await run_at(tomorrow + half_year)
    assert await counts(harness) == [1, 1, 0]
    await run_at(tomorrow + half_year + timedelta(days=1))
    assert await counts(harness) == [0, 0, 0]
    for table in PARENTS:  # the days ahead of each clock, but for those that are old by now
        ahead = [tomorrow + half_year + timedelta(days=days) for days in range(1, 5)]
        assert (await days_of(harness, table))[-4:] == [f"{table}_{day:%Y%m%d}" for day in ahead]
        assert f"{table}_{tomorrow:%Y%m%d}" not in await days_of(harness, table)


async def test_a_history_shorter_than_a_month_is_as_short_for_answers(harness: Harness) -> None:
    week, day = timedelta(days=7), timedelta(days=1)
    now = datetime.now(UTC).replace(hour=12)
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown), now=now)
    for statement in ROWS_OF_A_MOMENT:
        for at in (now, now + day):  # the first lies in the default partition
            await harness.rows(statement, at=at)
    for later, left in ((week, [2, 2, 2]), (week + day, [1, 1, 1]), (week + 2 * day, [0, 0, 0])):
        await upkeep.run_once(
            harness.engine, Keep(RETENTION.unknown, history=week), now=now + later - timedelta(hours=1)
        )
        assert await counts(harness) == left


async def test_a_table_that_is_in_use_is_not_waited_for(harness: Harness) -> None:
    now = datetime.now(UTC)
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    before = await days_of(harness, "attempts")
    later = now + timedelta(days=400)
    async with harness.engine.begin() as reader:
        await reader.execute(text("SELECT count(*) FROM attempts"))
        async with asyncio.timeout(10):
            await upkeep.run_once(harness.engine, Keep(RETENTION.unknown), now=later)
        assert set(before) <= set(await days_of(harness, "attempts"))
        assert not set(before) & {
            name.replace("delivery_history", "attempts") for name in await days_of(harness, "delivery_history")
        }
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown), now=later)
    assert not set(before) & set(await days_of(harness, "attempts"))


async def test_a_day_whose_rows_came_before_it_was_made_stays_in_the_default_partition(harness: Harness) -> None:
    now = datetime.now(UTC) + timedelta(days=2000)
    tomorrow = now + timedelta(days=1)
    await harness.rows(ROWS_OF_A_MOMENT[1], at=tomorrow)  # by a process whose clock is ahead
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown), now=now)
    assert f"attempts_{tomorrow:%Y%m%d}" not in await days_of(harness, "attempts")
    assert f"attempts_{tomorrow + timedelta(days=1):%Y%m%d}" in await days_of(harness, "attempts")
    assert f"delivery_history_{tomorrow:%Y%m%d}" in await days_of(harness, "delivery_history")


async def test_it_runs_again_and_again_by_its_settings(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_EVERY_SECONDS", 0.01)
    for statement in ROWS_OF_A_MOMENT:
        await harness.rows(statement, at=datetime.now(UTC) - timedelta(days=3))
    stopping = asyncio.Event()
    running = asyncio.create_task(
        upkeep.run(harness.engine, Keep(timedelta(hours=5), history=timedelta(days=1)), stopping=stopping)
    )

    async def history_is_gone() -> bool:
        return await counts(harness) == [0, 0, 0]

    async def given_up() -> bool:
        return await harness.outcome("vau-1") == ("IGNORED", "UNKNOWN_PAYMENT_METHOD")

    await until(history_is_gone)
    retention = Retention(known=RETENTION.known, unknown=timedelta(hours=5))
    await take_in(harness.engine, [harness.message(replaced("X", "Y", on=1))], retention)
    await move_back(harness, timedelta(hours=6))
    await until(given_up)
    stopping.set()
    await running


async def test_it_waits_for_a_database_that_is_away_and_stops_when_told(harness: Harness, database_url: str) -> None:

    await harness.report(replaced("X", "Y", on=1))
    await move_back(harness, PAST)
    stopping = asyncio.Event()
    async with Proxy(database_url) as proxy:
        proxy.refuse()
        engine = connect(proxy.url)
        running = asyncio.create_task(upkeep.run(engine, Keep(RETENTION.unknown), stopping=stopping))
        await asyncio.wait((running,), timeout=0.3)
        assert not running.done()
        stopping.set()
        async with asyncio.timeout(5):
            await running
        proxy.pass_on()
        stopping.clear()
        running = asyncio.create_task(upkeep.run(engine, Keep(RETENTION.unknown), stopping=stopping))

        async def given_up() -> bool:
            return (await harness.outcome("vau-1"))[0] == "IGNORED"

        await until(given_up)
        stopping.set()
        await running
        await engine.dispose()


async def test_runs_of_reconciliation_are_kept_as_long_as_the_history(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their findings, slice after slice. A run that is not over stays."""
    monkeypatch.setattr(runs, "_MOST", 2)
    for days, status in ((11, "DONE"), (9, "DONE"), (12, "RUNNING"), (20, "DONE")):
        await harness.rows(
            "WITH run AS (INSERT INTO reconciliation_runs (job, repairs, status, held_until, finished_at)"
            " SELECT 'links', true, status, now(), CASE WHEN status = 'DONE' THEN now() - :days * interval '1 day' END"
            " FROM (SELECT CAST(:status AS text) AS status) AS wanted RETURNING id)"
            " INSERT INTO reconciliation_findings (run_id, kind, subject, repaired)"
            " SELECT id, 'OVERDUE', :name, false FROM run, generate_series(1, 3)",
            days=days, status=status, name=f"{days} {status}",
        )  # fmt: skip
    await harness.rows(
        "INSERT INTO reconciliation_runs (job, repairs, status, held_until, finished_at)"
        " VALUES ('lineage', true, 'DONE', now(), now() - interval '11 days')"
    )
    await upkeep.run_once(harness.engine, Keep(PAST, history=timedelta(days=10)))
    left = await harness.rows("SELECT subject, count(*) FROM reconciliation_findings GROUP BY subject ORDER BY subject")
    assert [tuple(row) for row in left] == [("12 RUNNING", 3), ("9 DONE", 3)]
    assert await harness.rows("SELECT count(*) FROM reconciliation_runs") == [(2,)]
