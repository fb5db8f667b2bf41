"""What a vendor alone reported in a span of time is taken back: knowledge, wallets, events, and nothing of others."""

import asyncio
import random
import signal
import sys
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from domain.update import Update, UpdateType
from domain.wallet import Expiry
from store import retractions
from store.retractions import ReportSpan
from tests.consumers.harness import RETENTION, Harness
from tests.domain.build import link, live, method, paid_with, replaced, reported, wallet
from tests.domain.test_undo import look
from wallets import retracting
from wallets.loading import Limits
from wallets.retracting import Retracted, retract

POINTS = ("taken back", "decided", "applied", "announced", "retracted")
HOUR = timedelta(hours=1)


def span(vendor: str = "vau", since: timedelta = -HOUR, until: timedelta = HOUR) -> ReportSpan:
    now = datetime.now(UTC)
    return ReportSpan(vendor, now + since, now + until)


async def taken_back(harness: Harness, of: ReportSpan | None = None, *, dry_run: bool = False) -> Retracted:
    return await retract(harness.engine, of or span(), RETENTION, dry_run=dry_run)


def counts(retracted: Retracted) -> tuple[int, int, int, int, int]:
    return (
        *(retracted.updates, len(retracted.facts), len(retracted.wallets)),
        *(retracted.methods, retracted.events),
    )


async def facts(harness: Harness) -> list[tuple[str, str, str]]:
    rows = await harness.rows("SELECT old_key, new_key, update_id FROM replacement_facts ORDER BY 1, 2")
    return [tuple(row) for row in rows]


async def test_a_wrong_replacement_is_undone_and_merchants_are_told(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A", default=True, nickname="mine"), links=[link("m-A")]))
    await harness.report(replaced("A", "B", on=1, last4="2222"))
    made = live(await harness.wallet())["B"]
    assert counts(await taken_back(harness)) == (1, 1, 1, 1, 4)
    now = await harness.wallet()
    fresh = live(now)["A"]
    assert (fresh.default, fresh.nickname, paid_with(now, "l-m-A")) == (True, "mine", fresh.id)
    assert {each.id: each.replaced_by for each in now.methods if not each.live} == {"m-A": made.id, made.id: fresh.id}
    assert await harness.told("pharmacy") == [
        ("REPLACED", made.id),
        ("DELETED", "m-A"),
        ("REPLACED", fresh.id),
        ("DELETED", made.id),
    ]
    body = (await harness.events("pharmacy"))[2]
    assert (body["reason"], [each["id"] for each in body["payload"]["paymentLinks"]]) == (
        "RETRACTED",
        [harness.id_of("l-m-A")],
    )
    assert await facts(harness) == []
    assert await harness.outcome("vau-1") == ("IGNORED", "RETRACTED")
    assert counts(await taken_back(harness)) == (0, 0, 0, 0, 0)
    ((count,),) = await harness.rows("SELECT count(*) FROM wallet_leads")
    assert count == 0


async def test_a_method_that_was_there_stays_and_links_go_back_by_an_update(harness: Harness) -> None:
    await harness.import_wallets(
        wallet(method("A", default=True), method("B"), links=[link("m-A"), link("m-B")]),
    )
    before = await harness.wallet()
    await harness.report(replaced("A", "B", on=1))
    await taken_back(harness)
    now = await harness.wallet()
    assert look(now) == look(before)
    assert live(now)["B"].id == "m-B"
    restored, updated = (await harness.events("pharmacy"))[-2:]
    assert (restored["name"], restored["reason"], restored["payload"]["previous"]) == (
        "PAYMENT_METHOD_UPDATED",
        "RETRACTED",
        {},
    )
    assert [each["id"] for each in restored["payload"]["paymentLinks"]] == [harness.id_of("l-m-A")]
    assert updated["payload"]["previous"] == {"default": True}


async def test_what_another_vendor_reported_as_well_stays(harness: Harness) -> None:
    await harness.import_wallets(wallet(method(":a")))
    await harness.report(replaced(":a", ":b", on=1), replaced(":a", ":b", on=2, vendor="mdes"))
    assert counts(await taken_back(harness)) == (1, 0, 0, 0, 0)
    assert await facts(harness) == [(":a", ":b", "mdes-2")]
    assert live(await harness.wallet()).keys() == {":b"}
    assert counts(await taken_back(harness, span("mdes"))) == (1, 1, 1, 1, 4)
    assert live(await harness.wallet()).keys() == {":a"}


async def test_what_the_vendor_reported_outside_of_the_span_stays(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=5))
    await harness.rows("UPDATE inbox SET received_at = received_at - interval '2 days'")
    await harness.report(replaced("A", "B", on=1, id="again"), replaced("B", "C", on=6, id="wrong"))
    assert live(await harness.wallet()).keys() == {"C"}
    assert counts(await taken_back(harness)) == (2, 1, 1, 1, 4)
    assert await facts(harness) == [("vau:A", "vau:B", "vau-5")]
    assert live(await harness.wallet()).keys() == {"B"}
    assert await harness.outcome("vau-5") == ("APPLIED", None)


async def test_a_fact_that_two_updates_of_the_span_report_is_taken_back_at_once(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(*(replaced("A", "B", on=on, id=f"u{on}") for on in (1, 2, 3)))
    would = await taken_back(harness, dry_run=True)
    assert len(would.facts) == 1
    assert await facts(harness) == [("vau:A", "vau:B", "u1")]
    assert counts(await taken_back(harness)) == (3, 1, 1, 1, 4)
    assert {tuple(outcome) for _, *outcome in await harness.outcomes()} == {("IGNORED", "RETRACTED")}


async def test_a_dry_run_counts_and_changes_nothing(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]), wallet(method("Q"), customer="e2"))
    await harness.report(replaced("A", "B", on=1), replaced("Q", "R", on=2), replaced("X", "Y", on=3))
    before = await harness.exported(), await facts(harness), await harness.outcomes()
    assert counts(await taken_back(harness, dry_run=True)) == (3, 3, 2, 2, 8)
    assert (await harness.exported(), await facts(harness), await harness.outcomes()) == before
    assert counts(await taken_back(harness)) == (3, 3, 2, 2, 8)


async def test_what_waits_for_its_wallet_never_applies(harness: Harness) -> None:
    await harness.report(replaced("A", "B", on=1))
    await taken_back(harness)
    assert await harness.outcome("vau-1") == ("IGNORED", "RETRACTED")
    assert await harness.rows("SELECT * FROM parked_updates") == []
    await harness.import_wallets(wallet(method("A")))
    assert live(await harness.wallet()).keys() == {"A"}


async def test_statuses_and_expiries_stay(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A"), method("Q")))
    await harness.report(
        reported(UpdateType.CLOSED, "Q", on=1),
        reported(UpdateType.EXPIRY_UPDATED, "A", on=2, expiry=Expiry(2031, 1), id="expiry"),
    )
    before = await harness.wallet()
    assert counts(await taken_back(harness)) == (0, 0, 0, 0, 0)
    assert await harness.wallet() == before


async def test_a_vendor_may_report_again_what_was_taken_back(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1))
    await taken_back(harness)
    await harness.report(replaced("A", "B", on=1, id="after all"))
    assert await harness.outcome("after all") == ("APPLIED", None)
    assert live(await harness.wallet()).keys() == {"B"}


async def test_a_shared_card_is_given_back_in_each_wallet(harness: Harness) -> None:
    wallets = [wallet(method("A", id=f"m-{n}"), customer=f"c{n}") for n in range(5)]
    await harness.import_wallets(*wallets)
    await harness.report(replaced("A", "B", on=1))
    assert counts(await taken_back(harness))[:4] == (1, 1, 5, 5)
    for n in range(5):
        assert live(await harness.wallet(f"c{n}")).keys() == {"A"}


async def test_rows_from_before_the_records_are_undone_by_the_ids_of_methods(harness: Harness) -> None:
    """The new method was made in the transaction of its replacement. The links of it are all that it took."""
    await harness.import_wallets(wallet(method("A", default=True), links=[link("m-A")]))
    await harness.report(replaced("A", "B", on=1))
    await harness.rows("UPDATE payment_method_credentials SET learnt = NULL")
    await harness.rows("UPDATE lineage SET links = NULL, was_default = NULL, was_subscription_default = NULL")
    await harness.rows("UPDATE replacement_facts SET reports_kept = false")
    retracted = await taken_back(harness)
    assert retracted.alone == 1
    now = await harness.wallet()
    fresh = live(now)["A"]
    assert (set(live(now)), fresh.default, paid_with(now, "l-m-A")) == ({"A"}, True, fresh.id)


async def test_a_credential_in_too_many_wallets_is_named_and_left(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.import_wallets(
        *(wallet(method("A", id=f"m-{n}"), customer=f"c{n}") for n in range(3)), wallet(method("Q"), customer="q")
    )
    await harness.report(replaced("A", "B", on=1), replaced("Q", "R", on=2))
    monkeypatch.setattr(retracting, "ORDINARY", Limits(of_a_credential=2))
    retracted = await taken_back(harness)
    assert [each.stamp.update_id for each in retracted.refused] == ["vau-1"]
    assert live(await harness.wallet("q")).keys() == {"Q"}
    assert live(await harness.wallet("c0")).keys() == {"B"}


@pytest.mark.parametrize("page", [1, 3, 200])
async def test_wallets_are_as_if_a_wrong_file_had_not_come(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Two vendors report about the same cards, in random order; then one's reports are taken back."""
    monkeypatch.setattr(retracting, "_PAGE", page)
    chance = random.Random(page)
    count = 20
    wallets = [
        wallet(method(f":{n}"), method(f":{n}x"), links=[link(f"m-:{n}")], customer=f"c{n}") for n in range(count)
    ]
    right = [replaced(f":{n}", f":{n}y", on=2, vendor="mdes", id=f"r{n}") for n in range(0, count, 2)]
    wrong = [
        replaced(
            f":{n}", f":{chance.choice((f'{n}x', f'{n}y', f'{(n + 1) % count}'))}", on=chance.randint(1, 4), id=f"w{n}"
        )
        for n in range(count)
    ]
    await harness.import_wallets(*wallets)
    await harness.report(*right)
    expected = {name: look(each) for name, each in (await harness.wallets()).items()}
    await harness.rows("TRUNCATE wallets, credentials, replacement_facts, inbox, events CASCADE")
    await harness.import_wallets(*wallets)
    mixed: list[Update] = [*right, *wrong]
    chance.shuffle(mixed)
    for start in range(0, len(mixed), 7):
        await harness.report(*mixed[start : start + 7])
    assert {name: look(each) for name, each in (await harness.wallets()).items()} != expected
    await taken_back(harness)
    assert {name: look(each) for name, each in (await harness.wallets()).items()} == expected
    assert {update_id[0] for _, _, update_id in await facts(harness)} == {"r"}


async def test_a_live_stream_goes_on_meanwhile(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retracting, "_PAGE", 2)
    count = 20
    await harness.import_wallets(*(wallet(method(f"mdes:{n}", f"A{n}"), customer=f"c{n}") for n in range(count)))
    await harness.report(*(replaced(f"A{n}", f"B{n}", on=1, id=f"w{n}") for n in range(count)))

    async def stream() -> None:
        for start in range(0, count, 5):
            await harness.report(
                *(replaced(f"mdes:{n}", f"mdes:{n}y", on=2, vendor="mdes", id=f"r{n}") for n in range(start, start + 5))
            )

    await asyncio.gather(stream(), taken_back(harness))
    await taken_back(harness)
    for n in range(count):
        assert {key for each in (await harness.wallet(f"c{n}")).live_methods for key in each.keys} == {f"mdes:{n}y"}


@pytest.mark.parametrize("point", POINTS)
async def test_a_retraction_may_be_killed_at_any_point(harness: Harness, database_url: str, point: str) -> None:
    await harness.import_wallets(
        wallet(method("A"), links=[link("m-A")]), wallet(method("Q"), customer="e2", links=[link("m-Q")])
    )
    await harness.report(replaced("A", "B", on=1), replaced("Q", "R", on=2))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.wallets.dying_retraction", database_url, "vau", point
    )
    assert await process.wait() == -signal.SIGKILL
    assert len(await facts(harness)) == (1 if point == "retracted" else 2)
    await taken_back(harness)
    assert await facts(harness) == []
    for customer, key in (("e1", "A"), ("e2", "Q")):
        assert live(await harness.wallet(customer)).keys() == {key}
        assert len(await harness.told("pharmacy", f"w-{customer}")) == 4


async def test_the_rows_of_a_span_are_found_by_when_they_were_received(harness: Harness) -> None:
    for n in range(10):
        await harness.report(replaced(f"A{n}", f"B{n}", on=1, id=f"u{n}"))
    ((first,),) = await harness.rows("SELECT min(id) FROM inbox")
    await harness.rows("UPDATE inbox SET received_at = now() - (9 - (id - :first)) * interval '1 hour'", first=first)
    await harness.rows("DELETE FROM inbox WHERE id IN (:first + 3, :first + 4)", first=first)
    async with harness.engine.begin() as connection:
        for hours, count in ((11, 8), (2.5, 3), (-1, 0)):
            of = ReportSpan("vau", datetime.now(UTC) - timedelta(hours=hours), datetime.now(UTC) + HOUR)
            low, last = await retractions.bounds(connection, of.since)
            assert last == first + 9
            page = await retractions.page(connection, of, after=low, last=last, limit=100)
            assert len(page) == count
            assert page == await retractions.page(connection, of, after=0, last=last, limit=100)
            assert count == 8 or low >= first + 9 - count - 1


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("days", list(permutations((1, 5, 7))))
async def test_what_others_reported_of_the_same_cards_holds_when_a_wrong_replacement_is_taken_back(
    harness: Harness, order: tuple[int, ...], days: tuple[int, ...]
) -> None:
    """Also where a method is replaced again at once that came back with the retraction."""
    await harness.import_wallets(wallet(method(":a", default=True), links=[link("m-:a")]))
    wrong, back, further = days
    updates = (
        replaced(":a", ":b", on=wrong, vendor="vau", id="wrong"),
        replaced(":b", ":a", on=back, vendor="mdes", id="back"),
        replaced(":a", ":c", on=further, vendor="mdes", id="further"),
    )
    for place in order:
        await harness.report(updates[place])
    await taken_back(harness)
    assert ":b" not in {key for row in await harness.rows("SELECT new_key FROM replacement_facts") for key in row}
    assert len(live(await harness.wallet()).keys()) == 1
    assert [current.default for current in live(await harness.wallet()).values()] == [True]
