"""Events about endpoints: who receives them, what they say, and that they wait for nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks.webhooks import Webhook

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from merchants import endpoint_events
from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from schemas.signature import event_id
from store import deliveries, endpoints, finished_deliveries
from store.accounting import take_stock
from tests.acceptance.program import Program
from tests.parts.receiver import Answer, Receiver
from tests.store.outbox import SECRET, Outbox

ALL = ("PAYMENT_METHOD_DELETED", "ENDPOINT_DISABLED")
SHOWN = {"walletId": None, "sequence": None, "reason": None, "version": 1}


@pytest.fixture
async def dispatcher(engine: AsyncEngine) -> AsyncIterator[Dispatcher]:
    async with Sender(version="1", deadline=5, allow=parse_networks(["127.0.0.0/8"])) as sender:
        yield Dispatcher(engine, sender, schedule=(timedelta(hours=1),))


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def bodies(outbox: Outbox) -> list[dict[str, Any]]:
    """Of the events about endpoints."""
    rows = await outbox.execute("SELECT body FROM events WHERE name LIKE 'ENDPOINT%' ORDER BY id")
    return [json.loads(row.body) for row in rows]


async def waiting(outbox: Outbox) -> list[tuple[str, str]]:
    """The endpoint and the name of each live delivery of an event about an endpoint."""
    rows = await outbox.execute(
        "SELECT endpoint_id, name FROM deliveries JOIN events ON events.id = event_id"
        " WHERE name LIKE 'ENDPOINT%' ORDER BY endpoint_id"
    )
    return [tuple(row) for row in rows]


async def disable(outbox: Outbox, *ids: str, reason: str = "by hand") -> set[str]:
    async with outbox.engine.begin() as connection:
        disabled = await endpoints.disable(connection, ids, reason)
        return set(await endpoint_events.announce_disabled(connection, disabled))


# --- ENDPOINT_DISABLED ------------------------------------------------------------------------------------------------


async def test_the_other_enabled_endpoints_that_subscribed_are_told_that_one_was_disabled(outbox: Outbox) -> None:
    await outbox.add_endpoint("m/main", "https://hooks.shop.example/secret/path?key=1", merchant="m", event_types=ALL)
    await outbox.add_endpoint("m/alarm", merchant="m", event_types=["ENDPOINT_DISABLED"])
    await outbox.add_endpoint("m/off", merchant="m", event_types=ALL)
    await outbox.add_endpoint("m/plain", merchant="m")
    await outbox.add_endpoint("other", event_types=ALL)
    assert await disable(outbox, "m/off", "m/off", reason="by a person") == {"m/alarm", "m/main"}
    assert await disable(outbox, "m/main") == {"m/alarm"}
    assert await disable(outbox, "m/main") == set()
    assert await waiting(outbox) == [("m/alarm", "ENDPOINT_DISABLED")] * 2 + [("m/main", "ENDPOINT_DISABLED")]
    _, told = await bodies(outbox)
    assert told.items() >= {"name": "ENDPOINT_DISABLED", **SHOWN}.items()
    assert told["payload"] == {
        "endpoint": {
            "id": "m/main",
            "urlHost": "hooks.shop.example",
            "disabledReason": "by hand",
            "disabledAt": told["createdAt"],
        },
        "undeliveredCount": 1,
        "oldestUndeliveredAt": (await bodies(outbox))[0]["createdAt"],
    }


async def test_what_is_undelivered_is_counted_and_dated_by_the_oldest_event(outbox: Outbox) -> None:
    for name in ("m", "n"):
        await outbox.add_endpoint(name)
        await outbox.tell(name, await outbox.add_wallet(), 2)
    await outbox.add_endpoint("m/alarm", merchant="m", event_types=ALL)
    await outbox.execute("DELETE FROM deliveries WHERE endpoint_id = 'm'")
    oldest = min(await outbox.tell("m", await outbox.add_wallet(), 2))  # made in one millisecond: in no order
    await outbox.execute("UPDATE events SET created_at = '2026-11-20T09:14:14.02Z'")
    await outbox.execute("UPDATE events SET created_at = '2026-11-21T09:14:14.02Z' WHERE id = :oldest", oldest=oldest)
    await disable(outbox, "m")
    (told,) = await bodies(outbox)
    assert (told["payload"]["undeliveredCount"], told["payload"]["oldestUndeliveredAt"]) == (
        2,
        "2026-11-21T09:14:14.020Z",
    )


async def test_an_endpoint_without_undelivered_events_or_a_usable_url_is_announced(outbox: Outbox) -> None:
    await outbox.add_endpoint("m", "http://127.1/")
    await outbox.add_endpoint("m/alarm", merchant="m", event_types=ALL)
    assert await disable(outbox, "m") == {"m/alarm"}
    (told,) = await bodies(outbox)
    assert told["payload"]["endpoint"]["urlHost"] is None
    assert (told["payload"]["undeliveredCount"], told["payload"]["oldestUndeliveredAt"]) == (0, None)


async def test_where_no_other_endpoint_subscribed_no_event_is_written(outbox: Outbox) -> None:
    """Each event has a delivery: otherwise the accounts of events and deliveries would not balance."""
    await outbox.add_endpoint("m", event_types=ALL)
    await outbox.add_endpoint("m/plain", merchant="m")
    assert await disable(outbox, "m") == set()
    assert await bodies(outbox) == []


async def test_an_endpoint_that_nobody_is_told_of_keeps_no_other_one_from_being_announced(outbox: Outbox) -> None:
    for name in ("m", "n", "o"):
        await outbox.add_endpoint(name, event_types=ALL)
    await outbox.add_endpoint("n/alarm", merchant="n", event_types=ALL)
    assert await disable(outbox, "m", "n", "o") == {"n/alarm"}
    assert [told["payload"]["endpoint"]["id"] for told in await bodies(outbox)] == ["n"]


async def test_two_merchants_endpoints_disabled_at_once_are_events_of_their_own(outbox: Outbox) -> None:
    for name in ("m", "n"):
        await outbox.add_endpoint(name, event_types=ALL)
        await outbox.add_endpoint(f"{name}/alarm", merchant=name, event_types=ALL)
    assert await disable(outbox, "m", "n") == {"m/alarm", "n/alarm"}
    rows = await outbox.execute(
        "SELECT merchant_id, endpoint_id, convert_from(body, 'UTF8') AS body"
        " FROM deliveries JOIN events ON events.id = event_id ORDER BY 1"
    )
    told = [(row.merchant_id, row.endpoint_id, json.loads(row.body)["payload"]["endpoint"]["id"]) for row in rows]
    assert told == [("m", "m/alarm", "m"), ("n", "n/alarm", "n")]


async def test_a_410_is_reported_to_the_other_endpoint_after_what_else_came_to_it_was_recorded(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"), event_types=ALL)
    await outbox.add_endpoint("m/alarm", receiver.url("/alarm"), merchant="m", event_types=["ENDPOINT_DISABLED"])
    receiver.answer("/m", Answer(200), Answer(410))
    for _ in range(2):
        await outbox.tell("m", await outbox.add_wallet())
    assert await dispatcher.run_once() == 2
    assert await dispatcher.run_once() == 1
    (request,) = receiver.at("/alarm")
    told = json.loads(request.body)
    assert told["id"] == request.headers["webhook-id"]
    assert told["payload"]["endpoint"]["disabledReason"] == "answered 410 Gone"
    assert told["payload"]["undeliveredCount"] == 1


async def test_commands_that_disable_an_endpoint_announce_it(outbox: Outbox, program: Program) -> None:
    await outbox.add_endpoint("m", event_types=ALL)
    await outbox.add_endpoint("m/alarm", merchant="m", event_types=["ENDPOINT_DISABLED"])
    await outbox.add_endpoint("m/left", merchant="m")
    (await program("endpoints", "disable", "m", "--reason", "moves", "--dry-run")).well()
    assert await bodies(outbox) == []
    (await program("endpoints", "disable", "m", "--reason", "moves")).well()
    kept = [
        {"id": id_, "url": "http://127.0.0.1:9/", "secret": SECRET, "eventTypes": ["ENDPOINT_DISABLED"]}
        for id_ in ("m", "m/alarm")
    ]
    file = program.write("merchants.jsonl", {"id": "m", "name": "m", "endpoints": kept})
    (await program("merchants", "import", file, EGRESS_ALLOW="127.0.0.0/8")).well()
    told = [body["payload"]["endpoint"] for body in await bodies(outbox)]
    assert [(endpoint["id"], endpoint["disabledReason"]) for endpoint in told] == [
        ("m", "moves"),
        ("m/left", "left out of the merchants file"),
    ]
    assert await waiting(outbox) == [("m/alarm", "ENDPOINT_DISABLED")] * 2


# --- ENDPOINT_TEST ----------------------------------------------------------------------------------------------------


async def send_test(outbox: Outbox, endpoint_id: str) -> endpoint_events.TestSent:
    async with outbox.engine.begin() as connection:
        [endpoint] = await endpoints.read(connection, [endpoint_id])
        return await endpoint_events.send_test(connection, endpoint)


async def test_a_test_goes_to_its_endpoint_alone_and_waits_for_nothing(
    outbox: Outbox, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"), merchant="m", event_types=["PAYMENT_METHOD_UPDATED"])
    await outbox.add_endpoint("m/2", receiver.url("/other"), merchant="m", event_types=["ENDPOINT_TEST"])
    receiver.answer("/m", Answer(500))
    await outbox.tell("m", await outbox.add_wallet())
    assert await dispatcher.run_once() == 1
    receiver.answer("/m", Answer(200))
    sent = await send_test(outbox, "m")
    assert await dispatcher.run_once() == 1
    assert receiver.at("/other") == []
    request = receiver.at("/m")[1]
    assert (
        json.loads(request.body).items()
        >= {
            "id": event_id(sent.event_id),
            "name": "ENDPOINT_TEST",
            **SHOWN,
            "payload": {"endpoint": {"id": "m", "urlHost": "127.0.0.1"}},
        }.items()
    )
    Webhook(SECRET).verify(request.body, dict(request.headers))
    [history] = await outbox.execute("SELECT id, status FROM delivery_history")
    assert tuple(history) == (sent.delivery_id, "DELIVERED")
    async with outbox.engine.connect() as connection:
        accounted = await take_stock(connection)
    assert (accounted.events, accounted.deliveries) == (1, {"PENDING": 1}), "of the wallet's event alone"


async def test_two_tests_do_not_wait_for_each_other(outbox: Outbox) -> None:
    await outbox.add_endpoint("m")
    first, second = await send_test(outbox, "m"), await send_test(outbox, "m")
    async with outbox.engine.begin() as connection:
        claimed = await deliveries.claim(connection, {"m": 5}, {}, lease=timedelta(minutes=1))
    assert sorted(delivery.id for delivery in claimed) == sorted([first.delivery_id, second.delivery_id])


async def test_a_test_is_sent_by_a_command(outbox: Outbox, program: Program) -> None:
    await outbox.add_endpoint("m")
    assert (await program("endpoints", "test", "m", "--dry-run")).well().out == "would send a test event to m\n"
    tried = (await program("endpoints", "test", "m", "--dry-run", "--json")).json()
    assert tried == {"endpointId": "m", "eventId": None, "deliveryId": None}
    assert await waiting(outbox) == []
    said = (await program("endpoints", "test", "m")).well()
    [row] = await outbox.execute("SELECT id, event_id FROM deliveries")
    assert said.out == (
        f"sending the test event {event_id(row.event_id)} to m:"
        f" `repoint deliveries show {row.id}` shows what came of it\n"
    )
    await outbox.execute("UPDATE endpoints SET held_until = now() - interval '1 second'")
    assert "held back" not in (await program("endpoints", "test", "m", "--dry-run")).well().err
    await outbox.execute("UPDATE endpoints SET held_until = '2096-11-20T09:14:00Z'")
    shown = await program("endpoints", "test", "m", "--json")
    [_, row] = await outbox.execute("SELECT id, event_id FROM deliveries ORDER BY id")
    assert shown.json() == {"endpointId": "m", "eventId": event_id(row.event_id), "deliveryId": row.id}
    assert "it waits: the endpoint is held back until 2096-11-20T09:14:00Z" in shown.err


async def test_a_disabled_or_unknown_endpoint_is_not_tested(outbox: Outbox, program: Program) -> None:
    await outbox.add_endpoint("m")
    await disable(outbox, "m", reason="answered 410 Gone")
    ended = await program("endpoints", "test", "m")
    assert (ended.code, ended.out) == (1, "")
    assert "the endpoint m is disabled (answered 410 Gone): `repoint endpoints enable` enables it" in ended.err
    ended = await program("endpoints", "test", "nobody")
    assert (ended.code, ended.err.splitlines()[-1]) == (
        1,
        "repoint: nothing was changed: there is no endpoint nobody",
    )
    assert await waiting(outbox) == []


# --- what lists and replays them --------------------------------------------------------------------------------------


async def test_deliveries_of_events_about_endpoints_are_listed_without_a_wallet(
    outbox: Outbox, program: Program, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"))
    await send_test(outbox, "m")
    assert await dispatcher.run_once() == 1
    await send_test(outbox, "m")
    for listed in (await program("deliveries", "list", "--json")).json():
        assert listed.items() >= {"walletId": None, "sequence": None, "paymentMethodId": None}.items()
        assert listed["name"] == "ENDPOINT_TEST"
    lines = (await program("deliveries", "list")).well().out.splitlines()
    assert [line.split()[1:3] for line in lines[1:]] == [["ENDPOINT_TEST", "-"]] * 2


async def test_a_dead_test_is_replayed_by_its_event_and_sent_at_once_while_it_waits(
    outbox: Outbox, program: Program, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    await outbox.add_endpoint("m", receiver.url("/m"))
    receiver.answer("/m", Answer(500))
    sent = await send_test(outbox, "m")
    assert await dispatcher.run_once() == 1
    waits = (await program("replay", "--waiting", event_id(sent.event_id))).well()
    assert waits.out == "sending 1 delivery now\n"
    assert await dispatcher.run_once() == 1
    assert [status for _, status, _ in await outbox.history()] == ["DEAD"]
    receiver.answer("/m", Answer(200))
    assert (await program("replay", event_id(sent.event_id))).well().out == "replayed 1 delivery\n"
    assert await dispatcher.run_once() == 1
    assert [status for _, status, _ in await outbox.history()] == ["DEAD", "DELIVERED"]
    assert len({request.body for request in receiver.requests}) == 1


async def test_two_replays_of_a_test_at_once_make_one_delivery(outbox: Outbox, engine: AsyncEngine) -> None:
    await outbox.add_endpoint("m")
    await send_test(outbox, "m")
    async with engine.begin() as connection:
        [claimed] = await deliveries.claim(connection, {"m": 1}, {}, lease=timedelta(minutes=1))
        result = deliveries.AttemptResult(claimed, Outcome.UNAVAILABLE, 503, 0.1, 0.0, NextState(Status.DEAD))
        await deliveries.record(connection, [result])
    async with engine.begin() as first, engine.begin() as second:
        assert await finished_deliveries.replay(first, [claimed.id]) == 1
        later = asyncio.create_task(finished_deliveries.replay(second, [claimed.id]))
        assert (await asyncio.wait([later], timeout=0.3))[0] == set()
        await first.commit()
        assert await later == 0
