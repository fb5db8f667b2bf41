"""`repoint reconcile`: what it writes, as a table and as JSON, and how it exits."""

import json
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.acceptance.program import Program
from tests.consumers.harness import Harness
from tests.domain.build import link, method, replaced, wallet
from tests.reconciliation.drift import plant


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """A wallet in which a card was replaced."""
    harness = Harness(engine)
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]))
    await harness.report(replaced("A", "B", on=1))
    return harness


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def test_a_clean_database_has_no_findings(program: Program, harness: Harness) -> None:
    ended = (await program("reconcile")).well()
    assert ended.out.splitlines() == [
        "links: 1 examined, 0 findings",
        "lineage: 2 examined, 0 findings",
        "wallets: 1 examined, 0 findings",
        "deliveries: 4 examined, 0 findings",
        "events: 1 examined, 0 findings",
        "parked: 0 examined, 0 findings",
        "accounting: 1 examined, 0 findings",
    ]


async def test_findings_are_written_as_json_and_repaired(program: Program, harness: Harness) -> None:
    ((new_id,),) = await harness.rows("SELECT CAST(new_id AS text) FROM lineage")
    await harness.rows("DELETE FROM lineage")
    dry = await program("reconcile", "lineage", "--dry-run", "--json")
    assert dry.code == 1
    assert dry.err.endswith("repoint: 1 finding not repaired (--dry-run)\n")
    finding = {
        "kind": "SUCCESSOR_WITHOUT_LINEAGE",
        "subject": harness.id_of("m-A"),
        "expected": new_id,
        "found": None,
        "repaired": False,
    }
    done = (await program("reconcile", "lineage", "--json")).json()
    assert done == [{"job": "lineage", "run": 2, "examined": 2, "findings": [finding | {"repaired": True}]}]
    assert (await program("reconcile", "lineage")).well().out == "lineage: 2 examined, 0 findings\n"


async def test_what_a_person_must_decide_is_an_exit_code(program: Program, harness: Harness) -> None:
    await harness.rows("UPDATE deliveries SET due_at = now() - interval '2 hours' WHERE sequence = 1")
    ended = await program("reconcile", "deliveries")
    assert ended.code == 1
    assert "OVERDUE" in ended.out
    assert "repoint: 2 findings not repaired\n" in ended.err
    assert (await program("reconcile", "nothing")).code == 2
    await harness.rows(
        "UPDATE reconciliation_runs SET status = 'RUNNING', finished_at = NULL, held_until = now() + interval '30 s'"
    )
    busy = await program("reconcile", "deliveries")
    assert (busy.code, "deliveries: another process is at it" in busy.err) == (1, True)


async def test_the_role_starts_without_a_broker_and_ends_when_it_is_told_to(program: Program, harness: Harness) -> None:
    async with program.going("run", "--role", "reconcile", HTTP_PORT="0") as running:
        await running.says("running")
        assert await running.stop() == 0
    assert not any("broker" in line for line in running.lines)


async def test_only_a_thousand_findings_are_shown_and_all_are_written_as_json(
    program: Program, harness: Harness
) -> None:
    await harness.import_wallets(
        *(wallet(method(f"T{n}"), links=[link(f"m-T{n}")], customer=f"t{n}") for n in range(1001))
    )
    await plant(harness, "UPDATE payment_methods SET status = 'DELETED' WHERE live AND wallet_id <> :id",
                id=harness.id_of("w-e1"))  # fmt: skip
    shown = await program("reconcile", "links", "--dry-run")
    assert shown.code == 1
    assert shown.out.splitlines()[0] == "links: 1,002 examined, 1,001 findings"
    assert len(shown.out.splitlines()) == 2 + 1000
    assert "repoint: 1 finding more: --json writes all of them\n" in shown.err
    written = await program("reconcile", "links", "--dry-run", "--json")
    assert len(json.loads(written.out)[0]["findings"]) == 1001


@pytest.mark.parametrize("since", ["1h", "2026-11-20T09:14:00Z", "2026-11-20"])
async def test_since_is_a_moment_or_how_long_ago_it_is(program: Program, harness: Harness, since: str) -> None:
    assert "lineage: " in (await program("reconcile", "lineage", "--since", since)).well().out
    assert (await program("reconcile", "lineage", "--since", "soon")).code == 2


async def test_who_had_dead_deliveries_sent_again_is_in_the_audit(program: Program, harness: Harness) -> None:
    await program("reconcile", "--dry-run", "--replay-dead")
    await program("reconcile", "links", "--replay-dead")
    assert (await program("audit", "list", "--json")).json() == []
    (await program("reconcile", "deliveries", "--replay-dead", "--since", "2026-11-20")).well()
    (act,) = (await program("audit", "list", "--subject", "reconcile", "--json")).json()
    assert (act["action"], act["after"]) == ("dead deliveries replayed", {"since": "2026-11-20T00:00:00.000Z"})
