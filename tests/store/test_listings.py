"""Lists for people: each filter leaves out what it names, and the rows come in the order that is promised."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from domain.update import UpdateType
from store import audit, dead_letters, deliveries, endpoints, fetches, listings, status
from store.accounting import take_stock
from store.audit import Act
from store.dead_letters import DeadLetter
from store.deliveries import AttemptResult
from store.fetches import NewFetch
from store.listings import FetchRow, InboxRow
from store.status import MethodHistory
from tests.consumers.harness import Harness
from tests.domain.build import link, method, removed, replaced, reported, wallet
from tests.store.outbox import Outbox

HOUR = timedelta(hours=1)


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)


async def end(outbox: Outbox, endpoint: str, becomes: Status) -> None:
    """Attempt the head of a line, which ends it so."""
    async with outbox.engine.begin() as connection:
        [claimed] = await deliveries.claim(connection, {endpoint: 1}, {}, lease=HOUR)
        at = datetime.now(UTC).timestamp()
        result = AttemptResult(claimed, Outcome.ACCEPTED, 200, 1.5, at, NextState(becomes))
        assert (await deliveries.record(connection, [result])).ids == {claimed.id}


async def listed(
    outbox: Outbox,
    *,
    status: str | None = None,
    endpoint: str | None = None,
    merchant: str | None = None,
    limit: int = 100,
) -> list[tuple[str, int | None, str]]:
    async with outbox.engine.connect() as connection:
        rows = await listings.deliveries(connection, status=status, endpoint=endpoint, merchant=merchant, limit=limit)
        return [(row.endpoint_id, row.sequence, row.status) for row in rows]


async def test_deliveries_are_listed_live_ones_first_and_filtered_by_each_option(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    wallet_id = await outbox.add_wallet()
    for name in ("shop", "gym"):
        await outbox.add_endpoint(name)
        await outbox.tell(name, wallet_id, 4)
    await end(outbox, "gym", Status.DEAD)
    for becomes in (Status.DEAD, Status.DELIVERED):
        await end(outbox, "shop", becomes)
    await outbox.execute("UPDATE delivery_history SET status = 'CANCELLED' WHERE endpoint_id = 'gym'")
    await end(outbox, "gym", Status.DEAD)
    async with engine.begin() as connection:
        await endpoints.disable(connection, ["gym"], "by hand")
        await endpoints.sort(connection)

    of_shop = [("shop", 4, "PENDING"), ("shop", 3, "PENDING"), ("shop", 2, "DELIVERED"), ("shop", 1, "DEAD")]
    of_gym = [("gym", 4, "PARKED"), ("gym", 3, "PARKED"), ("gym", 2, "DEAD"), ("gym", 1, "CANCELLED")]
    finished = [("gym", 2, "DEAD"), ("shop", 2, "DELIVERED"), ("shop", 1, "DEAD"), ("gym", 1, "CANCELLED")]
    assert await listed(outbox) == [*of_gym[:2], *of_shop[:2], *finished]
    assert await listed(outbox, endpoint="shop") == await listed(outbox, merchant="shop") == of_shop
    assert await listed(outbox, endpoint="gym") == await listed(outbox, merchant="gym") == of_gym
    assert await listed(outbox, endpoint="gym", merchant="shop") == []
    assert await listed(outbox, status="PENDING") == of_shop[:2]
    assert await listed(outbox, status="PARKED", endpoint="shop") == []
    assert await listed(outbox, status="DELIVERED") == of_shop[2:3]
    assert await listed(outbox, status="DEAD") == [of_gym[2], of_shop[3]]
    assert await listed(outbox, status="DEAD", merchant="gym") == of_gym[2:3]
    async with engine.connect() as connection:
        accounted = (await take_stock(connection)).deliveries
    assert accounted == {"PARKED": 2, "PENDING": 2, "DEAD": 2, "DELIVERED": 1, "CANCELLED": 1}
    async with engine.connect() as connection:
        rows = await listings.deliveries(connection, status=None, endpoint="shop", merchant=None, limit=9)
    # when each is due: the head alone; and when it was finished: those that are
    assert [(row.due_at is None, row.finished_at is None) for row in rows] == [
        (True, True), (False, True), (True, False), (True, False),
    ]  # fmt: skip
    times = await outbox.execute(
        "SELECT CAST(NULL AS timestamptz), created_at, due_at FROM deliveries WHERE endpoint_id = 'shop'"
        " UNION ALL SELECT finished_at, created_at, NULL FROM delivery_history WHERE endpoint_id = 'shop'"
    )
    assert {(row.finished_at, row.created_at, row.due_at) for row in rows} == {tuple(row) for row in times}
    # the limit is of both kinds together
    for limit in (1, 4, 5, 7):
        assert await listed(outbox, limit=limit) == [*of_gym[:2], *of_shop[:2], *finished][:limit]
    assert await listed(outbox, status="DEAD", limit=1) == of_gym[2:3]


async def test_what_died_at_one_endpoint_is_listed_though_another_endpoint_has_it(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    wallet_id = await outbox.add_wallet()
    for name in ("shop", "gym"):
        await outbox.add_endpoint(name)
    await outbox.tell("shop", wallet_id)
    await end(outbox, "shop", Status.DEAD)
    await outbox.execute(
        "INSERT INTO delivery_history"
        " (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)"
        " SELECT id + 1000, event_id, 'gym', wallet_id, sequence, 'DELIVERED', 1, created_at, now()"
        " FROM delivery_history"
    )
    assert await listed(outbox, status="DEAD") == [("shop", 1, "DEAD")]
    await outbox.execute(
        "INSERT INTO delivery_history"
        " (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)"
        " SELECT id + 2000, event_id, 'shop', wallet_id, sequence, 'DELIVERED', 1, created_at, now()"
        " FROM delivery_history WHERE endpoint_id = 'shop'"
    )
    assert await listed(outbox, status="DEAD") == []


async def test_the_inbox_is_listed_newest_first_and_filtered_by_each_option(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(
        replaced("A", "B", on=1, id="1"),
        replaced("A", "B", on=1, id="2"),
        reported(UpdateType.CLOSED, "X", on=1, id="3"),
    )
    other = reported(UpdateType.CLOSED, "mdes:X", on=1, id="3", vendor="mdes")
    await harness.report(other)

    async def found(**wanted: str | int) -> list[tuple[str, str]]:
        filters: dict[str, Any] = {"outcome": None, "vendor": None, "update_id": None, "limit": 100} | wanted
        async with harness.engine.connect() as connection:
            return [(row.vendor, row.update_id) for row in await listings.inbox(connection, **filters)]

    assert await found() == [("mdes", "3"), ("vau", "3"), ("vau", "2"), ("vau", "1")]
    assert await found(limit=2) == [("mdes", "3"), ("vau", "3")]
    async with harness.engine.connect() as connection:
        (row,) = await listings.inbox(connection, outcome=None, vendor="vau", update_id="2", limit=9)
    (stored,) = await harness.rows("SELECT id, received_at FROM inbox WHERE update_id = '2'")
    assert row == InboxRow(
        stored.id, "vau", "2", "NUMBER_REPLACED", "DUPLICATE", "ALREADY_KNOWN", row.occurred_at, stored.received_at,
        "updates", 0, 1,
    )  # fmt: skip
    assert row.occurred_at == replaced("A", "B", on=1, id="2").stamp.occurred_at
    assert await found(outcome="PARKED") == [("mdes", "3"), ("vau", "3")]
    assert await found(outcome="DUPLICATE") == [("vau", "2")]
    assert await found(vendor="mdes") == [("mdes", "3")]
    assert await found(update_id="3") == [("mdes", "3"), ("vau", "3")]
    assert await found(update_id="3", vendor="vau", outcome="APPLIED") == []
    async with harness.engine.connect() as connection:
        assert await listings.has_updates(connection, vendor="mdes")
        assert not await listings.has_updates(connection, vendor="3")
        assert await listings.has_updates(connection, update_id="3")
        assert not await listings.has_updates(connection, update_id="mdes")


async def test_fetches_are_listed_in_the_order_in_which_they_are_due(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await fetches.keep(
            connection,
            [NewFetch("adyen" if n % 2 else "stripe", bytes([n]), b"", "thin", 0, n) for n in range(4)],
        )
        await connection.execute(text("UPDATE fetches SET due_at = now() - (kafka_offset - 1) * interval '1 minute'"))
        await connection.execute(
            text("UPDATE fetches SET leased_until = now() + interval '1 h' WHERE kafka_offset < 1")
        )
        for feed, limit, expected in (
            (None, 9, [(3, "DUE"), (2, "DUE"), (1, "DUE"), (0, "ASKING")]),
            (None, 2, [(3, "DUE"), (2, "DUE")]),
            ("stripe", 9, [(2, "DUE"), (0, "ASKING")]),
        ):
            rows = await listings.fetches(connection, feed=feed, limit=limit)
            assert [(row.offset, row.status) for row in rows] == expected
        await connection.execute(text("UPDATE fetches SET told = 5, failures = 3, failure = 'no answer'"))
        (row,) = await listings.fetches(connection, feed=None, limit=1)
        columns = "id, created_at, due_at FROM fetches ORDER BY due_at LIMIT 1"
        id_, received_at, due_at = (await connection.execute(text(f"SELECT {columns}"))).one()
        assert received_at != due_at
        assert row == FetchRow(id_, "adyen", "DUE", 5, 3, "no answer", received_at, due_at, "thin", 0, 3)


def letter(offset: int) -> DeadLetter:
    return DeadLetter("updates", 0, offset, bytes(16), f"reason {offset}", None, b"body", [("name", None)])


async def test_dead_letters_are_listed_from_a_place_on_and_closed_once(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await dead_letters.keep(connection, [letter(n) for n in range(4)])
        await dead_letters.keep(connection, [letter(3)])
        ids = [row.id for row in await dead_letters.page(connection)]
        assert len(ids) == 4
        assert sorted(await dead_letters.close(connection, ids[:2], "DISCARDED")) == ids[:2]
        assert await dead_letters.close(connection, ids[1:3], "REPLAYED") == ids[2:3]
        for wanted, expected in (
            ("OPEN", [3]),
            ("DISCARDED", [0, 1]),
            ("REPLAYED", [2]),
            (None, [0, 1, 2, 3]),
        ):
            assert [row.offset for row in await dead_letters.page(connection, status=wanted)] == expected
        later = await dead_letters.page(connection, status=None, after=ids[0], limit=2)
        assert [row.id for row in later] == ids[1:3]
        found = await dead_letters.find(connection, ids[3])
        assert found is not None
        assert (found[0].reason, found[1], found[2]) == ("reason 3", [("name", None)], b"body")
        assert await dead_letters.find(connection, ids[3] + 1) is None


async def test_defects_count_since_the_latest_messages_and_for_a_day_at_most(harness: Harness) -> None:
    async def defects(messages: int | None) -> int:
        async with harness.engine.connect() as connection:
            return await dead_letters.open_defects(connection, messages=messages)

    async with harness.engine.begin() as connection:
        letters = [replace(letter(n), reason=f"DEFECT: {n}") for n in range(4)]
        await dead_letters.keep(connection, [*letters, letter(4)])
        await dead_letters.close(connection, [(await dead_letters.page(connection))[3].id], "DISCARDED")
    for offset, ago in ((0, "2 days"), (1, "2 hours"), (2, "1 minute")):
        await harness.rows(
            f"UPDATE dead_letters SET received_at = now() - interval '{ago}' WHERE kafka_offset = {offset}"  # noqa: S608
        )
    assert (await defects(None), await defects(1), await defects(1000)) == (3, 2, 2)
    await harness.report(*(reported(UpdateType.CLOSED, "X", on=n, id=f"{n}") for n in range(1, 4)))
    await harness.rows("UPDATE inbox SET received_at = now() - (4 - kafka_offset) * interval '1 hour'")
    await harness.rows("UPDATE inbox SET received_at = now() - interval '30 minutes' WHERE kafka_offset >= 1")
    assert [await defects(messages) for messages in (3, 2, 1)] == [2, 1, 1]


async def test_the_audit_is_listed_newest_first_of_one_subject_or_of_all(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await audit.record(connection, [])
        await audit.record(
            connection,
            [
                Act("eve", "enabled", "shop", "a reason", {"status": "DISABLED"}, {"status": "ENABLED"}),
                Act("bob", "enabled", "gym"),
            ],
        )
        await audit.record(connection, [Act("bob", "disabled", "shop", after={})])
        rows = await audit.acts(connection, subject=None, limit=9)
        assert [(row.actor, row.action, row.subject, row.reason, row.before, row.after) for row in rows] == [
            ("bob", "disabled", "shop", None, None, {}),
            ("bob", "enabled", "gym", None, None, None),
            ("eve", "enabled", "shop", "a reason", {"status": "DISABLED"}, {"status": "ENABLED"}),
        ]
        assert [row.id for row in await audit.acts(connection, subject="shop", limit=9)] == [rows[0].id, rows[2].id]
        assert [row.id for row in await audit.acts(connection, subject=None, limit=2)] == [rows[0].id, rows[1].id]


async def history(harness: Harness, name: str) -> MethodHistory:
    id_ = name if len(name) == 36 else harness.id_of(name)
    async with harness.engine.connect() as connection:
        found = await status.find(connection, id_)
    assert found is not None
    return found


async def test_of_a_method_its_whole_chain_is_told_from_each_of_its_ends(harness: Harness) -> None:
    """Two cards that became one, and others of the same wallet that have nothing to do with them."""
    await harness.import_wallets(
        wallet(method("A"), method("A2"), method("S"), method("T"), removed("R"), links=[link("m-A"), link("m-S")])
    )
    await harness.report(replaced("A", "B", on=1, id="1"))
    await harness.report(replaced("B", "C", on=2, id="2"))
    await harness.report(replaced("A2", "C", on=3, id="3"))
    await harness.report(replaced("S", "U", on=4, id="4"))
    await harness.report(reported(UpdateType.CLOSED, "C", on=5, id="5"))
    first = await history(harness, "m-A")
    assert first.current is not None
    assert first.current.keys == {"vau:C"}
    assert [(each.update_id, each.vendor) for each in first.chain] == [("1", "vau"), ("2", "vau"), ("3", "vau")]
    assert first.chain[0].old_id == first.method.id
    assert [each.new_id for each in first.chain][1:] == [first.current.id] * 2
    assert {key for each in first.methods.values() for key in each.keys} == {"vau:A", "vau:A2", "vau:B", "vau:C"}
    assert [each.id for each in first.links] == [harness.id_of("l-m-A")]
    order = [(each.merchant_id, each.sequence) for each in first.deliveries]
    assert order == sorted(order)
    assert len(order) > 3
    between, last = await history(harness, first.chain[0].new_id), await history(harness, first.current.id)
    assert between.chain == last.chain == first.chain
    assert between.deliveries == last.deliveries == first.deliveries
    # the links of the current one are those of every former one
    assert between.links == last.links == first.links
    assert last.current is last.method
    gone = await history(harness, "m-R")
    assert (gone.current, gone.chain, gone.links, gone.deliveries) == (None, (), (), ())
    untouched = await history(harness, "m-T")
    assert untouched.current is untouched.method
    async with harness.engine.connect() as connection:
        for nobody in ("no id", "00000000-0000-0000-0000-00000000dead"):
            assert await status.find(connection, nobody) is None


async def test_of_a_delivery_each_attempt_is_told_in_order_whether_it_is_live_or_ended(harness: Harness) -> None:
    outbox = Outbox(harness.engine)
    await harness.import_wallets(wallet(method("A"), method("B"), links=[link("m-A"), link("m-B")]))
    await harness.report(reported(UpdateType.CLOSED, "A", on=1), reported(UpdateType.CLOSED, "B", on=2, id="2"))
    endpoint = min(row.endpoint_id for row in await outbox.live())
    for outcome, becomes in (
        (Outcome.UNAVAILABLE, NextState(Status.PENDING, timedelta(0))),
        (Outcome.CONNECTION_REFUSED, NextState(Status.PENDING, timedelta(0))),
        (Outcome.ACCEPTED, NextState(Status.DELIVERED)),
    ):
        async with harness.engine.begin() as connection:
            [claimed] = await deliveries.claim(connection, {endpoint: 1}, {}, lease=HOUR)
            # by clocks that differ, a later attempt may seem to be an earlier one
            result = AttemptResult(claimed, outcome, None, 0.25, 2_000_000_000.0 - claimed.attempt, becomes)
            await deliveries.record(connection, [result])
    by_method = {
        name: [
            (each.status, [(attempt.number, attempt.outcome, attempt.milliseconds) for attempt in each.attempts])
            for each in (await history(harness, name)).deliveries
            if each.endpoint_id == endpoint
        ]
        for name in ("m-A", "m-B")
    }
    made = [(1, Outcome.UNAVAILABLE, 250), (2, Outcome.CONNECTION_REFUSED, 250), (3, Outcome.ACCEPTED, 250)]
    assert sorted(by_method.values()) == [[("DELIVERED", made)], [("PENDING", [])]]
