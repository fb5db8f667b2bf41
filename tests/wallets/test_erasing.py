"""A person is erased: no table has anything of them, ids stay, merchants are told, and a crash anywhere is harmless."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.update import Update, UpdateType
from domain.wallet import Customer, Details, Expiry, Wallet
from store import erasures
from store.engine import connect
from tests.consumers.harness import RETENTION, Harness, merging, written
from tests.domain.build import link, method, replaced, reported, wallet, who
from wallets.erasing import AlreadyErased, Erased, ErasurePoint, NoCustomer, Order, SeveralCustomers, erase_person

CLOSED = UpdateType.CLOSED
# Each stands in one place of the program's data at least, and in no test data but the person's.
CANARIES = (
    *("ent-canary", "hsid-canary", "pat-canary", "mail@canary.example", "1987-03-14"),
    *("Canary Name", "Canary Nick", "ZC4N4", "QX7Z", "CANARYBRAND", "par-canary", "sub-canary"),
    *("tokCanaryA", "tokCanaryB", "fpCanary", "Canary Renamed", "CanaryBody"),
)
IDENTITIES = (("enterpriseId", "ent-canary"), ("hsid", "hsid-canary"), ("metadata.patientId", "pat-canary"))


def canary() -> Wallet:
    details = Details("QX7Z", "CANARYBRAND", Expiry(2027, 3), "Canary Name", "ZC4N4", extra={"note": "Canary Name"})
    card = method(
        "tokCanaryA", ":fpCanary", details=details, nickname="Canary Nick", par="par-canary", default=True, id="m-A"
    )
    metadata = {"patientId": "pat-canary", "mail": "mail@canary.example"}
    customer = Customer(frozenset(IDENTITIES), date(1987, 3, 14), metadata)
    subscription = link("m-A", id="l-1")._replace(reference="sub-canary")
    return wallet(card, method("tokCanaryZ", id="m-Z"), links=[subscription])._replace(customer=customer)


def named(update: Update) -> dict[str, Any]:
    """The update, naming the person as its customer."""
    return {**written(update), "customer": {"enterpriseId": "ent-canary"}}


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)


@pytest.fixture
async def lived(harness: Harness) -> Harness:
    """The person's wallet after some years, and another customer who shares a card with them."""
    await harness.import_wallets(
        canary(),
        wallet(method("other"), method("tokCanaryZ", id="m-Y"), customer="e2", merchants=("pharmacy",)),
    )
    await harness.report(
        replaced(("tokCanaryA", ":fpCanary"), "tokCanaryB", on=1, last4="QX7Z", brand="CANARYBRAND"),
        named(reported(CLOSED, "tokCanaryB", on=2)),
        named(replaced("tokCanaryA", "tokCanaryB", on=3, id="again")),
        named(reported(CLOSED, "other", on=4)),  # of another customer: quarantined
        merging(IDENTITIES[:1], who("e9")),  # parked: there is no e9
        b'{"token": "tokCanaryA", "name": "CanaryBody"',
    )
    await harness.rows(
        "INSERT INTO fetches (feed, digest, event, topic, partition, kafka_offset)"
        " VALUES ('adyen', 'x', convert_to('{\"token\": \"tokCanaryB\"}', 'UTF8'), 't', 0, 0)"
    )
    await harness.rows(
        "INSERT INTO held_updates (inbox_id, vendor, topic, incarnation, partition, kafka_offset, value, headers)"
        " SELECT id, 'vau', 't', 0, 0, 0, convert_to('{\"token\": \"tokCanaryA\"}', 'UTF8'), '[]'"
        " FROM inbox WHERE update_id = 'again'"
    )
    await harness.rows(
        "INSERT INTO attempt_evidence (delivery_id, number, attempted_at, header_names, body)"
        " SELECT id, 1, now(), '{date}', 'unknown customer mail@canary.example' FROM deliveries LIMIT 1"
    )
    await harness.rows(
        "WITH gone AS (DELETE FROM deliveries WHERE id = (SELECT min(id) FROM deliveries) RETURNING *)"
        " INSERT INTO delivery_history"
        " (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)"
        " SELECT id, event_id, endpoint_id, wallet_id, sequence, 'DEAD', 1, created_at, now() FROM gone"
    )
    return harness


def order(*identities: tuple[str, str], wallet_ids: Sequence[str] = (), reason: str = "asked to") -> Order:
    return Order(identities or IDENTITIES[:1] if not wallet_ids else (), wallet_ids, "ops@host", reason)


async def erase(harness: Harness, **more: Any) -> Erased:
    return await erase_person(harness.engine, order(), RETENTION, **more)


async def dump(harness: Harness) -> str:
    """Every value of every table."""
    tables = await harness.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
    )
    parts = []
    for (table,) in tables:
        rows = await harness.rows(f"SELECT CAST(row.* AS text) FROM {table} AS row")  # noqa: S608 - ours
        parts += [f"{table} {row[0]}" for row in rows]
        if column := {"events": "body", "dead_letters": "body", "fetches": "event", "held_updates": "value"}.get(table):
            rows = await harness.rows(f"SELECT convert_from({column}, 'UTF8') FROM {table}")  # noqa: S608 - ours
            parts += [f"{table}.{column} {row[0]}" for row in rows]
    return "\n".join(parts)


def traces(dumped: str) -> set[str]:
    return {value for value in CANARIES if value in dumped}


# --- what is left -----------------------------------------------------------------------------------------------------


async def test_no_table_has_anything_of_the_person_afterwards(lived: Harness) -> None:
    before = await dump(lived)
    assert traces(before) == set(CANARIES) - {"Canary Renamed"}
    erased = await erase(lived)
    after = await dump(lived)
    assert [line for line in after.splitlines() if traces(line)] == []
    assert (erased.payment_methods, erased.deleted, erased.payment_links) == (3, 2, 1)
    assert (erased.dead_letters, erased.thin_events, erased.held_updates) == (1, 1, 1)
    assert erased.events > 0


async def test_ids_states_and_what_replaced_what_stay(lived: Harness) -> None:
    before = (await lived.wallets("w-e1"))["w-e1"]
    await erase(lived)
    after = (await lived.wallets("w-e1"))["w-e1"]
    assert after.customer == Customer(frozenset())
    assert [(one.id, one.replaced_by) for one in after.methods] == [(one.id, one.replaced_by) for one in before.methods]
    assert {one.status.value for one in after.methods} == {"DELETED"}
    reasons = {one.id: one.deleted_reason for one in after.methods}
    assert reasons["m-A"] == "REISSUED"
    assert {reason for id_, reason in reasons.items() if id_ != "m-A"} == {"ERASED"}
    assert [(one.id, one.status.value, one.reference) for one in after.links] == [("l-1", "CANCELLED", "")]
    assert len(await lived.rows("SELECT old_id FROM lineage")) == 1
    assert len(await lived.rows("SELECT id FROM delivery_history")) == 1


async def test_another_customer_with_the_same_card_keeps_it_and_what_is_known_of_it(lived: Harness) -> None:
    await lived.report(reported(CLOSED, "tokCanaryZ", on=5))
    other = await lived.wallet("e2")
    await erase(lived)
    assert await lived.wallet("e2") == other
    await lived.report(reported(UpdateType.RESUMED, "tokCanaryZ", on=4, id="late"))  # what is known is newer
    assert await lived.outcome("late") == ("SUPERSEDED", "NEWER_KNOWN")
    assert await lived.wallet("e2") == other


async def test_merchants_are_told_of_each_live_method_in_order_and_nothing_of_the_person(lived: Harness) -> None:
    before = await lived.events("pharmacy")
    await erase(lived)
    events = await lived.events("pharmacy")
    assert [event["sequence"] for event in events] == list(range(1, len(before) + 3))
    heads = ("id", "name", "createdAt", "version", "walletId", "sequence", "reason")
    for was, now in zip(before, events, strict=False):
        assert [was[key] for key in heads] == [now[key] for key in heads]
        assert was["payload"]["paymentMethod"]["id"] == now["payload"]["paymentMethod"]["id"]
    for event in events[len(before) :]:
        assert (event["name"], event["reason"]) == ("PAYMENT_METHOD_DELETED", "ERASED")
        assert event["payload"]["customer"] == {
            "enterpriseId": None, "hsid": None, "dateOfBirth": None, "metadata": {},
        }  # fmt: skip
        assert event["payload"]["replacedByPaymentMethodId"] is None
        assert event["payload"]["paymentMethod"]["paymentMethodDetails"]["status"] == "DELETED"
    # each goes out behind what is on its way already
    going = [row for row in await lived.deliveries() if row.endpoint_id == "pharmacy"]
    assert [row.sequence for row in going][-2:] == [len(events) - 1, len(events)]
    assert {row.status for row in going} == {"PENDING"}


async def test_deliveries_under_way_go_on_with_what_is_left_of_the_body(lived: Harness) -> None:
    """An attempt that has begun holds the former body; a next one is made with the new."""
    await lived.rows(
        "UPDATE deliveries SET attempt = 3, tries = 2, leased_until = now() + interval '1 minute'"
        " WHERE due_at IS NOT NULL"
    )
    state = "SELECT id, event_id, endpoint_id, status, due_at, leased_until, attempt FROM deliveries ORDER BY id"
    before = await lived.rows(state)
    assert any(row.leased_until for row in before)
    await erase(lived)
    after = await lived.rows(state)
    assert after[: len(before)] == before
    assert all(row.due_at is None for row in after[len(before) :])  # behind those
    bodies = await lived.rows("SELECT body FROM events JOIN deliveries ON event_id = events.id")
    assert all(traces(row.body.decode()) == set() for row in bodies)


async def test_later_reports_find_nobody(lived: Harness) -> None:
    await erase(lived)
    await lived.report(replaced("tokCanaryB", "tokCanaryC", on=9), named(reported(CLOSED, "tokCanaryB", on=10)))
    assert await lived.outcome("vau-9") == ("PARKED", None)
    assert len((await lived.wallets("w-e1"))["w-e1"].methods) == 3


async def test_what_waited_for_the_person_waits_no_more(lived: Harness) -> None:
    await erase(lived)
    assert await lived.outcome("vau-4") == ("IGNORED", "CUSTOMER_REMOVED")
    assert await lived.outcome("merge") == ("IGNORED", "CUSTOMER_REMOVED")
    assert await lived.rows("SELECT key FROM parked_updates") == []


# --- the audit --------------------------------------------------------------------------------------------------------


async def test_the_audit_says_which_wallet_and_nothing_of_the_person_even_if_the_reason_does(lived: Harness) -> None:
    asked = order(reason="Canary of ent-canary asked, ticket 7")
    await erase_person(lived.engine, asked, RETENTION)
    [(actor, action, subject, reason, before, after)] = await lived.rows(
        "SELECT actor, action, subject, reason, before, after FROM audit"
    )
    assert (actor, action, subject, before) == ("ops@host", "wallet erased", lived.id_of("w-e1"), None)
    assert reason == "Canary of *** asked, ticket 7"
    assert (after["wallets"], after["paymentMethods"]) == ([lived.id_of("w-e1")], 3)
    assert traces(await dump(lived)) == set()


async def test_a_dry_run_counts_and_changes_nothing(lived: Harness) -> None:
    before = await dump(lived)
    counted = await erase(lived, dry_run=True)
    assert await dump(lived) == before
    erased = await erase(lived)
    assert counted == erased


# --- whom -------------------------------------------------------------------------------------------------------------


async def test_wallets_that_were_merged_go_together(harness: Harness) -> None:
    await harness.import_wallets(canary(), wallet(method("C"), customer="e5"))
    await harness.report(merging(who("e5"), IDENTITIES[:1]))
    erased = await erase_person(harness.engine, order(("enterpriseId", "e5")), RETENTION)
    assert set(erased.wallets) == {harness.id_of("w-e1"), harness.id_of("w-e5")}
    assert traces(await dump(harness)) == set()
    assert not await harness.rows("SELECT name FROM customer_identities")


async def test_an_identifier_of_several_wallets_is_refused_and_one_of_them_can_be_named(harness: Harness) -> None:
    twin = wallet(method("T"), customer="e7")._replace(customer=Customer(frozenset((("hsid", "hsid-canary"),))))
    await harness.import_wallets(canary(), twin)
    with pytest.raises(SeveralCustomers) as several:
        await erase_person(harness.engine, order(("hsid", "hsid-canary")), RETENTION)
    assert set(several.value.wallet_ids) == {harness.id_of("w-e1"), harness.id_of("w-e7")}
    await erase_person(harness.engine, order(wallet_ids=[harness.id_of("w-e1")]), RETENTION)
    assert (await harness.wallets("w-e7"))["w-e7"].live_methods


async def test_nobody_is_erased_twice(lived: Harness) -> None:
    await erase(lived)
    after = await dump(lived)
    with pytest.raises(NoCustomer):
        await erase(lived)
    with pytest.raises(AlreadyErased):
        await erase_person(lived.engine, order(wallet_ids=[lived.id_of("w-e1")]), RETENTION)
    assert await dump(lived) == after


# --- crashes and others at work ---------------------------------------------------------------------------------------


class Died(Exception):
    pass


@pytest.mark.parametrize("where", ["events", "letters", "thin events", "held updates", "inbox", "wallets"])
async def test_after_a_crash_anywhere_the_next_call_ends_what_was_begun(lived: Harness, where: ErasurePoint) -> None:
    def die(point: ErasurePoint) -> None:
        if point == where:
            raise Died

    with pytest.raises(Died):
        await erase(lived, on_point=die)
    assert "ent-canary" in await dump(lived)
    await erase(lived)
    assert traces(await dump(lived)) == set()
    assert len(await lived.rows("SELECT id FROM audit")) == 1
    deleted = [event for event in await lived.events("optician") if event["reason"] == "ERASED"]
    assert len(deleted) == 2


@pytest.mark.parametrize("where", ["events", "letters", "inbox"])
async def test_what_is_reported_meanwhile_is_erased_as_well(
    lived: Harness, database_url: str, where: ErasurePoint
) -> None:
    """The person's wallet learns a new credential while its erasure is under way."""

    async def report() -> None:
        engine = connect(database_url)
        await Harness(engine, "more").report(replaced("tokCanaryB", "tokCanaryN", on=7, last4="QX7Z"))
        await engine.dispose()

    def at(point: ErasurePoint) -> None:
        if point == where:  # to its commit, before the erasure goes on
            with ThreadPoolExecutor() as other:
                other.submit(asyncio.run, report()).result()

    await erase(lived, on_point=at)
    assert await lived.outcome("vau-7") == ("APPLIED", None)
    dumped = await dump(lived)
    assert (traces(dumped), "tokCanaryN" in dumped) == (set(), False)
    wallet_ = (await lived.wallets("w-e1"))["w-e1"]
    assert (len(wallet_.methods), wallet_.live_methods) == (4, ())


async def test_many_events_are_redacted_page_by_page(lived: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "PAGE", 2)
    await erase(lived)
    assert traces(await dump(lived)) == set()
    bodies = [json.loads(row.body) for row in await lived.rows("SELECT body FROM events")]
    assert len(bodies) > 4
