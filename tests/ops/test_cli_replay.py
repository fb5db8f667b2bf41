"""`repoint replay`: what was given up goes out again when a person asks, and nothing else does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from schemas.signature import event_id
from store import deliveries
from store.deliveries import AttemptResult
from tests.acceptance.program import Program
from tests.parts.receiver import Receiver
from tests.store.outbox import Outbox


class Given(NamedTuple):
    """Dead deliveries of one wallet to the endpoint `shop`, and one to `gym`: their numbers, and their events' ids."""

    shop: list[int]
    gym: int
    events: list[str]


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


@pytest.fixture
async def dead(outbox: Outbox, receiver: Receiver) -> Given:
    wallet = await outbox.add_wallet()
    for name in ("shop", "gym"):
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
    told = await outbox.tell("shop", wallet, 3)
    await outbox.tell("gym", wallet)
    numbers: dict[str, list[int]] = {"shop": [], "gym": []}
    while claimed := await claim(outbox):
        for one in claimed:
            numbers[one.endpoint_id].append(one.id)
    return Given(numbers["shop"], numbers["gym"][0], [event_id(one) for one in told])


async def claim(outbox: Outbox, then: NextState = NextState(Status.DEAD)) -> list[deliveries.ClaimedDelivery]:  # noqa: B008  it is a value
    """Claim what is due, and give it up, or record that what follows is `then`."""
    async with outbox.engine.begin() as connection:
        claimed = await deliveries.claim(connection, {"shop": 9, "gym": 9}, {}, lease=timedelta(minutes=1))
        at = datetime.now(UTC).timestamp()
        given_up = [AttemptResult(one, Outcome.UNAVAILABLE, 503, 0.1, at, then) for one in claimed]
        await deliveries.record(connection, given_up)
    return claimed


async def delivered(outbox: Outbox, receiver: Receiver, count: int) -> list[str]:
    """The ids that come to /shop."""
    async with Sender(version="0", allow=parse_networks(["127.0.0.0/8"])) as sender:
        dispatcher = Dispatcher(outbox.engine, sender)
        while await dispatcher.run_once():
            pass
    return [request.headers["webhook-id"] for request in await receiver.arrived(count, "/shop")]


async def test_what_is_named_goes_out_again_in_order(
    program: Program, outbox: Outbox, receiver: Receiver, dead: Given
) -> None:
    third, first = str(dead.shop[2]), dead.events[0]
    told = (await program("replay", third, first, "--dry-run")).well()
    assert told.out == "would replay 2 deliveries\n"
    assert await outbox.live() == []
    replayed = (await program("replay", third, first)).well()
    assert (replayed.out, replayed.err) == ("replayed 2 deliveries\n", "")
    (act,) = (await program("audit", "list", "--json")).json()
    assert (act["action"], act["after"]) == ("deliveries replayed", {"chosen": [dead.shop[0], dead.shop[2]]})
    assert await delivered(outbox, receiver, 2) == [dead.events[0], dead.events[2]]
    bodies = await outbox.execute("SELECT body FROM events WHERE merchant_id = 'shop' ORDER BY sequence")
    assert [request.body for request in receiver.requests] == [bodies[0].body, bodies[2].body]


async def test_the_same_command_again_sends_only_what_has_not_arrived(
    program: Program, outbox: Outbox, receiver: Receiver, dead: Given
) -> None:
    assert (await program("replay", "--endpoint", "shop")).well().out == "replayed 3 deliveries\n"
    again = (await program("replay", "--endpoint", "shop")).well()
    assert again.out == "replayed 0 deliveries\n"
    assert again.err == "repoint: nothing of that is DEAD: `repoint deliveries list --status DEAD` shows what is\n"
    assert await delivered(outbox, receiver, 3) == dead.events
    assert (await program("replay", "--merchant", "shop")).well().out == "replayed 0 deliveries\n"
    again = await program("replay", str(dead.gym), str(dead.shop[0]), dead.events[1])
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith(f"repoint: {dead.shop[0]}, {dead.events[1]}: expected a dead delivery")
    assert await outbox.live() == [], "the one of the gym neither"


async def test_what_died_within_a_time(program: Program, outbox: Outbox, dead: Given) -> None:
    await outbox.execute(
        "UPDATE delivery_history SET finished_at = '2026-11-20T23:30Z' WHERE id = ANY(:ids)", ids=dead.shop[:2]
    )
    for since, until, count in (
        ("2026-11-20", "2026-11-21", 2),
        ("2026-11-20T23:31:00Z", "2026-11-21T00:00:00Z", 0),
        ("2026-11-21T01:30:00+02:00", "2026-11-21T01:30:01+02:00", 2),
    ):
        told = (await program("replay", "--since", since, "--until", until, "--dry-run")).well()
        assert told.out == f"would replay {count} deliveries\n"
    for narrowed, count in (("--endpoint", "gym"), 0), ((), 2):
        told = (await program("replay", "--until", "2026-11-21", *narrowed, "--dry-run")).well()
        assert told.out == f"would replay {count} deliveries\n"


async def test_an_event_that_was_given_up_twice_is_counted_once(program: Program, outbox: Outbox, dead: Given) -> None:
    (await program("replay", str(dead.gym))).well()
    assert len(await claim(outbox)) == 1
    (await program("endpoints", "disable", "gym")).well()
    ended = (await program("replay", "--endpoint", "gym", "--dry-run")).well()
    assert ended.out == "would replay 1 delivery\n"
    assert ended.err == "repoint: 1 of them waits until its endpoint is enabled: see `repoint endpoints list`\n"


async def test_what_waits_for_its_endpoint_is_said(program: Program, outbox: Outbox, dead: Given) -> None:
    (await program("endpoints", "disable", "shop")).well()
    ended = (await program("replay", "--since", "2026-01-01")).well()
    assert ended.out == "replayed 4 deliveries\n"
    assert ended.err == "repoint: 3 of them wait until their endpoint is enabled: see `repoint endpoints list`\n"
    assert [(row.endpoint_id, row.status) for row in await outbox.live()] == [
        ("gym", "PENDING"), ("shop", "PARKED"), ("shop", "PARKED"), ("shop", "PARKED"),
    ]  # fmt: skip


async def test_what_waits_for_its_next_try_is_sent_now_in_the_order_of_its_line(
    program: Program, outbox: Outbox, receiver: Receiver
) -> None:
    wallet = await outbox.add_wallet()
    ids = {}
    for name in ("shop", "gym"):
        await outbox.add_endpoint(name, receiver.url(f"/{name}"))
        ids[name] = [event_id(event) for event in await outbox.tell(name, wallet, 2)]
    await claim(outbox, NextState(Status.PENDING, timedelta(hours=24)))
    listed = (await program("deliveries", "list", "--endpoint", "shop", "--json")).json()
    second, first = (str(delivery["id"]) for delivery in listed)
    assert (await program("replay", "--waiting", first, ids["gym"][0], "--dry-run")).well().out == (
        "would send 2 deliveries now\n"
    )
    assert await delivered(outbox, receiver, 0) == []
    assert (await program("replay", "--waiting", "--merchant", "shop")).well().out == "sending 1 delivery now\n"
    assert [(row.sequence, row.place, row.attempt) for row in await outbox.live() if row.endpoint_id == "shop"] == [
        (1, "head", 1), (2, "waits", 0),
    ]  # fmt: skip
    assert await delivered(outbox, receiver, 2) == ids["shop"]
    assert receiver.at("/gym") == []
    assert await outbox.execute(
        "SELECT number, last_attempted_at IS NOT NULL FROM attempts JOIN delivery_history ON id = delivery_id"
        " WHERE id = :id",
        id=int(first),
    ) == [(1, True)]
    again = await program("replay", "--waiting", first, second)
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith(f"repoint: {first}, {second}: expected a PENDING delivery")
    assert (await program("replay", "--waiting", "--endpoint", "gym")).well().out == "sending 1 delivery now\n"


async def test_what_is_to_be_sent_now_and_waits_for_the_end_of_a_hold_is_said(program: Program, outbox: Outbox) -> None:
    for name in ("shop", "gym"):
        await outbox.add_endpoint(name)
        await outbox.tell(name, await outbox.add_wallet())
    await claim(outbox, NextState(Status.PENDING, timedelta(hours=24)))
    await outbox.execute("UPDATE endpoints SET held_until = now() + interval '1 hour' WHERE id = 'shop'")
    until = "is held back no more: `repoint endpoints enable` ends a hold"
    for endpoint, said in (("shop", f"repoint: 1 of them waits until its endpoint {until}\n"), ("gym", "")):
        ended = (await program("replay", "--waiting", "--endpoint", endpoint)).well()
        assert (ended.out, ended.err) == ("sending 1 delivery now\n", said)
    acts = (await program("audit", "list", "--json")).json()
    assert [(act["action"], act["subject"]) for act in acts] == [
        ("deliveries sent now", "gym"), ("deliveries sent now", "shop"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "expected an ID, or --endpoint"),
        (("evt_1",), 2, "expected the number of a delivery, or the id of an event"),
        ((str(1 << 63),), 2, "expected the number of a delivery, or the id of an event"),
        (("--waiting",), 2, "expected an ID, or --endpoint"),
        (("--waiting", "--endpoint", "shop", "--since", "2026-11-20"), 2, "expected --waiting without --since"),
        (
            ("--waiting", "--endpoint", "shop", "--until", "2026-11-20"),
            2,
            "expected --waiting without --since and --until",
        ),
        (("--waiting", "4711"), 1, "repoint: 4711: expected a PENDING delivery"),
        (("--since", "yesterday"), 2, "expected a moment"),
        (("--since", "2026-11-21", "--until", "2026-11-20"), 2, "expected --since to be before --until"),
        (("--since", "2026-11-20", "--until", "2026-11-20"), 2, "expected --since to be before --until"),
        (("4711",), 1, "repoint: 4711: expected a dead delivery"),
        (("evt_" + 32 * "0",), 1, f"repoint: evt_{32 * '0'}: expected a dead delivery"),
        (("--endpoint", "nobody"), 1, "repoint: there is no endpoint nobody\n"),
        (("--merchant", "nobody"), 1, "repoint: there is no merchant nobody\n"),
    ],
)
async def test_what_cannot_be_replayed_is_said(
    program: Program, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = await program("replay", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in " ".join(ended.err.replace("│", " ").split()) + "\n"
