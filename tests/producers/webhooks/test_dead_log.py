"""Dead deliveries in the log: at once, then gathered, a line a minute for each endpoint; and counted."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from domain.delivery.outcome import Outcome
from producers.egress import parse_networks
from producers.webhooks.dead_log import DeadLog
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from tests.parts.receiver import Receiver, unavailable
from tests.parts.until import until
from tests.store.outbox import Outbox

TIMEOUT, CLOSED = Outcome.RESPONSE_TIMEOUT, Outcome.CONNECTION_CLOSED


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def counted() -> float:
    return REGISTRY.get_sample_value("repoint_deliveries_dead_total") or 0.0


def summary(lines: list[Any]) -> list[tuple[str, int, str]]:
    return [(line["endpoint"], line["count"], line["last_outcome"]) for line in lines]


async def test_the_first_of_an_endpoint_are_told_at_once_and_later_ones_together(lines: list[Any]) -> None:
    before = counted()
    log = DeadLog(every=0.2)
    log.add([("shop", TIMEOUT), ("gym", CLOSED), ("shop", CLOSED)])
    assert summary(lines) == [("shop", 2, CLOSED), ("gym", 1, CLOSED)]
    for _ in range(3):
        log.add([("shop", CLOSED), ("shop", TIMEOUT)])
    assert len(lines) == 2

    async def told() -> bool:
        return len(lines) == 3

    await until(told)
    assert summary(lines)[2:] == [("shop", 6, TIMEOUT)]
    assert counted() == before + 9
    assert lines[0] == {
        "log_level": "warning",
        "event": "deliveries are dead: given up after their last attempt",
        "endpoint": "shop",
        "count": 2,
        "last_outcome": "connection_closed",
        "list": "repoint deliveries list --status DEAD --endpoint shop",
        "replay": "repoint replay --endpoint shop",
    }
    log.close()


async def test_after_a_quiet_minute_the_next_is_told_at_once_again(lines: list[Any]) -> None:
    log = DeadLog(every=0.05)
    log.add([("shop", TIMEOUT)])
    await asyncio.sleep(0.2)
    log.add([("shop", CLOSED)])
    assert summary(lines) == [("shop", 1, TIMEOUT), ("shop", 1, CLOSED)]
    log.close()


async def test_what_has_gathered_is_told_at_the_end_and_nothing_twice(lines: list[Any]) -> None:
    log = DeadLog(every=0.05)
    log.add([("a b", TIMEOUT)])
    log.add([("a b", CLOSED)])
    log.close()
    log.close()
    await asyncio.sleep(0.2)
    assert summary(lines) == [("a b", 1, TIMEOUT), ("a b", 1, CLOSED)]
    assert lines[0]["replay"] == "repoint replay --endpoint 'a b'"


async def test_a_dispatcher_says_what_it_gave_up(engine: AsyncEngine, receiver: Receiver, lines: list[Any]) -> None:
    before = counted()
    outbox = Outbox(engine)
    receiver.answer("/m", unavailable())
    await outbox.add_endpoint("m", receiver.url("/m"))
    for _ in range(3):
        await outbox.tell("m", await outbox.add_wallet())
    async with Sender(version="1", deadline=5, allow=parse_networks(["127.0.0.0/8"])) as sender:
        dispatcher = Dispatcher(engine, sender, schedule=())
        stopping = asyncio.Event()
        running = asyncio.create_task(dispatcher.run(stopping))

        async def are_dead() -> bool:
            return await outbox.history() == [(1, "DEAD", 1)] * 3

        await until(are_dead)
        # within the minute of the line before
        dispatcher._recorder._dead_log.add([("m", CLOSED)])
        stopping.set()
        await running
    dead = [line for line in lines if line["event"].startswith("deliveries are dead")]
    assert sum(line["count"] for line in dead) == 4
    assert counted() == before + 4
