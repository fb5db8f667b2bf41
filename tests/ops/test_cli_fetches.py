"""What a person sees of thin events that wait for their vendor's answer, and of those that were given up."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas import thin
from schemas.feeds.feed import Fetch
from store import fetches
from store.fetches import NewFetch
from tests.acceptance.program import Program

SECRET = "signature-of-a-link"
MOST = {"adyen": 2, "braintree": 1, "visa-tms": 1}


@pytest.fixture
async def program(tmp_path: Path, engine: AsyncEngine, database_url: str) -> Program:
    """With four events: one is due, one is being asked about, one failed, of one the answer could not be sent."""
    waiting = [
        NewFetch(
            feed, bytes([at]) * 16, thin.written(feed, Fetch(path, {"key": SECRET}), datetime.now(UTC)), "thin", 1, at
        )
        for at, (feed, path) in enumerate(
            [
                ("adyen", "storedPaymentMethods"),
                ("adyen", "storedPaymentMethods"),
                ("braintree", f"https://assets.braintreegateway.com/report.csv?key={SECRET}"),
                ("visa-tms", "tokens"),
            ]
        )
    ]
    async with engine.begin() as connection:
        await fetches.keep(connection, waiting)
    async with engine.begin() as connection:
        claimed = {
            (one.feed, one.offset): one for one in await fetches.claim(connection, MOST, lease=timedelta(hours=1))
        }
        await fetches.postpone(connection, claimed["adyen", 0], timedelta(0), None)
        await fetches.postpone(connection, claimed["braintree", 2], timedelta(hours=6), "the vendor answered 503")
        await fetches.postpone(connection, claimed["visa-tms", 3], timedelta(seconds=600), None)
        await fetches.keep(connection, waiting[:1])
    return Program(tmp_path, DATABASE_URL=database_url)


async def test_what_waits_is_listed_the_next_one_first(program: Program) -> None:
    listed = (await program("fetches", "list", "--json")).json()
    assert sorted(listed[0]) == sorted(
        [
            "id",
            "feed",
            "status",
            "timesReceived",
            "failures",
            "failure",
            "receivedAt",
            "dueAt",
            "topic",
            "partition",
            "offset",
        ]
    )
    assert [(one["feed"], one["offset"], one["status"], one["timesReceived"], one["failure"]) for one in listed] == [
        ("adyen", 1, "ASKING", 1, None),
        ("adyen", 0, "DUE", 2, None),
        ("visa-tms", 3, "PARKED", 1, None),
        ("braintree", 2, "PARKED", 1, "the vendor answered 503"),
    ]
    *_, last = listed
    assert last["failures"] == 1
    assert datetime.fromisoformat(last["dueAt"]) - datetime.fromisoformat(last["receivedAt"]) >= timedelta(hours=6)
    assert [one["offset"] for one in (await program("fetches", "list", "--limit", "2", "--json")).json()] == [1, 0]
    of_one = (await program("fetches", "list", "--feed", "braintree", "--json")).json()
    assert of_one == [last]


async def test_of_one_whose_lease_has_ended_nobody_is_asking(program: Program, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE fetches SET leased_until = now() - interval '1 s' WHERE kafka_offset = 1")
        )
    listed = (await program("fetches", "list", "--feed", "adyen", "--json")).json()
    assert [one["status"] for one in listed] == ["DUE", "DUE"]


async def test_the_table_says_when_and_why_and_nothing_of_the_event(program: Program) -> None:
    ended = (await program("fetches", "list")).well()
    names, *rows = ended.out.splitlines()
    assert names.split() == ["id", "feed", "received", "status", "failures", "failure", "next", "try"]
    assert len(rows) == 4
    assert rows[0].split()[-3:] == ["0", "-", "-"]
    assert "PARKED" in rows[3]
    assert "the vendor answered 503" in rows[3]
    both = ended.out + (await program("fetches", "list", "--json")).well().out
    assert SECRET not in both
    assert "report.csv" not in both


async def test_where_nothing_waits_nothing_is_listed(tmp_path: Path, database_url: str) -> None:
    assert (await Program(tmp_path, DATABASE_URL=database_url)("fetches", "list", "--json")).json() == []
