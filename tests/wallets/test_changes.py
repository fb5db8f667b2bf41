"""What a change reads and writes of wallets, beside their methods: leads, merged wallets, lineage, and how long."""

from datetime import timedelta

import pytest

from domain.update import UpdateType
from domain.wallet import Customer
from tests.consumers.harness import Harness, merging
from tests.domain.build import link, live, method, replaced, reported, wallet, who

CLOSED = UpdateType.CLOSED


async def leads(harness: Harness) -> list[tuple[str, str]]:
    """(wallet by name, credential)."""
    rows = await harness.rows("SELECT CAST(wallet_id AS text), key FROM wallet_leads ORDER BY 2, 1")
    return [(harness.name_of(wallet_id), key) for wallet_id, key in rows]


async def passed_through(harness: Harness, customer: str, *names: str) -> None:
    """Import a wallet whose card became the last of `names`; those in between are on no method of it."""
    first, *others = names
    await harness.import_wallets(wallet(method(first), links=[link(f"m-{first}")], customer=customer))
    pairs = list(zip(names, others, strict=False))
    await harness.report(
        *(replaced(old, new, on=on, id=f"{old}>{new}") for on, (old, new) in reversed(list(enumerate(pairs, 1))))
    )


async def test_an_update_about_a_credential_that_was_passed_through_reaches_the_wallet(harness: Harness) -> None:
    await passed_through(harness, "e1", "A", "B", "C")
    assert await leads(harness) == [("w-e1", "vau:B")]
    await harness.report(replaced("B", "D", on=6, id="later"))
    assert await harness.outcome("later") == ("APPLIED", None)
    assert live(await harness.wallet()).keys() == {"D"}
    assert (await harness.wallets("w-e1"))["w-e1"].leads == {"vau:B"}


async def test_a_merged_wallet_hands_its_leads_and_those_merged_into_it_on(harness: Harness) -> None:
    await passed_through(harness, "e1", "A", "B", "C")
    await passed_through(harness, "e2", "X", "Y", "Z")
    await harness.import_wallets(wallet(customer="e3"))
    await harness.report(merging(who("e2"), who("e1"), id="first"))
    assert await leads(harness) == [("w-e1", "vau:B"), ("w-e1", "vau:Y")]
    await harness.report(merging(who("e1"), who("e3"), id="second"))
    assert await leads(harness) == [("w-e3", "vau:B"), ("w-e3", "vau:Y")]
    into = {name: each.merged_into for name, each in (await harness.wallets()).items()}
    assert into == {"w-e1": "w-e3", "w-e2": "w-e3", "w-e3": None}
    # the customers who were merged are found by what named them, and by what their wallets knew
    target = (await harness.wallets("w-e3"))["w-e3"]
    assert target.former_identities == {("enterpriseId", "e1"), ("enterpriseId", "e2")}
    assert {each.id for each in target.links} == {"l-m-A", "l-m-X"}
    await harness.report(
        replaced("Y", "Z2", on=8, customer="e2", id="third"), replaced("B", "C2", on=8, customer="e1", id="fourth")
    )
    assert [await harness.outcome(id_) for id_ in ("third", "fourth")] == [("APPLIED", None)] * 2
    assert live((await harness.wallets("w-e3"))["w-e3"]).keys() == {"Z2", "C2"}


async def test_a_merge_locks_what_both_wallets_lead_to(harness: Harness) -> None:
    """Or a worker that learns of such a credential meanwhile would look for the wallet that knew it before."""
    await passed_through(harness, "e1", "A", "B", "C")
    await harness.import_wallets(wallet(method("M"), customer="e2"))
    await harness.rows("DELETE FROM credentials")
    await harness.report(merging(who("e1"), who("e2")))
    keys = {row.key for row in await harness.rows("SELECT key FROM credentials")}
    assert {"vau:A", "vau:B", "vau:C", "vau:M"} <= keys


async def test_each_replacement_is_written_down_with_the_update_that_told_of_it(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A"), method("B")))
    await harness.report(replaced("A", "C", on=1, id="one"), replaced("B", "D", on=2, id="two"))
    rows = await harness.rows("SELECT vendor, update_id, CAST(old_id AS text) FROM lineage ORDER BY update_id")
    assert [(row.vendor, row.update_id, harness.name_of(row.old_id)) for row in rows] == [
        ("vau", "one", "m-A"),
        ("vau", "two", "m-B"),
    ]


async def test_a_merge_brings_every_merchant_of_the_source(harness: Harness) -> None:
    await harness.import_wallets(
        wallet(method("A"), customer="e1", merchants=("gym", "pharmacy", "spa"), links=[link("m-A", merchant="spa")]),
        wallet(method("B"), customer="e2", merchants=("pharmacy",)),
    )
    await harness.report(merging(who("e1"), who("e2")))
    target = (await harness.wallets("w-e2"))["w-e2"]
    assert sorted(target.merchants) == ["gym", "pharmacy", "spa"]
    assert {each.merchant_id for each in target.links} == {"spa"}


@pytest.mark.parametrize("name", ["enterpriseId", "hsid", "metadata.patientId"])
async def test_a_customer_is_found_by_each_of_their_names(harness: Harness, name: str) -> None:
    value = {"enterpriseId": "e1", "hsid": "h1", "metadata.patientId": "p1"}
    customer = Customer(frozenset(value.items()), None, {"patientId": "p1", "tier": "gold"})
    await harness.import_wallets(
        wallet(method("A"))._replace(customer=customer),
        wallet(method("B"), customer="e2"),
        wallet(method("A", id="m-A3"), customer="e3"),
    )
    assert (await harness.wallets("w-e1"))["w-e1"].customer == customer
    scope = ((name, value[name]),)
    await harness.report(replaced("A", "C", on=1)._replace(scope=scope))
    live_keys = {name: set(live(each)) for name, each in (await harness.wallets()).items()}
    assert live_keys == {"w-e1": {"C"}, "w-e2": {"B"}, "w-e3": {"A"}}
    await harness.report(merging((*scope,), who("e2")))
    assert (await harness.wallets("w-e1"))["w-e1"].merged_into == "w-e2"


async def kept(harness: Harness, what: str) -> timedelta:
    rows = await harness.rows(
        "SELECT kept_until - now() AS kept FROM (SELECT key AS what, kept_until FROM credentials"
        " UNION ALL SELECT old_key || ' > ' || new_key, kept_until FROM replacement_facts) AS known WHERE what = :what",
        what=what,
    )
    ((kept,),) = rows
    assert isinstance(kept, timedelta)
    return kept


async def test_what_a_wallet_knew_all_along_is_kept_no_longer_for_every_change_of_it(harness: Harness) -> None:
    await harness.import_wallets(wallet(method("A"), method("S")))
    await harness.report(reported(CLOSED, "S", on=1), replaced("A", "B", on=1, id="2"))
    for table in ("credentials", "replacement_facts"):
        await harness.rows(f"UPDATE {table} SET kept_until = now() + interval '90 days'")  # noqa: S608
    await harness.report(replaced("B", "C", on=2, id="3"))
    assert await kept(harness, "vau:S") < timedelta(days=91)
    assert await kept(harness, "vau:A > vau:B") < timedelta(days=91)
    assert await kept(harness, "vau:B > vau:C") > timedelta(days=700)


async def test_what_leads_to_a_known_credential_from_an_unknown_one_is_kept_as_what_nobody_knows(
    harness: Harness,
) -> None:
    await harness.import_wallets(wallet(method("B")))
    await harness.report(replaced("A", "B", on=1), reported(CLOSED, "A", on=2, id="2"))
    assert await kept(harness, "vau:A > vau:B") < timedelta(days=4)
    assert await kept(harness, "vau:A") < timedelta(days=4)


async def test_of_a_credential_by_two_names_it_is_enough_that_a_wallet_knows_either(harness: Harness) -> None:
    await harness.import_wallets(wallet(method(":a")))
    await harness.report(replaced(("A", ":a"), "B", on=1))
    assert await kept(harness, "vau:A > vau:B") > timedelta(days=700)


async def test_what_is_known_of_a_name_that_an_update_adds_is_followed_to_its_end(harness: Harness) -> None:
    """The wallet knows the token alone; earlier reports were about the fingerprint that the update has beside it."""
    await harness.report(replaced(":a", "Y", on=5, id="5"), replaced("Y", "Z", on=6, id="6"))
    await harness.import_wallets(wallet(method("A")))
    await harness.report(replaced(("A", ":a"), "B", on=1))
    assert live(await harness.wallet()).keys() == {"Z"}
