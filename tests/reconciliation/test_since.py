"""Runs that are limited to what changed since a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.reconciliation import JobName, Scope
from reconciliation import catalog, jobs
from reconciliation.jobs import RunProgress
from store.ids import first_at
from store.reconciliation import subjects
from store.reconciliation.page import Page
from tests.consumers.harness import Harness
from tests.domain.build import link, method, replaced, wallet
from tests.reconciliation.drift import KEPT, plant, run
from tests.store.outbox import Outbox

HOUR = timedelta(hours=1)


def ago(length: timedelta) -> datetime:
    return datetime.now(UTC) - length


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """Three wallets. In two of them the card was replaced: in e1 yesterday, in e2 now."""
    harness = Harness(engine)
    await harness.import_wallets(
        *(wallet(method(name), links=[link(f"m-{name}")], customer=customer)
          for name, customer in (("A", "e1"), ("C", "e2"), ("E", "e3")))
    )  # fmt: skip
    await harness.report(replaced("A", "B", on=1))
    await let_a_day_pass(harness)
    await harness.report(replaced("C", "D", on=2))
    return harness


async def let_a_day_pass(harness: Harness) -> None:
    """Make all rows a day older. Ids of events begin with their time."""
    await plant(harness, "UPDATE inbox SET received_at = received_at - interval '1 day'")
    await plant(harness, "UPDATE deliveries SET created_at = created_at - interval '1 day'")
    for id_, created_at in await harness.rows("SELECT id, created_at FROM events"):
        older = UUID(int=first_at(created_at - timedelta(days=1)).int | (id_.int & ((1 << 80) - 1)))
        for table, column in (("events", "id"), ("deliveries", "event_id")):
            await plant(harness, f"UPDATE {table} SET {column} = :older WHERE {column} = :id", older=older, id=id_)  # noqa: S608


async def examined(harness: Harness, name: JobName, since: datetime | None) -> int:
    return (await run(harness, name, since=since)).run.examined


@pytest.mark.parametrize(
    ("name", "of_all", "of_the_hour"),
    [(JobName.LINKS, 3, 1), (JobName.LINEAGE, 5, 2), (JobName.WALLETS, 3, 1), (JobName.DELIVERIES, 8, 4),
     (JobName.EVENTS, 3, 1)],
)  # fmt: skip
async def test_only_what_changed_since_is_examined(
    harness: Harness, name: JobName, of_all: int, of_the_hour: int
) -> None:
    assert await examined(harness, name, None) == of_all
    assert await examined(harness, name, ago(HOUR)) == of_the_hour
    assert await examined(harness, name, ago(-HOUR)) == 0
    assert await harness.rows("SELECT 1 FROM reconciliation_subjects") == []


async def test_differences_of_those_wallets_are_found_and_repaired(harness: Harness) -> None:
    for name in ("A", "C"):
        await plant(harness, "DELETE FROM lineage WHERE old_id = :id", id=harness.id_of(f"m-{name}"))
    report = await run(harness, JobName.LINEAGE, since=ago(HOUR))
    assert [(harness.name_of(finding.subject), repaired) for finding, repaired in report.findings] == [("m-C", True)]
    report = await run(harness, JobName.LINEAGE)
    assert [(harness.name_of(finding.subject), repaired) for finding, repaired in report.findings] == [("m-A", True)]


async def test_a_wallet_whose_events_are_all_lost_changed_by_the_update_that_it_knows(harness: Harness) -> None:
    await plant(harness, "DELETE FROM deliveries")
    await plant(harness, "DELETE FROM events")
    report = await run(harness, JobName.EVENTS, since=ago(HOUR))
    assert {harness.name_of(finding.subject) for finding, _ in report.findings} == {"w-e2"}


async def test_a_wallet_that_a_report_did_not_reach_is_resolved(harness: Harness) -> None:
    await plant(harness, "UPDATE payment_methods SET status = 'ACTIVE', replaced_by = NULL WHERE id = :id",
                id=harness.id_of("m-C"))  # fmt: skip
    await plant(harness, "DELETE FROM lineage WHERE old_id = :id", id=harness.id_of("m-C"))
    await plant(harness, "UPDATE payment_method_credentials SET live = true WHERE payment_method_id = :id",
                id=harness.id_of("m-C"))  # fmt: skip
    report = await run(harness, JobName.WALLETS, since=ago(HOUR))
    assert [(harness.name_of(finding.subject), repaired) for finding, repaired in report.findings] == [("w-e2", True)]


async def test_pages_and_slices_go_on_to_the_last(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PAGE", 1)
    monkeypatch.setattr(subjects, "_SLICE", 1)
    assert await examined(harness, JobName.EVENTS, ago(timedelta(days=2))) == 2
    assert await examined(harness, JobName.EVENTS, ago(HOUR)) == 1


@pytest.mark.parametrize("number", [0, 1, 2, 5, 64])
async def test_the_place_in_the_inbox_is_found_by_halving(engine: AsyncEngine, number: int) -> None:
    """Between rows of two hours ago, and with gaps in the ids."""
    insert = """
        INSERT INTO inbox (id, topic, partition, kafka_offset, digest, vendor, update_id, original, type, occurred_at,
                           outcome, received_at)
        OVERRIDING SYSTEM VALUE
        SELECT n * 3, 't', 0, n, '', 'v', n, false, 'CLOSED', now(), 'IGNORED',
               now() - CASE WHEN n <= :number THEN interval '2 hours' ELSE interval '0' END
        FROM generate_series(1, 64) AS n
    """
    async with engine.begin() as connection:
        await connection.execute(text(insert), {"number": number})
        place = await subjects.before_updates(connection, ago(HOUR))
    assert 3 * number <= place < 3 * (number + 1)


async def test_an_empty_inbox_has_a_place_too(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        assert await subjects.before_updates(connection, ago(HOUR)) == 0


async def interrupt(harness: Harness, monkeypatch: pytest.MonkeyPatch, scope: Scope) -> None:
    """A run of `lineage` whose process dies on its second page. Its lease has passed."""
    real = catalog.jobs(KEPT, scope)[JobName.LINEAGE]
    looks = 0

    async def dies(connection: AsyncConnection, ids: Sequence[str]) -> Page:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise KeyboardInterrupt
        assert real.examine_wallets is not None
        return await real.examine_wallets(connection, ids)

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "jobs", lambda *_: {JobName.LINEAGE: real._replace(examine_wallets=dies)})
        with pytest.raises(KeyboardInterrupt):
            await jobs.reconcile(harness.engine, JobName.LINEAGE, KEPT, scope)
    await harness.rows("UPDATE reconciliation_runs SET held_until = now()")


@pytest.mark.parametrize(
    ("change", "examined"), [({}, 4), ({"since": None}, 5), ({"repairs": False}, 4), ({"replays_dead": True}, 4)]
)
async def test_a_run_of_the_same_scope_is_continued_and_every_other_one_begins_again(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], examined: int
) -> None:
    monkeypatch.setattr(jobs, "_PAGE", 1)
    scope = Scope(repairs=True, since=ago(timedelta(days=2)))
    await interrupt(harness, monkeypatch, scope)
    real, looks = jobs._page, 0

    async def counted(*arguments: Any) -> Page:
        nonlocal looks
        looks += 1
        return await real(*arguments)

    monkeypatch.setattr(jobs, "_page", counted)
    pages: list[int] = []
    progress = RunProgress(on_examined=pages.append)
    report = await jobs.reconcile(harness.engine, JobName.LINEAGE, KEPT, scope._replace(**change), progress=progress)
    assert report.run.examined == sum(pages) == examined
    assert looks == (len(pages) if change else len(pages) - 1)


async def test_dead_deliveries_are_those_that_died_since(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("shop")
    await outbox.tell("shop", await outbox.add_wallet(), 2)
    for days in (0, 1):
        await plant(
            Harness(engine),
            "INSERT INTO delivery_history"
            " (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)"
            " SELECT id, event_id, endpoint_id, wallet_id, sequence, 'DEAD', 1, created_at,"
            " now() - :days * interval '1 day'"
            " FROM deliveries WHERE sequence = :days + 1",
            days=days,
        )
    await plant(Harness(engine), "DELETE FROM deliveries")
    assert await examined(Harness(engine), JobName.DELIVERIES, ago(HOUR)) == 1
    assert await examined(Harness(engine), JobName.DELIVERIES, None) == 2
