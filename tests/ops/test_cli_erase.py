"""`repoint wallets erase`: whom it takes, what it says, and that it can be called again."""

from pathlib import Path

import pytest

from tests.acceptance.lines import merchant, wallet
from tests.acceptance.program import Program

WALLET = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str) -> Program:
    """Wallet 1 of e-1, wallet 2 of e-2; both have the same hsid."""
    program = Program(tmp_path, DATABASE_URL=database_url)
    (await program("merchants", "import", program.write("merchants.jsonl", merchant("m-1")))).well()
    lines = [wallet(1), wallet(2)]
    for number, line in enumerate(lines, 1):
        line["customer"] |= {"hsid": "twin", "metadata": {"patientId": f"p-{number}"}}
    (await program("wallets", "import", program.write("wallets.jsonl", *lines))).well()
    return program


@pytest.mark.parametrize("customer", ["enterpriseId=e-1", "patientId=p-1", "metadata.patientId=p-1", WALLET])
async def test_a_person_is_named_by_an_identifier_or_a_wallet(shop: Program, customer: str) -> None:
    said = "1 wallet, 1 payment method (1 of them live), 1 payment link, 0 events, 0 dead letters, 0 thin events"
    dry = await shop("wallets", "erase", customer, "--reason", "asked to", "--dry-run")
    assert (dry.code, dry.out) == (0, f"would erase {said}, 0 held updates\n")
    assert len((await shop("wallets", "export")).well().out.splitlines()) == 2
    erased = await shop("wallets", "erase", customer, "--reason", "asked to, ticket 7")
    assert (erased.code, erased.out) == (0, f"erased {said}, 0 held updates\n")
    assert erased.err == "repoint: dead letters were not searched for 2 identifiers of fewer than four characters\n"
    # an export has customers, and nobody is left there
    (line,) = (await shop("wallets", "export")).well().out.splitlines()
    assert "e-2" in line
    (act,) = (await shop("audit", "list", "--json")).json()
    assert (act["action"], act["subject"], act["reason"]) == ("wallet erased", WALLET, "asked to, ticket 7")
    again = await shop("wallets", "erase", WALLET, "--reason", "again")
    assert (again.code, again.out) == (0, "nothing is left to erase\n")
    assert len((await shop("audit", "list", "--json")).json()) == 1
    # the deletion waits for its endpoint
    (delivery,) = (await shop("deliveries", "list", "--json")).json()
    assert (delivery["name"], delivery["status"]) == ("PAYMENT_METHOD_DELETED", "PENDING")


async def test_what_names_nobody_or_several_people_changes_nothing(shop: Program) -> None:
    before = (await shop("wallets", "export")).well().out
    for customer, code, said in (
        ("enterpriseId=e-9", 1, "no wallet belongs to enterpriseId=e-9"),
        ("hsid=twin", 1, "these wallets may be several people's: name one of them by its id: 0000"),
        ("e-1", 2, "expected NAME=VALUE with one of enterpriseId, hsid, metadata.patientId, or the id of a wallet"),
        ("tier=gold", 2, "expected NAME=VALUE"),
    ):
        ended = await shop("wallets", "erase", customer, "--reason", "r")
        assert (ended.code, ended.out, said in " ".join(ended.err.replace("│", " ").split())) == (code, "", True), ended
    assert (await shop("wallets", "erase", WALLET, "--reason", "  ")).code == 2
    assert (await shop("wallets", "erase", WALLET)).code == 2
    assert (await shop("wallets", "export")).well().out == before


async def test_a_database_with_an_erased_wallet_is_migrated_without_a_word_about_it(shop: Program) -> None:
    (await shop("wallets", "erase", WALLET, "--reason", "r")).well()
    migrated = await shop("migrate")
    assert "without a customer identifier" not in migrated.well().out
