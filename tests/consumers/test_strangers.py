"""What strangers share joins none of them: metadata names a customer only where the setting says so."""

from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from consumers.batch import take_in
from domain.update import Scope
from domain.wallet import ALWAYS_IDENTIFY, IDENTIFIERS, Wallet, identifying
from store import connectivity, migrate, wallets
from store.engine import connect
from testbed.postgres import Databases
from tests.consumers.harness import RETENTION, Harness, merging, written
from tests.domain.build import link, live, method, replaced, wallet, who

GOLD: Scope = (("metadata.tier", "gold"),)
STRANGERS = 50


def of_tier(number: int, tier: str = "gold", **more: str) -> Wallet:
    """A customer of a merchant of their own, with a card of their own, who is of that tier as others are."""
    alone = wallet(
        method(f"T{number}"), links=[link(f"m-T{number}")], customer=f"e{number}", merchants=(f"shop-{number}",)
    )
    alone = alone._replace(links=tuple(each._replace(merchant_id=f"shop-{number}") for each in alone.links))
    named = identifying(((f"metadata.{name}", value) for name, value in more.items()), IDENTIFIERS)
    customer = alone.customer._replace(
        identities=alone.customer.identities.union(named), metadata={"tier": tier} | more
    )
    return alone._replace(customer=customer)


async def test_a_merge_by_a_tier_joins_no_strangers(harness: Harness) -> None:
    await harness.import_wallets(*(of_tier(number) for number in range(STRANGERS)))
    await harness.report(merging(GOLD, who("e0")))
    (letter,) = await harness.dead_letters()
    assert letter.reason == "from: expected a customer identifier (enterpriseId, hsid or metadata.patientId)"
    assert all(each.merged_into is None for each in (await harness.wallets()).values())
    assert await harness.rows("SELECT * FROM events") == []
    for number in range(STRANGERS):
        assert (await harness.wallet(f"e{number}")).merchants == (f"shop-{number}",)


async def test_a_source_of_several_wallets_is_quarantined_like_a_target_of_several(harness: Harness) -> None:
    twice = wallet(method("S2"))._replace(id="w-e2-again")
    twice = twice._replace(customer=wallet(customer="e2").customer, merchants=("stranger",), links=())
    await harness.import_wallets(wallet(method("T")), wallet(method("S"), customer="e2"), twice)
    await harness.report(merging(who("e2"), who("e1")))
    assert await harness.outcome("merge") == ("QUARANTINED", "AMBIGUOUS_CUSTOMER")
    assert all(each.merged_into is None for each in (await harness.wallets()).values())


async def test_an_update_for_a_tier_is_a_dead_letter_and_reaches_nobody(harness: Harness) -> None:
    await harness.import_wallets(of_tier(1), of_tier(2))
    await harness.report(replaced("T1", "X", on=1)._replace(scope=GOLD))
    (letter,) = await harness.dead_letters()
    assert letter.reason.startswith("customer: expected a customer identifier")
    assert live(await harness.wallet("e1")).keys() == {"T1"}


async def test_a_tier_beside_a_name_neither_helps_nor_hinders(harness: Harness) -> None:
    await harness.import_wallets(of_tier(1, tier="silver"), of_tier(2))
    await harness.report(replaced("T1", "X", on=1)._replace(scope=(*who("e1"), *GOLD)))
    assert await harness.outcome("vau-1") == ("APPLIED", None)
    assert live(await harness.wallet("e1")).keys() == {"X"}


async def test_a_wallet_that_comes_is_not_found_by_a_tier_that_was_waited_for(harness: Harness) -> None:
    """A merge that was parked before the upgrade waits for a tier; whoever comes with it is a stranger."""
    await harness.report(merging(who("e1"), who("e9")))
    await harness.rows(
        """UPDATE parked_updates SET key = '@metadata.tier=gold', about = '{"from": [["metadata.tier", "gold"]],'
           ' "into": [["enterpriseId", "e9"]]}' WHERE key = '@enterpriseId=e1'"""
    )
    await harness.rows(
        """UPDATE parked_updates SET about = '{"from": [["metadata.tier", "gold"]],'
           ' "into": [["enterpriseId", "e9"]]}'"""
    )
    await harness.import_wallets(of_tier(1), of_tier(9))
    assert await harness.outcome("merge") == ("PARKED", None)
    assert all(each.merged_into is None for each in (await harness.wallets()).values())


async def test_all_metadata_is_kept_and_told(harness: Harness) -> None:
    await harness.import_wallets(of_tier(1, patientId="rx-1"))
    await harness.report(replaced("T1", "X", on=1)._replace(scope=(("metadata.patientId", "rx-1"),)))
    assert await harness.outcome("vau-1") == ("APPLIED", None)
    (told, _) = await harness.events("shop-1", "w-e1")
    assert told["payload"]["customer"]["metadata"] == {"patientId": "rx-1", "tier": "gold"}
    assert (await harness.wallet("e1")).customer.identities == {*who("e1"), ("metadata.patientId", "rx-1")}


# --- the setting, and the databases that were there before it ---------------------------------------------------------


async def identities(url: str) -> list[Any]:
    engine = connect(url)
    async with engine.begin() as connection:
        rows = await connection.execute(text("SELECT name, value FROM customer_identities ORDER BY name, value"))
        found = [tuple(row) for row in rows]
    await engine.dispose()
    return found


OF_BEFORE = """
    INSERT INTO wallets (id, enterprise_id, metadata) VALUES
        ('00000000-0000-0000-0000-000000000001', 'e1', '{"tier": "gold", "patientId": "rx-1"}'),
        ('00000000-0000-0000-0000-000000000002', NULL, '{"tier": "gold"}');
    INSERT INTO customer_identities (name, value, wallet_id) VALUES
        ('enterpriseId', 'e1', '00000000-0000-0000-0000-000000000001'),
        ('metadata.tier', 'gold', '00000000-0000-0000-0000-000000000001'),
        ('metadata.patientId', 'rx-1', '00000000-0000-0000-0000-000000000001'),
        ('metadata.tier', 'gold', '00000000-0000-0000-0000-000000000002');
"""


async def test_migrating_takes_out_what_names_nobody_and_says_which_wallets_have_no_name_left(
    databases: Databases,
) -> None:
    url = await databases.create_empty()
    engine = connect(url)
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: command.upgrade(migrate.config(sync), "0003"))
    async with engine.begin() as connection:
        for statement in OF_BEFORE.split(";")[:-1]:
            await connection.exec_driver_sql(statement)
        before = await wallets.load(connection, ["00000000-0000-0000-0000-000000000002"])
        assert before[0].customer.identities == {("metadata.tier", "gold")}
    await engine.dispose()

    assert (await migrate.upgrade(url, IDENTIFIERS)).nameless == ["00000000-0000-0000-0000-000000000002"]
    assert await identities(url) == [("enterpriseId", "e1"), ("metadata.patientId", "rx-1")]
    # set again, it names customers again: the metadata were kept
    assert (await connectivity.upgrade(url, ALWAYS_IDENTIFY | {"metadata.tier"})).nameless == []
    assert await identities(url) == [("enterpriseId", "e1"), ("metadata.tier", "gold"), ("metadata.tier", "gold")]
    await databases.drop(url)


@pytest.mark.parametrize("identifiers", [IDENTIFIERS, ALWAYS_IDENTIFY | {"metadata.tier"}])
async def test_a_worker_reads_updates_by_its_setting(harness: Harness, identifiers: frozenset[str]) -> None:
    await harness.import_wallets(of_tier(1))
    update = harness.message(written(replaced("T1", "X", on=1)._replace(scope=(*who("e1"), *GOLD))))
    await take_in(harness.engine, [update], RETENTION, identifiers=identifiers)
    (row,) = await harness.rows("SELECT scope FROM replacement_facts")
    assert ("metadata.tier" in row.scope) is ("metadata.tier" in identifiers)
