"""The job parked: updates that wait although they need not, or for too long, and rows by which no update waits."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.reconciliation import Finding, FindingKind, JobName, Scope
from domain.update import UpdateType
from domain.wallet import MethodStatus
from reconciliation import catalog, jobs
from tests.consumers.harness import Harness, merging
from tests.domain.build import link, method, replaced, reported, wallet, who
from tests.reconciliation.drift import KEPT, plant, run, state

Found = list[tuple[FindingKind, str, str | None, bool]]


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """A wallet, and two updates that wait: one for it, after a script hid the wallet, the other for an unknown card."""
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]))
    await hide(harness, "vau:A", "vau:hidden")
    await harness.report(replaced("A", "B", on=1, id="known"))
    await harness.report(reported(UpdateType.CLOSED, "unknown", on=1, id="unknown"))
    await hide(harness, "vau:hidden", "vau:A")
    return harness


async def hide(harness: Harness, key: str, other: str) -> None:
    """Give a method another credential."""
    await plant(harness, "UPDATE payment_method_credentials SET key = :other WHERE key = :key", key=key, other=other)


async def findings(harness: Harness, *, repairs: bool = True, since: datetime | None = None) -> Found:
    """Kind, update by its id, what was expected, and whether it was repaired."""
    report = await run(harness, JobName.PARKED, repairs=repairs, since=since)
    rows = await harness.rows("SELECT CAST(id AS text), update_id FROM inbox")
    names = {row.id: row.update_id for row in rows}
    return [
        (finding.kind, names.get(finding.subject, finding.subject), finding.expected, repaired)
        for finding, repaired in report.findings
    ]


async def keys_of(harness: Harness, update_id: str) -> list[str]:
    rows = await harness.rows(
        "SELECT key FROM parked_updates JOIN inbox ON inbox.id = inbox_id WHERE update_id = :id ORDER BY key",
        id=update_id,
    )
    return [row.key for row in rows]


async def test_an_update_whose_wallet_is_there_is_applied_and_announced(harness: Harness) -> None:
    assert await harness.outcome("known") == ("PARKED", None)
    assert await findings(harness) == [(FindingKind.WAITING_THOUGH_KNOWN, "known", "APPLIED", True)]
    assert await harness.outcome("known") == ("APPLIED", None)
    assert await harness.outcome("unknown") == ("PARKED", None)
    assert [name for name, _ in await harness.told("pharmacy")] == ["REPLACED", "DELETED"]
    assert await keys_of(harness, "known") == []
    assert await findings(harness) == []
    kept = await harness.rows("SELECT kept_until > now() + interval '700 days' FROM replacement_facts")
    assert kept == [(True,)]


async def test_an_update_that_the_wallet_was_resolved_by_already_changes_nothing(harness: Harness) -> None:
    await run(harness, JobName.WALLETS)
    assert await harness.outcome("known") == ("APPLIED", None)
    await plant(harness, "UPDATE inbox SET outcome = 'PARKED' WHERE update_id = 'known'")
    await plant(harness, "INSERT INTO parked_updates (key, inbox_id) SELECT 'vau:A', id FROM inbox"
                " WHERE update_id = 'known'")  # fmt: skip
    assert await findings(harness) == [(FindingKind.WAITING_THOUGH_KNOWN, "known", "DUPLICATE ALREADY_SO", True)]
    assert len(await harness.events("pharmacy")) == 2
    assert await findings(harness) == []


async def test_a_merge_whose_customers_are_there_is_made(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A")), wallet(method("B"), customer="e2"))
    await plant(harness, "UPDATE customer_identities SET value = 'hidden' WHERE value = 'e2'")
    await harness.report(merging(who("e1"), who("e2")))
    assert await harness.outcome("merge") == ("PARKED", None)
    assert await findings(harness) == []
    await plant(harness, "UPDATE customer_identities SET value = 'e2' WHERE value = 'hidden'")
    assert await findings(harness) == [(FindingKind.WAITING_THOUGH_KNOWN, "merge", "APPLIED", True)]
    assert (await harness.wallet("e1")).merged_into == "w-e2"
    assert await findings(harness) == []


async def test_a_quarantined_update_whose_conflict_is_gone_is_applied(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A")))
    await harness.report(reported(UpdateType.CLOSED, "A", on=1, id="foreign", customer="e2"))
    assert await harness.outcome("foreign") == ("QUARANTINED", "OWNER_MISMATCH")
    assert await findings(harness) == []
    await plant(harness, "UPDATE wallets SET enterprise_id = 'e2'")
    await plant(harness, "UPDATE customer_identities SET value = 'e2'")
    assert await findings(harness) == [(FindingKind.WAITING_THOUGH_KNOWN, "foreign", "APPLIED", True)]
    assert [held.status for held in (await harness.wallet()).live_methods] == [MethodStatus.CLOSED]
    assert await findings(harness) == []


async def test_a_dry_run_decides_and_writes_nothing(harness: Harness) -> None:
    before = await state(harness)
    assert await findings(harness, repairs=False) == [(FindingKind.WAITING_THOUGH_KNOWN, "known", "APPLIED", False)]
    assert await state(harness) == before
    assert await harness.outcome("known") == ("PARKED", None)


# --- time -------------------------------------------------------------------------------------------------------------


async def grow_old(harness: Harness, update_id: str, *, hours: float) -> None:
    await plant(harness, "UPDATE inbox SET received_at = now() - :hours * interval '1 hour' WHERE update_id = :id",
                hours=hours, id=update_id)  # fmt: skip


@pytest.mark.parametrize(("hours", "is_over"), [(72.5, False), (73.5, True)])
async def test_an_update_whose_time_is_over_for_an_hour_is_given_up(
    harness: Harness, hours: float, *, is_over: bool
) -> None:
    await grow_old(harness, "unknown", hours=hours)
    await plant(harness, "DELETE FROM credentials")
    given_up = (FindingKind.PARKED_TOO_LONG, "unknown", "IGNORED", True)
    assert (given_up in await findings(harness)) is is_over
    assert (await harness.outcome("unknown"))[0] == ("IGNORED" if is_over else "PARKED")
    assert (await keys_of(harness, "unknown") == []) is is_over
    assert await findings(harness) == []


async def test_an_update_whose_report_is_still_kept_waits_as_long(harness: Harness) -> None:
    await grow_old(harness, "unknown", hours=100)
    assert [kind for kind, *_ in await findings(harness)] == [FindingKind.WAITING_THOUGH_KNOWN]


async def test_an_old_update_whose_wallet_is_there_is_applied_rather_than_given_up(harness: Harness) -> None:
    await grow_old(harness, "known", hours=100)
    await plant(harness, "UPDATE replacement_facts SET kept_until = now() - interval '1 hour'")
    assert await findings(harness) == [(FindingKind.WAITING_THOUGH_KNOWN, "known", "APPLIED", True)]


# --- rows -------------------------------------------------------------------------------------------------------------


async def test_a_parked_update_without_a_row_waits_again(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    await harness.report(
        replaced(("A", ":A"), "B", on=1, id="fact"),
        reported(UpdateType.CLOSED, "C", on=1, id="status", customer="e1"),
        merging(who("e1"), who("e2")),
    )
    before = await harness.rows("SELECT key, inbox_id, CAST(about AS text) FROM parked_updates ORDER BY 1")
    await plant(harness, "DELETE FROM parked_updates")
    found = await findings(harness)
    assert sorted(found) == [
        (FindingKind.PARKED_WITHOUT_KEY, "fact", None, True),
        (FindingKind.PARKED_WITHOUT_KEY, "merge", None, False),
        (FindingKind.PARKED_WITHOUT_KEY, "status", None, True),
    ]
    after = await harness.rows("SELECT key, inbox_id, CAST(about AS text) FROM parked_updates ORDER BY 1")
    assert after == [row for row in before if not row.key.startswith("@")]
    assert await findings(harness) == [(FindingKind.PARKED_WITHOUT_KEY, "merge", None, False)]


async def test_an_update_that_waits_again_is_applied_in_the_same_run(harness: Harness) -> None:
    await plant(harness, "DELETE FROM parked_updates")
    assert sorted(await findings(harness)) == [
        (FindingKind.PARKED_WITHOUT_KEY, "known", None, True),
        (FindingKind.PARKED_WITHOUT_KEY, "unknown", None, True),
        (FindingKind.WAITING_THOUGH_KNOWN, "known", "APPLIED", True),
    ]
    assert await harness.outcome("known") == ("APPLIED", None)
    assert await findings(harness) == []


async def test_rows_of_no_update_and_of_a_decided_one_are_deleted(harness: Harness) -> None:
    await findings(harness)
    insert = "INSERT INTO parked_updates (key, inbox_id) VALUES ('vau:A', :id), ('vau:B', :id)"
    ((known,),) = await harness.rows("SELECT id FROM inbox WHERE update_id = 'known'")
    await plant(harness, insert, id=known)
    await plant(harness, insert, id=known + 1000)
    assert sorted(await findings(harness)) == [
        (FindingKind.WAITING_THOUGH_DECIDED, "known", None, True),
        (FindingKind.WAITING_WITHOUT_UPDATE, str(known + 1000), None, True),
    ]
    assert await keys_of(harness, "unknown") == ["vau:unknown"]
    assert await harness.rows("SELECT count(*) FROM parked_updates") == [(1,)]
    assert await findings(harness) == []


# --- runs -------------------------------------------------------------------------------------------------------------


async def test_pages_go_on_to_the_last_row(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parked updates of one moment and the row of each, on a page of its own."""
    await plant(harness, "UPDATE inbox SET received_at = '2026-11-30'")
    monkeypatch.setattr(jobs, "_PAGE", 1)
    report = await run(harness, JobName.PARKED, repairs=False)
    assert report.run.examined == 4


async def test_updates_from_before_the_time_are_left_alone(harness: Harness) -> None:
    await grow_old(harness, "known", hours=2)
    assert await findings(harness, since=datetime.now(UTC) - timedelta(hours=1)) == []
    assert len(await findings(harness, since=datetime.now(UTC) - timedelta(hours=3))) == 1


async def test_a_process_that_dies_before_the_commit_has_announced_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = catalog.jobs(KEPT, Scope(repairs=True))[JobName.PARKED]
    before = await state(harness)

    async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
        await real.repair(connection, findings)
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "jobs", lambda *_: {JobName.PARKED: real._replace(repair=repair)})
        with pytest.raises(asyncio.CancelledError):
            await run(harness, JobName.PARKED)
    assert await state(harness) == before
    await harness.rows("UPDATE reconciliation_runs SET held_until = now()")
    assert await findings(harness) == [(FindingKind.WAITING_THOUGH_KNOWN, "known", "APPLIED", True)]
    assert len(await harness.events("pharmacy")) == 2


async def test_beside_a_stream_of_wallets_that_come_nothing_is_found(engine: AsyncEngine) -> None:
    """Each wallet comes just after the update that waits for it."""
    harness = Harness(engine)
    await harness.add_merchants("pharmacy", "optician")
    streaming = True

    async def stream() -> None:
        for number in range(30):
            await harness.report(replaced(f"c{number}.0", f"c{number}.1", on=1, id=f"c{number}"))
            await harness.import_wallets(wallet(method(f"c{number}.0"), customer=f"c{number}"))
        nonlocal streaming
        streaming = False

    coming = asyncio.create_task(stream())
    while streaming:
        assert await findings(harness) == []
        await asyncio.sleep(0)
    await coming
    assert {outcome for _, outcome, _ in await harness.outcomes()} == {"APPLIED"}
