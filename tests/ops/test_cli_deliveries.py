"""`repoint deliveries show`: a delivery, its attempts, and what its endpoint answered."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.delivery.outcome import Outcome
from domain.delivery.schedule import NextState
from domain.delivery.states import Status
from store import deliveries, evidence
from store.deliveries import AttemptResult
from store.evidence import KeptAnswer
from tests.acceptance.program import Program
from tests.store.outbox import Outbox


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def attempt(outbox: Outbox, next_: NextState, body: str | None) -> int:
    """Attempt the only delivery, which is answered 500 with `body`; its number."""
    async with outbox.engine.begin() as connection:
        (claimed,) = await deliveries.claim(connection, {"shop": 1}, {}, lease=timedelta(minutes=1))
        at = datetime.now(UTC)
        result = AttemptResult(claimed, Outcome.STATUS_REFUSED, 500, 0.012, at.timestamp(), next_)
        await deliveries.record(connection, [result])
        if body is not None:
            await evidence.keep(connection, [KeptAnswer(claimed.id, claimed.attempt, at, ["date", "x-shop"], body)])
    return claimed.id


async def test_a_delivery_is_shown_with_its_attempts_and_answers(program: Program, engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("shop")
    await outbox.tell("shop", await outbox.add_wallet())
    id_ = await attempt(outbox, NextState(Status.PENDING, timedelta(0)), "broken\nstatus  DELIVERED\x1b[2J")
    assert await attempt(outbox, NextState(Status.PENDING, timedelta(hours=1)), None) == id_
    shown = (await program("deliveries", "show", str(id_))).well().out
    assert "status           PENDING\n" in shown
    assert "\nattempt 1  " in shown
    assert "  status_refused 500  12 ms\n  headers: date, x-shop\n  | broken\n  | status  DELIVERED\\x1b[2J\n" in shown
    assert shown.count("headers:") == 1
    told = await program("deliveries", "show", str(id_), "--json")
    assert "\x1b" not in told.out
    assert [one["answer"] for one in told.json()["attempts"]] == [
        {"headerNames": ["date", "x-shop"], "body": "broken\nstatus  DELIVERED\x1b[2J"},
        None,
    ]


async def test_a_finished_delivery_is_shown_by_the_same_number(program: Program, engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    await outbox.add_endpoint("shop")
    await outbox.tell("shop", await outbox.add_wallet())
    id_ = await attempt(outbox, NextState(Status.DEAD), "")
    shown = (await program("deliveries", "show", str(id_), "--json")).json()
    assert (shown["id"], shown["status"], shown["attempts"][0]["answer"]["body"]) == (id_, "DEAD", "")
    assert shown["finishedAt"] is not None


async def test_a_number_that_no_delivery_has_is_named(program: Program) -> None:
    told = await program("deliveries", "show", "7")
    assert (told.code, told.err) == (1, "repoint: there is no delivery 7\n")
    assert (await program("deliveries", "show", "0")).code == 2
