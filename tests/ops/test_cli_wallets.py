"""Files of wallets as real ones are: every fault named, the rest imported where that is asked for."""

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import edge
from ops.terminal import Failed
from tests.acceptance.lines import merchant, method_id, wallet
from tests.acceptance.program import Program
from tests.parts.until import until

PAN = "4111111111111111"
BOM = b"\xef\xbb\xbf"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str) -> Program:
    """With the merchant m-1."""
    program = Program(tmp_path, DATABASE_URL=database_url)
    (await program("merchants", "import", program.write("merchants.jsonl", merchant("m-1")))).well()
    return program


async def exported(program: Program) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await program("wallets", "export")).well().out.splitlines()]


def with_details(number: int, **details: object) -> dict[str, Any]:
    line = wallet(number)
    line["paymentMethods"][0]["details"] |= details
    return line


async def test_all_faults_of_a_file_are_named_with_line_and_field(shop: Program) -> None:
    nameless = wallet(4) | {"customer": {"metadata": {"tier": "gold"}}}
    shop.write(
        "wallets.jsonl", wallet(1), with_details(2, zipCode=2139, cardBrand=1), "{", nameless,
        wallet(5, merchants=("m-9",)), wallet(1),
    )  # fmt: skip
    for arguments in ((), ("--dry-run",)):
        ended = await shop("wallets", "import", "wallets.jsonl", *arguments)
        assert (ended.code, ended.out) == (1, "")
        *named, summary = ended.err.splitlines()
        assert [line.split(": ")[1:3] for line in named] == [
            ["wallets.jsonl:2", "paymentMethods.0.details.cardBrand"],
            ["wallets.jsonl:2", "paymentMethods.0.details.zipCode"],
            ["wallets.jsonl:3", "line"],
            ["wallets.jsonl:4", "customer"],
            ["wallets.jsonl:6", "id"],
            ["wallets.jsonl:5", "merchants"],
        ]
        assert summary == "repoint: nothing was imported: 6 faults; --skip-invalid imports the other lines"
    assert await exported(shop) == []


async def test_of_many_faults_a_hundred_are_named(shop: Program) -> None:
    shop.write("wallets.jsonl", *(with_details(number, zipCode=number) for number in range(1, 1501)))
    ended = await shop("wallets", "import", "wallets.jsonl")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 101
    assert "100 or more faults" in ended.err


async def test_the_rest_of_a_file_is_imported_where_that_is_asked_for(shop: Program) -> None:
    (await shop("wallets", "import", shop.write("before.jsonl", wallet(9)))).well()
    secret = with_details(3, cvv="987")
    file = shop.write(
        "wallets.jsonl", wallet(1), with_details(2, nameOnCard=PAN), secret, wallet(4, merchants=("m-9",)), wallet(9),
        wallet(5) | {"mergedInto": wallet(99)["id"], "paymentMethods": [], "paymentLinks": []}, wallet(6),
    )  # fmt: skip
    path = shop.directory / "wallets.jsonl"
    path.write_bytes(path.read_bytes() + b'{"name": "M\xfcller"}\n')
    beside = shop.directory / "wallets.jsonl.refused"

    dry = (await shop("wallets", "import", file, "--skip-invalid", "--dry-run")).well()
    assert dry.out == (
        "2 wallets can be imported; nothing was changed\n1 wallet is there already, and was left as it is\n"
        "5 lines refused\n"
    )
    assert not beside.exists()

    ended = (await shop("wallets", "import", file, "--skip-invalid")).well()
    there = "1 wallet is there already, and was left as it is\n"
    assert ended.out.startswith(f"imported 2 wallets\n{there}5 lines refused, kept in ")
    assert ended.out.endswith(f"{beside.name}\n")
    assert {line.split(": ")[1] for line in ended.err.splitlines()} == {
        f"wallets.jsonl:{number}" for number in (2, 3, 4, 5, 6, 8)
    }
    assert [one["id"] for one in await exported(shop)] == [wallet(number)["id"] for number in (1, 6, 9)]
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    kept = beside.read_text()
    assert len(kept.splitlines()) == 5
    assert PAN not in kept + ended.err + ended.out
    assert "987" not in kept

    again = await shop("wallets", "import", file, "--skip-invalid")
    assert again.code == 1
    assert "no wallet of the file can be imported" in again.err


async def test_a_link_where_the_refused_lines_go_is_not_followed(shop: Program) -> None:
    elsewhere = shop.directory / "elsewhere"
    elsewhere.write_text("mine")
    for name in ("wallets.jsonl.refused", "wallets.jsonl.refused.unfinished"):
        (shop.directory / name).symlink_to(elsewhere)
    shop.write("wallets.jsonl", wallet(1), "{")
    (await shop("wallets", "import", "wallets.jsonl", "--skip-invalid")).well()
    assert elsewhere.read_text() == "mine"
    assert (shop.directory / "wallets.jsonl.refused").read_text() == "{\n"


async def test_stdin_has_no_place_for_refused_lines(shop: Program) -> None:
    ended = await shop("wallets", "import", "-", "--skip-invalid", stdin=json.dumps(wallet(1)))
    assert ended.code == 2
    assert "--skip-invalid" in ended.err


async def test_one_card_twice_in_a_wallet_is_joined_counted_and_named(shop: Program) -> None:
    line = wallet(1)
    first = line["paymentMethods"][0] | {"fingerprint": "fp"}
    again = first | {
        "id": method_id(99), "credentials": [{"vendor": "stripe", "token": "pm_2"}], "default": False,
        "subscriptionDefault": False,
    }  # fmt: skip
    line["paymentMethods"] = [first, again]
    line["paymentLinks"][0]["paymentMethodId"] = method_id(99)
    ended = (await shop("wallets", "import", shop.write("wallets.jsonl", line))).well()
    assert ended.out == "imported 1 wallet\n1 payment method joined with the same card before\n"
    assert ended.err == ("repoint: wallets.jsonl:1: paymentMethods.1: joined with paymentMethods.0, the same card\n")
    (now,) = await exported(shop)
    assert {one["id"]: (one["status"], one["replacedBy"]) for one in now["paymentMethods"]} == {
        method_id(1): ("ACTIVE", None), method_id(99): ("DELETED", method_id(1)),
    }  # fmt: skip
    assert now["paymentLinks"][0]["paymentMethodId"] == method_id(1)
    status = (await shop("status", method_id(99))).well().out
    assert method_id(1) in status


async def test_a_byte_order_mark_is_no_part_of_a_file(shop: Program) -> None:
    for name, line in (("merchants", merchant("m-2")), ("wallets", wallet(1))):
        (shop.directory / "bom.jsonl").write_bytes(BOM + json.dumps(line).encode())
        (await shop(name, "import", "bom.jsonl")).well()
    assert len(await exported(shop)) == 1


def test_nor_is_it_of_a_table_of_traces(tmp_path: Path) -> None:
    table = tmp_path / "traces.csv"
    table.write_bytes(BOM + b"trace,token\n1,t\n")
    assert edge.traces(table) == {"1": {"token": "t"}}
    table.write_bytes(b"trace,token\n1,M\xfcller\n")
    with pytest.raises(Failed, match="expected UTF-8"):
        edge.traces(table)


async def test_what_names_a_customer_is_set_and_wallets_left_without_a_name_are_listed(
    shop: Program, engine: AsyncEngine
) -> None:
    nameless = wallet(1) | {"customer": {"metadata": {"tier": "gold"}}}
    ended = await shop("wallets", "import", shop.write("wallets.jsonl", nameless))
    assert ended.err == (
        "repoint: wallets.jsonl:1: customer: the customer identifier is missing:"
        " expected enterpriseId, hsid or metadata.patientId\n"
    )
    tiers = {"CUSTOMER_IDENTIFIERS": "metadata.tier"}
    (await shop("wallets", "import", "wallets.jsonl", **tiers)).well()
    of_tier = "already\ncustomer identifier metadata.tier {} 1 wallet\n1 wallet without a customer identifier"
    assert of_tier.format("would be removed from") in (await shop("migrate", "--dry-run")).well().out
    async with engine.begin() as connection:
        kept = await connection.exec_driver_sql("SELECT name FROM customer_identities")
        assert kept.all() == [("metadata.tier",)]
    assert of_tier.format("removed from") in (await shop("migrate")).well().out
    async with engine.begin() as connection:
        rows = await connection.exec_driver_sql("SELECT name FROM customer_identities")
        assert rows.all() == []
    added = "already\ncustomer identifier metadata.tier added to 1 wallet\n"
    assert (await shop("migrate", **tiers)).well().out.endswith(added)
    assert (await shop("migrate", **tiers)).well().out.count("\n") == 1
    assert (await exported(shop))[0]["customer"]["metadata"] == {"tier": "gold"}


OTHERS = "INSERT INTO wallets (id, enterprise_id) VALUES (:wallet, 'e')"
METHOD_OF_OTHERS = """
    INSERT INTO payment_methods (id, wallet_id, type, status) VALUES (:method, :wallet, 'GIFT_CARD', 'ACTIVE')
"""


async def waits_for(engine: AsyncEngine, lock: str) -> bool:
    """Whether a statement in this database waits for a lock of this type: the tests share a server."""
    waiting = (
        "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND locktype = :lock AND datname = current_database()"
    )
    async with engine.connect() as observer:
        return (await observer.execute(text(waiting), {"lock": lock})).first() is not None


@pytest.mark.parametrize("of", ["wallet", "method"])
async def test_an_import_that_another_one_outran_says_which_id_it_has(
    shop: Program, engine: AsyncEngine, of: str
) -> None:
    """The other one has inserted it and is not committed yet: the database has this one wait for its end."""
    file = shop.write("wallets.jsonl", wallet(1))
    ids = {"wallet": wallet(1 if of == "wallet" else 2)["id"], "method": method_id(1)}
    async with engine.begin() as other:
        await other.execute(text(OTHERS), {"wallet": ids["wallet"]})
        if of == "method":
            await other.execute(text(METHOD_OF_OTHERS), ids)
        importing = asyncio.create_task(shop("wallets", "import", file))

        await until(lambda: waits_for(engine, "transactionid"))
    ended = await importing
    path = {"wallet": "id", "method": "paymentMethods.0.id"}[of]
    known = f"{path}: expected a new id, {ids[of]} is there already, by another import"
    expected = f"repoint: {known}; nothing was imported\n"
    assert (ended.code, ended.out, ended.err) == (1, "", expected)


async def test_an_export_shows_all_wallets_as_of_one_moment(shop: Program, engine: AsyncEngine) -> None:
    """Links are changed after it has read the methods and before it reads the links."""
    (await shop("wallets", "import", shop.write("wallets.jsonl", wallet(1), wallet(2)))).well()
    before = await exported(shop)
    async with engine.begin() as other:
        await other.execute(text("LOCK TABLE payment_links IN ACCESS EXCLUSIVE MODE"))
        exporting = asyncio.create_task(exported(shop))
        await until(lambda: waits_for(engine, "relation"))
        await other.execute(text("UPDATE payment_links SET status = 'CANCELLED'"))
    assert await exporting == before
    assert {link["status"] for line in await exported(shop) for link in line["paymentLinks"]} == {"CANCELLED"}
