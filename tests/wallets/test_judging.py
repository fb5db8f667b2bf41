"""A person's judgement of an update that waits: what is written, beside a live stream and across a crash."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from consumers import upkeep
from consumers.upkeep import Keep
from domain.judgement import Obstacle
from domain.update import UpdateType
from store import knowledge
from tests.consumers.harness import RETENTION, Harness, merging
from tests.domain.build import link, live, method, replaced, reported, wallet, who
from wallets import judging
from wallets.judging import Answer, Author, Discard, Judgement, Release

CLOSED, RESUMED = UpdateType.CLOSED, UpdateType.RESUMED
ANSWERS = ("accept", "discard")
POINTS = ("locked", "decided", "applied", "announced", "judged", "committed")


async def judge(harness: Harness, inbox_id: int, answer: Answer) -> Judgement | Obstacle | None:
    async with harness.engine.connect() as connection, connection.begin() as begun:
        judged = await judging.judge(connection, inbox_id, answer, Author("ops", "the vendor confirmed it"), RETENTION)
        if not isinstance(judged, Judgement):
            await begun.rollback()
        return judged


async def inbox_id(harness: Harness, update_id: str) -> int:
    (row,) = await harness.rows("SELECT id FROM inbox WHERE update_id = :id ORDER BY id DESC LIMIT 1", id=update_id)
    return int(row.id)


async def audited(harness: Harness) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await harness.rows("SELECT actor, action, subject, reason, before, after FROM audit")]


async def stored(harness: Harness) -> Mapping[str, int]:
    """The number of rows that updates leave beside their own row."""
    tables = (
        *("replacement_facts", "fact_reports", "state_reports", "parked_updates", "quarantined_merges"),
        *("unfinished_updates", "events", "audit"),
    )
    counts = {}
    for table in tables:
        ((count,),) = await harness.rows(f"SELECT count(*) FROM {table}")  # noqa: S608
        counts[table] = count
    return counts


async def test_a_release_applies_the_update_and_tells_merchants_and_the_audit(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A", default=True), links=[link("m-A")]), wallet(customer="e2"))
    await harness.report(replaced("A", "B", on=1, customer="e9", last4="2222"))
    assert await harness.outcome("vau-1") == ("QUARANTINED", "OWNER_MISMATCH")
    id_ = await inbox_id(harness, "vau-1")
    released = await judge(harness, id_, Release(to=harness.id_of("w-e1")))
    assert isinstance(released, Judgement)
    assert await harness.outcome("vau-1") == ("APPLIED", None)
    current = live(await harness.wallet())["B"]
    assert (current.default, current.details.last4) == (True, "2222")
    assert [name for name, _ in await harness.told("pharmacy")] == ["REPLACED", "DELETED"]
    (lineage,) = await harness.rows("SELECT vendor, update_id FROM lineage")
    assert tuple(lineage) == ("vau", "vau-1")
    assert await audited(harness) == [
        (
            *("ops", "update released", f"update {id_}", "the vendor confirmed it"),
            {"outcome": "QUARANTINED", "reason": "OWNER_MISMATCH", "vendor": "vau", "updateId": "vau-1"},
            {
                "outcome": "APPLIED",
                "reason": None,
                "to": harness.id_of("w-e1"),
                "accept": False,
                "wallets": [harness.id_of("w-e1")],
                "events": 4,
                "factsTakenBack": 1,
            },
        )
    ]
    ((scope,),) = await harness.rows("SELECT scope FROM replacement_facts")
    assert scope == '[["enterpriseId", "e1"]]'
    assert (await stored(harness))["parked_updates"] == 0


async def test_a_second_release_finds_nothing_that_waits(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, customer="e9"))
    id_ = await inbox_id(harness, "vau-1")
    assert isinstance(await judge(harness, id_, Release(accept=True)), Judgement)
    before = await stored(harness)
    assert await judge(harness, id_, Release(accept=True)) is Obstacle.NOT_WAITING
    assert await judge(harness, id_, Discard()) is Obstacle.NOT_WAITING
    assert await stored(harness) == before
    assert await judge(harness, id_ + 1, Discard()) is None


async def test_an_accepted_conflict_lets_the_account_go_on(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A", par="P1")))
    await harness.report(replaced("A", "B", on=1, par="P2"))
    assert await harness.outcome("vau-1") == ("QUARANTINED", "ACCOUNT_CONFLICT")
    assert isinstance(await judge(harness, await inbox_id(harness, "vau-1"), Release(accept=True)), Judgement)
    assert await harness.outcome("vau-1") == ("APPLIED", None)
    await harness.report(replaced("B", "C", on=2, par="P2"), replaced("B", "D", on=3, par="P3", id="stranger"))
    assert [await harness.outcome(id_) for id_ in ("vau-2", "stranger")] == [
        ("APPLIED", None),
        ("QUARANTINED", "ACCOUNT_CONFLICT"),
    ]
    assert live(await harness.wallet()).keys() == {"C"}


async def test_what_was_reported_first_by_another_update_is_released_as_this_one_reported_it(harness: Harness) -> None:
    """The fact stands on the earlier report, whose row waits as well."""
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=5, customer="e9", last4="2222"))
    await harness.report(replaced("A", "B", on=1, customer="e9", last4="1111", id="older"))
    assert isinstance(
        await judge(harness, await inbox_id(harness, "vau-5"), Release(to=harness.id_of("w-e1"))), Judgement
    )
    assert live(await harness.wallet())["B"].details.last4 == "2222"
    rows = await harness.rows("SELECT scope, update_id FROM replacement_facts ORDER BY 1")
    assert [tuple(row) for row in rows] == [
        ('[["enterpriseId", "e1"]]', "vau-5"),
        ('[["enterpriseId", "e9"]]', "older"),
    ]


async def test_a_discarded_update_never_applies(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    update = replaced("A", "B", on=1, customer="e9")
    await harness.report(update)
    id_ = await inbox_id(harness, "vau-1")
    assert isinstance(await judge(harness, id_, Discard()), Judgement)
    assert await harness.outcome("vau-1") == ("IGNORED", "DISCARDED")
    left = await stored(harness)
    assert {name: left[name] for name in ("replacement_facts", "parked_updates", "events", "audit")} == {
        "replacement_facts": 0,
        "parked_updates": 0,
        "events": 0,
        "audit": 1,
    }
    await harness.import_wallets(wallet(method("A", id="m-A9"), customer="e9"))
    await harness.report(update)
    assert [outcome for _, *outcome in await harness.outcomes()] == [
        ["IGNORED", "DISCARDED"],
        ["DUPLICATE", "SAME_MESSAGE"],
    ]
    assert live(await harness.wallet("e9")).keys() == {"A"}


@pytest.mark.parametrize("discarded_first", [True, False])
async def test_a_fact_that_two_updates_report_stays_for_the_other_one(
    harness: Harness, *, discarded_first: bool
) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, customer="e9", last4="1111"))
    await harness.report(replaced("A", "B", on=2, customer="e9", last4="2222", id="again"))
    assert await harness.outcome("again") == ("DUPLICATE", "ALREADY_KNOWN")
    assert isinstance(await judge(harness, await inbox_id(harness, "vau-1"), Discard()), Judgement)
    ((update_id, last4),) = await harness.rows("SELECT update_id, last4 FROM replacement_facts")
    assert (update_id, last4) == ("again", "2222")
    if discarded_first:
        await harness.import_wallets(wallet(method("A", id="m-A9"), customer="e9"))
        assert live(await harness.wallet("e9")).keys() == {"B"}


async def test_a_status_that_is_discarded_gives_way_to_the_one_before(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(reported(CLOSED, "A", on=1, customer="e9"))
    await harness.report(reported(RESUMED, "A", on=2, customer="e9"))
    assert isinstance(await judge(harness, await inbox_id(harness, "vau-2"), Discard()), Judgement)
    ((status, update_id),) = await harness.rows("SELECT status, status_update_id FROM credentials WHERE scope <> ''")
    assert (status, update_id) == ("CLOSED", "vau-1")
    await harness.import_wallets(wallet(method("A", id="m-A9"), customer="e9"))
    assert await harness.outcome("vau-1") == ("APPLIED", None)
    assert await harness.outcome("vau-2") == ("IGNORED", "DISCARDED")


async def test_a_parked_update_can_be_discarded_and_not_released(harness: Harness) -> None:
    await harness.report(replaced("X", "Y", on=1))
    id_ = await inbox_id(harness, "vau-1")
    assert await judge(harness, id_, Release(accept=True)) is Obstacle.PARKED
    assert isinstance(await judge(harness, id_, Discard()), Judgement)
    await harness.import_wallets(wallet(method("X")))
    assert live(await harness.wallet()).keys() == {"X"}


async def test_an_id_that_was_used_before_is_discarded_without_what_the_first_one_reported(harness: Harness) -> None:
    await harness.report(replaced("A", "B", on=1, id="u"))
    await harness.report(replaced("A", "C", on=1, id="u"))
    id_ = await inbox_id(harness, "u")
    assert await judge(harness, id_, Release(accept=True)) is Obstacle.ID_REUSED
    assert isinstance(await judge(harness, id_, Discard()), Judgement)
    await harness.import_wallets(wallet(method("A")))
    assert live(await harness.wallet()).keys() == {"B"}


async def test_what_is_not_known_any_more_can_only_be_discarded(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, customer="e9"))
    await harness.rows("DELETE FROM replacement_facts")
    id_ = await inbox_id(harness, "vau-1")
    assert await judge(harness, id_, Release(accept=True)) is Obstacle.FORGOTTEN
    await harness.rows("DELETE FROM credentials")
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    assert await judge(harness, id_, Release(accept=True)) is Obstacle.FORGOTTEN
    assert isinstance(await judge(harness, id_, Discard()), Judgement)


async def ambiguous_merge(harness: Harness) -> int:
    """A merge into e1, of whom there are two wallets; its row of the inbox."""
    e1 = wallet(method("A"))
    await harness.import_wallets(
        e1, e1._replace(id="w-other", methods=(method("Q"),)), wallet(method("P"), customer="e2")
    )
    await harness.report(merging(who("e2"), who("e1")))
    assert await harness.outcome("merge") == ("QUARANTINED", "AMBIGUOUS_CUSTOMER")
    return await inbox_id(harness, "merge")


async def test_a_quarantined_merge_is_released_into_the_wallet_that_a_person_names(harness: Harness) -> None:
    id_ = await ambiguous_merge(harness)
    assert (await stored(harness))["quarantined_merges"] == 1
    assert await judge(harness, id_, Release(accept=True)) is Obstacle.SEVERAL_TARGETS
    assert await judge(harness, id_, Release(to=harness.id_of("w-e2"))) is Obstacle.NOT_NAMED
    assert isinstance(await judge(harness, id_, Release(to=harness.id_of("w-other"))), Judgement)
    wallets = await harness.wallets()
    assert (wallets["w-e2"].merged_into, set(live(wallets["w-other"]))) == ("w-other", {"Q", "P"})
    assert await harness.outcome("merge") == ("APPLIED", None)
    assert (await stored(harness))["quarantined_merges"] == 0


async def test_a_discarded_merge_is_not_done(harness: Harness) -> None:
    id_ = await ambiguous_merge(harness)
    assert isinstance(await judge(harness, id_, Discard()), Judgement)
    assert {name: each.merged_into for name, each in (await harness.wallets()).items()} == {
        "w-e1": None,
        "w-other": None,
        "w-e2": None,
    }
    assert (await stored(harness))["quarantined_merges"] == 0


async def test_a_merge_that_waited_for_its_customers_keeps_them_when_it_is_quarantined(harness: Harness) -> None:
    await harness.report(merging(who("e1"), who("e2")))
    twice = wallet(method("B"), customer="e2")
    await harness.import_wallets(wallet(method("A")), twice, twice._replace(id="w-other", methods=()))
    id_ = await inbox_id(harness, "merge")
    assert isinstance(await judge(harness, id_, Release(to=harness.id_of("w-e2"))), Judgement)
    assert live(await harness.wallet("e2")).keys() == {"A", "B"}


# --- beside others --------------------------------------------------------------------------------------------------


async def test_a_release_waits_for_a_batch_that_holds_the_credential(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, customer="e9"))
    id_ = await inbox_id(harness, "vau-1")
    async with harness.engine.begin() as holding:
        await knowledge.lock(holding, ["vau:A"], keep=RETENTION.unknown)
        releasing = asyncio.create_task(judge(harness, id_, Release(accept=True)))
        await asyncio.sleep(0.2)
        assert not releasing.done()
    assert isinstance(await releasing, Judgement)


async def test_a_stream_of_updates_goes_on_while_many_are_judged(harness: Harness) -> None:
    """Half are released, half discarded, while later reports about the same cards come in."""
    count = 20
    wallets = [wallet(method(f"A{n}"), customer=f"c{n}") for n in range(count)]
    await harness.import_wallets(*wallets)
    await harness.report(*(replaced(f"A{n}", f"B{n}", on=1, customer="e9", id=f"u{n}") for n in range(count)))

    async def stream() -> None:
        for start in range(0, count, 5):
            await harness.report(*(replaced(f"B{n}", f"C{n}", on=2, id=f"v{n}") for n in range(start, start + 5)))

    async def judgements() -> None:
        for n in range(count):
            answer: Answer = Discard() if n % 2 else Release(to=harness.id_of(f"w-c{n}"))
            assert isinstance(await judge(harness, await inbox_id(harness, f"u{n}"), answer), Judgement)

    await asyncio.gather(stream(), judgements())
    for n in range(count):
        assert live(await harness.wallet(f"c{n}")).keys() == ({f"A{n}"} if n % 2 else {f"C{n}"})


# --- crashes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_judgement_may_be_killed_at_any_point(harness: Harness, database_url: str, answer: str) -> None:
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]))
    await harness.report(replaced("A", "B", on=1, customer="e9"))
    id_ = await inbox_id(harness, "vau-1")
    before = await stored(harness)
    for point in POINTS:
        assert await harness.outcome("vau-1") == ("QUARANTINED", "OWNER_MISMATCH")
        assert await stored(harness) == before
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.wallets.dying_judge", database_url, str(id_), answer, point
        )
        assert await process.wait() == -signal.SIGKILL
    becomes = ("APPLIED", None) if answer == "accept" else ("IGNORED", "DISCARDED")
    assert await harness.outcome("vau-1") == becomes
    assert live(await harness.wallet()).keys() == ({"B"} if answer == "accept" else {"A"})
    assert len(await audited(harness)) == 1
    assert len(await harness.told("pharmacy")) == (2 if answer == "accept" else 0)
