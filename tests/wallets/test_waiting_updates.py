"""Updates that wait: for which names, until when, and what an id means that comes again and again."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from consumers import upkeep
from consumers.batch import take_in
from consumers.upkeep import Keep
from domain.decide import Verdict, WaitingUpdate
from domain.update import Outcome, UpdateType
from store import inbox, knowledge
from store.failures import sqlstate
from store.knowledge import Contended
from tests.consumers.harness import RETENTION, Harness, merging
from tests.domain.build import live, method, replaced, reported, wallet, who
from wallets.loading import Limits

CLOSED = UpdateType.CLOSED


async def waits_for(harness: Harness) -> set[str]:
    return {row.key for row in await harness.rows("SELECT key FROM parked_updates")}


async def test_an_id_means_its_first_content_however_often_it_was_reused(harness: Harness) -> None:
    first, second = reported(CLOSED, "A", on=1, id="1"), reported(CLOSED, "B", on=1, id="1")
    for content, outcome in (
        (first, ("PARKED", None)),
        (second, ("QUARANTINED", "ID_REUSED")),
        (first, ("DUPLICATE", "SAME_MESSAGE")),
        (second, ("QUARANTINED", "ID_REUSED")),
        (first, ("DUPLICATE", "SAME_MESSAGE")),
    ):
        await harness.report(content)
        assert (await harness.outcomes())[-1][1:] == outcome
    assert await waits_for(harness) == {"vau:A"}


async def test_the_time_of_a_batchs_statements_ends_with_its_transaction(harness: Harness) -> None:
    await take_in(harness.engine, [harness.message(reported(CLOSED, "A", on=1))], RETENTION, limits=Limits(seconds=3.5))
    async with harness.engine.connect() as connection:
        assert await connection.scalar(text("SELECT current_setting('statement_timeout')")) == "20s"


async def test_an_update_waits_for_each_name_of_its_credential(harness: Harness) -> None:
    await harness.report(replaced(("A", ":a"), "B", on=1))
    assert await waits_for(harness) == {"vau:A", ":a"}
    await harness.import_wallets(wallet(method(":a")))
    assert await harness.outcome("vau-1") == ("APPLIED", None)
    assert live(await harness.wallet()).keys() == {"B"}
    assert await waits_for(harness) == set()


async def test_a_merge_waits_for_both_customers_and_not_any_more_once_it_is_quarantined(harness: Harness) -> None:
    await harness.report(merging(who("e1"), who("e2")))
    assert await waits_for(harness) == {"@enterpriseId=e1", "@enterpriseId=e2"}
    twice = wallet(method("B"), customer="e2")
    await harness.import_wallets(wallet(method("A")), twice, twice._replace(id="w-other", methods=()))
    assert (await harness.outcome("merge"))[0] == "QUARANTINED"
    assert await waits_for(harness) == set()


async def test_what_one_worker_applied_another_one_takes_no_more_back(harness: Harness) -> None:
    """Both decided the update at the same time, each for other wallets."""
    await harness.import_wallets(wallet(method("A")))
    update = reported(CLOSED, "A", on=1, id="1")
    await harness.report(update, reported(CLOSED, "X", on=1, id="2"))
    ids = [row.id for row in await harness.rows("SELECT id FROM inbox ORDER BY id")]
    superseded = Verdict(Outcome.SUPERSEDED, "NEWER_KNOWN")
    async with harness.engine.begin() as connection:
        decided = [(WaitingUpdate(id_, update.stamp, ("vau:A",)), superseded) for id_ in ids]
        await inbox.update_outcomes(connection, decided)
    assert await harness.outcomes() == [("1", "APPLIED", None), ("2", "SUPERSEDED", "NEWER_KNOWN")]
    assert await waits_for(harness) == set()


@pytest.mark.parametrize("forgotten", ["credentials", "replacement_facts"])
async def test_who_is_quarantined_waits_as_long_as_anything_is_known(harness: Harness, forgotten: str) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, customer="e9"), reported(CLOSED, "A", on=2, customer="e9", id="2"))
    for table in (forgotten, *({"credentials", "replacement_facts"} - {forgotten})):
        await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
        assert await waits_for(harness) == {"vau:A"}
        await harness.rows(f"DELETE FROM {table}")  # noqa: S608
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    assert await waits_for(harness) == set()


async def test_who_waits_is_given_up_by_when_the_update_came_and_not_by_when_it_was_so(harness: Harness) -> None:
    """Also where nothing of it is known any more."""
    await harness.report(reported(CLOSED, "A", on=1))
    for table in ("credentials", "replacement_facts"):
        await harness.rows(f"DELETE FROM {table}")  # noqa: S608
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    assert await harness.outcome("vau-1") == ("PARKED", None)
    assert await waits_for(harness) == {"vau:A"}
    await harness.rows("UPDATE inbox SET received_at = received_at - CAST(:time AS interval)", time=timedelta(days=4))
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    assert await harness.outcome("vau-1") == ("IGNORED", "UNKNOWN_PAYMENT_METHOD")
    assert await waits_for(harness) == set()


async def test_a_credential_is_locked_until_the_transaction_ends(harness: Harness) -> None:
    """Whoever comes in order waits, and whoever comes out of order begins again."""
    hour = timedelta(hours=1)
    async with harness.engine.begin() as first:
        await knowledge.lock(first, ["vau:A", "vau:B"], keep=hour)
        await first.commit()
    async with harness.engine.begin() as first, harness.engine.connect() as second:
        await knowledge.lock(first, ["vau:A"], keep=hour)
        with pytest.raises(Contended) as contended:
            await knowledge.try_lock(second, ["vau:A", "vau:B"])
        assert contended.value.keys == {"vau:A"}
        await second.rollback()
        await second.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(DBAPIError) as waited:
            await knowledge.lock(second, ["vau:A"], keep=hour)
        assert sqlstate(waited.value) == "55P03"


async def test_a_credential_that_has_a_row_is_locked_without_writing_it(harness: Harness) -> None:
    hour = timedelta(hours=1)
    async with harness.engine.begin() as connection:
        await knowledge.lock(connection, ["vau:A"], keep=hour)
    before = await harness.rows("SELECT key, ctid, kept_until FROM credentials ORDER BY key")
    async with harness.engine.begin() as connection:
        await knowledge.lock(connection, ["vau:B", "vau:A"], keep=2 * hour)
    after = await harness.rows("SELECT key, ctid, kept_until FROM credentials ORDER BY key")
    assert after[: len(before)] == before
    assert [key for key, *_ in after] == ["vau:A", "vau:B"]


async def test_transactions_that_lock_and_make_the_same_credentials_wait_in_one_order(harness: Harness) -> None:
    """One of them makes rows that the other one locks, and the other way round."""
    keys = [f"vau:{number}" for number in range(20)]

    async def lock(order: int, number: int) -> None:
        async with harness.engine.begin() as connection:
            await knowledge.lock(connection, [*keys[::order], f"vau:new-{number // 2}"], keep=timedelta(hours=1))

    for number in range(20):
        async with asyncio.timeout(30):
            await asyncio.gather(lock(1, number), lock(-1, number))


async def test_a_credential_that_has_no_row_cannot_be_locked_out_of_order(harness: Harness) -> None:
    async with harness.engine.begin() as connection:
        with pytest.raises(Contended) as contended:
            await knowledge.try_lock(connection, ["vau:new"])
        assert contended.value.keys == {"vau:new"}
