"""Wallets that come from a file: whole or not at all, and resolved by what was reported before they came."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.update import UpdateType
from domain.wallet import Wallet
from schemas.wallet import read_wallet
from tests.consumers.desk import RETENTION, Desk, in_batches, merging
from tests.domain.build import link, live, method, removed, replaced, reported, wallet, who
from wallets.importing import RefusedWallet, import_wallets


async def test_what_was_told_before_is_kept_as_long_as_what_is_told_of_any_wallet_s(desk: Desk) -> None:
    await desk.tell(
        replaced(("A", ":a"), "B", on=1),
        reported(UpdateType.CLOSED, "B", on=2),
        reported(UpdateType.CLOSED, "X", on=2, id="x"),
    )
    assert await kept(desk) == dict.fromkeys(["vau:A", ":a", "vau:B", "vau:X", "vau:A > vau:B"], RETENTION.unknown)
    await desk.bring(wallet(method(":a")))
    known = dict.fromkeys(["vau:A", ":a", "vau:B", "vau:A > vau:B"], RETENTION.known)
    assert await kept(desk) == {**known, "vau:X": RETENTION.unknown}


async def test_a_chain_is_followed_where_its_credentials_were_forgotten_since(desk: Desk) -> None:
    await desk.tell(replaced("A", "B", on=1), replaced("B", "C", on=2))
    await desk.rows("DELETE FROM credentials")
    await desk.bring(wallet(method("A")))
    assert live(await desk.wallet()).keys() == {"C"}


async def kept(desk: Desk) -> dict[str, timedelta]:
    """How long everything that was told is kept, to the hour."""
    rows = await desk.rows(
        "SELECT key AS what, kept_until - now() AS kept FROM credentials"
        " UNION ALL SELECT old_key || ' > ' || new_key, kept_until - now() FROM replacement_facts"
    )
    hour = timedelta(hours=1)
    return {row.what: round(row.kept / hour) * hour for row in rows}


ONE = wallet(method("A"), removed("R"), links=[link("m-A")])


@pytest.mark.parametrize(
    ("brought", "named"),
    [
        ([ONE, ONE], "w-e1"),
        ([ONE, wallet(method("B", id="m-A"))._replace(id="w-e2")], "m-A"),
        ([ONE, wallet(method("B"), links=[link("m-B", id="l-m-A")])._replace(id="w-e2")], "l-m-A"),
        ([wallet(method("A"), method("B", id="m-A"))], "m-A"),
        ([wallet()._replace(merged_into="w-nobody")], "w-e1"),
        ([wallet()._replace(merged_into="w-e2"), wallet(customer="e2")._replace(merged_into="w-e3"),
          wallet(customer="e3")], "w-e1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of", [1, 1000])
async def test_what_would_be_there_twice_is_refused_by_its_id(
    desk: Desk, brought: list[Wallet], named: str, of: int
) -> None:
    with pytest.raises(RefusedWallet) as refused:
        await desk.bring(*brought, of=of)
    assert refused.value.subject == desk.id_of(named)
    assert await desk.wallets() == {}


async def test_what_is_there_already_is_refused(desk: Desk) -> None:
    await desk.bring(ONE)
    before = await desk.exported()
    for again, named in (
        (ONE, "w-e1"),
        (wallet(method("B", id="m-R"))._replace(id="w-e2"), "m-R"),
        (wallet(method("B"), links=[link("m-B", id="l-m-A")])._replace(id="w-e2"), "l-m-A"),
    ):
        with pytest.raises(RefusedWallet) as refused:
            await desk.bring(again)
        assert refused.value.subject == desk.id_of(named)
    assert await desk.exported() == before


async def test_a_wallet_of_an_unknown_merchant_is_refused(desk: Desk, engine: AsyncEngine) -> None:

    async with engine.connect() as connection:
        with pytest.raises(RefusedWallet, match="expected optician"):
            await import_wallets(connection, in_batches([desk.stored(ONE)], 1), RETENTION)


# --- and back out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [1, 3, 1000])
@pytest.mark.parametrize("order", [list, lambda lines: list(reversed(lines))], ids=["in order", "backwards"])
async def test_an_export_brought_into_an_empty_database_is_exported_the_same(
    desk: Desk, of: int, order: Callable[[list[str]], list[str]]
) -> None:
    # ids are in no order of names, so some merged wallets come before and some after the one they went into
    await desk.bring(
        *(wallet(method(f"C{n}", ":c"), method(f"S{n}"), links=[link(f"m-C{n}", id=f"l{n}")], customer=f"e{n}")
          for n in range(8))
    )  # fmt: skip
    await desk.tell(
        replaced("C1", "D1", on=1),
        *(merging(who(f"e{n}"), who("e0" if n > 4 else "e1"), id=f"m{n}") for n in range(2, 8)),
        reported(UpdateType.SUSPENDED, "S3", on=4),
    )
    first = await desk.exported()
    await desk.rows("TRUNCATE wallets, credentials, replacement_facts, inbox CASCADE")
    read = [read_wallet(line) for line in order(first.splitlines())]
    async with desk.engine.begin() as connection:
        assert await import_wallets(connection, in_batches(read, of), RETENTION) == 8
    assert await desk.exported() == first
    assert await desk.rows("SELECT * FROM events") == []
