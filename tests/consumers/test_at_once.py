"""Workers that meet: whoever comes first, nothing is missed, and all ends as if they had come one after the other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest

from consumers.batch import BatchPoint
from domain.update import Update, UpdateType
from domain.wallet import MethodStatus, Wallet
from tests.consumers.harness import RETENTION, Harness, in_batches, merging
from tests.consumers.paused_worker import PausedWorker, intake, standing_still, waits
from tests.domain.build import link, live, method, replaced, reported, wallet, who
from wallets.importing import import_wallets


class Meeting(NamedTuple):
    """What two workers learn, and by enterpriseId what is live afterwards."""

    wallets: Sequence[Wallet]
    one: Sequence[Update]
    other: Sequence[Update]
    ends: dict[str, set[str]]
    told_before: Sequence[Update] = ()


CLOSED = UpdateType.CLOSED
A = wallet(method("A"), links=[link("m-A")])
# its customer has added nothing yet, so there is no credential to meet at
EMPTY = wallet(customer="e2")

MEETINGS = {
    "a fact and the one that follows it": Meeting(
        [A], [replaced("A", "B", on=1)], [replaced("B", "C", on=2)], {"e1": {"C"}}
    ),
    "both ends of a chain whose middle stands": Meeting(
        [A], [replaced("A", "B", on=1)], [replaced("C", "D", on=3)], {"e1": {"D"}}, [replaced("B", "C", on=2)]
    ),
    "both ends of a longer one": Meeting(
        [A],
        [replaced("A", "B", on=1)],
        [replaced("E", "F", on=5)],
        {"e1": {"F"}},
        [replaced("B", "C", on=2), replaced("D", "E", on=4), replaced("C", "D", on=3)],
    ),
    "a chain that meets by a fingerprint": Meeting(
        [A],
        [replaced("A", ("B", ":b"), on=1)],
        [replaced(":b", "mdes:C", on=2, vendor="mdes")],
        {"e1": {"mdes:C"}},
    ),
    "a fact and the status of what it names": Meeting(
        [A], [replaced("A", "B", on=1)], [reported(CLOSED, "B", on=2)], {"e1": {"B"}}
    ),
    "two cards that become one": Meeting(
        [wallet(method("A"), method("B"))],
        [replaced("A", "C", on=1)],
        [replaced("B", "C", on=2)],
        {"e1": {"C"}},
    ),
    "two cards that become each other": Meeting(
        [wallet(method("A"), method("B"))],
        [replaced("A", "B", on=1)],
        [replaced("B", "A", on=2)],
        {"e1": {"A"}},
    ),
    "two cards of one wallet": Meeting(
        [wallet(method("A"), method("B"))],
        [replaced("A", "C", on=1)],
        [replaced("B", "D", on=2)],
        {"e1": {"C", "D"}},
    ),
    "many wallets in another order": Meeting(
        [wallet(method(f"A{n}"), method(f"B{n}"), customer=f"e{n}") for n in range(10)],
        [replaced(f"A{n}", f"C{n}", on=1, id=f"a{n}") for n in range(10)],
        [replaced(f"B{n}", f"D{n}", on=2, id=f"b{n}") for n in reversed(range(10))],
        {f"e{n}": {f"C{n}", f"D{n}"} for n in range(10)},
    ),
    "a fork": Meeting([A], [replaced("A", "B", on=1)], [replaced("A", "C", on=2)], {"e1": {"C"}}),
    "the same update": Meeting([A], [replaced("A", "B", on=1)], [replaced("A", "B", on=1)], {"e1": {"B"}}),
    "one id for two updates": Meeting(
        [A], [reported(CLOSED, "X", on=1, id="u")], [reported(CLOSED, "Y", on=1, id="u")], {"e1": {"A"}}
    ),
    "a merge and a card of the source": Meeting(
        [A, wallet(method("S"), customer="e2")],
        [merging(who("e2"), who("e1"))],
        [replaced("S", "T", on=1)],
        {"e1": {"A", "T"}, "e2": set()},
    ),
    "a merge and a new name for a card of the source": Meeting(
        [A, wallet(method("S"), customer="e2")],
        [merging(who("e2"), who("e1"))],
        [replaced("T", "U", on=2), replaced("S", "T", on=1)],
        {"e1": {"A", "U"}, "e2": set()},
    ),
    "a merge and its like": Meeting(
        [A, wallet(method("S"), customer="e2")],
        [merging(who("e2"), who("e1"))],
        [merging(who("e2"), who("e1"), id="again")],
        {"e1": {"A", "S"}, "e2": set()},
    ),
    "a merge and the next": Meeting(
        [A, wallet(method("S"), customer="e2"), wallet(method("T"), customer="e3")],
        [merging(who("e1"), who("e2"))],
        [merging(who("e2"), who("e3"), id="next")],
        {"e1": set(), "e2": set(), "e3": {"A", "S", "T"}},
    ),
    "a merge and the next, through a wallet with nothing in it": Meeting(
        [A, EMPTY, wallet(method("T"), customer="e3")],
        [merging(who("e1"), who("e2"))],
        [merging(who("e2"), who("e3"), id="next")],
        {"e1": set(), "e2": set(), "e3": {"A", "T"}},
    ),
    "two merges into one": Meeting(
        [A, wallet(method("S"), customer="e2"), wallet(method("T"), customer="e3")],
        [merging(who("e1"), who("e3"))],
        [merging(who("e2"), who("e3"), id="next")],
        {"e1": set(), "e2": set(), "e3": {"A", "S", "T"}},
    ),
}


@pytest.mark.parametrize("meeting", MEETINGS.values(), ids=MEETINGS.keys())
@pytest.mark.parametrize("first", ["one", "other"])
@pytest.mark.parametrize(
    ("at", "met_before"),
    [("took in", False), ("announced", False), ("announced", True)],
    ids=["before a lock", "before the commit", "before the commit, on rows that stand"],
)
async def test_whoever_is_first_nothing_is_missed(
    harness: Harness, database_url: str, meeting: Meeting, first: str, at: BatchPoint, *, met_before: bool
) -> None:
    await harness.import_wallets(*meeting.wallets)
    if met_before:
        keys = {key for update in (*meeting.one, *meeting.other) for key in update.keys}
        await harness.rows(
            "INSERT INTO credentials (key, kept_until) SELECT unnest(CAST(:keys AS text[])), now() + interval '1 day'",
            keys=list(keys),
        )
    if meeting.told_before:
        await harness.report(*meeting.told_before)
    early, late = (meeting.one, meeting.other) if first == "one" else (meeting.other, meeting.one)
    begun = [harness.message(each, partition=1) for each in early]
    follows = [harness.message(each, partition=2) for each in late]

    async with standing_still(database_url, begun, at) as elsewhere:
        here = asyncio.create_task(intake(harness.engine).take_in(follows))
        await waits(harness.engine, here)
        elsewhere.go_on()
        await here

    every = await harness.wallets()
    assert {name: set(live(each)) for name, each in every.items()} == {
        f"w-{customer}": ends for customer, ends in meeting.ends.items()
    }
    assert len(await harness.outcomes()) == len((*meeting.told_before, *early, *late))
    assert await harness.dead_letters() == []
    paid = [(each, owner) for owner in every.values() for each in owner.links]
    assert len(paid) == sum(len(each.links) for each in meeting.wallets)
    assert all(each.method_id in {one.id for one in owner.live_methods} for each, owner in paid)
    await check_sequences(harness)


async def test_what_a_wallet_came_to_know_while_its_merge_waited_is_merged_with_it(
    harness: Harness, database_url: str
) -> None:
    """The merge waits for a worker that brings the source a new card, and another worker learns of that one."""
    await harness.import_wallets(A, wallet(method("S"), customer="e2"))
    first = [harness.message(replaced("S", "T", on=1), partition=1)]
    merge = [harness.message(merging(who("e2"), who("e1")), partition=2)]
    third = [harness.message(replaced("T", "U", on=2), partition=3)]
    async with standing_still(database_url, first, "announced") as elsewhere, asyncio.TaskGroup() as group:
        merger = PausedWorker(database_url, merge, "announced")
        merging_ = group.create_task(merger.work())
        await waits(harness.engine, merging_)
        elsewhere.go_on()
        await merger.stands_still()
        here = group.create_task(intake(harness.engine).take_in(third))
        await waits(harness.engine, here)
        merger.go_on()
    assert live(await harness.wallet()).keys() == {"A", "U"}


async def test_one_id_at_once_is_taken_once(harness: Harness, database_url: str) -> None:
    """On two partitions, and about credentials that have nothing to do with each other."""
    await harness.import_wallets(A)
    begun = [harness.message(reported(CLOSED, "A", on=1, id="u"), partition=1)]
    follows = [harness.message(reported(CLOSED, "X", on=1, id="u"), partition=2)]
    async with standing_still(database_url, begun, "announced"):
        here = asyncio.create_task(intake(harness.engine).take_in(follows))
        await waits(harness.engine, here)
    await here
    assert sorted(await harness.outcomes()) in (
        [("u", "APPLIED", None), ("u", "QUARANTINED", "ID_REUSED")],
        [("u", "PARKED", None), ("u", "QUARANTINED", "ID_REUSED")],
    )


@pytest.mark.parametrize("first", ["applied", "superseded"])
async def test_what_two_workers_find_at_once_was_applied_if_it_was_by_one(
    harness: Harness, database_url: str, first: str
) -> None:
    """A closing waits for a token and for a fingerprint; to one wallet it is news, to the other it comes too late."""
    await harness.import_wallets(A, wallet(method("B"), customer="e2"))
    await harness.report(reported(CLOSED, ("X", ":x"), on=9, id="waits"))
    applied = [harness.message(replaced("A", "X", on=1), partition=1)]
    superseded = [harness.message(each, partition=2) for each in (replaced("B", ":x", on=2), replaced("B", "Z", on=5))]
    early, late = (applied, superseded) if first == "applied" else (superseded, applied)
    async with standing_still(database_url, early, "announced") as elsewhere:
        here = asyncio.create_task(intake(harness.engine).take_in(late))
        await waits(harness.engine, here)
        elsewhere.go_on()
        await here
    assert await harness.outcome("waits") == ("APPLIED", None)
    assert live(await harness.wallet())["X"].status is MethodStatus.CLOSED
    assert live(await harness.wallet("e2")).keys() == {"Z"}
    assert await harness.rows("SELECT * FROM parked_updates") == []


async def check_sequences(harness: Harness) -> None:
    rows = await harness.rows(
        "SELECT wallet_id, merchant_id, array_agg(sequence ORDER BY sequence) AS sequences FROM events GROUP BY 1, 2"
    )
    assert all(row.sequences == list(range(1, len(row.sequences) + 1)) for row in rows)


# --- imports ------------------------------------------------------------------------------------------------------

SHARED = wallet(method("A", id="m-A2"), customer="e2")


@pytest.mark.parametrize("at", ["took in", "announced"])
async def test_a_wallet_that_is_imported_while_a_worker_learns_of_its_card(
    harness: Harness, database_url: str, at: BatchPoint
) -> None:
    await harness.import_wallets(A)
    begun = [harness.message(each, partition=1) for each in (replaced("A", "B", on=1), reported(CLOSED, "B", on=2))]
    async with standing_still(database_url, begun, at) as elsewhere:
        here = asyncio.create_task(harness.import_wallets(SHARED))
        await waits(harness.engine, here)
        elsewhere.go_on()
        await here
    for customer in ("e1", "e2"):
        assert live(await harness.wallet(customer)).keys() == {"B"}
    assert await harness.outcomes() == [("vau-1", "APPLIED", None), ("vau-2", "APPLIED", None)]


async def test_a_worker_learns_of_a_card_while_its_wallet_is_half_imported(harness: Harness) -> None:
    await harness.import_wallets(A)
    hold, begun = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[Sequence[Wallet]]:
        yield [harness.stored(SHARED)]
        begun.set()
        await hold.wait()

    async def bring() -> None:
        async with harness.engine.begin() as connection:
            await import_wallets(connection, slowly(), RETENTION)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(bring())
        await begun.wait()
        await harness.report(replaced("A", "B", on=1))
        await harness.report(replaced("B", "C", on=2), reported(CLOSED, "Q", on=2, id="q"))
        hold.set()
    assert live(await harness.wallet("e2")).keys() == {"C"}


async def test_nobody_learns_anything_between_an_import_s_last_look_and_its_end(harness: Harness) -> None:
    await harness.import_wallets(A)
    async with asyncio.timeout(30), harness.engine.begin() as connection:
        await import_wallets(connection, in_batches([harness.stored(SHARED)], 1), RETENTION)
        here = asyncio.create_task(harness.report(replaced("A", "B", on=1)))
        await waits(harness.engine, here)
        assert not here.done()
    await here
    for customer in ("e1", "e2"):
        assert live(await harness.wallet(customer)).keys() == {"B"}
