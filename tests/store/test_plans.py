"""No plan hangs on what PostgreSQL believes of the tables: it looks the rows up that a statement names, and no others.

Statistics lag behind. A table that was analysed while it was empty counts as empty until it is analysed again, a minute
and more, and to compare each row of one table with each of another looks cheap as long as one of them has none.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers import upkeep
from consumers.upkeep import Keep
from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from domain.reconciliation import Scope
from domain.update import UpdateType
from domain.wallet import Expiry
from reconciliation.catalog import jobs
from store import cancelled_deliveries, deliveries, endpoints, finished_deliveries, new_deliveries, unfinished
from store.deliveries import AttemptResult
from store.engine import connect
from store.reconciliation import feed_updates, merchant_methods
from tests.consumers.harness import Harness, merging
from tests.consumers.test_hostile_streams import fact
from tests.domain.build import link, method, reported, wallet, who
from tests.reconciliation.drift import KEPT
from tests.store.outbox import Outbox

# Beyond so many runs of a prepared statement PostgreSQL may keep one plan for all that follow.
RUNS = 12
# Of a table with fewer pages, to read it whole costs less than to look rows up in it.
SIZE = 2000
# With so many entries, the smaller of two indexes looks cheaper by a level.
MANY = 40_000

# As ANALYZE leaves it where all rows of a table that has pages are gone; no autovacuum mends it meanwhile.
NOT_VACUUMED = text("""
    SELECT format('ALTER TABLE %I SET (autovacuum_enabled = false)', relname)
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
""")
BELIEVED_EMPTY = text("""
    UPDATE pg_class SET reltuples = 0, relpages = 1
    WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace
""")


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


async def believe_empty(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for statement in list(await connection.scalars(NOT_VACUUMED)):
            await connection.exec_driver_sql(statement)
        await connection.execute(text("ANALYZE"))
        await connection.execute(BELIEVED_EMPTY)


class Plans:
    """The plan of each statement that `engine` runs while `watching`, by its text."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.watching = False
        self.by_statement: dict[str, Mapping[str, Any]] = {}
        event.listen(engine.sync_engine, "before_cursor_execute", self._explain)

    def _explain(self, connection: Connection, _: object, statement: str, parameters: Any, *__: object) -> None:
        if not self.watching or statement.lstrip().startswith(("EXPLAIN", "CREATE")):
            return
        cursor = connection.connection.cursor()
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        (((plan,),),) = cursor.fetchall()
        cursor.close()
        self.by_statement[statement] = plan["Plan"]


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def compares_rows(node: Mapping[str, Any], large: Collection[str]) -> bool:
    """Whether it looks for rows that match among all pairs, and all rows of a `large` table are in these pairs."""
    return "Join Filter" in node and any(
        part.get("Relation Name") in large and "Index Cond" not in part for part in nodes(node)
    )


async def claim_and_record(engine: AsyncEngine, endpoint: str) -> None:
    async with engine.begin() as connection:
        claimed = await deliveries.claim(connection, {endpoint: 100}, {}, lease=timedelta(minutes=1))
        await deliveries.put_back(connection, claimed[:10])
        results = [
            AttemptResult(each, Outcome.ACCEPTED, 200, 0.01, time.time(), NextState(Status.DELIVERED))
            for each in claimed[10:50]
        ]
        later = NextState(Status.PENDING, timedelta(minutes=5))
        results += [AttemptResult(each, Outcome.UNAVAILABLE, 503, 0.01, time.time(), later) for each in claimed[50:]]
        assert len((await deliveries.record(connection, results)).ids) == 90


async def test_no_plan_compares_each_row_of_a_table(engine: AsyncEngine) -> None:
    await believe_empty(engine)
    plans = Plans(engine)
    harness = Harness(engine)
    await harness.add_merchants("m")
    held = [
        wallet(
            method("A", ":A", id=f"m-{n}"),
            links=[link(f"m-{n}", id=f"l-{n}", merchant="m")],
            customer=f"e{n}",
            merchants=("m",),
        )
        for n in range(SIZE)
    ]
    await harness.import_wallets(*held)
    chain = [fact(f"C{n}", f"C{n + 1}", n) for n in range(SIZE)]
    for n in range(0, SIZE, 500):
        await harness.report(*chain[n : n + 500])
    large = {
        row.relname for row in await harness.rows("SELECT relname FROM pg_class WHERE pg_relation_size(oid) > 81920")
    }
    assert large >= {"wallets", "payment_methods", "inbox", "parked_updates", "replacement_facts"}
    plans.watching = True
    await harness.report(fact("A", "B", 1))
    await harness.report(reported(UpdateType.CLOSED, "C1", on=2))
    await harness.report(merging(who("e1"), who("e2")))
    await harness.import_wallets(wallet(method("C0", ":C0"), customer="c"), wallet(method("N"), customer="n"))
    await harness.report(fact("N", "O", 1), reported(UpdateType.EXPIRY_UPDATED, "B", on=3, expiry=Expiry(2031, 1)))
    await upkeep.run_once(engine, Keep(timedelta(0)))
    async with engine.begin() as connection:
        await unfinished.claim(connection)
        for job in jobs(KEPT, Scope(repairs=False)).values():
            await job.examine(connection, "", 1000)
        ids = list(await connection.scalars(text("SELECT CAST(id AS text) FROM payment_methods LIMIT 100")))
        await merchant_methods.find(connection, "pharmacy", ids)
        await merchant_methods.deliveries(connection, "pharmacy", ids, datetime.now(UTC))
        await feed_updates.originals(connection, [("vau", "vau-1")])
    await claim_and_record(engine, "m")
    async with engine.begin() as connection:
        await endpoints.hold(connection, {"m": timedelta(minutes=1)})
        assert await endpoints.disable(connection, ["m"], "for a test") == ["m"]
        assert await endpoints.sort(connection) > 0
        await finished_deliveries.replay(connection, [1, 2])
        assert await endpoints.remove(connection, "m", "for a test")
        assert await cancelled_deliveries.cancel_removed(connection) > 0
    assert len(plans.by_statement) > 50
    assert {
        statement
        for statement, plan in plans.by_statement.items()
        for node in nodes(plan)
        if node["Node Type"] == "BitmapAnd"
    } == set(), "one of the two indexes is read for rows that the other one excludes"
    assert [
        (statement, node["Join Filter"])
        for statement, plan in plans.by_statement.items()
        for node in nodes(plan)
        if compares_rows(node, large)
    ] == []


async def test_a_line_is_found_by_its_own_index_among_many_of_an_endpoint(outbox: Outbox) -> None:
    """By another one, which begins with the endpoint too, each look-up would walk over all its deliveries."""
    await outbox.add_endpoint("m")
    new = await outbox.write("m", await outbox.add_wallet(), 2)
    await believe_empty(outbox.engine)
    async with outbox.engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))  # without their events
        await connection.execute(
            text("""
                INSERT INTO deliveries (event_id, endpoint_id, wallet_id, sequence, status, due_at)
                SELECT gen_random_uuid(), 'm', gen_random_uuid(), 1, 'PENDING', now()
                FROM generate_series(1, :count)
            """),
            {"count": MANY},
        )
    plans = Plans(outbox.engine)
    plans.watching = True
    async with outbox.engine.begin() as connection:
        await new_deliveries.enqueue(connection, new)
    used = {
        node["Index Name"]
        for plan in plans.by_statement.values()
        for node in nodes(plan)
        if node.get("Relation Name") == "deliveries" and "Index Name" in node
    }
    assert used == {"uq_deliveries_endpoint_id_wallet_id_sequence", "pk_deliveries"}


async def test_a_plan_that_was_made_for_empty_tables_looks_rows_up(database_url: str) -> None:
    """PostgreSQL keeps it for as long as the tables are not analysed, however many rows they have by then."""
    engine = connect(database_url, pool_size=1)
    harness = Harness(engine)
    await harness.rows("ANALYZE")
    for n in range(RUNS):
        await harness.import_wallets(
            wallet(method(f"A{n}"), links=[link(f"m-A{n}", merchant="m")], customer=f"a{n}", merchants=("m",)),
            wallet(method(f"B{n}"), customer=f"b{n}", merchants=("m",)),
            wallet(method(f"C{n}"), customer=f"c{n}", merchants=("m",)),
        )
        await harness.report(fact(f"A{n}", f"D{n}", 1), fact(f"X{n}", f"Y{n}", 1))
        await harness.report(reported(UpdateType.CLOSED, f"B{n}", on=1, id=f"b{n}"))
        await harness.report(merging(who(f"a{n}"), who(f"c{n}")))
    plans: list[tuple[str, Mapping[str, Any]]] = []
    async with engine.connect() as connection:
        kept = await connection.execute(
            text("""
                SELECT name, cardinality(parameter_types), statement FROM pg_prepared_statements
                WHERE generic_plans > 0
            """)
        )
        for name, count, statement in list(kept):
            values = f"({', '.join(['NULL'] * count)})" if count else ""
            explained = await connection.exec_driver_sql(f'EXPLAIN (FORMAT JSON) EXECUTE "{name}" {values}')
            # a BEGIN has none
            plans += [(statement, plan["Plan"]) for plan in explained.scalar_one() if "Plan" in plan]
    await engine.dispose()
    assert len(plans) > 20
    assert [
        (statement, node["Node Type"], node["Relation Name"])
        for statement, plan in plans
        for node in nodes(plan)
        if "Scan" in node["Node Type"] and "Relation Name" in node and not {"Index Cond", "Recheck Cond"} & node.keys()
    ] == []
