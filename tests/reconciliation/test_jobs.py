"""The jobs links, lineage, wallets and deliveries, on rows that were changed behind the program's back."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.reconciliation import Finding, FindingKind, JobName, Scope
from merchants.endpoint_events import send_test
from reconciliation import catalog, jobs
from reconciliation.jobs import RunProgress
from store import deliveries, endpoints
from store.inbox import GATE
from store.reconciliation import runs
from store.reconciliation.page import Page
from store.reconciliation.runs import AlreadyRunning, Run
from tests.consumers.harness import Harness
from tests.consumers.paused_worker import waits
from tests.domain.build import link, method, replaced, wallet
from tests.parts.until import until
from tests.reconciliation.drift import KEPT, kinds, plant, run, state
from tests.store.outbox import Outbox
from wallets import revising
from wallets.loading import Loaded, within

REPAIR = Scope(repairs=True)
OF_WALLETS = [JobName.LINKS, JobName.LINEAGE, JobName.WALLETS, JobName.DELIVERIES, JobName.EVENTS]


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """Two wallets: of one the card A was replaced by B, which a link followed."""
    harness = Harness(engine)
    await harness.import_wallets(
        wallet(method("A"), links=[link("m-A")]), wallet(method("C"), method("D"), links=[link("m-C")], customer="e2")
    )
    await harness.report(replaced("A", "B", on=1))
    return harness


async def method_of(harness: Harness, link_id: str) -> str:
    ((id_,),) = await harness.rows(
        "SELECT CAST(payment_method_id AS text) FROM payment_links WHERE id = :id", id=harness.id_of(link_id)
    )
    return harness.name_of(id_)


@pytest.mark.parametrize("name", OF_WALLETS)
async def test_nothing_changes_where_nothing_differs(harness: Harness, name: JobName) -> None:
    before = await state(harness)
    report = await run(harness, name)
    assert report.findings == []
    assert report.run.examined > 0
    assert await state(harness) == before


@pytest.mark.parametrize("name", OF_WALLETS)
async def test_a_run_goes_on_to_the_last_page(harness: Harness, monkeypatch: pytest.MonkeyPatch, name: JobName) -> None:
    on_one_page = (await run(harness, name)).run.examined
    assert on_one_page > 1
    monkeypatch.setattr(jobs, "_PAGE", 1)
    assert (await run(harness, name)).run.examined == on_one_page


async def test_a_link_without_a_method_ends_no_run(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script deleted the method of the first link; the second one is in another wallet than its method."""
    first, second = sorted(("l-m-A", "l-m-C"), key=harness.id_of)
    own_wallet = {"l-m-A": "w-e1", "l-m-C": "w-e2"}
    (other_wallet,) = {"w-e1", "w-e2"} - {own_wallet[second]}
    await plant(
        harness, "UPDATE payment_links SET payment_method_id = gen_random_uuid() WHERE id = :id",
        id=harness.id_of(first),
    )  # fmt: skip
    await plant(
        harness, "UPDATE payment_links SET wallet_id = :wallet WHERE id = :id",
        wallet=harness.id_of(other_wallet), id=harness.id_of(second),
    )  # fmt: skip
    monkeypatch.setattr(jobs, "_PAGE", 1)
    assert await kinds(harness, JobName.LINKS) == [(FindingKind.LINK_IN_OTHER_WALLET, second, True)]


@pytest.mark.parametrize("deleted", ["event_id = gen_random_uuid(), sequence = 7", "endpoint_id = 'nobody'"])
async def test_a_delivery_without_an_event_or_an_endpoint_ends_no_run(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, deleted: str
) -> None:
    harness = Harness(outbox.engine)
    await plant(harness, f"UPDATE deliveries SET {deleted} WHERE id = 3")  # noqa: S608
    await plant(harness, "UPDATE deliveries SET status = 'PARKED' WHERE id = 4")
    monkeypatch.setattr(jobs, "_PAGE", 1)
    assert await kinds(harness, JobName.DELIVERIES) == [(FindingKind.PARKED_AT_ENABLED_ENDPOINT, "4", True)]


# --- links --------------------------------------------------------------------------------------------------------


async def test_a_link_moves_on_to_the_method_that_replaced_its_own(harness: Harness) -> None:
    current = await method_of(harness, "l-m-A")
    await plant(
        harness, "UPDATE payment_links SET payment_method_id = :id WHERE id = :link",
        id=harness.id_of("m-A"), link=harness.id_of("l-m-A"),
    )  # fmt: skip
    assert await kinds(harness, JobName.LINKS) == [(FindingKind.LINK_ON_DELETED_METHOD, "l-m-A", True)]
    assert await method_of(harness, "l-m-A") == current
    assert await kinds(harness, JobName.LINKS) == []


async def test_a_link_on_a_method_without_a_successor_waits_for_a_person(harness: Harness) -> None:
    await plant(harness, "UPDATE payment_methods SET status = 'DELETED' WHERE id = :id", id=harness.id_of("m-C"))
    finding = (FindingKind.LINK_ON_DELETED_METHOD, "l-m-C", False)
    assert await kinds(harness, JobName.LINKS) == [finding]
    assert await kinds(harness, JobName.LINKS) == [finding]
    assert await method_of(harness, "l-m-C") == "m-C"


async def test_of_two_links_on_a_page_only_the_one_that_moved_on_is_repaired(harness: Harness) -> None:
    await plant(
        harness, "UPDATE payment_links SET payment_method_id = :id WHERE id = :link",
        id=harness.id_of("m-A"), link=harness.id_of("l-m-A"),
    )  # fmt: skip
    await plant(harness, "UPDATE payment_methods SET status = 'DELETED' WHERE id = :id", id=harness.id_of("m-C"))
    report = await run(harness, JobName.LINKS)
    assert {harness.name_of(finding.subject): repaired for finding, repaired in report.findings} == {
        "l-m-A": True,
        "l-m-C": False,
    }


async def test_a_link_in_another_wallet_on_a_method_without_a_successor_waits_for_a_person(harness: Harness) -> None:
    await plant(harness, "UPDATE payment_methods SET status = 'DELETED' WHERE id = :id", id=harness.id_of("m-C"))
    await plant(
        harness, "UPDATE payment_links SET wallet_id = :wallet WHERE id = :id",
        wallet=harness.id_of("w-e1"), id=harness.id_of("l-m-C"),
    )  # fmt: skip
    assert await kinds(harness, JobName.LINKS) == [(FindingKind.LINK_ON_DELETED_METHOD, "l-m-C", False)]


@pytest.mark.parametrize(("status", "is_moved"), [("PAUSED", True), ("CANCELLED", False)])
async def test_a_link_that_is_cancelled_stays_where_it_was(harness: Harness, status: str, *, is_moved: bool) -> None:
    await plant(
        harness, "UPDATE payment_links SET payment_method_id = :id, status = :status WHERE id = :link",
        id=harness.id_of("m-A"), link=harness.id_of("l-m-A"), status=status,
    )  # fmt: skip
    found = [(FindingKind.LINK_ON_DELETED_METHOD, "l-m-A", True)] if is_moved else []
    assert await kinds(harness, JobName.LINKS) == found
    assert (await method_of(harness, "l-m-A") == "m-A") is not is_moved


async def test_a_link_moves_on_over_all_methods_that_were_replaced_since(harness: Harness) -> None:
    await harness.report(replaced("B", "E", on=2, id="2"), replaced("E", "F", on=3, id="3"))
    await harness.report(replaced("F", "G", on=4, id="4"))
    current = await method_of(harness, "l-m-A")
    await plant(
        harness, "UPDATE payment_links SET payment_method_id = :id WHERE id = :link",
        id=harness.id_of("m-A"), link=harness.id_of("l-m-A"),
    )  # fmt: skip
    assert await kinds(harness, JobName.LINKS) == [(FindingKind.LINK_ON_DELETED_METHOD, "l-m-A", True)]
    assert await method_of(harness, "l-m-A") == current


@pytest.mark.parametrize(
    ("name", "planted", "kind", "names"),
    [
        (JobName.LINKS, "UPDATE payment_links SET wallet_id = :e1 WHERE id = :link", FindingKind.LINK_IN_OTHER_WALLET,
         ("w-e2", "w-e1")),
        (JobName.LINKS, "UPDATE payment_methods SET status = 'DELETED', replaced_by = :d WHERE id = :c",
         FindingKind.LINK_ON_DELETED_METHOD, ("m-D", "m-C")),
        (JobName.LINKS, "UPDATE payment_links SET merchant_id = 'nobody' WHERE id = :link",
         FindingKind.LINK_WITHOUT_MERCHANT, ("nobody", None)),
        (JobName.LINEAGE, "UPDATE payment_methods SET status = 'DELETED', replaced_by = :d WHERE id = :c",
         FindingKind.SUCCESSOR_WITHOUT_LINEAGE, ("m-D", None)),
        (JobName.LINEAGE, "UPDATE lineage SET old_id = :d, new_id = :c", FindingKind.LINEAGE_WITHOUT_SUCCESSOR,
         ("m-C", None)),
    ],
)  # fmt: skip
async def test_a_finding_names_what_is_and_what_should_be(
    harness: Harness, name: JobName, planted: str, kind: FindingKind, names: tuple[str, str | None]
) -> None:
    ids = {"e1": "w-e1", "link": "l-m-C", "c": "m-C", "d": "m-D"}
    wanted = {key: harness.id_of(id_) for key, id_ in ids.items() if f":{key}" in planted}
    await plant(harness, planted, **wanted)
    findings = [finding for finding, _ in (await run(harness, name, repairs=False)).findings if finding.kind is kind]
    assert [(harness.name_of(one.expected or ""), one.found and harness.name_of(one.found)) for one in findings] == [
        names
    ]


@pytest.mark.parametrize(
    ("name", "planted", "held"),
    [
        (JobName.LINKS, "UPDATE payment_links SET wallet_id = :e1 WHERE id = :link", "w-e1"),
        (JobName.LINKS, "UPDATE payment_links SET wallet_id = :e1 WHERE id = :link", "w-e2"),
        (JobName.LINEAGE, "UPDATE payment_methods SET status = 'DELETED', replaced_by = :d WHERE id = :c", "w-e2"),
    ],
)
async def test_a_repair_waits_for_the_batch_that_changes_the_wallet(
    harness: Harness, name: JobName, planted: str, held: str
) -> None:
    ids = {"e1": "w-e1", "link": "l-m-C", "c": "m-C", "d": "m-D"}
    await plant(harness, planted, **{key: harness.id_of(id_) for key, id_ in ids.items() if f":{key}" in planted})
    lock = text("SELECT FROM wallets WHERE id = CAST(:id AS uuid) FOR NO KEY UPDATE")
    async with harness.engine.connect() as batch:
        await batch.execute(lock, {"id": harness.id_of(held)})
        repairing = asyncio.create_task(run(harness, name))
        await waits(harness.engine, repairing)
        assert not repairing.done()
        await batch.commit()
    assert [repaired for _, repaired in (await repairing).findings] == [True]


async def test_a_circle_of_successors_ends_the_look_for_the_current_method(harness: Harness) -> None:
    circle = "UPDATE payment_methods SET status = 'DELETED', replaced_by = :by WHERE id = :id"
    for id_, by in (("m-C", "m-D"), ("m-D", "m-C")):
        await plant(harness, circle, id=harness.id_of(id_), by=harness.id_of(by))
    assert await kinds(harness, JobName.LINKS) == [(FindingKind.LINK_ON_DELETED_METHOD, "l-m-C", False)]


async def test_a_link_in_another_wallet_goes_to_that_of_its_method(harness: Harness) -> None:
    await plant(
        harness, "UPDATE payment_links SET wallet_id = :wallet WHERE id = :link",
        wallet=harness.id_of("w-e1"), link=harness.id_of("l-m-C"),
    )  # fmt: skip
    assert await kinds(harness, JobName.LINKS) == [(FindingKind.LINK_IN_OTHER_WALLET, "l-m-C", True)]
    assert [each.id for each in (await harness.wallet("e2")).links] == ["l-m-C"]
    assert await kinds(harness, JobName.LINKS) == []


async def test_the_merchant_of_a_link_shares_its_wallet(harness: Harness) -> None:
    await plant(harness, "DELETE FROM wallet_merchants WHERE merchant_id = 'pharmacy'")
    found = await kinds(harness, JobName.LINKS)
    assert {(kind, repaired) for kind, _, repaired in found} == {(FindingKind.LINK_WITHOUT_MERCHANT, True)}
    assert sorted(subject for _, subject, _ in found) == ["l-m-A", "l-m-C"]
    assert (await harness.wallet("e2")).merchants == ("optician", "pharmacy")
    assert await kinds(harness, JobName.LINKS) == []


async def test_a_difference_behind_another_is_repaired_in_the_same_run(harness: Harness) -> None:
    """The link is in another wallet, on a deleted method, and its merchant does not share the method's wallet."""
    await plant(
        harness, "UPDATE payment_links SET wallet_id = :wallet, payment_method_id = :id WHERE id = :link",
        wallet=harness.id_of("w-e2"), id=harness.id_of("m-A"), link=harness.id_of("l-m-A"),
    )  # fmt: skip
    assert await kinds(harness, JobName.LINKS) == [
        (FindingKind.LINK_IN_OTHER_WALLET, "l-m-A", True),
        (FindingKind.LINK_ON_DELETED_METHOD, "l-m-A", True),
    ]
    assert await kinds(harness, JobName.LINKS) == []


# --- lineage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        ("DELETE FROM lineage WHERE old_id = :id", FindingKind.SUCCESSOR_WITHOUT_LINEAGE),
        ("UPDATE payment_methods SET replaced_by = NULL WHERE id = :id", FindingKind.LINEAGE_WITHOUT_SUCCESSOR),
        (
            "UPDATE lineage SET new_id = (SELECT id FROM payment_methods WHERE id <> :id LIMIT 1) WHERE old_id = :id",
            FindingKind.OTHER_SUCCESSOR,
        ),
    ],
)
async def test_lineage_and_successors_agree_after_a_run(harness: Harness, planted: str, kind: FindingKind) -> None:
    before = await harness.rows("SELECT old_id, new_id, replaced_by FROM lineage JOIN payment_methods ON id = old_id")
    if kind is FindingKind.OTHER_SUCCESSOR:
        planted = planted.replace("<> :id", f"= '{harness.id_of('m-C')}'")
    await plant(harness, planted, id=harness.id_of("m-A"))
    assert await kinds(harness, JobName.LINEAGE) == [(kind, "m-A", True)]
    after = await harness.rows("SELECT old_id, new_id, replaced_by FROM lineage JOIN payment_methods ON id = old_id")
    assert after == before
    assert await kinds(harness, JobName.LINEAGE) == []


@pytest.mark.parametrize(("reason", "written"), [("LOST_OR_STOLEN", "LOST_OR_STOLEN"), (None, "UNKNOWN")])
async def test_a_row_of_lineage_that_was_missing_has_the_reason_of_the_deletion(
    harness: Harness, reason: str | None, written: str
) -> None:
    await plant(harness, "DELETE FROM lineage")
    await plant(
        harness, "UPDATE payment_methods SET deleted_reason = :reason WHERE id = :id",
        reason=reason, id=harness.id_of("m-A"),
    )  # fmt: skip
    await run(harness, JobName.LINEAGE)
    rows = await harness.rows("SELECT reason, CAST(wallet_id AS text) FROM lineage")
    assert rows == [(written, harness.id_of("w-e1"))]


async def test_lineage_of_a_live_method_waits_for_a_person(harness: Harness) -> None:
    await plant(
        harness, "UPDATE payment_methods SET status = 'ACTIVE', replaced_by = NULL WHERE id = :id",
        id=harness.id_of("m-A"),
    )  # fmt: skip
    finding = (FindingKind.LINEAGE_WITHOUT_SUCCESSOR, "m-A", False)
    assert await kinds(harness, JobName.LINEAGE) == [finding]


# --- wallets ------------------------------------------------------------------------------------------------------


async def test_a_wallet_that_missed_a_report_is_resolved_and_announced(harness: Harness) -> None:
    await plant(
        harness,
        "INSERT INTO replacement_facts (old_key, new_key, vendor, update_id, occurred_at, reason, kept_until)"
        " VALUES ('vau:C', 'vau:E', 'vau', 'u', '2026-01-02', 'REISSUED', now() + interval '1 day')",
    )
    await plant(harness, "INSERT INTO credentials (key, kept_until) VALUES ('vau:E', now() + interval '1 day')")
    assert await kinds(harness, JobName.WALLETS, repairs=False) == [(FindingKind.UNRESOLVED_WALLET, "w-e2", False)]
    assert await harness.told("pharmacy", "w-e2") == []
    assert await kinds(harness, JobName.WALLETS) == [(FindingKind.UNRESOLVED_WALLET, "w-e2", True)]
    assert [name for name, _ in await harness.told("pharmacy", "w-e2")] == ["REPLACED", "DELETED"]
    assert await method_of(harness, "l-m-C") not in {"m-C", "m-D"}
    assert await kinds(harness, JobName.WALLETS) == []


@pytest.mark.parametrize(
    "hold",
    [
        "SELECT FROM wallets WHERE enterprise_id = 'e2' FOR NO KEY UPDATE",
        "SELECT FROM credentials WHERE key = 'vau:C' FOR UPDATE",
        f"SELECT pg_advisory_xact_lock({GATE})",
    ],
    ids=["the wallet", "a credential", "the gate"],
)
async def test_a_wallet_is_resolved_behind_the_locks_of_a_batch(harness: Harness, hold: str) -> None:
    await plant(
        harness,
        "INSERT INTO replacement_facts (old_key, new_key, vendor, update_id, occurred_at, reason, kept_until)"
        " VALUES ('vau:C', 'vau:E', 'vau', 'u', '2026-01-02', 'REISSUED', now() + interval '1 day')",
    )
    await plant(
        harness,
        "INSERT INTO credentials (key, kept_until) SELECT unnest(ARRAY['vau:C', 'vau:E']), now() + interval '1 day'"
        " ON CONFLICT DO NOTHING",
    )
    async with harness.engine.connect() as batch:
        await batch.execute(text(hold))
        repairing = asyncio.create_task(run(harness, JobName.WALLETS))
        await waits(harness.engine, repairing)
        assert not repairing.done()
        await batch.commit()
    [(finding, is_repaired)] = (await repairing).findings
    assert (finding.expected, is_repaired) == ("1 replaced", True)


# --- deliveries ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def outbox(engine: AsyncEngine) -> Outbox:
    """Three deliveries of a wallet to the endpoint `shop`, and one of another."""
    outbox = Outbox(engine)
    await outbox.add_endpoint("shop")
    await outbox.tell("shop", await outbox.add_wallet(), 3)
    await outbox.tell("shop", await outbox.add_wallet(), 1)
    return outbox


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("status = 'PARKED'", {FindingKind.PARKED_AT_ENABLED_ENDPOINT: 1}),
        ("due_at = NULL", {FindingKind.LINE_WITHOUT_HEAD: 1}),
        ("due_at = now(), leased_until = now() + interval '2 days'", {FindingKind.LEASE_TOO_LONG: 1}),
    ],
)
async def test_the_first_delivery_of_a_line_is_put_right(
    outbox: Outbox, planted: str, found: dict[FindingKind, int]
) -> None:
    harness = Harness(outbox.engine)
    before = await outbox.live()
    first = "(SELECT min(id) FROM deliveries)"
    await plant(harness, f"UPDATE deliveries SET {planted} WHERE id = {first}")  # noqa: S608
    report = await run(harness, JobName.DELIVERIES)
    assert {finding.kind: 1 for finding, repaired in report.findings if repaired} == found
    assert await outbox.live() == before
    assert await kinds(harness, JobName.DELIVERIES) == []


async def test_the_first_delivery_of_a_line_is_its_only_head(outbox: Outbox) -> None:
    harness = Harness(outbox.engine)
    before = await outbox.live()
    await plant(harness, "UPDATE deliveries SET due_at = now() WHERE due_at IS NULL")
    assert [(kind, repaired) for kind, _, repaired in await kinds(harness, JobName.DELIVERIES)] == [
        (FindingKind.SECOND_HEAD, True)
    ] * 2
    assert await outbox.live() == before
    await plant(
        harness, "UPDATE deliveries SET due_at = CASE sequence WHEN 2 THEN now() END WHERE sequence < 3 AND id < 4"
    )
    assert [kind for kind, _, _ in await kinds(harness, JobName.DELIVERIES)] == [FindingKind.HEAD_NOT_FIRST]
    assert await outbox.live() == before


async def test_an_older_delivery_behind_an_attempt_that_is_under_way_is_in_order(outbox: Outbox) -> None:
    """As a replay leaves it."""
    harness = Harness(outbox.engine)
    await plant(
        harness,
        "UPDATE deliveries SET due_at = CASE sequence WHEN 2 THEN now() END,"
        " leased_until = CASE sequence WHEN 2 THEN now() + interval '1 minute' END WHERE sequence < 3 AND id < 4",
    )
    before = await outbox.live()
    assert await kinds(harness, JobName.DELIVERIES) == []
    assert await outbox.live() == before


async def test_a_pending_delivery_of_a_disabled_endpoint_is_parked(outbox: Outbox) -> None:
    await outbox.execute("UPDATE endpoints SET status = 'DISABLED'")
    found = await kinds(Harness(outbox.engine), JobName.DELIVERIES)
    assert [(kind, repaired) for kind, _, repaired in found] == [(FindingKind.PENDING_AT_DISABLED_ENDPOINT, True)] * 4
    assert {row.status for row in await outbox.live()} == {"PARKED"}


async def test_a_delivery_goes_to_the_line_and_place_of_its_event(outbox: Outbox) -> None:
    harness = Harness(outbox.engine)
    before = await outbox.live()
    await plant(harness, "UPDATE deliveries SET sequence = 9 WHERE id = 1")
    found = await kinds(harness, JobName.DELIVERIES)
    assert found[0] == (FindingKind.OTHER_LINE, "1", True)
    assert await outbox.live() == before
    assert await kinds(harness, JobName.DELIVERIES) == []


async def test_a_second_delivery_of_an_event_waits_for_a_person(outbox: Outbox) -> None:
    """Its place is taken. The others are put right beside it."""
    harness = Harness(outbox.engine)
    await plant(
        harness,
        "INSERT INTO deliveries (event_id, endpoint_id, wallet_id, sequence, status)"
        " SELECT event_id, endpoint_id, wallet_id, sequence + 90, 'PENDING' FROM deliveries WHERE id = 1",
    )
    await plant(harness, "UPDATE deliveries SET sequence = 80 WHERE id = 2")
    found = await kinds(harness, JobName.DELIVERIES)
    assert [(kind, repaired) for kind, _, repaired in found] == [
        (FindingKind.OTHER_LINE, True),
        (FindingKind.OTHER_LINE, False),
    ]


async def test_a_delivery_in_another_place_that_is_being_attempted_stays_there(outbox: Outbox) -> None:
    harness = Harness(outbox.engine)
    async with outbox.engine.begin() as connection:
        (head, *_) = await deliveries.claim(connection, {"shop": 1}, {}, lease=timedelta(minutes=1))
    await plant(harness, "UPDATE deliveries SET sequence = 9 WHERE id = :id", id=head.id)
    assert (FindingKind.OTHER_LINE, str(head.id), False) in await kinds(harness, JobName.DELIVERIES)
    [row] = await outbox.execute("SELECT leased_until FROM deliveries WHERE id = :id", id=head.id)
    assert row.leased_until == head.leased_until
    await plant(harness, "UPDATE deliveries SET leased_until = now() WHERE id = :id", id=head.id)
    assert (FindingKind.OTHER_LINE, str(head.id), True) in await kinds(harness, JobName.DELIVERIES)


async def test_lines_are_of_one_wallet_to_one_endpoint(outbox: Outbox) -> None:
    """One line is ahead of that of another wallet, and of that of the same wallet to another endpoint."""
    await outbox.add_endpoint("gym")
    ((wallet,),) = await outbox.execute("SELECT DISTINCT CAST(wallet_id AS text) FROM deliveries WHERE sequence = 3")
    await outbox.tell("gym", wallet, 2)
    await outbox.execute("DELETE FROM deliveries WHERE id = 1")
    await outbox.execute("UPDATE deliveries SET due_at = now() WHERE id = 2")
    assert await kinds(Harness(outbox.engine), JobName.DELIVERIES) == []


async def test_a_delivery_that_speaks_of_no_wallet_has_a_line_of_its_own(engine: AsyncEngine) -> None:
    outbox, harness = Outbox(engine), Harness(engine)
    await outbox.add_endpoint("shop")
    async with engine.begin() as connection:
        [shop] = await endpoints.read(connection)
        await send_test(connection, shop)
    before = await outbox.live()
    assert await kinds(harness, JobName.DELIVERIES) == []
    await plant(harness, "UPDATE deliveries SET sequence = 5")
    [(finding, is_repaired)] = (await run(harness, JobName.DELIVERIES)).findings
    assert (finding.kind, is_repaired) == (FindingKind.OTHER_LINE, True)
    line = before[0].wallet_id
    assert (finding.expected, finding.found) == (f"{line} 0", f"{line} 5 PENDING")
    assert await outbox.live() == before


async def test_what_is_overdue_is_reported(outbox: Outbox) -> None:
    harness = Harness(outbox.engine)
    await plant(harness, "UPDATE deliveries SET due_at = now() - interval '2 hours' WHERE id = 1")
    assert [(kind, repaired) for kind, _, repaired in await kinds(harness, JobName.DELIVERIES)] == [
        (FindingKind.OVERDUE, False)
    ]
    async with outbox.engine.begin() as connection:
        await deliveries.claim(connection, {"shop": 1}, {}, lease=timedelta(minutes=1))
    assert await kinds(harness, JobName.DELIVERIES) == []


@pytest.mark.parametrize(
    ("planted", "is_overdue"),
    [
        ("UPDATE deliveries SET due_at = now() - interval '59 minutes' WHERE id = 1", False),
        ("UPDATE deliveries SET due_at = now() - interval '61 minutes' WHERE id = 1", True),
        ("UPDATE endpoints SET held_until = now() + interval '1 minute'", False),
        ("UPDATE endpoints SET held_until = now() - interval '1 minute'", True),
        ("UPDATE endpoints SET circuit = 'OPEN'", False),
        ("UPDATE endpoints SET max_per_second = 1", False),
        ("UPDATE deliveries SET leased_until = now() + interval '1 minute' WHERE id = 1", False),
        ("UPDATE deliveries SET leased_until = now() - interval '1 minute' WHERE id = 1", True),
    ],
)
async def test_overdue_is_only_what_nothing_keeps_from_being_sent(
    outbox: Outbox, planted: str, *, is_overdue: bool
) -> None:
    harness = Harness(outbox.engine)
    await plant(harness, "UPDATE deliveries SET due_at = now() - interval '2 hours' WHERE id = 1")
    await plant(harness, planted)
    expected = [(FindingKind.OVERDUE, "1", False)] if is_overdue else []
    assert await kinds(harness, JobName.DELIVERIES) == expected


async def test_a_parked_delivery_is_not_overdue_and_a_lease_of_hours_is_not_too_long(outbox: Outbox) -> None:
    harness = Harness(outbox.engine)
    await plant(
        harness, "UPDATE deliveries SET due_at = now(), leased_until = now() + interval '23 hours' WHERE id = 1"
    )
    assert await kinds(harness, JobName.DELIVERIES) == []
    await plant(harness, "UPDATE endpoints SET status = 'DISABLED'")
    await plant(
        harness,
        "UPDATE deliveries SET status = 'PARKED', leased_until = NULL, due_at = due_at - interval '2 hours'",
    )
    assert await kinds(harness, JobName.DELIVERIES) == []


# --- runs ---------------------------------------------------------------------------------------------------------


async def test_a_dry_run_writes_findings_down_and_changes_nothing(harness: Harness) -> None:
    await plant(harness, "DELETE FROM lineage")
    before = await state(harness)
    report = await run(harness, JobName.LINEAGE, repairs=False)
    assert await state(harness) == before
    assert [repaired for _, repaired in report.findings] == [False]


async def test_a_wallet_is_resolved_although_credentials_that_facts_lead_to_have_no_row(harness: Harness) -> None:
    """Upkeep forgets what is known of a credential, and the fact that leads to it is kept for longer."""
    await plant(harness, "UPDATE payment_method_credentials SET key = 'vau:hidden' WHERE key = 'vau:C'")
    await harness.report(replaced("C", "E", on=2, id="2"))
    await plant(harness, "UPDATE payment_method_credentials SET key = 'vau:C' WHERE key = 'vau:hidden'")
    await plant(harness, "DELETE FROM credentials")
    assert await kinds(harness, JobName.WALLETS) == [(FindingKind.UNRESOLVED_WALLET, "w-e2", True)]
    assert await kinds(harness, JobName.WALLETS) == []


async def test_two_runs_of_a_job_do_not_work_at_once(harness: Harness) -> None:
    async with harness.engine.begin() as connection:
        await runs.begin(connection, JobName.LINKS, REPAIR, lease=timedelta(minutes=1))
    with pytest.raises(AlreadyRunning):
        await run(harness, JobName.LINKS)
    await run(harness, JobName.LINEAGE)


async def test_a_run_is_held_from_its_beginning_from_its_continuation_and_from_each_page(harness: Harness) -> None:
    minute = timedelta(minutes=1)

    async def begin() -> Run:
        async with harness.engine.begin() as connection:
            return await runs.begin(connection, JobName.LINKS, REPAIR, lease=minute)

    async def advance() -> None:
        async with harness.engine.begin() as connection:
            await runs.advance(connection, begun, after="a", examined=1, lease=minute)

    begun = await begin()
    for step in (advance, begin):
        await harness.rows("UPDATE reconciliation_runs SET held_until = now() - interval '1 second'")
        await step()
        with pytest.raises(AlreadyRunning):
            await begin()


async def test_a_process_that_lost_its_run_moves_it_on_no_more(harness: Harness) -> None:
    minute = timedelta(minutes=1)
    async with harness.engine.begin() as connection:
        late = await runs.begin(connection, JobName.LINKS, REPAIR, lease=minute)
        await runs.advance(connection, late, after="a", examined=1, lease=minute)
        with pytest.raises(AlreadyRunning):
            await runs.advance(connection, late, after="b", examined=1, lease=minute)
        last = replace(late, after="a")
        await runs.advance(connection, last, after="a", examined=1, lease=minute)
        await runs.finish(connection, last)
        with pytest.raises(AlreadyRunning):
            await runs.advance(connection, last, after="a", examined=1, lease=minute)
    assert await harness.rows("SELECT examined, status FROM reconciliation_runs") == [(2, "DONE")]


async def test_the_findings_of_a_run_stay_when_the_next_begins(harness: Harness) -> None:
    await plant(harness, "DELETE FROM lineage")
    report = await run(harness, JobName.LINEAGE)
    await run(harness, JobName.LINEAGE)
    assert [one async for one in jobs.findings(harness.engine, report.run.id)] == report.findings != []


async def test_the_size_of_each_page_is_told(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PAGE", 3)
    pages: list[int] = []
    sizes: list[int | None] = []
    progress = RunProgress(sizes.append, pages.append)
    await jobs.reconcile(harness.engine, JobName.LINEAGE, KEPT, REPAIR, progress=progress)
    assert sizes == [None]  # never analysed
    assert pages == [3, 1]


async def test_a_run_whose_process_died_is_continued(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies in the second page. Its findings of the first are kept, and none is found twice."""
    monkeypatch.setattr(jobs, "_PAGE", 1)
    await plant(harness, "DELETE FROM lineage")
    real = catalog.jobs(KEPT, REPAIR)[JobName.LINEAGE]
    looks = 0

    async def dies(connection: AsyncConnection, after: str, limit: int) -> Page:
        nonlocal looks
        looks += 1
        if after and looks > 2:
            raise asyncio.CancelledError
        return await real.examine(connection, after, limit)

    monkeypatch.setattr(jobs, "jobs", lambda *_: {JobName.LINEAGE: real._replace(examine=dies)})
    with pytest.raises(asyncio.CancelledError):
        await run(harness, JobName.LINEAGE)
    await harness.rows("UPDATE reconciliation_runs SET held_until = now()")
    monkeypatch.setattr(jobs, "jobs", lambda *_: {JobName.LINEAGE: real})
    report = await run(harness, JobName.LINEAGE)
    methods = await harness.rows("SELECT id FROM payment_methods")
    ((run_id, examined, status),) = await harness.rows("SELECT id, examined, status FROM reconciliation_runs")
    assert (examined, status) == (len(methods), "DONE")
    assert report.run.examined == len(methods)
    assert run_id == report.run.id
    assert [(finding.kind, repaired) for finding, repaired in report.findings] == [
        (FindingKind.SUCCESSOR_WITHOUT_LINEAGE, True)
    ]


async def interrupt(harness: Harness, monkeypatch: pytest.MonkeyPatch, *, repairs: bool, after_pages: int) -> None:
    """A run of `lineage`, a method a page, whose process dies after some pages. Its lease has passed."""
    real = catalog.jobs(KEPT, REPAIR)
    pages: set[str] = set()

    async def dies(connection: AsyncConnection, after: str, limit: int) -> Page:
        pages.add(after)
        if len(pages) > after_pages:
            raise asyncio.CancelledError
        return await real[JobName.LINEAGE].examine(connection, after, limit)

    monkeypatch.setattr(jobs, "_PAGE", 1)
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "jobs", lambda *_: {JobName.LINEAGE: real[JobName.LINEAGE]._replace(examine=dies)})
        with pytest.raises(asyncio.CancelledError):
            await run(harness, JobName.LINEAGE, repairs=repairs)
    await harness.rows("UPDATE reconciliation_runs SET held_until = now()")


@pytest.mark.parametrize("after_pages", range(1, 5))
async def test_repairs_after_an_interrupted_dry_run_begin_with_the_first_subject(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, after_pages: int
) -> None:
    await plant(harness, "DELETE FROM lineage")
    await interrupt(harness, monkeypatch, repairs=False, after_pages=after_pages)
    report = await run(harness, JobName.LINEAGE)
    assert [(finding.kind, repaired) for finding, repaired in report.findings] == [
        (FindingKind.SUCCESSOR_WITHOUT_LINEAGE, True)
    ]
    assert report.run.examined == 4
    counts = await harness.rows("SELECT (SELECT count(*) FROM lineage), (SELECT count(*) FROM reconciliation_findings)")
    assert counts == [(1, 1)]


@pytest.mark.parametrize("after_pages", range(1, 5))
async def test_the_report_of_a_continued_run_has_what_was_found_before(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, after_pages: int
) -> None:
    """What a person must decide is not forgotten with the process that found it."""
    await plant(harness, "UPDATE payment_methods SET status = 'ACTIVE', replaced_by = NULL")
    await interrupt(harness, monkeypatch, repairs=True, after_pages=after_pages)
    report = await run(harness, JobName.LINEAGE)
    assert [(finding.kind, repaired) for finding, repaired in report.findings] == [
        (FindingKind.LINEAGE_WITHOUT_SUCCESSOR, False)
    ]
    assert report.run.examined == 4


async def test_a_run_that_was_begun_by_a_clock_ahead_is_continued(harness: Harness) -> None:
    async with harness.engine.begin() as connection:
        await runs.begin(connection, JobName.LINKS, REPAIR, lease=timedelta(days=400))
    assert (await run(harness, JobName.LINKS)).run.examined == 2


async def test_a_page_that_was_in_the_way_of_another_worker_is_done_again(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = catalog.jobs(KEPT, REPAIR)[JobName.LINKS]
    looks = 0

    async def collides(connection: AsyncConnection, after: str, limit: int) -> Page:
        nonlocal looks
        looks += 1
        if looks == 1:
            await connection.execute(text("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"))
        return await real.examine(connection, after, limit)

    monkeypatch.setattr(jobs, "jobs", lambda *_: {JobName.LINKS: real._replace(examine=collides)})
    assert (await run(harness, JobName.LINKS)).run.examined == 2


async def test_a_wallet_that_a_batch_changes_while_it_is_examined_is_no_finding(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wallet is read before the batch, what is known of its credentials after it."""

    async def meanwhile(connection: AsyncConnection, *arguments: Any, **named: Any) -> Loaded:
        monkeypatch.setattr(revising, "within", within)
        await harness.report(replaced("C", "E", on=2, id="2"))
        return await within(connection, *arguments, **named)

    monkeypatch.setattr(revising, "within", meanwhile)
    assert await kinds(harness, JobName.WALLETS, repairs=False) == []
    assert await harness.outcome("2") == ("APPLIED", None)


async def test_what_others_change_during_a_repair_is_left_to_the_next_run(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wallet is not locked, and to lock it after others is to wait for a batch in a circle."""
    real = catalog.jobs(KEPT, REPAIR)[JobName.LINKS]
    repaired: list[Collection[Finding]] = []
    move = "UPDATE payment_links SET wallet_id = :wallet WHERE id = :link"
    await plant(harness, move, wallet=harness.id_of("w-e2"), link=harness.id_of("l-m-A"))

    async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
        if not repaired:
            await plant(harness, move, wallet=harness.id_of("w-e1"), link=harness.id_of("l-m-C"))
        repaired.append(findings)
        return await real.repair(connection, findings)

    monkeypatch.setattr(jobs, "jobs", lambda *_: {JobName.LINKS: real._replace(repair=repair)})
    assert await kinds(harness, JobName.LINKS) == [(FindingKind.LINK_IN_OTHER_WALLET, "l-m-A", True)]
    assert await kinds(harness, JobName.LINKS) == [(FindingKind.LINK_IN_OTHER_WALLET, "l-m-C", True)]


async def test_the_wallets_of_deliveries_are_locked_before_anything_else(outbox: Outbox) -> None:
    """A batch locks a wallet, and then deliveries. A repair in another order waits for it in a circle.

    Behind the parked delivery is another difference: it is not the head of its line.
    """
    harness = Harness(outbox.engine)
    await plant(harness, "UPDATE deliveries SET status = 'PARKED', due_at = NULL WHERE id = 1")
    await plant(harness, "UPDATE deliveries SET due_at = now() WHERE id = 2")
    async with outbox.engine.connect() as batch:
        await batch.execute(text("SELECT FROM wallets FOR NO KEY UPDATE"))
        repairing = asyncio.create_task(run(harness, JobName.DELIVERIES))
        await until(lambda: _is_waited_for(outbox))
        await batch.execute(text("SELECT FROM deliveries FOR KEY SHARE NOWAIT"))
        await batch.commit()
    assert {finding.kind for finding, repaired in (await repairing).findings if repaired} >= {
        FindingKind.PARKED_AT_ENABLED_ENDPOINT,
        FindingKind.HEAD_NOT_FIRST,
    }


async def _is_waited_for(outbox: Outbox) -> bool:
    """Whether a lock is waited for in this database."""
    rows = await outbox.execute(
        "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
    )
    return bool(rows)
