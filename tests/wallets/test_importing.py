"""Wallets that come from a file: whole or not at all, and resolved by what was reported before they came."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.effort import Effort, TooMuch
from domain.refusal import Refusal, Refused
from domain.update import UpdateType
from domain.wallet import Expiry, Wallet
from schemas.wallet import read_wallet
from tests.consumers.harness import RETENTION, Harness, in_batches, merging
from tests.consumers.paused_worker import waits
from tests.domain.build import link, live, method, removed, replaced, reported, wallet, who
from wallets.importing import import_wallets


async def test_what_was_told_before_is_kept_as_long_as_what_is_told_of_any_wallet_s(harness: Harness) -> None:
    await harness.report(
        replaced(("A", ":a"), "B", on=1),
        reported(UpdateType.CLOSED, "B", on=2),
        reported(UpdateType.CLOSED, "X", on=2, id="x"),
    )
    assert await kept(harness) == dict.fromkeys(["vau:A", ":a", "vau:B", "vau:X", "vau:A > vau:B"], RETENTION.unknown)
    await harness.import_wallets(wallet(method(":a")))
    known = dict.fromkeys(["vau:A", ":a", "vau:B", "vau:A > vau:B"], RETENTION.known)
    assert await kept(harness) == {**known, "vau:X": RETENTION.unknown}


async def test_a_chain_is_followed_where_its_credentials_were_forgotten_since(harness: Harness) -> None:
    await harness.report(replaced("A", "B", on=1), replaced("B", "C", on=2))
    await harness.rows("DELETE FROM credentials")
    await harness.import_wallets(wallet(method("A")))
    assert live(await harness.wallet()).keys() == {"C"}


async def test_a_wallet_with_a_fingerprint_is_resolved_by_a_fact_that_names_the_token_first(harness: Harness) -> None:
    """The update was applied to another customer's wallet, so no update waits for the fingerprint."""
    await harness.import_wallets(wallet(method("A"), customer="e2"))
    await harness.report(replaced(("A", ":a"), "B", on=1))
    await harness.import_wallets(wallet(method(":a")))
    assert live(await harness.wallet()).keys() == {"B"}


async def test_a_wallet_takes_what_was_reported_of_its_card_while_another_s_had_it(harness: Harness) -> None:
    """No update waits for it any more: each was applied to the other wallet."""
    for name, update in (
        ("A", reported(UpdateType.CLOSED, "A", on=1, id="A")),
        ("B", reported(UpdateType.EXPIRY_UPDATED, "B", on=1, id="B", expiry=Expiry(2039, 1))),
        ("C", reported(UpdateType.DETAILS_UPDATED, "C", on=1, id="C", holder_name="Jo")),
    ):
        brought = method(name, id=f"first-{name}")
        await harness.import_wallets(wallet(brought, customer=f"first-{name}"))
        await harness.report(update)
        await harness.import_wallets(wallet(method(name), customer=f"second-{name}"))
        (first,) = (await harness.wallet(f"first-{name}")).methods
        (second,) = (await harness.wallet(f"second-{name}")).methods
        assert (first.status, first.details) != (brought.status, brought.details)
        assert (second.status, second.details) == (first.status, first.details)


async def test_what_replaced_what_is_brought_with_its_reason(harness: Harness) -> None:
    lost = removed("A")._replace(replaced_by="m-C", deleted_reason="LOST_OR_STOLEN")
    await harness.import_wallets(wallet(lost, removed("B")._replace(replaced_by="m-C"), removed("R"), method("C")))
    rows = await harness.rows("SELECT CAST(old_id AS text), CAST(new_id AS text), reason, vendor FROM lineage")
    named = [(harness.name_of(old), harness.name_of(new), reason, vendor) for old, new, reason, vendor in rows]
    assert sorted(named) == [("m-A", "m-C", "LOST_OR_STOLEN", None), ("m-B", "m-C", "REPLACED", None)]


async def test_an_import_looks_at_as_much_as_it_takes_where_a_batch_may_not(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the gate keeps others waiting for it, and a file cannot be cut in two."""
    await harness.report(replaced("A", "B", on=1), replaced("B", "C", on=2))
    monkeypatch.setattr(Effort.__init__, "__defaults__", (1,))
    await harness.import_wallets(wallet(method("A")))
    with pytest.raises(TooMuch):
        await harness.report(replaced("C", "D", on=3))
    assert live(await harness.wallet()).keys() == {"C"}


async def kept(harness: Harness) -> dict[str, timedelta]:
    """How long everything that was told is kept, to the hour."""
    rows = await harness.rows(
        "SELECT key AS what, kept_until - now() AS kept FROM credentials"
        " UNION ALL SELECT old_key || ' > ' || new_key, kept_until - now() FROM replacement_facts"
    )
    hour = timedelta(hours=1)
    return {row.what: round(row.kept / hour) * hour for row in rows}


ONE = wallet(method("A"), removed("R"), links=[link("m-A")])


@pytest.mark.parametrize(
    ("brought", "path", "named"),
    [
        ([ONE, ONE], "id", "w-e1"),
        ([ONE, wallet(method("B", id="m-A"))._replace(id="w-e2")], "paymentMethods.0.id", "m-A"),
        ([ONE, wallet(method("B"), links=[link("m-B", id="l-m-A")])._replace(id="w-e2")], "paymentLinks.0.id", "l-m-A"),
        ([wallet(method("A"), method("B", id="m-A"))], "paymentMethods.0.id", "m-A"),
        ([wallet()._replace(merged_into="w-nobody")], "mergedInto", ""),
        ([wallet()._replace(merged_into="w-e2"), wallet(customer="e2")._replace(merged_into="w-e3"),
          wallet(customer="e3")], "mergedInto", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of", [1, 1000])
async def test_what_would_be_there_twice_is_refused_by_the_path_of_its_id(
    harness: Harness, brought: list[Wallet], path: str, named: str, of: int
) -> None:
    with pytest.raises(Refused) as refused:
        await harness.import_wallets(*brought, of=of)
    assert refused.value.refusal.field == path
    assert (harness.id_of(named) if named else "a wallet that is not merged") in refused.value.refusal.expected
    assert await harness.wallets() == {}


async def test_what_is_there_already_is_refused(harness: Harness) -> None:
    await harness.import_wallets(ONE)
    before = await harness.exported()
    for again, path, named, code in (
        (ONE, "id", "w-e1", "WALLET_EXISTS"),
        (wallet(method("B", id="m-R"))._replace(id="w-e2"), "paymentMethods.0.id", "m-R", "REPEATED"),
        (wallet(method("B"), links=[link("m-B", id="l-m-A")])._replace(id="w-e2"), "paymentLinks.0.id", "l-m-A",
         "REPEATED"),
    ):  # fmt: skip
        with pytest.raises(Refused) as refused:
            await harness.import_wallets(again)
        assert (refused.value.refusal.field, refused.value.refusal.code.name) == (path, code)
        assert harness.id_of(named) in refused.value.refusal.expected
    assert await harness.exported() == before


@pytest.mark.parametrize(
    ("second", "path"),
    [
        (wallet(method("B"), customer="e2")._replace(id="w-e1"), "id"),
        (wallet(method("B", id="m-R"), customer="e2"), "paymentMethods.0.id"),
        (wallet(method("B"), customer="e2", links=[link("m-B", id="l-m-A")]), "paymentLinks.0.id"),
    ],
)
async def test_of_two_imports_at_once_the_second_is_refused_as_a_whole(
    harness: Harness, second: Wallet, path: str
) -> None:
    """It has looked before the first one committed, so its insertion waits, and finds the id there."""
    await harness.add_merchants("optician", "pharmacy")

    async def import_second() -> None:
        other = harness.stored(wallet(method("C"), customer="e3"))
        async with harness.engine.begin() as connection:
            batches = in_batches([other, harness.stored(second)], 2)
            await import_wallets(connection, batches, RETENTION, on_refused=lambda *_: None)

    async with harness.engine.begin() as connection:
        await import_wallets(connection, in_batches([harness.stored(ONE)], 1), RETENTION)
        importing = asyncio.create_task(import_second())
        await waits(harness.engine, importing)
        assert not importing.done()
    with pytest.raises(Refused) as refused:
        await importing
    assert refused.value.refusal.field == path
    assert (await harness.wallets()).keys() == {"w-e1"}


async def test_the_rest_of_a_file_is_imported_where_refusals_are_taken(harness: Harness) -> None:
    await harness.import_wallets(ONE)
    brought = [
        wallet(method("B", id="m-A"), customer="e2"),
        wallet(method("C"), links=[link("m-C", id="l-m-A")], customer="e3"),
        wallet(method("D"), customer="e4"),
    ]
    refused: dict[str, str | None] = {}

    def note(wallet_id: str, refusal: Refusal) -> None:
        refused[harness.name_of(wallet_id)] = refusal.field

    async with harness.engine.begin() as connection:
        batches = in_batches([harness.stored(each) for each in brought], 10)
        assert await import_wallets(connection, batches, RETENTION, on_refused=note) == 1
    assert refused == {"w-e2": "paymentMethods.0.id", "w-e3": "paymentLinks.0.id"}
    assert (await harness.wallets()).keys() == {"w-e1", "w-e4"}


async def test_nothing_remains_of_a_wallet_that_is_merged_into_none(harness: Harness) -> None:
    """It is inserted with the others of the file, and taken back when it turns out that its target is missing."""
    replaced_card = removed("A")._replace(replaced_by="m-B")
    astray = wallet(replaced_card, method("B"), links=[link("m-B")])._replace(merged_into="w-nobody")
    kept = wallet(method("C"), links=[link("m-C")], customer="e2")
    refused: dict[str, Refusal] = {}
    await harness.add_merchants("optician", "pharmacy")
    async with harness.engine.begin() as connection:
        batches = in_batches([harness.stored(each) for each in (astray, kept)], 10)
        imported = await import_wallets(connection, batches, RETENTION, on_refused=refused.__setitem__)
    assert imported == 1
    assert {harness.name_of(id_): refusal.field for id_, refusal in refused.items()} == {"w-e1": "mergedInto"}
    assert (await harness.wallets()).keys() == {"w-e2"}
    for table in ("payment_links", "payment_methods", "payment_method_credentials", "customer_identities"):
        rows = await harness.rows(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name from this list
        assert rows == [(1,)], table
    assert await harness.rows("SELECT * FROM lineage") == []


async def test_a_wallet_of_an_unknown_merchant_is_refused(harness: Harness, engine: AsyncEngine) -> None:

    async with engine.connect() as connection:
        with pytest.raises(Refused, match="expected optician"):
            await import_wallets(connection, in_batches([harness.stored(ONE)], 1), RETENTION)


# --- and back out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [1, 3, 1000])
@pytest.mark.parametrize("order", [list, lambda lines: list(reversed(lines))], ids=["in order", "backwards"])
async def test_an_export_brought_into_an_empty_database_is_exported_the_same(
    harness: Harness, of: int, order: Callable[[list[str]], list[str]]
) -> None:
    # ids are in no order of names, so some merged wallets come before and some after the one they went into
    await harness.import_wallets(
        *(wallet(method(f"C{n}", ":c"), method(f"S{n}"), links=[link(f"m-C{n}", id=f"l{n}")], customer=f"e{n}")
          for n in range(8))
    )  # fmt: skip
    await harness.report(
        replaced("C1", "D1", on=1),
        *(merging(who(f"e{n}"), who("e0" if n > 4 else "e1"), id=f"m{n}") for n in range(2, 8)),
        reported(UpdateType.SUSPENDED, "S3", on=4),
    )
    first = await harness.exported()
    await harness.rows("TRUNCATE wallets, credentials, replacement_facts, inbox CASCADE")
    read = [read_wallet(line) for line in order(first.splitlines())]
    async with harness.engine.begin() as connection:
        assert await import_wallets(connection, in_batches(read, of), RETENTION) == 8
    assert await harness.exported() == first
    assert await harness.rows("SELECT * FROM events") == []
