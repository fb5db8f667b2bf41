"""`repoint vendors`: a vendor is held back and let through, and what was done stands in the audit."""

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import take_in
from consumers.held import HeldIntake
from tests.acceptance.program import Program
from tests.consumers.harness import RETENTION, Harness
from tests.domain.build import live, method, replaced, wallet


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def test_a_vendor_is_paused_and_resumed(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    pause = ("vendors", "pause", "vau", "--reason", "a wrong file")
    resume = ("vendors", "resume", "vau", "--reason", "it was right")
    assert (await program(*pause, "--dry-run")).well().out == "would pause vau\n"
    assert (await program(*pause)).well().out == "paused vau\n"
    assert (await program(*pause)).well().out == "vau is paused already\n"
    await harness.report(replaced("A", "B", on=1))
    (row,) = (await program("vendors", "list", "--json")).json()
    assert (row["vendor"], row["status"], row["held"], row["reason"]) == ("vau", "PAUSED", 1, "a wrong file")
    assert "a wrong file" in (await program("vendors", "list")).well().out
    (choice, _) = (await program("inbox", "show", "1", "--json")).json()["choices"]
    assert choice["obstacle"].startswith("its vendor is paused")
    assert (await program(*resume, "--dry-run")).well().out == "would resume vau, with 1 held message\n"
    assert (await program(*resume)).well().out == "resuming vau, with 1 held message\n"
    assert (await program(*resume)).well().out == "vau is resuming already\n"
    await HeldIntake(harness.engine, RETENTION, take_in).run_once()
    assert live(await harness.wallet()).keys() == {"B"}
    acts = (await program("audit", "list", "--subject", "vau", "--json")).json()
    assert [(act["action"], act["reason"], act["before"]) for act in acts] == [
        ("vendor resumed", "it was right", {"status": "PAUSED", "held": 1}),
        ("vendor paused", "a wrong file", {"status": "ACTIVE", "held": 0}),
    ]


async def test_a_held_update_can_be_discarded(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    (await program("vendors", "pause", "vau", "--reason", "r")).well()
    await harness.report(replaced("A", "B", on=1))
    (await program("inbox", "discard", "1", "--reason", "r")).well()
    (await program("vendors", "resume", "vau", "--reason", "r")).well()
    await HeldIntake(harness.engine, RETENTION, take_in).run_once()
    assert await harness.outcome("vau-1") == ("IGNORED", "DISCARDED")
    assert live(await harness.wallet()).keys() == {"A"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("pause", "nobody", "--reason", "r"), 1, "no update has come from a vendor nobody"),
        (("resume", "vau", "--reason", "r"), 1, "vau is not paused"),
        (("pause", "vau", "--reason", " "), 2, "expected a reason"),
    ],
)
async def test_what_cannot_be_done_is_named(program: Program, words: tuple[str, ...], code: int, says: str) -> None:
    ended = await program("vendors", *words)
    assert (ended.code, says in " ".join(ended.err.replace("│", " ").split())) == (code, True)
