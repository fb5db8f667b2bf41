"""A merchant's export of payment method ids: what each is now, and what the merchant missed is sent again."""

import asyncio
import gzip
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.states import Status
from domain.reconciliation import CopyState
from reconciliation import merchant_copy
from reconciliation.merchant_copy import ComparedLine, Copy, CopyLine
from store import replays
from tests.acceptance.program import Program
from tests.consumers.harness import Harness
from tests.domain.build import link, method, removed, replaced, wallet
from tests.parts.until import until
from tests.reconciliation.drift import plant
from tests.reconciliation.test_dead_deliveries import finish
from tests.store.outbox import Outbox

LATER = timedelta(seconds=5)
WAITING = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """A wallet in which a card was replaced twice and another one removed, and a stranger's wallet."""
    harness = Harness(engine)
    await harness.import_wallets(
        wallet(method("A"), method("K"), removed("R"), links=[link("m-A")]),
        wallet(method("S"), customer="s1", merchants=("shop",)),
    )
    await harness.report(replaced("A", "B", on=1))
    await harness.report(replaced("B", "C", on=2))
    return harness


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


def now() -> datetime:
    return datetime.now(UTC)


async def compare(
    harness: Harness, *ids: str, emits: bool = False, at: datetime | None = None, merchant: str = "pharmacy"
) -> list[ComparedLine]:
    copy = Copy(merchant, at or now() + LATER)
    lines = [CopyLine(number, id_) for number, id_ in enumerate(ids, 1)]
    pages = merchant_copy.compare(harness.engine, copy, lines, emits=emits)
    return [line async for page in pages for line in page.lines]


async def current(harness: Harness) -> str:
    ((id_,),) = await harness.rows("SELECT CAST(id AS text) FROM payment_methods WHERE live AND id IN"
                                   " (SELECT new_id FROM lineage)")  # fmt: skip
    return str(id_)


async def finish_all(outbox: Outbox, status: Status, *endpoints: str) -> None:
    """Finish all deliveries of the endpoints, in order."""
    for endpoint in endpoints or ("pharmacy", "optician"):
        count = sum(row.endpoint_id == endpoint for row in await outbox.live())
        await finish(outbox, endpoint, *[status] * count)


async def numbers(outbox: Outbox) -> list[tuple[str, int, str]]:
    return [(row.endpoint_id, row.sequence, row.place) for row in await outbox.live()]


async def test_each_id_is_current_replaced_deleted_or_unknown(harness: Harness) -> None:
    """A method of another merchant's wallet looks like none."""
    ids = [harness.id_of(name) for name in ("m-K", "m-A", "m-R", "m-S")]
    compared = await compare(harness, *ids, str(uuid4()))
    assert [(line.state, line.current_method_id) for line in compared] == [
        (CopyState.CURRENT, None),
        (CopyState.REPLACED, await current(harness)),
        (CopyState.DELETED, None),
        (CopyState.UNKNOWN, None),
        (CopyState.UNKNOWN, None),
    ]
    assert [line[2:] for line in compared[3:]] == [(CopyState.UNKNOWN, None, 0, 0, 0)] * 2
    (own,) = await compare(harness, ids[3], merchant="shop")
    assert own.state is CopyState.CURRENT


async def test_what_arrived_before_the_export_is_sent_again_in_order(harness: Harness, outbox: Outbox) -> None:
    """To this merchant alone: the stored events of the whole chain."""
    await finish_all(outbox, Status.DELIVERED)
    events = await harness.rows("SELECT count(*) FROM events")
    (line,) = await compare(harness, harness.id_of("m-A"), emits=True)
    assert (line.missed, line.pending, line.sent, line.is_settled) == (4, 0, 4, True)
    assert await numbers(outbox) == [
        ("pharmacy", 1, "head"),
        ("pharmacy", 2, "waits"),
        ("pharmacy", 3, "waits"),
        ("pharmacy", 4, "waits"),
    ]
    assert await harness.rows("SELECT count(*) FROM events") == events


async def test_of_a_method_in_the_chain_the_later_events_alone_are_missed(harness: Harness, outbox: Outbox) -> None:
    await finish_all(outbox, Status.DELIVERED)
    ((second,),) = await harness.rows("SELECT CAST(replaced_by AS text) FROM payment_methods WHERE id = :id",
                                      id=harness.id_of("m-A"))  # fmt: skip
    (line,) = await compare(harness, second, emits=True)
    assert (line.state, line.sent) == (CopyState.REPLACED, 2)
    assert [sequence for _, sequence, _ in await numbers(outbox)] == [3, 4]


async def test_what_is_on_its_way_or_arrived_later_is_not_sent_again(harness: Harness, outbox: Outbox) -> None:
    stale = harness.id_of("m-A")
    exported_at = now() - LATER
    for _ in range(2):
        (line,) = await compare(harness, stale, emits=True)
        assert (line.missed, line.pending, line.sent, line.is_settled) == (0, 4, 0, True)
    await finish_all(outbox, Status.DELIVERED)
    (line,) = await compare(harness, stale, emits=True, at=exported_at)
    assert (line.missed, line.pending, line.sent) == (0, 4, 0)
    assert await outbox.live() == []


async def test_a_second_run_with_the_same_export_sends_nothing(harness: Harness, outbox: Outbox) -> None:
    await finish_all(outbox, Status.DEAD)
    exported_at, stale = now(), harness.id_of("m-A")
    (line,) = await compare(harness, stale, emits=True, at=exported_at)
    assert line.sent == 4
    assert [line.sent for line in await compare(harness, stale, emits=True, at=exported_at)] == [0]
    await finish_all(outbox, Status.DELIVERED, "pharmacy")
    assert [line.sent for line in await compare(harness, stale, emits=True, at=exported_at)] == [0]
    assert await outbox.live() == []


async def test_runs_at_the_same_time_send_once(harness: Harness, outbox: Outbox) -> None:
    """The second looks again once the first has committed: by then, the deliveries have even arrived."""
    await finish_all(outbox, Status.DELIVERED)
    exported_at, wallet_id = now(), harness.id_of("w-e1")
    async with harness.engine.begin() as connection:
        await replays.lock_lines(connection, [wallet_id])
        second = asyncio.create_task(compare(harness, harness.id_of("m-A"), emits=True, at=exported_at))
        await until(partial(harness.rows, WAITING))
        await plant_arrivals(harness)
    assert [line.sent for line in await second] == [0]
    assert await outbox.live() == []


async def plant_arrivals(harness: Harness) -> None:
    await harness.rows("UPDATE delivery_history SET finished_at = now() + interval '1 second'")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE delivery_history SET status = 'CANCELLED'",
        "UPDATE endpoints SET event_types = ARRAY['PAYMENT_METHOD_UPDATED']",
        "DELETE FROM events",
    ],
)
async def test_what_cannot_be_sent_is_left_to_a_person(harness: Harness, outbox: Outbox, change: str) -> None:
    await finish_all(outbox, Status.DELIVERED)
    await harness.rows(change)
    (line,) = await compare(harness, harness.id_of("m-A"), emits=True)
    assert (line.missed, line.sent, line.is_settled) == (0, 0, False)
    assert await outbox.live() == []


async def test_an_id_on_several_lines_and_pages_is_sent_once(harness: Harness, outbox: Outbox) -> None:
    await finish_all(outbox, Status.DELIVERED)
    stale = harness.id_of("m-A")
    filler = [str(uuid4()) for _ in range(1000)]
    compared = await compare(harness, stale, stale, *filler, stale, emits=True)
    assert [line.sent for line in compared if line.state is CopyState.REPLACED] == [4, 4, 0]
    assert len(await outbox.live()) == 4


async def test_of_a_method_that_nothing_replaces_its_deletion_is_missed(harness: Harness, outbox: Outbox) -> None:
    await finish_all(outbox, Status.DELIVERED)
    await plant(harness, "UPDATE payment_methods SET replaced_by = NULL WHERE id = :id", id=harness.id_of("m-A"))
    (line,) = await compare(harness, harness.id_of("m-A"), emits=True)
    assert (line.state, line.current_method_id, line.sent, line.is_settled) == (CopyState.DELETED, None, 1, True)
    assert [sequence for _, sequence, _ in await numbers(outbox)] == [2]


async def test_the_run_after_an_interrupted_one_sends_what_that_one_did_not(harness: Harness, outbox: Outbox) -> None:
    await harness.import_wallets(wallet(method("X"), customer="e2"))
    await harness.report(replaced("X", "Y", on=3))
    await finish_all(outbox, Status.DELIVERED)
    ids = [harness.id_of("m-A"), *(str(uuid4()) for _ in range(1000)), harness.id_of("m-X")]
    lines = [CopyLine(number, id_) for number, id_ in enumerate(ids, 1)]
    copy = Copy("pharmacy", now() + LATER)
    async for page in merchant_copy.compare(harness.engine, copy, lines, emits=True):
        assert page.sent == 4
        break
    compared = await compare(harness, *ids, emits=True, at=copy.exported_at)
    stale = [(line.pending, line.sent) for line in compared if line.state is CopyState.REPLACED]
    assert stale == [(4, 0), (0, 2)]


# --- the command ------------------------------------------------------------------------------------------------------


def export(folder: Path, lines: Sequence[str], *, packed: bool = False) -> str:
    """An export that was written five seconds ago."""
    file = folder / "export"
    written = ("\n".join(lines) + "\n").encode()
    file.write_bytes(gzip.compress(written) if packed else written)
    os.utime(file, times=(now().timestamp() - 5,) * 2)
    return str(file)


async def arrived_a_day_ago(harness: Harness, outbox: Outbox) -> None:
    await finish_all(outbox, Status.DELIVERED)
    await harness.rows("UPDATE delivery_history SET finished_at = finished_at - interval '1 day'")


async def test_the_command_reports_sends_again_and_ends_well(
    program: Program, harness: Harness, outbox: Outbox, tmp_path: Path
) -> None:
    await arrived_a_day_ago(harness, outbox)
    file = export(tmp_path, ["id,name", f"{harness.id_of('m-K')},K", f"{harness.id_of('m-A')},A"], packed=True)
    arguments = ("reconcile", "merchant", "--merchant", "pharmacy", "--file", file)
    for dry in ((), ("--emit", "--dry-run")):
        reported = await program(*arguments, *dry)
        assert (reported.code, await outbox.live()) == (1, [])
        assert reported.out.startswith(
            "pharmacy: 2 ids, 1 current, 1 replaced, 0 deleted, 0 unknown; 4 missed, 0 sent again\n"
        )
        assert "1 id not current, and nothing is on its way; --emit sends what was missed" in reported.err
    (report,) = (await program(*arguments, "--emit", "--json")).json()
    assert report["summary"] == {
        "compared": 2, "current": 1, "replaced": 1, "deleted": 0, "unknown": 0, "refused": 0, "missed": 4, "sent": 4,
    }  # fmt: skip
    assert report["paymentMethods"][1] == {
        "line": 3,
        "paymentMethodId": harness.id_of("m-A"),
        "state": "REPLACED",
        "currentPaymentMethodId": await current(harness),
        "missed": 4,
        "pending": 0,
        "sent": 4,
    }
    assert len(await outbox.live()) == 4
    await finish_all(outbox, Status.DELIVERED)
    again = (await program(*arguments, "--emit")).well()
    assert again.out.splitlines()[0].endswith("; 0 missed, 0 sent again")
    acts = (await program("audit", "list", "--subject", "reconcile", "--json")).json()
    assert [(act["action"], act["after"]["merchant"]) for act in acts] == [("missed events sent again", "pharmacy")] * 2


async def test_bad_lines_are_named_and_the_others_are_compared(
    program: Program, harness: Harness, tmp_path: Path
) -> None:
    number = "4111111111111111"
    file = export(tmp_path, [harness.id_of("m-K"), number, "", '{"id": 7}'])
    ended = await program("reconcile", "merchant", "--merchant", "pharmacy", "--file", file, "--json")
    assert ended.code == 1
    assert ended.err.splitlines() == [
        f"repoint: {file}:2: line: expected the id of a payment method, a UUID",
        f"repoint: {file}:4: id: expected a text",
        "repoint: 2 lines refused; the others were compared",
    ]
    assert json.loads(ended.out)[0]["summary"]["compared"] == 1
    assert number not in ended.out + ended.err


async def test_files_merchants_and_times_that_are_of_no_use_are_refused(
    program: Program, harness: Harness, tmp_path: Path
) -> None:
    file = export(tmp_path, ["name,last4", "K,4242"])
    of = ("reconcile", "merchant", "--file", file, "--merchant")
    other = await program(*of, "pharmacy")
    assert (other.code, f"{file}:1: line: expected a header" in other.err) == (1, True)
    stranger = await program(*of, "nobody")
    assert (stranger.code, "there is no merchant nobody" in stranger.err) == (1, True)
    timeless = await program("reconcile", "merchant", "--merchant", "pharmacy", "--file", "-")
    assert (timeless.code, "--exported-at" in timeless.err) == (2, True)
