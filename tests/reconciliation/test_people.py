"""What people change by commands is no difference: every job finds nothing after it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import JobName
from store import vendors
from store.retractions import ReportSpan
from tests.consumers.harness import RETENTION, Harness, merging
from tests.domain.build import link, live, method, replaced, wallet, who
from tests.reconciliation.drift import run, state
from wallets.judging import Answer, Author, Discard, Judgement, Release, judge
from wallets.retracting import retract


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)


async def nothing_is_found(harness: Harness) -> None:
    before = await state(harness)
    for name in JobName:
        if name is not JobName.ACCOUNTING:
            assert (name, (await run(harness, name)).findings) == (name, [])
    assert await state(harness) == before


async def answer(harness: Harness, update_id: str, given: Answer) -> None:
    ((id_,),) = await harness.rows("SELECT id FROM inbox WHERE update_id = :id", id=update_id)
    async with harness.engine.begin() as connection:
        assert isinstance(await judge(connection, id_, given, Author("ops", "r"), RETENTION), Judgement)


async def test_after_a_release_and_a_discard(harness: Harness) -> None:
    e2 = wallet(method("P"), customer="e2")
    await harness.import_wallets(
        wallet(method("A", default=True), links=[link("m-A")]), e2, e2._replace(id="w-other", methods=(method("Q"),))
    )
    await harness.report(replaced("A", "B", on=1, customer="e9"), replaced("P", "R", on=2, customer="e9"))
    await harness.report(merging(who("e1"), who("e2")), replaced("X", "Y", on=3))
    await answer(harness, "vau-1", Release(to=harness.id_of("w-e1")))
    await answer(harness, "vau-2", Discard())
    await answer(harness, "merge", Release(to=harness.id_of("w-e2")))
    await answer(harness, "vau-3", Discard())
    await nothing_is_found(harness)


async def test_after_an_accepted_conflict(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A", par="P1"), links=[link("m-A")]))
    await harness.report(replaced("A", "B", on=1, par="P2"))
    await answer(harness, "vau-1", Release(accept=True))
    await nothing_is_found(harness)


async def test_after_a_retraction(harness: Harness) -> None:
    await harness.import_wallets(
        wallet(method("A", default=True), method("B"), links=[link("m-A"), link("m-B")]),
        wallet(method("C"), method("D", subscription_default=True), links=[link("m-C"), link("m-D")], customer="e2"),
    )
    await harness.report(
        replaced("A", "B", on=1), replaced("C", "E", on=2), replaced("D", "E", on=3), replaced("E", "F", on=4)
    )
    now = datetime.now(UTC)
    span = ReportSpan("vau", now - timedelta(hours=1), now + timedelta(hours=1))
    await retract(harness.engine, span, RETENTION)
    assert live(await harness.wallet("e2")).keys() == {"C", "D"}
    await nothing_is_found(harness)


async def test_while_a_vendor_is_paused(harness: Harness) -> None:
    """Held updates have no row that they wait by, and are not given up for the time that they have waited."""
    await harness.import_wallets(wallet(method("A")))
    async with harness.engine.begin() as connection:
        await vendors.pause(connection, "vau", reason="r", actor="ops")
    await harness.report(replaced("A", "B", on=1))
    await harness.rows("UPDATE inbox SET received_at = received_at - interval '30 days'")
    await nothing_is_found(harness)
    assert await harness.outcome("vau-1") == ("PARKED", "VENDOR_PAUSED")
