"""`repoint inbox show`: an update that waits for a person, with all that the person needs."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.acceptance.program import Program
from tests.consumers.harness import Harness
from tests.domain.build import method, removed, replaced, wallet


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def shown(program: Program, inbox_id: int = 1) -> dict[str, Any]:
    (shown,) = [(await program("inbox", "show", str(inbox_id), "--json")).json()]
    return dict(shown)


async def test_an_update_about_another_customer_is_shown_with_both_customers_wallets(
    program: Program, harness: Harness
) -> None:
    await harness.import_wallets(
        wallet(method("A"), removed("R"), customer="e1", merchants=("pharmacy",)),
        wallet(method("B"), customer="e9"),
        wallet(method("C"), customer="e3"),
    )
    await harness.report(replaced("A", "B", on=1, customer="e9", last4="2222", brand="VISA"))
    update = await shown(program)
    assert {
        name: update[name] for name in ("id", "vendor", "updateId", "outcome", "reason", "oldKeys", "customers")
    } == {
        "id": 1,
        "vendor": "vau",
        "updateId": "vau-1",
        "outcome": "QUARANTINED",
        "reason": "OWNER_MISMATCH",
        "oldKeys": ["vau:A"],
        "customers": {"customer": {"enterpriseId": "e9"}},
    }
    (reported,) = update["reported"]
    assert (reported["key"], reported["last4"], reported["brand"], reported["reason"]) == (
        *("vau:B", "2222", "VISA", "REISSUED"),
    )
    by_customer = {held["identities"]["enterpriseId"]: held for held in update["wallets"]}
    first, ninth = by_customer["e1"], by_customer["e9"]
    assert len(by_customer) == 2
    assert (first["walletId"], first["merchantIds"], first["mergedInto"]) == (harness.id_of("w-e1"), ["pharmacy"], None)
    assert (first["knowsOld"], first["knowsNew"]) == ([harness.id_of("m-A")], [])
    assert (ninth["knowsOld"], ninth["knowsNew"]) == ([], [harness.id_of("m-B")])
    assert {row["id"]: row["status"] for row in first["paymentMethods"]} == {
        harness.id_of("m-A"): "ACTIVE",
        harness.id_of("m-R"): "DELETED",
    }
    text = (await program("inbox", "show", "1")).well().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert {"reason OWNER_MISMATCH", "old vau:A", "customer enterpriseId=e9", "new vau:B REISSUED VISA 2222"} <= set(
        lines
    )
    assert f"wallet {harness.id_of('w-e1')} enterpriseId=e1" in lines
    assert "merchants pharmacy" in lines


async def test_a_parked_update_says_what_it_looks_for_and_that_no_wallet_knows_it(
    program: Program, harness: Harness
) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced(("X", ":fx"), "Y", on=1))
    update = await shown(program)
    assert (update["outcome"], update["oldKeys"], update["customers"], update["wallets"]) == (
        *("PARKED", [":fx", "vau:X"], {}, []),
    )
    assert (
        (await program("inbox", "show", "1"))
        .well()
        .out.endswith("\nno wallet knows one of its credentials, or is of its customer\n")
    )


async def test_an_applied_update_shows_the_wallet_in_which_it_is_so(program: Program, harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1), replaced("Q", "R", on=2))
    update = await shown(program)
    (held,) = update["wallets"]
    assert (update["outcome"], update["oldKeys"], held["knowsOld"]) == ("APPLIED", ["vau:A"], [harness.id_of("m-A")])
    assert len(held["knowsNew"]) == 1
    assert {row["id"]: row["status"] for row in held["paymentMethods"]}[held["knowsNew"][0]] == "ACTIVE"


async def test_of_an_id_that_was_used_before_the_report_of_the_first_is_not_shown(
    program: Program, harness: Harness
) -> None:
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced("A", "B", on=1, id="u"))
    await harness.report(replaced("A", "C", on=2, id="u"))
    first, second = await shown(program, 1), await shown(program, 2)
    assert (first["outcome"], [new["key"] for new in first["reported"]]) == ("APPLIED", ["vau:B"])
    assert (second["reason"], second["oldKeys"], second["reported"]) == ("ID_REUSED", ["vau:A"], [])


async def test_a_number_that_no_update_has_is_named(program: Program, harness: Harness) -> None:
    ended = await program("inbox", "show", "7")
    assert (ended.code, ended.err.splitlines()[-1]) == (1, "repoint: there is no update 7")
