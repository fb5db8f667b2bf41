"""What a person sees of the updates that came in."""

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.update import UpdateType
from tests.acceptance.program import Program
from tests.consumers.harness import Harness
from tests.domain.build import method, replaced, reported, wallet


@pytest.fixture
async def program(tmp_path: Path, engine: AsyncEngine, database_url: str) -> Program:
    """With three updates, of which the first applied."""
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, id="1"), reported(UpdateType.CLOSED, "X", on=1, id="2"))
    await harness.report(reported(UpdateType.CLOSED, "mdes:X", on=1, id="2", vendor="mdes"))
    return Program(tmp_path, DATABASE_URL=database_url)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), [("mdes", "2", "PARKED"), ("vau", "2", "PARKED"), ("vau", "1", "APPLIED")]),
        (("--limit", "1"), [("mdes", "2", "PARKED")]),
        (("--outcome", "applied"), [("vau", "1", "APPLIED")]),
        (("--vendor", "mdes"), [("mdes", "2", "PARKED")]),
        (("--id", "2", "--vendor", "vau"), [("vau", "2", "PARKED")]),
    ],
    ids=["all", "limit", "outcome", "vendor", "id"],
)
async def test_updates_are_listed_by_each_option(
    program: Program, arguments: tuple[str, ...], expected: list[tuple[str, str, str]]
) -> None:
    listed = (await program("inbox", "list", "--json", *arguments)).json()
    assert [(row["vendor"], row["updateId"], row["outcome"]) for row in listed] == expected


async def test_messages_are_counted_by_hour_and_vendor(program: Program, engine: AsyncEngine) -> None:
    """Two hours ago another one was quarantined. An unreadable message has no vendor; another topic does not count."""
    harness = Harness(engine)
    harness.offsets[0] = 10
    await harness.report(b"{", reported(UpdateType.CLOSED, "A", on=1, id="3", customer="e9"))
    await Harness(engine, "other").report(reported(UpdateType.CLOSED, "Y", on=1, id="4"))
    for table in ("inbox", "dead_letters"):  # an hour may end meanwhile
        await harness.rows(f"UPDATE {table} SET received_at = (SELECT max(received_at) FROM inbox)")  # noqa: S608
    await harness.rows("UPDATE inbox SET received_at = received_at - interval '2 hours' WHERE update_id = '3'")
    hours = (await program("inbox", "accounts", "--hourly", "--json", KAFKA_TOPIC="updates")).json()
    counts = [{name: value for name, value in hour.items() if value and name != "hour"} for hour in hours]
    assert counts == [
        {"vendor": "vau", "quarantined": 1, "sum": 1},
        {"vendor": "mdes", "parked": 1, "sum": 1},
        {"vendor": "vau", "applied": 1, "parked": 1, "sum": 2},
        {"unreadable": 1, "sum": 1},
    ]
    assert [hour["hour"][13:] for hour in hours] == [":00:00.000Z"] * 4
    recent = await program("inbox", "accounts", "--hourly", "--since", "1h", KAFKA_TOPIC="updates")
    assert len(recent.well().out.splitlines()) == 1 + 3
    assert (await program("inbox", "accounts", "--since", "1h")).code == 2
