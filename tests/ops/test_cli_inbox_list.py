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
