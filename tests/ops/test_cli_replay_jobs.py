"""`repoint replay start|list|pause|resume|cancel`, and `repoint replay ID --delivered`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from schemas.signature import event_id
from store import deliveries, replay_jobs
from store.deliveries import AttemptResult
from tests.acceptance.program import Program
from tests.store.outbox import Outbox


@pytest.fixture
async def outbox(engine: AsyncEngine) -> Outbox:
    """An outbox with the endpoint `shop`."""
    outbox = Outbox(engine)
    await outbox.add_endpoint("shop")
    return outbox


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def deliver(outbox: Outbox, number: int = 1) -> list[str]:
    """Events of one wallet that arrived at `shop`."""
    told = await outbox.tell("shop", await outbox.add_wallet(), number)
    for _ in range(number):
        async with outbox.engine.begin() as connection:
            (head,) = await deliveries.claim(connection, {"shop": 1}, {}, lease=timedelta(minutes=1))
            at, arrived = datetime.now(UTC).timestamp(), NextState(Status.DELIVERED)
            await deliveries.record(connection, [AttemptResult(head, Outcome.ACCEPTED, 200, 0.1, at, arrived)])
    return [event_id(id_) for id_ in told]


async def enqueue_next(outbox: Outbox) -> None:
    async with outbox.engine.begin() as connection:
        await replay_jobs.enqueue_next(connection)


async def test_a_job_is_started_paused_resumed_cancelled_and_listed(program: Program, outbox: Outbox) -> None:
    await deliver(outbox, 600)
    started = (await program("replay", "start", "--endpoint", "shop", "--scope", "all", "--rate", "2")).well()
    assert started.out == "replay 1 sends 600 deliveries again, in about 5m\n"
    await enqueue_next(outbox)
    assert (await program("replay", "pause", "1")).well().out == "replay 1 is PAUSED: 1 delivery of 600 enqueued\n"
    (row,) = (await program("replay", "list", "--json")).json()
    assert {**row, "createdAt": None} == {
        "id": 1,
        "scope": "ALL",
        "selection": {"endpoint": "shop"},
        "perSecond": 2.0,
        "status": "PAUSED",
        "selected": 600,
        "enqueued": 1,
        "leftAlone": 0,
        "remaining": 599,
        "createdAt": None,
        "finishedAt": None,
    }
    again = await program("replay", "pause", "1")
    assert (again.code, again.err) == (1, "repoint: replay 1 is PAUSED, not RUNNING\n")
    (await program("replay", "resume", "1")).well()
    listed = (await program("replay", "list", "--status", "running")).well().out
    assert "endpoint=shop" in listed
    assert "5m" in listed
    cancelled = (await program("replay", "cancel", "1", "--reason", "the wrong endpoint")).well()
    assert cancelled.out == "replay 1 is CANCELLED: 1 delivery of 600 enqueued\n"
    over = await program("replay", "resume", "1")
    assert (over.code, over.err) == (1, "repoint: replay 1 is CANCELLED, not PAUSED\n")
    ended = await program("replay", "cancel", "1")
    assert (ended.code, ended.err) == (1, "repoint: replay 1 is CANCELLED\n")
    acts = (await program("audit", "list", "--subject", "replay 1", "--json")).json()
    assert [act["action"] for act in acts] == ["replay cancelled", "replay resumed", "replay paused", "replay started"]
    assert acts[0]["reason"] == "the wrong endpoint"
    assert acts[3]["after"] == {"scope": "ALL", "endpoint": "shop", "selected": 600, "enqueued": 0}


async def test_a_dry_run_starts_nothing(program: Program, outbox: Outbox) -> None:
    await deliver(outbox, 2)
    told = (await program("replay", "start", "--merchant", "shop", "--scope", "delivered", "--dry-run")).well()
    assert told.out == "would send 2 deliveries again, in about 1s\n"
    assert (await program("replay", "list", "--json")).json() == []
    assert (await program("audit", "list", "--json")).json() == []


async def test_what_selects_nothing_starts_nothing(program: Program, outbox: Outbox) -> None:
    await deliver(outbox)
    told = await program("replay", "start", "--endpoint", "shop")
    assert told.code == 1
    assert told.err.startswith("repoint: nothing to send again")
    assert (await program("replay", "list", "--json")).json() == []


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "expected --endpoint or --merchant"),
        (("--endpoint", "shop", "--merchant", "shop"), 2, "expected --endpoint or --merchant"),
        (("--endpoint", "nope"), 1, "there is no endpoint nope"),
        (("--merchant", "nope"), 1, "there is no merchant nope"),
        (("--endpoint", "shop", "12"), 2, "expected ids of events"),
        (("--endpoint", "shop", "--since", "2026-01-02", "--until", "2026-01-01"), 2, "expected --since to be before"),
        (("--endpoint", "shop", "--since", "0001-01-01T00:00:00+14:00"), 2, "Invalid value for '--since'"),
        (("--endpoint", "shop", "--since", "1969-12-31"), 2, "Invalid value for '--since'"),
        (("--endpoint", "shop", "--until", "2200-01-01"), 2, "Invalid value for '--until'"),
        (("--endpoint", "shop", "--rate", "0"), 2, "--rate"),
        (("--endpoint", "shop", "--rate", "nan"), 2, "--rate"),
    ],
    ids=[
        *("nothing", "both", "no endpoint", "no merchant", "a delivery", "times", "no moment in UTC", "too early"),
        *("too late", "rate", "no number"),
    ],
)
async def test_a_job_that_cannot_be_understood_is_refused(
    program: Program, outbox: Outbox, arguments: tuple[str, ...], code: int, text: str
) -> None:
    told = await program("replay", "start", *arguments)
    assert (told.code, text in " ".join(told.err.split())) == (code, True), told.err


async def test_a_job_that_is_not_there(program: Program, outbox: Outbox) -> None:
    for command in ("pause", "resume", "cancel"):
        told = await program("replay", command, "7")
        assert (told.code, told.err) == (1, "repoint: there is no replay 7: `repoint replay list`\n")


async def test_events_narrow_a_job(program: Program, outbox: Outbox) -> None:
    first, _ = await deliver(outbox, 2)
    job = (await program("replay", "start", first, "--endpoint", "shop", "--scope", "all", "--json")).json()
    assert (job["selected"], job["selection"]) == (1, {"endpoint": "shop", "events": [first]})


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("--since", "2026-01-02", {"since": "2026-01-02T00:00:00.000Z"}),
        ("--since", "2190-01-01", None),
        ("--until", "2190-01-01", {"until": "2190-01-01T00:00:00.000Z"}),
        ("--until", "2026-01-02", None),
        ("--event", "PAYMENT_METHOD_DELETED", {"names": ["PAYMENT_METHOD_DELETED"]}),
        ("--event", "PAYMENT_METHOD_UPDATED", None),
    ],
)
async def test_a_time_and_the_names_of_events_narrow_a_job(
    program: Program, outbox: Outbox, option: str, value: str, shown: dict[str, object] | None
) -> None:
    await deliver(outbox, 2)
    started = await program("replay", "start", "--merchant", "shop", "--scope", "all", option, value, "--json")
    assert started.code == (1 if shown is None else 0)
    if shown is not None:
        job = started.json()
        assert (job["selected"], job["perSecond"], job["selection"]) == (2, 50, {"merchant": "shop"} | shown)


async def test_jobs_are_listed_by_their_status(program: Program, outbox: Outbox) -> None:
    await deliver(outbox, 2)
    for number in range(2):
        await program("replay", "start", "--endpoint", "shop", "--scope", "all")
        await program("replay", ("pause", "cancel")[number], str(number + 1))
    for arguments, expected in (((), [2, 1]), (("--limit", "1"), [2]), (("--status", "paused"), [1])):
        assert [job["id"] for job in (await program("replay", "list", "--json", *arguments)).json()] == expected


async def test_what_arrived_goes_again_when_it_is_named_as_delivered(program: Program, outbox: Outbox) -> None:
    first, second = await deliver(outbox, 2)
    ((number,),) = await outbox.execute("SELECT id FROM delivery_history WHERE sequence = 2")
    refused = await program("replay", first)
    assert refused.code == 1
    assert "of DELIVERED ones --delivered" in refused.err
    assert (await program("replay", first, str(number), "--delivered")).well().out == "replayed 2 deliveries\n"
    rows = await outbox.execute("SELECT event_id FROM deliveries ORDER BY sequence")
    assert [event_id(row.event_id) for row in rows] == [first, second]
    again = await program("replay", first, "--delivered")
    assert again.code == 1
    assert "that is not on its way again" in again.err
    for arguments in (("--endpoint", "shop", "--delivered"), (first, "--delivered", "--waiting")):
        assert "expected --delivered with an ID" in " ".join((await program("replay", *arguments)).err.split())
