"""`repoint facts retract`: a wrong file is undone by one command, which says what it does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.acceptance.program import Program
from tests.consumers.harness import Harness
from tests.domain.build import link, live, method, replaced, wallet


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


async def test_a_wrong_file_is_taken_back(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]), wallet(method("Q"), customer="e2"))
    await harness.report(replaced("A", "B", on=1), replaced("Q", "R", on=2))
    retract = ("facts", "retract", "--vendor", "vau", "--since", ago(hours=1), "--reason", "a wrong file")
    counted = "2 replacement facts, 2 updates, 2 wallets, 2 payment methods, 8 events\n"
    assert (await program(*retract, "--dry-run")).well().out == f"would take back {counted}"
    assert live(await harness.wallet()).keys() == {"B"}
    assert (await program("audit", "list", "--json")).json() == []
    assert (await program(*retract)).well().out == f"took back {counted}"
    assert live(await harness.wallet()).keys() == {"A"}
    assert (await program(*retract, "--json")).json() == {
        "updates": 0,
        "facts": 0,
        "wallets": 0,
        "paymentMethods": 0,
        "events": 0,
        "withoutOtherReports": 0,
        "refused": [],
    }
    acts = (await program("audit", "list", "--subject", "vau", "--json")).json()
    assert [(act["action"], act["reason"]) for act in acts] == [
        *(("facts retracted", "a wrong file"), ("facts retraction begun", "a wrong file")) * 2,
    ]
    assert (acts[2]["before"].keys(), acts[2]["after"]["facts"]) == ({"since", "until"}, 2)


async def test_what_was_received_at_another_time_stays(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1))
    retract = ("facts", "retract", "--vendor", "vau", "--since", ago(days=2), "--reason", "r")
    ended = await program(*retract, "--until", ago(days=1))
    assert ended.well().out.startswith("took back 0 replacement facts, 0 updates")
    assert live(await harness.wallet()).keys() == {"B"}


async def test_facts_from_before_all_reports_were_kept_are_counted(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1))
    await harness.rows("UPDATE replacement_facts SET reports_kept = false")
    ended = await program("facts", "retract", "--vendor", "vau", "--since", ago(days=1), "--reason", "r")
    assert ended.well().out.splitlines()[1] == (
        "1 fact from before all reports were kept: other updates may have reported the same"
    )


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ("--vendor", "nobody", "--since", "2026-11-20", "--reason", "r"),
            1,
            "no update has come from a vendor nobody",
        ),
        (("--vendor", "vau", "--since", "2026-11-20", "--reason", " "), 2, "expected a reason"),
        (
            ("--vendor", "vau", "--since", "2026-11-20", "--until", "2026-11-19", "--reason", "r"),
            *(2, "expected --since before --until"),
        ),
    ],
)
async def test_what_cannot_be_taken_back_is_named(
    program: Program, words: tuple[str, ...], code: int, says: str
) -> None:
    ended = await program("facts", "retract", *words)
    assert (ended.code, says in " ".join(ended.err.replace("│", " ").split())) == (code, True)
