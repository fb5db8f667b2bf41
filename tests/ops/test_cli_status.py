"""`repoint status` finds a payment method by whatever name a person has."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.acceptance.program import Program
from tests.consumers.harness import Harness
from tests.domain.build import link, method, replaced, wallet


@pytest.fixture
async def harness(engine: AsyncEngine) -> Harness:
    """Wallet w-e1 with A, which became B, and a subscription; w-e2 has C and D; an endpoint of the pharmacy."""
    harness = Harness(engine)
    await harness.rows("INSERT INTO merchants (id, name) VALUES ('pharmacy', 'P') ON CONFLICT DO NOTHING")
    await harness.rows(
        "INSERT INTO endpoints (id, merchant_id, url, sealed_secrets, event_types)"
        " VALUES ('ep', 'pharmacy', 'https://shop.example', '{sealed:0:AAAA}', '{PAYMENT_METHOD_REPLACED}')"
    )
    await harness.import_wallets(
        wallet(method("A"), links=[link("m-A")], customer="e1", merchants=("pharmacy",)),
        wallet(method("C"), method("D"), customer="e2", merchants=("pharmacy",)),
    )
    await harness.report(replaced("A", "B", on=1))
    return harness


@pytest.fixture
def program(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, DATABASE_URL=database_url)


async def named(program: Program, name: str) -> list[tuple[str, list[str]]]:
    """The kinds of what has the name, each with the payment methods that it leads to."""
    things = (await program("status", name, "--json")).json()
    return [(thing["kind"], [shown["paymentMethod"]["id"] for shown in thing["paymentMethods"]]) for thing in things]


async def scalar(harness: Harness, statement: str) -> Any:
    ((value,),) = await harness.rows(statement)
    return value


async def test_every_name_leads_to_the_payment_method(program: Program, harness: Harness) -> None:
    old = harness.id_of("m-A")
    new = await scalar(harness, "SELECT CAST(new_id AS text) FROM lineage")
    event = await scalar(harness, "SELECT CAST(id AS text) FROM events WHERE name = 'PAYMENT_METHOD_REPLACED'")
    delivery = await scalar(harness, "SELECT id FROM deliveries")
    link_id, reference = (await harness.rows("SELECT CAST(id AS text), reference FROM payment_links"))[0]
    for name, kind, methods in (
        (event, "EVENT", [new]),
        (f"evt_{event.replace('-', '')}", "EVENT", [new]),
        (str(delivery), "DELIVERY", [new]),
        (link_id, "PAYMENT_LINK", [new]),
        (reference, "PAYMENT_LINK", [new]),
        ("vau:A", "CREDENTIAL", [old]),
        ("A", "CREDENTIAL", [old]),
        ("B", "CREDENTIAL", [new]),
        ("e1", "CUSTOMER", [new, old]),
        ("enterpriseId=e1", "CUSTOMER", [new, old]),
        (harness.id_of("w-e1"), "WALLET", [new, old]),
    ):
        assert (name, await named(program, name)) == (name, [(kind, methods)])
    shown = (await program("status", old, "--json")).json()
    assert (shown["paymentMethod"]["id"], shown["currentPaymentMethod"]["id"]) == (old, new)


async def test_what_leads_to_one_payment_method_shows_its_history_and_more_of_them_are_listed(
    program: Program, harness: Harness
) -> None:
    one = (await program("status", "vau:B")).well().out
    assert one.startswith(f"credential vau:B of wallet {harness.id_of('w-e1')}\n\npayment method  ")
    assert "current         itself" in one
    several = (await program("status", "e2")).well().out.splitlines()
    assert several[0] == f"customer enterpriseId=e2 of wallet {harness.id_of('w-e2')}"
    assert {line.split()[2] for line in several[1:]} == {harness.id_of("m-C"), harness.id_of("m-D")}


async def test_a_name_of_several_things_shows_all_of_them(program: Program, harness: Harness) -> None:
    """A merchant's reference that is also a token."""
    await harness.rows("UPDATE payment_links SET reference = 'C'")
    assert [kind for kind, _ in await named(program, "C")] == ["PAYMENT_LINK", "CREDENTIAL"]
