"""Workers that meet: whoever comes first, nothing is missed, and all ends as if they had come one after the other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest

from consumers.batch import Point
from domain.update import Update, UpdateType
from domain.wallet import MethodStatus, Wallet
from tests.consumers.desk import RETENTION, Desk, in_batches, merging
from tests.consumers.elsewhere import Elsewhere, intake, standing_still, waits
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
    desk: Desk, database_url: str, meeting: Meeting, first: str, at: Point, *, met_before: bool
) -> None:
    await desk.bring(*meeting.wallets)
    if met_before:
        keys = {key for update in (*meeting.one, *meeting.other) for key in update.keys}
        await desk.rows(
            "INSERT INTO credentials (key, kept_until) SELECT unnest(CAST(:keys AS text[])), now() + interval '1 day'",
            keys=list(keys),
        )
    if meeting.told_before:
        await desk.tell(*meeting.told_before)
    early, late = (meeting.one, meeting.other) if first == "one" else (meeting.other, meeting.one)
    begun = [desk.message(each, partition=1) for each in early]
    follows = [desk.message(each, partition=2) for each in late]

    async with standing_still(database_url, begun, at) as elsewhere:
        here = asyncio.create_task(intake(desk.engine).take(follows))
        await waits(desk.engine, here)
        elsewhere.go_on()
        await here

    every = await desk.wallets()
    assert {name: set(live(each)) for name, each in every.items()} == {
        f"w-{customer}": ends for customer, ends in meeting.ends.items()
    }
    assert len(await desk.outcomes()) == len((*meeting.told_before, *early, *late))
    assert await desk.letters() == []
    paid = [(each, owner) for owner in every.values() for each in owner.links]
    assert len(paid) == sum(len(each.links) for each in meeting.wallets)
    assert all(each.method_id in {one.id for one in owner.live_methods} for each, owner in paid)
    await check_sequences(desk)


async def test_what_a_wallet_came_to_know_while_its_merge_waited_is_merged_with_it(
    desk: Desk, database_url: str
) -> None:
    """The merge waits for a worker that brings the source a new card, and another worker learns of that one."""
    await desk.bring(A, wallet(method("S"), customer="e2"))
    first = [desk.message(replaced("S", "T", on=1), partition=1)]
    merge = [desk.message(merging(who("e2"), who("e1")), partition=2)]
    third = [desk.message(replaced("T", "U", on=2), partition=3)]
    async with standing_still(database_url, first, "announced") as elsewhere, asyncio.TaskGroup() as group:
        merger = Elsewhere(database_url, merge, "announced")
        merging_ = group.create_task(merger.work())
        await waits(desk.engine, merging_)
        elsewhere.go_on()
        await merger.stands_still()
        here = group.create_task(intake(desk.engine).take(third))
        await waits(desk.engine, here)
        merger.go_on()
    assert live(await desk.wallet()).keys() == {"A", "U"}


async def test_one_id_at_once_is_taken_once(desk: Desk, database_url: str) -> None:
    """On two partitions, and about credentials that have nothing to do with each other."""
    await desk.bring(A)
    begun = [desk.message(reported(CLOSED, "A", on=1, id="u"), partition=1)]
    follows = [desk.message(reported(CLOSED, "X", on=1, id="u"), partition=2)]
    async with standing_still(database_url, begun, "announced"):
        here = asyncio.create_task(intake(desk.engine).take(follows))
        await waits(desk.engine, here)
    await here
    assert sorted(await desk.outcomes()) in (
        [("u", "APPLIED", None), ("u", "QUARANTINED", "ID_REUSED")],
        [("u", "PARKED", None), ("u", "QUARANTINED", "ID_REUSED")],
    )


@pytest.mark.parametrize("first", ["applied", "superseded"])
async def test_what_two_workers_find_at_once_was_applied_if_it_was_by_one(
    desk: Desk, database_url: str, first: str
) -> None:
    """A closing waits for a token and for a fingerprint; to one wallet it is news, to the other it comes too late."""
    await desk.bring(A, wallet(method("B"), customer="e2"))
    await desk.tell(reported(CLOSED, ("X", ":x"), on=9, id="waits"))
    applied = [desk.message(replaced("A", "X", on=1), partition=1)]
    superseded = [desk.message(each, partition=2) for each in (replaced("B", ":x", on=2), replaced("B", "Z", on=5))]
    early, late = (applied, superseded) if first == "applied" else (superseded, applied)
    async with standing_still(database_url, early, "announced") as elsewhere:
        here = asyncio.create_task(intake(desk.engine).take(late))
        await waits(desk.engine, here)
        elsewhere.go_on()
        await here
    assert await desk.outcome("waits") == ("APPLIED", None)
    assert live(await desk.wallet())["X"].status is MethodStatus.CLOSED
    assert live(await desk.wallet("e2")).keys() == {"Z"}
    assert await desk.rows("SELECT * FROM parked_updates") == []


async def check_sequences(desk: Desk) -> None:
    rows = await desk.rows(
        "SELECT wallet_id, merchant_id, array_agg(sequence ORDER BY sequence) AS sequences FROM events GROUP BY 1, 2"
    )
    assert all(row.sequences == list(range(1, len(row.sequences) + 1)) for row in rows)


# --- imports ------------------------------------------------------------------------------------------------------

SHARED = wallet(method("A", id="m-A2"), customer="e2")


@pytest.mark.parametrize("at", ["took in", "announced"])
async def test_a_wallet_that_is_imported_while_a_worker_learns_of_its_card(
    desk: Desk, database_url: str, at: Point
) -> None:
    await desk.bring(A)
    begun = [desk.message(each, partition=1) for each in (replaced("A", "B", on=1), reported(CLOSED, "B", on=2))]
    async with standing_still(database_url, begun, at) as elsewhere:
        here = asyncio.create_task(desk.bring(SHARED))
        await waits(desk.engine, here)
        elsewhere.go_on()
        await here
    for customer in ("e1", "e2"):
        assert live(await desk.wallet(customer)).keys() == {"B"}
    assert await desk.outcomes() == [("vau-1", "APPLIED", None), ("vau-2", "APPLIED", None)]


async def test_a_worker_learns_of_a_card_while_its_wallet_is_half_imported(desk: Desk) -> None:
    await desk.bring(A)
    hold, begun = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[Sequence[Wallet]]:
        yield [desk.stored(SHARED)]
        begun.set()
        await hold.wait()

    async def bring() -> None:
        async with desk.engine.begin() as connection:
            await import_wallets(connection, slowly(), RETENTION)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(bring())
        await begun.wait()
        await desk.tell(replaced("A", "B", on=1))
        await desk.tell(replaced("B", "C", on=2), reported(CLOSED, "Q", on=2, id="q"))
        hold.set()
    assert live(await desk.wallet("e2")).keys() == {"C"}


async def test_nobody_learns_anything_between_an_import_s_last_look_and_its_end(desk: Desk) -> None:
    await desk.bring(A)
    async with asyncio.timeout(30), desk.engine.begin() as connection:
        await import_wallets(connection, in_batches([desk.stored(SHARED)], 1), RETENTION)
        here = asyncio.create_task(desk.tell(replaced("A", "B", on=1)))
        await waits(desk.engine, here)
        assert not here.done()
    await here
    for customer in ("e1", "e2"):
        assert live(await desk.wallet(customer)).keys() == {"B"}
