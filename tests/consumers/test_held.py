"""A paused vendor: its messages are held and nobody else's, and taken in when it is resumed, as if they came then."""

import asyncio
import signal
import sys
from datetime import timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from consumers import upkeep
from consumers.batch import take_in
from consumers.held import HeldIntake
from consumers.upkeep import Keep
from consumers.vendor_watch import HELD, PAUSED, VendorWatch
from domain.update import UpdateType
from store import vendors, wallets
from tests.consumers.harness import RETENTION, Harness, merging
from tests.consumers.paused_worker import waits
from tests.consumers.test_halving import a_row_too_long_for_its_index
from tests.consumers.test_worker import Post, taken_in, working
from tests.domain.build import live, method, replaced, reported, wallet, who
from wallets import judging
from wallets.judging import Author, Discard

DAY = timedelta(days=1)
POINTS = ("took in", "decided", "applied", "announced", "committed")


async def pause(harness: Harness, vendor: str = "vau") -> bool:
    async with harness.engine.begin() as connection:
        return await vendors.pause(connection, vendor, reason="a wrong file", actor="ops")


async def resume(harness: Harness, vendor: str = "vau", unwatched: timedelta = DAY) -> bool:
    async with harness.engine.begin() as connection:
        return await vendors.resume(connection, vendor, reason="it was right", actor="ops", unwatched=unwatched)


def intake(harness: Harness, batch_size: int = 500) -> HeldIntake:
    return HeldIntake(harness.engine, RETENTION, take_in, batch_size=batch_size)


async def held(harness: Harness) -> int:
    ((count,),) = await harness.rows("SELECT count(*) FROM held_updates")
    return int(count)


async def test_messages_of_a_paused_vendor_are_held_and_others_go_on(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A"), method("mdes:M")))
    assert await pause(harness)
    assert not await pause(harness)
    taken = await harness.report(
        replaced("A", "B", on=1), reported(UpdateType.CLOSED, "mdes:M", on=1, vendor="mdes"), b"{"
    )
    assert (taken.events, taken.unreadable) == (2, 1)
    assert await harness.outcomes() == [("vau-1", "PARKED", "VENDOR_PAUSED"), ("mdes-1", "APPLIED", None)]
    assert live(await harness.wallet()).keys() == {"A", "mdes:M"}
    assert (await harness.rows("SELECT count(*) FROM replacement_facts"))[0][0] == 0
    assert await intake(harness).run_once() is None


@pytest.mark.parametrize("batch_size", [1, 2, 500])
async def test_what_was_held_is_taken_in_in_its_order_when_the_vendor_is_resumed(
    harness: Harness, batch_size: int
) -> None:
    await harness.import_wallets(wallet(method("A")), wallet(customer="e2"), wallet(customer="e3"))
    await pause(harness)
    await harness.report(replaced("A", "B", on=1), replaced("B", "C", on=2), replaced("X", "Y", on=3))
    await harness.report(replaced("A", "B", on=4, id="again"))
    await harness.report(replaced("A", "Z", on=5, id="vau-1"))
    assert [outcome for _, *outcome in await harness.outcomes()] == [
        *[["PARKED", "VENDOR_PAUSED"]] * 4,
        ["QUARANTINED", "ID_REUSED"],
    ]
    assert await resume(harness)
    assert await intake(harness, batch_size).run_once() == "vau"
    assert await harness.outcomes() == [
        ("vau-1", "APPLIED", None),
        ("vau-2", "APPLIED", None),
        ("vau-3", "PARKED", None),
        ("again", "DUPLICATE", "ALREADY_KNOWN"),
        ("vau-1", "QUARANTINED", "ID_REUSED"),
    ]
    rows = await harness.rows("SELECT update_id FROM inbox WHERE outcome <> 'QUARANTINED' ORDER BY id")
    if batch_size == 1:  # the rows of one batch have their ids in the order of those of the updates
        assert [row.update_id for row in rows] == ["vau-1", "vau-2", "vau-3", "again"]
    assert live(await harness.wallet()).keys() == {"C"}
    assert await held(harness) == 0
    assert await intake(harness).run_once() is None
    await harness.report(replaced("C", "D", on=9))
    assert await harness.outcome("vau-9") == ("APPLIED", None)


async def test_what_comes_while_a_vendor_is_resumed_is_held_behind_the_rest(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await pause(harness)
    await harness.report(replaced("A", "B", on=1))
    await resume(harness)
    await harness.report(replaced("B", "C", on=2))
    assert await harness.outcome("vau-2") == ("PARKED", "VENDOR_PAUSED")
    await intake(harness, 1).run_once()
    assert await held(harness) == 0
    assert live(await harness.wallet()).keys() == {"C"}


async def test_a_vendor_that_is_paused_again_meanwhile_keeps_the_rest(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")), wallet(method("Q"), customer="e2"))
    await pause(harness)
    await harness.report(replaced("A", "B", on=1), replaced("Q", "R", on=2))
    await resume(harness)

    def pause_at(point: str) -> None:
        if point == "committed":
            paused.append(asyncio.ensure_future(pause(harness)))

    paused: list[asyncio.Future[bool]] = []
    slow = HeldIntake(harness.engine, RETENTION, take_in, batch_size=1, on_point=pause_at)
    original = slow._next

    async def after_the_pause(vendor: str) -> list[vendors.HeldMessage]:
        await asyncio.gather(*paused)
        return await original(vendor)

    slow._next = after_the_pause  # type: ignore[method-assign]
    await slow.run_once()
    assert await held(harness) == 1
    assert (await harness.rows("SELECT status FROM vendors"))[0][0] == "PAUSED"


async def test_held_updates_are_not_given_up(harness: Harness) -> None:
    await pause(harness)
    await harness.report(replaced("A", "B", on=1))
    await harness.rows("UPDATE inbox SET received_at = received_at - interval '30 days'")
    await upkeep.run_once(harness.engine, Keep(RETENTION.unknown))
    assert await harness.outcome("vau-1") == ("PARKED", "VENDOR_PAUSED")
    assert await held(harness) == 1


async def test_a_held_merge_is_done_when_it_is_taken_in(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")), wallet(method("B"), customer="e2"))
    await pause(harness, "crm")
    await harness.report(merging(who("e1"), who("e2")))
    assert (await harness.wallet()).merged_into is None
    await resume(harness, "crm")
    await intake(harness).run_once()
    assert (await harness.wallet()).merged_into == "w-e2"


async def test_a_held_message_that_cannot_be_taken_in_becomes_a_dead_letter(harness: Harness) -> None:
    """As it would have at once: a row that is too long for its index."""
    await harness.import_wallets(wallet(method("A")))
    await pause(harness)
    await harness.report(replaced("A", "B", on=1, id="slow"), replaced("A", "B", on=2, id="fine"))
    await resume(harness)
    async with a_row_too_long_for_its_index(harness):
        await intake(harness).run_once()
    assert await held(harness) == 0
    assert len(await harness.dead_letters()) == 1
    assert await harness.outcomes() == [("fine", "APPLIED", None)]


async def test_two_processes_take_what_is_held_in_once(harness: Harness) -> None:
    await harness.import_wallets(*(wallet(method(f"A{n}"), customer=f"c{n}") for n in range(20)))
    await pause(harness)
    await harness.report(*(replaced(f"A{n}", f"B{n}", on=1, id=f"u{n}") for n in range(20)))
    await resume(harness)
    first, second = intake(harness, 3), intake(harness, 3)
    await first.run_once()
    await harness.rows("UPDATE vendors SET status = 'RESUMING', leased_until = NULL")
    await asyncio.gather(first.run_once(), second.run_once())
    outcomes = await harness.outcomes()
    assert (len(outcomes), {outcome for _, outcome, _ in outcomes}) == (20, {"APPLIED"})


async def test_one_process_is_at_a_vendor_at_a_time(harness: Harness) -> None:
    await pause(harness)
    await resume(harness)
    async with harness.engine.begin() as connection:
        assert await vendors.claim(connection, lease=DAY) == "vau"
    assert await intake(harness).run_once() is None
    await harness.rows("UPDATE vendors SET leased_until = now() - interval '1 second'")
    assert await intake(harness).run_once() == "vau"


@pytest.mark.parametrize("point", POINTS)
async def test_an_intake_of_held_messages_may_be_killed(harness: Harness, database_url: str, point: str) -> None:
    await harness.import_wallets(wallet(method("A")), wallet(method("Q"), customer="e2"))
    await pause(harness)
    await harness.report(replaced("A", "B", on=1), replaced("Q", "R", on=2))
    await resume(harness)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.consumers.dying_intake", database_url, point
    )
    assert await process.wait() == -signal.SIGKILL
    assert await held(harness) == (1 if point == "committed" else 2)
    assert len(await harness.outcomes()) == 2
    await harness.rows("UPDATE vendors SET leased_until = NULL")
    await intake(harness).run_once()
    assert sorted(await harness.outcomes()) == [("vau-1", "APPLIED", None), ("vau-2", "APPLIED", None)]
    assert len(await harness.told("pharmacy")) == len(await harness.told("pharmacy", "w-e2")) == 2


# --- held by itself -------------------------------------------------------------------------------------------------


@pytest.fixture
async def many(harness: Harness) -> Harness:
    """A database that believes to have 5,000 wallets."""
    await harness.import_wallets(wallet(method("A")))
    async with harness.engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO wallets (id, hsid) SELECT gen_random_uuid(), 'h' FROM generate_series(1, 4999)")
        )
    return harness


async def test_a_vendor_that_replaces_too_much_within_an_hour_is_held(many: Harness) -> None:
    watch = VendorWatch(many.engine, 0.25)
    watch.add({"vau": 1250, "mdes": 10})
    await watch.run_once()
    assert await many.rows("SELECT name FROM vendors") == []
    watch.add({"vau": 1})
    before = HELD.labels("vau")._value.get()
    with capture_logs() as lines:
        await watch.run_once()
        await watch.run_once()
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["vendor"], line["replaced"], line["wallets"]) == ("vendor held", "vau", 1251, 5000)
    assert HELD.labels("vau")._value.get() == before + 1
    assert PAUSED.labels("vau")._value.get() == 1
    await many.report(replaced("A", "B", on=1))
    assert await many.outcome("vau-1") == ("PARKED", "VENDOR_PAUSED")
    ((actor, action, subject),) = await many.rows("SELECT actor, action, subject FROM audit")
    assert (actor, action, subject) == ("repoint", "vendor paused", "vau")


async def test_what_is_older_than_an_hour_does_not_count(many: Harness) -> None:
    watch = VendorWatch(many.engine, 0.25)
    watch.add({"vau": 1250})
    await watch.run_once()
    await many.rows("UPDATE vendor_replacements SET minute = minute - interval '61 minutes'")
    watch.add({"vau": 1250})
    await watch.run_once()
    assert await many.rows("SELECT name FROM vendors") == []


async def test_by_a_share_of_0_no_vendor_is_held(many: Harness) -> None:
    watch = VendorWatch(many.engine, 0)
    watch.add({"vau": 5000})
    await watch.run_once()
    assert await many.rows("SELECT name FROM vendors") == []


async def test_a_vendor_that_a_person_resumed_is_not_held_again_for_a_while(many: Harness) -> None:
    watch = VendorWatch(many.engine, 0.25)
    watch.add({"vau": 5000})
    await watch.run_once()
    await resume(many)
    await intake(many).run_once()
    await watch.run_once()
    assert (await many.rows("SELECT status FROM vendors"))[0][0] == "ACTIVE"
    assert PAUSED.labels("vau")._value.get() == 0
    await many.rows("UPDATE vendors SET unwatched_until = now() - interval '1 second'")
    await watch.run_once()
    assert (await many.rows("SELECT status FROM vendors"))[0][0] == "PAUSED"


async def test_a_batch_counts_the_wallets_in_which_each_vendor_replaced_something(harness: Harness) -> None:
    await harness.import_wallets(
        wallet(method("A"), method("A2")),
        wallet(method("A", id="m-B"), customer="e2"),
        wallet(method("mdes:M"), customer="e3"),
    )
    taken = await harness.report(
        replaced("A", "B", on=1),
        replaced("A2", "B2", on=2),
        replaced("mdes:M", "mdes:N", on=1, vendor="mdes"),
        reported(UpdateType.CLOSED, "B", on=3),
    )
    assert taken.replaced == {"vau": 2, "mdes": 1}


async def test_what_a_worker_replaces_is_counted_and_what_it_reads_of_a_paused_vendor_is_held(
    harness: Harness, kafka: str, topic: str, group: str
) -> None:
    """On a real broker: the messages of two vendors lie in one partition, and its offsets are committed."""
    await harness.import_wallets(wallet(method("A"), method("mdes:M")))
    await pause(harness)
    watch, post = VendorWatch(harness.engine, 0), Post(kafka, topic, group)
    await post.send(
        replaced("A", "B", on=1),
        replaced("mdes:M", "mdes:N", on=1, vendor="mdes"),
        replaced("B", "C", on=2),
        partition=0,
    )
    async with working(harness.engine, post, on_replaced=watch.add):
        await taken_in(harness, 3)
    assert await post.committed() == {0: 3}
    assert live(await harness.wallet()).keys() == {"A", "mdes:N"}
    await watch.run_once()
    counts = await harness.rows("SELECT vendor, wallets FROM vendor_replacements")
    assert [tuple(row) for row in counts] == [("mdes", 1)]
    await resume(harness)
    await intake(harness).run_once()
    assert live(await harness.wallet()).keys() == {"C", "mdes:N"}


# --- while others are at work -----------------------------------------------------------------------------------------


async def test_a_batch_that_waited_while_its_vendor_was_resumed_holds_nothing(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    assert await pause(harness)
    assert await resume(harness)
    async with harness.engine.begin() as connection:
        await wallets.close_the_gate(connection)
        batch = asyncio.create_task(harness.report(replaced("A", "B", on=1)))
        await waits(harness.engine, batch)
        assert await vendors.end(connection, "vau")
    await batch
    assert (await harness.outcomes(), await held(harness)) == ([("vau-1", "APPLIED", None)], 0)


async def test_what_a_batch_holds_at_the_last_moment_is_taken_in_at_the_next_look(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    assert await pause(harness)
    assert await resume(harness)
    await harness.report(replaced("A", "B", on=1))
    async with harness.engine.begin() as connection:
        assert await vendors.claim(connection, lease=DAY) == "vau"
    async with harness.engine.begin() as connection:
        await wallets.close_the_gate(connection)
        assert not await vendors.end(connection, "vau")
    assert await intake(harness).run_once() == "vau"
    assert (await harness.outcomes(), await held(harness)) == ([("vau-1", "APPLIED", None)], 0)


async def test_an_update_that_a_person_discards_meanwhile_is_not_taken_in(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    assert await pause(harness)
    await harness.report(replaced("A", "B", on=1))
    ((inbox_id,),) = await harness.rows("SELECT id FROM inbox")
    assert await resume(harness)
    async with harness.engine.begin() as connection:
        await judging.judge(connection, inbox_id, Discard(), Author("ops", "wrong"), RETENTION)
        taking_in = asyncio.create_task(intake(harness).run_once())
        await waits(harness.engine, taking_in)
    await taking_in
    assert await harness.outcomes() == [("vau-1", "IGNORED", "DISCARDED")]
    assert live(await harness.wallet()).keys() == {"A"}


async def test_a_person_is_told_that_an_update_was_taken_in_anew_meanwhile(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    assert await pause(harness)
    await harness.report(replaced("A", "B", on=1))
    ((inbox_id,),) = await harness.rows("SELECT id FROM inbox")
    async with harness.engine.begin() as judges:
        async with harness.engine.begin() as connection:
            assert await vendors.let_go(connection, [inbox_id]) == {inbox_id}
            judged = asyncio.create_task(judging.judge(judges, inbox_id, Discard(), Author("ops", "wrong"), RETENTION))
            await waits(harness.engine, judged)
        assert await judged is None
