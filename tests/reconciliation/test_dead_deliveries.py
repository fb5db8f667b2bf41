"""Dead deliveries: always reported by the job deliveries, and sent again only where a person asks for it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from domain.reconciliation import FindingKind, JobName
from reconciliation import jobs
from schemas.signature import event_id
from store import deliveries
from store.deliveries import AttemptResult
from tests.consumers.harness import Harness
from tests.reconciliation.drift import kinds, plant, run
from tests.store.outbox import Outbox


@pytest.fixture
async def outbox(engine: AsyncEngine) -> Outbox:
    """Two endpoints, `shop` and `gym`."""
    outbox = Outbox(engine)
    for name in ("shop", "gym"):
        await outbox.add_endpoint(name)
    return outbox


async def finish(outbox: Outbox, endpoint: str, *statuses: Status) -> None:
    """Give the heads of the endpoint's lines these statuses, one after the other."""
    for status in statuses:
        async with outbox.engine.begin() as connection:
            (head,) = await deliveries.claim(connection, {endpoint: 1}, {}, lease=timedelta(minutes=1))
            outcome = Outcome.ACCEPTED if status is Status.DELIVERED else Outcome.UNAVAILABLE
            at = datetime.now(UTC).timestamp()
            await deliveries.record(connection, [AttemptResult(head, outcome, 200, 0.1, at, NextState(status))])


async def dead(outbox: Outbox, endpoint: str, number: int = 1) -> list[UUID]:
    """So many dead deliveries of a new wallet; the ids of their events."""
    events = await outbox.tell(endpoint, await outbox.add_wallet(), number)
    await finish(outbox, endpoint, *[Status.DEAD] * number)
    return events


async def test_dead_deliveries_are_reported_and_stay(outbox: Outbox) -> None:
    harness = Harness(outbox.engine)
    (event,) = await dead(outbox, "shop")
    ((id_,),) = await outbox.execute("SELECT id FROM delivery_history")
    for _ in range(2):
        [(finding, is_repaired)] = (await run(harness, JobName.DELIVERIES)).findings
        assert (finding.kind, finding.subject, is_repaired) == (FindingKind.DEAD_DELIVERY, str(id_), False)
        assert (finding.expected, finding.found) == (f"{event_id(event)} to shop", "unavailable")
    assert await outbox.live() == []


async def test_they_are_sent_again_where_a_person_asks_for_it(outbox: Outbox) -> None:
    """In the order of their numbers, with the whole schedule."""
    harness = Harness(outbox.engine)
    await dead(outbox, "shop", 3)
    await outbox.tell("gym", await outbox.add_wallet())
    found = await kinds(harness, JobName.DELIVERIES, replays_dead=True)
    assert [(kind, repaired) for kind, _, repaired in found] == [(FindingKind.DEAD_DELIVERY, True)] * 3
    shop = [row for row in await outbox.live() if row.endpoint_id == "shop"]
    assert [(row.sequence, row.place, row.attempt) for row in shop] == [
        (1, "head", 0),
        (2, "waits", 0),
        (3, "waits", 0),
    ]
    assert await kinds(harness, JobName.DELIVERIES, replays_dead=True) == []


async def test_a_dry_run_sends_none_again(outbox: Outbox) -> None:
    await dead(outbox, "shop")
    report = await run(Harness(outbox.engine), JobName.DELIVERIES, repairs=False, replays_dead=True)
    assert [repaired for _, repaired in report.findings] == [False]
    assert await outbox.live() == []


@pytest.mark.parametrize("second", [Status.DELIVERED, Status.CANCELLED])
async def test_what_arrived_or_was_cancelled_later_is_not_dead(outbox: Outbox, second: Status) -> None:
    harness = Harness(outbox.engine)
    await dead(outbox, "shop")
    await run(harness, JobName.DELIVERIES, replays_dead=True)
    assert await kinds(harness, JobName.DELIVERIES) == []  # it is on its way again
    await finish(outbox, "shop", Status.DELIVERED)
    await plant(harness, "UPDATE delivery_history SET status = :status WHERE status = 'DELIVERED'", status=second)
    assert await kinds(harness, JobName.DELIVERIES) == []


async def test_what_died_twice_is_one_finding(outbox: Outbox) -> None:
    harness = Harness(outbox.engine)
    await dead(outbox, "shop")
    await run(harness, JobName.DELIVERIES, replays_dead=True)
    await finish(outbox, "shop", Status.DEAD)
    assert len(await kinds(harness, JobName.DELIVERIES)) == 1


@pytest.mark.parametrize(
    "gone",
    [
        "UPDATE endpoints SET removed_at = now(), status = 'DISABLED', sealed_secrets = '{}' WHERE id = 'shop'",
        "DELETE FROM events",
    ],
)
async def test_what_cannot_be_sent_any_more_is_left_alone(outbox: Outbox, gone: str) -> None:
    harness = Harness(outbox.engine)
    await dead(outbox, "shop")
    await plant(harness, gone)
    assert await kinds(harness, JobName.DELIVERIES, replays_dead=True) == []


async def test_pages_go_on_from_endpoint_to_endpoint(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live deliveries come first. Two that died at one moment are on two pages."""
    harness = Harness(outbox.engine)
    await dead(outbox, "shop", 3)
    await dead(outbox, "gym", 2)
    await plant(harness, "UPDATE delivery_history SET finished_at = '2026-11-30' WHERE endpoint_id = 'shop'")
    await outbox.tell("gym", await outbox.add_wallet(), 2)
    monkeypatch.setattr(jobs, "_PAGE", 1)
    report = await run(harness, JobName.DELIVERIES)
    assert report.run.examined == 7
    rows = await outbox.execute("SELECT CAST(id AS text), endpoint_id FROM delivery_history ORDER BY 2, id")
    assert [finding.subject for finding, _ in report.findings] == [id_ for id_, _ in rows]


async def test_a_run_that_is_continued_does_not_send_again_what_the_first_one_sent(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(outbox.engine)
    await dead(outbox, "shop", 3)
    monkeypatch.setattr(jobs, "_PAGE", 1)
    real, pages = jobs._page, 0

    async def dies(*arguments: object) -> object:
        nonlocal pages
        pages += 1
        if pages > 2:
            raise KeyboardInterrupt
        return await real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "_page", dies)
        with pytest.raises(KeyboardInterrupt):
            await run(harness, JobName.DELIVERIES, replays_dead=True)
    await harness.rows("UPDATE reconciliation_runs SET held_until = now()")
    report = await run(harness, JobName.DELIVERIES, replays_dead=True)
    assert [repaired for _, repaired in report.findings] == [True] * 3
    assert [row.sequence for row in await outbox.live()] == [1, 2, 3]
