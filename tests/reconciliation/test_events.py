"""The job events: what merchants lack is found and sent, and what they were never to be sent is not."""

import asyncio
import re
from collections.abc import Collection
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.reconciliation import Finding, FindingKind, JobName, Scope
from domain.update import UpdateType
from domain.wallet import Expiry
from reconciliation import catalog, jobs
from tests.consumers.harness import EVERYTHING, Harness, merging
from tests.consumers.paused_worker import waits
from tests.domain.build import link, method, removed, replaced, reported, wallet, who
from tests.reconciliation.drift import KEPT, plant, run, state

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REPLACED, DELETED = "PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED"


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """A wallet of two merchants in which A was replaced by B, whose expiry changed later. A link followed."""
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A"), links=[link("m-A", merchant="pharmacy")]))
    await subscribed_long_ago(harness)
    await harness.report(replaced("A", "B", on=1))
    await harness.report(reported(UpdateType.EXPIRY_UPDATED, "B", on=2, expiry=Expiry(2031, 1)))
    return harness


async def subscribed_long_ago(harness: Harness) -> None:
    await harness.rows("UPDATE endpoints SET subscribed_at = now() - interval '1 day'")


async def losses(harness: Harness, *, repairs: bool = True) -> list[tuple[FindingKind, str | None]]:
    """The kind of each finding and what was expected, with the names of payment methods; all of them repaired."""
    report = await run(harness, JobName.EVENTS, repairs=repairs)
    assert all(repaired is repairs for _, repaired in report.findings)
    return [(finding.kind, _named(harness, finding.expected)) for finding, _ in report.findings]


def _named(harness: Harness, expected: str | None) -> str | None:
    return expected and UUID.sub(lambda found: harness.name_of(found[0]), expected)


async def lose(harness: Harness, condition: str, **values: object) -> None:
    """Delete events and their deliveries."""
    lost = f"SELECT id FROM events WHERE {condition}"  # noqa: S608
    for table in ("deliveries", "delivery_history"):
        await plant(harness, f"DELETE FROM {table} WHERE event_id IN ({lost})", **values)  # noqa: S608
    await plant(harness, f"DELETE FROM events WHERE {condition}", **values)  # noqa: S608


async def current(harness: Harness, customer: str = "e1") -> str:
    """The id of the live method of a wallet that has one."""
    (live,) = (await harness.wallet(customer)).live_methods
    return live.id


async def sequences(harness: Harness, merchant: str, wallet: str = "w-e1") -> list[int]:
    return [event["sequence"] for event in await harness.events(merchant, wallet)]


async def last_events(harness: Harness, merchant: str, number: int) -> list[dict[str, Any]]:
    return (await harness.events(merchant))[-number:]


# --- changes without their events -------------------------------------------------------------------------------------


async def test_a_merchant_who_lacks_both_events_of_a_replacement_is_sent_them(harness: Harness) -> None:
    others = await harness.events("optician")
    await lose(harness, "merchant_id = 'pharmacy' AND sequence < 3")
    assert await losses(harness) == [
        (FindingKind.CHANGE_WITHOUT_EVENT, f"{REPLACED} of m-A to pharmacy"),
        (FindingKind.CHANGE_WITHOUT_EVENT, f"{DELETED} of m-A to pharmacy"),
        (FindingKind.SEQUENCE_GAP, "1 to 2 of pharmacy"),
    ]
    replacement, deletion = await last_events(harness, "pharmacy", 2)
    assert [replacement["sequence"], deletion["sequence"]] == [4, 5]
    assert (replacement["name"], deletion["name"]) == (REPLACED, DELETED)
    assert replacement["reason"] == deletion["reason"] == "REISSUED"
    assert replacement["payload"]["deletedPaymentMethodId"] == harness.id_of("m-A")
    assert replacement["payload"]["paymentMethod"]["id"] == await current(harness)
    assert [moved["id"] for moved in replacement["payload"]["paymentLinks"]] == [harness.id_of("l-m-A")]
    assert deletion["payload"]["replacedByPaymentMethodId"] == await current(harness)
    assert [delivery.sequence for delivery in await harness.deliveries() if delivery.endpoint_id == "pharmacy"] == [
        *(3, 4, 5)
    ]
    assert await harness.events("optician") == others
    assert await losses(harness) == []


@pytest.mark.parametrize(("sequence", "name"), [(1, REPLACED), (2, DELETED)])
async def test_one_event_that_is_lost_is_sent_alone(harness: Harness, sequence: int, name: str) -> None:
    await lose(harness, "merchant_id = 'optician' AND sequence = :sequence", sequence=sequence)
    assert await losses(harness) == [
        (FindingKind.CHANGE_WITHOUT_EVENT, f"{name} of m-A to optician"),
        (FindingKind.SEQUENCE_GAP, f"{sequence} of optician"),
    ]
    assert [event["name"] for event in await last_events(harness, "optician", 2)] == ["PAYMENT_METHOD_UPDATED", name]
    assert await losses(harness) == []


async def test_a_lost_event_is_sent_as_it_is_true_now(harness: Harness) -> None:
    """B was replaced since: to name it as the one to use would send the merchant back."""
    await harness.report(replaced("B", "C", on=3))
    await lose(harness, "merchant_id = 'pharmacy' AND sequence < 3")
    assert [kind for kind, _ in await losses(harness)].count(FindingKind.CHANGE_WITHOUT_EVENT) == 2
    replacement, deletion = await last_events(harness, "pharmacy", 2)
    assert replacement["payload"]["paymentMethod"]["id"] == await current(harness)
    assert replacement["payload"]["deletedPaymentMethodId"] == harness.id_of("m-A")
    assert deletion["payload"]["replacedByPaymentMethodId"] == await current(harness)
    assert await losses(harness) == []


async def test_of_a_replacement_by_what_is_removed_by_now_only_the_deletion_is_sent(harness: Harness) -> None:
    await plant(harness, "UPDATE payment_links SET status = 'CANCELLED'")
    await plant(harness, "UPDATE payment_methods SET status = 'DELETED', is_default = false WHERE live")
    await lose(harness, "merchant_id = 'pharmacy' AND sequence < 3")
    assert [kind for kind, _ in await losses(harness)] == [FindingKind.CHANGE_WITHOUT_EVENT, FindingKind.SEQUENCE_GAP]
    assert [event["name"] for event in await last_events(harness, "pharmacy", 1)] == [DELETED]
    assert await losses(harness) == []


async def test_two_methods_that_one_replaced_are_told_apart(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A"), method("B"), method("C"), merchants=("pharmacy",)))
    await harness.report(replaced("A", "C", on=1), replaced("B", "C", on=2))
    await lose(harness, "name = 'PAYMENT_METHOD_REPLACED' AND position(CAST(:id AS bytea) IN body) > 0",
               id=harness.id_of("m-B").encode())  # fmt: skip
    assert [expected for kind, expected in await losses(harness) if kind is FindingKind.CHANGE_WITHOUT_EVENT] == [
        f"{REPLACED} of m-B to pharmacy"
    ]


async def test_a_merchant_who_shares_the_wallet_since_later_lacks_nothing(harness: Harness) -> None:
    await harness.add_merchants("grocer")
    await harness.rows("INSERT INTO wallet_merchants (wallet_id, merchant_id) SELECT id, 'grocer' FROM wallets")
    assert await losses(harness) == []


async def test_imported_replacements_were_announced_to_nobody(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    tombstone = removed("A")._replace(replaced_by="m-B", deleted_reason="REISSUED")
    await harness.import_wallets(wallet(tombstone, method("B")), wallet(method("C"), customer="e2"))
    assert await losses(harness) == []
    await harness.report(replaced("B", "D", on=1))
    assert await losses(harness) == []


async def test_what_was_replaced_as_it_was_imported_was_announced(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    await harness.report(replaced("A", "B", on=1))
    await harness.import_wallets(wallet(method("A"), merchants=("pharmacy",)))
    await lose(harness, "true")
    assert [kind for kind, _ in await losses(harness)] == [
        *(FindingKind.CHANGE_WITHOUT_EVENT, FindingKind.CHANGE_WITHOUT_EVENT, FindingKind.SEQUENCE_GAP)
    ]


async def test_after_a_merge_nobody_lacks_what_was_announced_in_the_other_wallet(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    await harness.import_wallets(
        wallet(method("A"), method("S"), merchants=("pharmacy",)),
        wallet(method("B"), method("S", id="m-S2"), customer="e2", merchants=("optician",)),
    )
    await harness.report(replaced("A", "A2", on=1), replaced("B", "B2", on=2))
    await harness.report(merging(who("e1"), who("e2")))
    assert await losses(harness) == []
    await harness.report(replaced("A2", "A3", on=3), replaced("B2", "B3", on=4))
    assert await losses(harness) == []
    lost = "name = 'PAYMENT_METHOD_DELETED' AND payment_method_id = :id AND merchant_id = 'pharmacy'"
    await lose(harness, lost, id=harness.id_of("m-S"))
    assert [expected for kind, expected in await losses(harness) if kind is FindingKind.CHANGE_WITHOUT_EVENT] == [
        f"{DELETED} of m-S to pharmacy"
    ]
    assert await losses(harness) == []


async def test_a_change_whose_events_are_all_lost_is_no_change_of_the_wallet_that_it_was_merged_into(
    engine: AsyncEngine,
) -> None:
    """Nobody knows which of the merchants could see it; the gap in the numbers of the other wallet remains."""
    harness = Harness(engine)
    await harness.import_wallets(
        wallet(method("A"), merchants=("pharmacy",)), wallet(method("B"), customer="e2", merchants=("optician",))
    )
    await harness.report(replaced("A", "A2", on=1))
    await harness.report(merging(who("e1"), who("e2")))
    await lose(harness, "wallet_id = :id", id=harness.id_of("w-e1"))
    assert await losses(harness) == [(FindingKind.SEQUENCE_GAP, "1 to 2 of pharmacy")]


async def test_replacements_from_before_what_retention_removed_lack_nothing(harness: Harness) -> None:
    await lose(harness, "sequence < 3")
    await plant(harness, "INSERT INTO retention_horizons VALUES ('events', now())")
    assert await losses(harness) == []


# --- gaps -------------------------------------------------------------------------------------------------------------


async def test_where_it_is_not_known_what_was_lost_the_merchant_is_sent_what_is(harness: Harness) -> None:
    before = await harness.events("pharmacy")
    await lose(harness, "merchant_id = 'pharmacy' AND sequence = 3")
    assert await losses(harness) == [(FindingKind.SEQUENCE_GAP, "3 of pharmacy")]
    *kept, present = await harness.events("pharmacy")
    assert kept == before[:2]
    assert (present["name"], present["reason"], present["sequence"]) == ("PAYMENT_METHOD_UPDATED", "RECONCILED", 4)
    assert present["payload"]["paymentMethod"]["id"] == await current(harness)
    assert present["payload"]["paymentMethod"]["card"]["expiryYear"] == 2031
    assert present["payload"]["previous"] == {}
    assert await losses(harness) == []


async def test_a_gap_that_grows_is_found_again(harness: Harness) -> None:
    await harness.report(reported(UpdateType.EXPIRY_UPDATED, "B", on=3, expiry=Expiry(2032, 1)))
    await harness.report(reported(UpdateType.EXPIRY_UPDATED, "B", on=4, expiry=Expiry(2033, 1)))
    await lose(harness, "merchant_id = 'pharmacy' AND sequence = 3")
    assert await losses(harness) == [(FindingKind.SEQUENCE_GAP, "3 of pharmacy")]
    await lose(harness, "merchant_id = 'pharmacy' AND sequence = 4")
    assert await losses(harness) == [(FindingKind.SEQUENCE_GAP, "3 to 4 of pharmacy")]
    assert await losses(harness) == []


async def test_the_end_of_a_line_may_be_lost(harness: Harness) -> None:
    await plant(harness, "UPDATE wallet_merchants SET sequence = 5 WHERE merchant_id = 'optician'")
    assert await losses(harness) == [(FindingKind.SEQUENCE_GAP, "4 to 5 of optician")]
    assert await sequences(harness, "optician") == [1, 2, 3, 6]
    assert await losses(harness) == []


async def test_of_a_wallet_that_was_merged_the_other_one_is_announced(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    await harness.import_wallets(
        wallet(method("A"), merchants=("pharmacy",)), wallet(method("B"), customer="e2", merchants=("pharmacy",))
    )
    await harness.report(reported(UpdateType.SUSPENDED, "A", on=1))
    await harness.report(merging(who("e1"), who("e2")))
    told = len(await harness.events("pharmacy", "w-e2"))
    await lose(harness, "wallet_id = :id", id=harness.id_of("w-e1"))
    assert [kind for kind, _ in await losses(harness)] == [FindingKind.SEQUENCE_GAP]
    present = (await harness.events("pharmacy", "w-e2"))[told:]
    assert [(event["reason"], harness.name_of(event["payload"]["paymentMethod"]["id"])) for event in present] == [
        ("RECONCILED", id_) for id_ in sorted(("m-A", "m-B"), key=harness.id_of)
    ]
    assert await losses(harness) == []


async def test_the_first_numbers_are_no_gap_once_retention_removes_events(harness: Harness) -> None:
    await lose(harness, "sequence < 3")
    await plant(harness, "UPDATE lineage SET replaced_at = now() - interval '1 year'")
    await plant(harness, "INSERT INTO retention_horizons VALUES ('events', now() - interval '90 days')")
    assert await losses(harness) == []
    await plant(harness, "UPDATE wallet_merchants SET sequence = 4 WHERE merchant_id = 'optician'")
    assert await losses(harness) == [(FindingKind.SEQUENCE_GAP, "4 of optician")]


async def test_a_counter_that_is_behind_goes_on_after_the_last_event(harness: Harness) -> None:
    await plant(harness, "UPDATE wallet_merchants SET sequence = 1 WHERE merchant_id = 'optician'")
    report = await run(harness, JobName.EVENTS)
    assert report.findings == [
        (Finding(FindingKind.SEQUENCE_BEHIND, harness.id_of("w-e1"), "3 of optician", "1 of optician"), True)
    ]
    await harness.report(replaced("B", "C", on=3))
    assert await sequences(harness, "optician") == [1, 2, 3, 4, 5]
    assert await losses(harness) == []


# --- events without their deliveries ----------------------------------------------------------------------------------


async def test_an_event_without_a_delivery_goes_out_in_its_place_of_the_line(harness: Harness) -> None:
    before = [delivery.sequence for delivery in await harness.deliveries()]
    bodies = await harness.events("pharmacy")
    await plant(harness, "DELETE FROM deliveries WHERE endpoint_id = 'pharmacy' AND sequence = 1")
    ((event,),) = await harness.rows(
        "SELECT replace(CAST(id AS text), '-', '') FROM events WHERE merchant_id = 'pharmacy' AND sequence = 1"
    )
    assert await losses(harness) == [(FindingKind.EVENT_WITHOUT_DELIVERY, f"evt_{event} to pharmacy")]
    assert sorted(delivery.sequence for delivery in await harness.deliveries()) == sorted(before)
    assert await harness.events("pharmacy") == bodies
    heads = "SELECT sequence FROM deliveries WHERE endpoint_id = 'pharmacy' AND due_at IS NOT NULL"
    assert await harness.rows(heads) == [(1,)]
    assert await losses(harness) == []


async def finish(harness: Harness, status: str, *, days_ago: float = 0) -> None:
    """Make history of all live deliveries, of events that are as old."""
    for table in ("events", "deliveries"):
        await plant(harness, f"UPDATE {table} SET created_at = created_at - :days * interval '1 day'", days=days_ago)  # noqa: S608
    await plant(harness, "UPDATE endpoints SET subscribed_at = subscribed_at - :days * interval '1 day'", days=days_ago)
    await plant(
        harness,
        "INSERT INTO delivery_history"
        " (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)"
        " SELECT id, event_id, endpoint_id, wallet_id, sequence, :status, 1, created_at, created_at FROM deliveries",
        status=status,
    )
    await plant(harness, "DELETE FROM deliveries")


@pytest.mark.parametrize("status", ["DELIVERED", "DEAD", "CANCELLED"])
async def test_what_is_finished_is_not_sent_again(harness: Harness, status: str) -> None:
    await finish(harness, status)
    assert await losses(harness) == []
    await plant(harness, "UPDATE delivery_history SET finished_at = finished_at + interval '30 days'")
    assert await losses(harness) == []
    await plant(harness, "DELETE FROM delivery_history WHERE endpoint_id = 'optician' AND sequence = 2")
    assert [kind for kind, _ in await losses(harness)] == [FindingKind.EVENT_WITHOUT_DELIVERY]


@pytest.mark.parametrize(("days_ago", "is_lost"), [(178, True), (180, False)])
async def test_an_event_older_than_the_history_lacks_nothing(
    harness: Harness, days_ago: float, *, is_lost: bool
) -> None:
    await finish(harness, "DELIVERED", days_ago=days_ago)
    await plant(harness, "DELETE FROM delivery_history")
    assert bool(await losses(harness)) is is_lost


async def test_a_setting_that_is_longer_than_that_of_upkeep_sends_nothing_again(harness: Harness) -> None:
    """Another process kept the history for 30 days. What it removed is not missing."""
    await finish(harness, "DELIVERED", days_ago=60)
    await plant(harness, "DELETE FROM delivery_history")
    await plant(harness, "INSERT INTO retention_horizons VALUES ('delivery_history', now() - interval '30 days')")
    assert await losses(harness) == []


@pytest.mark.parametrize(
    ("change", "is_lost"),
    [
        ("UPDATE endpoints SET url = 'http://127.0.0.1:10/'", True),
        ("UPDATE endpoints SET status = 'DISABLED'", True),
        ("UPDATE endpoints SET event_types = '{PAYMENT_METHOD_REPLACED}'", True),
        ("UPDATE endpoints SET event_types = '{PAYMENT_METHOD_UPDATED}'", False),
        ("UPDATE endpoints SET event_types = event_types || '{ENDPOINT_DISABLED}'", False),
        ("UPDATE endpoints SET subscribed_at = now()", False),
        ("UPDATE endpoints SET removed_at = now(), status = 'DISABLED', sealed_secrets = '{}'", False),
    ],
)
async def test_an_endpoint_lacks_only_what_it_was_subscribed_to(
    harness: Harness, change: str, *, is_lost: bool
) -> None:
    await plant(harness, "DELETE FROM deliveries WHERE endpoint_id = 'pharmacy' AND sequence = 1")
    await harness.rows(f"{change} WHERE id = 'pharmacy'")
    assert bool(await losses(harness)) is is_lost
    assert await losses(harness) == []


async def test_an_endpoint_that_is_added_later_lacks_nothing(harness: Harness) -> None:
    await harness.add_merchants("pharmacy", endpoints={"pharmacy/second": EVERYTHING})
    assert await losses(harness) == []
    await harness.add_merchants("pharmacy", endpoints={"pharmacy": [*EVERYTHING, "ENDPOINT_DISABLED"]})
    await plant(harness, "DELETE FROM deliveries")
    assert {expected and expected.split()[-1] for _, expected in await losses(harness)} == {"optician"}


async def test_a_place_that_another_delivery_has_is_left_to_the_job_of_deliveries(harness: Harness) -> None:
    await plant(harness, "DELETE FROM deliveries WHERE endpoint_id = 'pharmacy' AND sequence = 2")
    await plant(harness, "UPDATE deliveries SET sequence = 2 WHERE endpoint_id = 'pharmacy' AND sequence = 3")
    assert [kind for kind, _ in await losses(harness)] == [FindingKind.EVENT_WITHOUT_DELIVERY]


# --- runs -------------------------------------------------------------------------------------------------------------


async def test_a_dry_run_of_everything_that_is_lost_changes_nothing(harness: Harness) -> None:
    await lose(harness, "merchant_id = 'pharmacy' AND sequence < 3")
    await plant(harness, "DELETE FROM deliveries WHERE endpoint_id = 'optician'")
    await plant(harness, "UPDATE wallet_merchants SET sequence = 1 WHERE merchant_id = 'optician'")
    before = await state(harness)
    assert len(await losses(harness, repairs=False)) == 7
    assert await state(harness) == before
    assert len(await losses(harness)) == 7
    assert await losses(harness) == []


@pytest.mark.parametrize("step", ["write_events", "events.note", "replays.send_again", "the commit"])
async def test_a_process_that_dies_between_two_steps_has_sent_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await lose(harness, "merchant_id = 'pharmacy' AND sequence < 3")
    await plant(harness, "DELETE FROM deliveries WHERE endpoint_id = 'optician' AND sequence = 2")
    before = await state(harness)
    real = catalog.jobs(KEPT, Scope(repairs=True))[JobName.EVENTS]

    async def dies(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
        await real.repair(connection, findings)
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        if step == "the commit":
            patched.setattr(jobs, "jobs", lambda *_: {JobName.EVENTS: real._replace(repair=repair)})
        else:
            patched.setattr(f"wallets.retelling.{step}", dies)
        with pytest.raises(asyncio.CancelledError):
            await run(harness, JobName.EVENTS)
    assert await state(harness) == before
    await harness.rows("UPDATE reconciliation_runs SET held_until = now()")
    assert len(await losses(harness)) == 4
    assert await sequences(harness, "pharmacy") == [3, 4, 5]
    assert await losses(harness) == []


async def test_two_runs_that_find_the_same_loss_send_it_once(harness: Harness) -> None:
    """The second one waits for the wallet, and looks again once it has it."""
    await lose(harness, "merchant_id = 'pharmacy' AND sequence < 3")
    real = catalog.jobs(KEPT, Scope(repairs=True))[JobName.EVENTS]
    async with harness.engine.begin() as connection:
        page = await real.examine(connection, "", 1000)

    async def repair() -> None:
        async with harness.engine.begin() as connection:
            await real.repair(connection, page.findings)

    async with harness.engine.connect() as first:
        await real.repair(first, page.findings)
        second = asyncio.create_task(repair())
        await waits(harness.engine, second)
        assert not second.done()
        await first.commit()
    await second
    assert await sequences(harness, "pharmacy") == [3, 4, 5]


async def test_beside_a_stream_of_updates_only_the_planted_losses_are_found(engine: AsyncEngine) -> None:
    harness = Harness(engine)
    customers = [f"c{number}" for number in range(12)]
    await harness.import_wallets(
        *(wallet(method(f"{customer}.0"), customer=customer, links=[link(f"m-{customer}.0")]) for customer in customers)
    )
    await subscribed_long_ago(harness)
    for customer in customers:
        await harness.report(replaced(f"{customer}.0", f"{customer}.1", on=1, id=f"{customer}-1"))
    await lose(harness, "merchant_id = 'pharmacy' AND sequence = 2 AND wallet_id = :id", id=harness.id_of("w-c3"))
    streaming = True

    async def stream() -> None:
        for round_ in range(1, 15):
            for customer in customers:
                old, new = f"{customer}.{round_}", f"{customer}.{round_ + 1}"
                await harness.report(replaced(old, new, on=round_ + 1, id=f"{customer}-{round_ + 1}"))
        nonlocal streaming
        streaming = False

    reporting = asyncio.create_task(stream())
    found: list[tuple[FindingKind, str | None]] = []
    while streaming:
        found += await losses(harness)
        await asyncio.sleep(0)
    await reporting
    assert [kind for kind, _ in found] == [FindingKind.CHANGE_WITHOUT_EVENT, FindingKind.SEQUENCE_GAP]
    assert await losses(harness) == []
    told = await harness.events("pharmacy", "w-c3")
    assert [event["name"] for event in told].count(DELETED) == 15
    assert len({event["sequence"] for event in told}) == len(told) == 30
