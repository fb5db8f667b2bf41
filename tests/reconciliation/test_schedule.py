"""The role reconcile: which jobs it runs and when, what it logs and counts, and how it ends."""

import asyncio
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from domain.reconciliation import JobName, Scope
from reconciliation import jobs, schedule
from reconciliation.schedule import Reconciling
from store.reconciliation import runs
from tests.consumers.harness import Harness
from tests.domain.build import link, method, replaced, wallet
from tests.parts.until import until
from tests.reconciliation.drift import KEPT, plant, run

HOUR = timedelta(hours=1)
NOT_STOPPING = asyncio.Event()


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """A wallet in which A was replaced by B."""
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]))
    await harness.report(replaced("A", "B", on=1))
    return harness


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """The lines that are logged."""
    with capture_logs() as lines:
        yield lines


def reconciling(harness: Harness, every: Mapping[JobName, timedelta] | None = None, **others: Any) -> Reconciling:
    return Reconciling(harness.engine, KEPT, {JobName.LINEAGE: HOUR} if every is None else every, **others)


async def count(harness: Harness) -> int:
    ((number,),) = await harness.rows("SELECT count(*) FROM reconciliation_runs")
    return int(number)


async def grow_old(harness: Harness, minutes: int) -> None:
    await harness.rows(
        "UPDATE reconciliation_runs SET started_at = started_at - :minutes * interval '1 minute',"
        " finished_at = finished_at - :minutes * interval '1 minute'",
        minutes=minutes,
    )


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"repoint_reconciliation_{name}", labels)


async def test_a_job_is_run_again_when_its_interval_has_passed(harness: Harness) -> None:
    process = reconciling(harness)
    for minutes, expected in ((0, 1), (0, 1), (59, 1), (1, 2), (0, 2)):
        await grow_old(harness, minutes)
        await process.run_once(NOT_STOPPING)
        assert await count(harness) == expected


async def test_each_job_has_its_own_interval_and_one_without_is_not_run(harness: Harness) -> None:
    process = reconciling(harness, {JobName.LINKS: 2 * HOUR, JobName.LINEAGE: HOUR})
    await process.run_once(NOT_STOPPING)
    await grow_old(harness, 90)
    await process.run_once(NOT_STOPPING)
    rows = await harness.rows("SELECT job, count(*) FROM reconciliation_runs GROUP BY job ORDER BY job")
    assert [tuple(row) for row in rows] == [("lineage", 2), ("links", 1)]


@pytest.mark.parametrize("scope", [{"repairs": False}, {"since": "2026-11-30"}])
async def test_a_run_that_is_not_whole_does_not_count(harness: Harness, scope: dict[str, Any]) -> None:
    await run(harness, JobName.LINEAGE)
    for name, value in scope.items():
        await plant(harness, f"UPDATE reconciliation_runs SET {name} = '{value}'")  # noqa: S608
    await reconciling(harness).run_once(NOT_STOPPING)
    assert await count(harness) == 2


async def test_a_run_of_another_process_is_left_to_it(harness: Harness) -> None:
    async with harness.engine.begin() as connection:
        await runs.begin(connection, JobName.LINEAGE, Scope(repairs=True), lease=timedelta(minutes=1))
    await reconciling(harness, {JobName.LINEAGE: HOUR, JobName.LINKS: HOUR}).run_once(NOT_STOPPING)
    rows = await harness.rows("SELECT job, status FROM reconciliation_runs ORDER BY job")
    assert [tuple(row) for row in rows] == [("lineage", "RUNNING"), ("links", "DONE")]


async def test_what_is_found_is_a_warning_of_each_kind_and_counted(
    harness: Harness, logged: list[MutableMapping[str, Any]]
) -> None:
    labels = {"job": "lineage", "kind": "SUCCESSOR_WITHOUT_LINEAGE"}
    before = [metric("runs_total", job="lineage") or 0, metric("findings_total", **labels) or 0]
    await plant(harness, "DELETE FROM lineage")
    await reconciling(harness).run_once(NOT_STOPPING)
    ((run_id,),) = await harness.rows("SELECT id FROM reconciliation_runs")
    assert logged == [
        labels | {"event": "reconciliation found", "log_level": "warning", "findings": 1, "repaired": 1, "run": run_id}
    ]
    assert [metric("runs_total", job="lineage"), metric("findings_total", **labels)] == [count + 1 for count in before]
    assert (metric("repaired_total", **labels) or 0) >= 1


async def test_a_run_that_finds_nothing_is_one_line(harness: Harness, logged: list[MutableMapping[str, Any]]) -> None:
    await reconciling(harness).run_once(NOT_STOPPING)
    (line,) = logged
    assert (line["event"], line["log_level"], line["job"], line["examined"]) == ("reconciled", "info", "lineage", 2)


async def test_ten_warnings_a_minute_are_written_and_the_others_counted(
    harness: Harness, logged: list[MutableMapping[str, Any]]
) -> None:
    process = reconciling(harness)
    for _ in range(12):
        await plant(harness, "DELETE FROM lineage")
        await plant(harness, "DELETE FROM reconciliation_runs")
        await process.run_once(NOT_STOPPING)
    assert [line["event"] for line in logged] == ["reconciliation found"] * 10
    stopping = asyncio.Event()
    stopping.set()
    await process.run(stopping)
    assert logged[-1] == {
        "event": "reconciliation found: more of them", "log_level": "warning", "more": 2, "within_seconds": 60.0
    }  # fmt: skip


async def test_the_time_since_the_latest_whole_run_is_measured_whichever_process_made_it(harness: Harness) -> None:
    await run(harness, JobName.LINKS)
    await grow_old(harness, 5)
    await reconciling(harness, {}).run_once(NOT_STOPPING)
    assert 300 <= (metric("last_run_seconds", job="links") or 0) < 330


async def test_a_process_that_is_to_stop_ends_after_the_page_and_another_goes_on(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
) -> None:
    monkeypatch.setattr(jobs, "_PAGE", 1)
    stopping = asyncio.Event()
    real = jobs._page

    async def stops(*arguments: Any) -> Any:
        stopping.set()
        return await real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "_page", stops)
        await reconciling(harness, {JobName.LINEAGE: HOUR, JobName.LINKS: HOUR}).run_once(stopping)
    rows = await harness.rows("SELECT job, status, examined FROM reconciliation_runs")
    assert [tuple(row) for row in rows] == [("lineage", "RUNNING", 1)]
    assert logged == []
    await reconciling(harness).run_once(NOT_STOPPING)
    rows = await harness.rows("SELECT job, status, examined FROM reconciliation_runs")
    assert [tuple(row) for row in rows] == [("lineage", "DONE", 2)]


async def test_the_role_runs_until_it_is_to_stop(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_LOOK_SECONDS", 0.01)
    stopping = asyncio.Event()
    running = asyncio.create_task(reconciling(harness, first=0).run(stopping))
    for expected in (1, 2):

        async def is_done(wanted: int = expected) -> bool:
            done = await harness.rows("SELECT 1 FROM reconciliation_runs WHERE status = 'DONE'")
            return len(done) == wanted

        await until(is_done)
        await grow_old(harness, 60)
    stopping.set()
    async with asyncio.timeout(20):
        await running
