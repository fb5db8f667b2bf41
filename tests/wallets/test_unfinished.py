"""A credential in more wallets than one transaction takes on: its update is recorded once, and none is forgotten."""

import asyncio
from collections.abc import Iterable

import pytest
from sqlalchemy import text

from domain.effort import MOST_CREDENTIALS
from domain.update import Update, UpdateType
from domain.wallet import MethodStatus, Wallet
from store.engine import connect
from store.failures import DATABASE_ERRORS
from store.unfinished import claim
from tests.consumers.harness import RETENTION, Harness
from tests.consumers.paused_worker import intake, waits
from tests.domain.build import live, method, removed, replaced, reported, wallet
from tests.parts.until import until
from wallets import unfinished

CLOSED = UpdateType.CLOSED
COUNT = 2300
"""Wallets: a thousand in the update's own transaction, a thousand in the next, and the rest."""


def hub(*, first: int = 0, gone: int = 0) -> Iterable[Wallet]:
    """Wallets of e<n> that hold the card A; the customers of the first `gone` have removed it."""
    for n in range(first, COUNT):
        card = removed if n < gone else method
        yield wallet(card("A", id=f"m-{n}"), customer=f"e{n}", merchants=("pharmacy",))


async def bring(harness: Harness, wallets: Iterable[Wallet]) -> list[str]:
    """The names of the wallets in the order of their ids."""
    brought = list(wallets)
    await harness.import_wallets(*brought)
    return sorted((each.id for each in brought), key=harness.id_of)


async def take_in(harness: Harness, *updates: Update) -> None:
    await intake(harness.engine).take_in([harness.message(update) for update in updates])


async def resolve_the_rest(harness: Harness) -> int:
    """How many transactions it took, that in which nothing was left not among them."""
    transactions = 0
    while await unfinished.run_once(harness.engine, RETENTION) is not None:
        transactions += 1
    return transactions


async def holding(harness: Harness, names: str) -> list[int]:
    """How many live methods there are of those keys."""
    rows = await harness.rows(
        "SELECT count(*) FROM payment_method_credentials WHERE live AND key = :key GROUP BY key", key=f"vau:{names}"
    )
    return [row.count for row in rows]


async def test_a_card_in_thousands_of_wallets_is_replaced_in_each_of_them_once(harness: Harness) -> None:
    await bring(harness, hub())
    await take_in(harness, replaced("A", "B", on=1))

    assert await holding(harness, "B") == [1000]
    assert await holding(harness, "A") == [COUNT - 1000]
    assert await harness.outcomes() == [("vau-1", "APPLIED", None)]
    assert await resolve_the_rest(harness) == 2
    assert await holding(harness, "B") == [COUNT]
    assert await holding(harness, "A") == []
    (events,) = await harness.rows("SELECT count(*), count(DISTINCT wallet_id) AS wallets FROM events")
    assert (events.count, events.wallets) == (2 * COUNT, COUNT)
    assert await harness.outcomes() == [("vau-1", "APPLIED", None)]
    assert await harness.rows("SELECT * FROM unfinished_updates") == []


async def test_a_message_that_comes_again_leaves_nothing_twice(harness: Harness) -> None:
    await bring(harness, hub())
    message = harness.message(replaced("A", "B", on=1))
    await intake(harness.engine).take_in([message])
    await intake(harness.engine).take_in([message])
    await take_in(harness, replaced("A", "B", on=1))
    assert len(await harness.rows("SELECT * FROM unfinished_updates")) == 1


async def test_whoever_dies_in_between_leaves_what_is_left_to_the_next(harness: Harness, database_url: str) -> None:
    """The second transaction is ended from outside while it waits for a wallet that another worker holds."""
    names = await bring(harness, hub())
    await take_in(harness, replaced("A", "B", on=1))
    doomed = connect(database_url)
    async with harness.engine.begin() as holding_one:
        await holding_one.execute(
            text("SELECT FROM wallets WHERE id = CAST(:id AS uuid) FOR UPDATE"), {"id": harness.id_of(names[1500])}
        )
        dying = asyncio.create_task(unfinished.run_once(doomed, RETENTION))
        await waits(harness.engine, dying)
        await holding_one.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        )
        with pytest.raises(DATABASE_ERRORS):
            await dying
    await doomed.dispose()
    assert await holding(harness, "B") == [1000]
    assert await resolve_the_rest(harness) == 2
    assert await holding(harness, "B") == [COUNT]
    (events,) = await harness.rows("SELECT count(*) FROM events")
    assert events.count == 2 * COUNT


async def test_what_comes_meanwhile_is_followed_in_every_wallet(harness: Harness) -> None:
    await bring(harness, hub())
    await take_in(harness, replaced("A", "B", on=1))
    await take_in(harness, replaced("B", "C", on=2), reported(CLOSED, "C", on=3))
    await take_in(harness, reported(CLOSED, "A", on=4, id="late"))
    await resolve_the_rest(harness)
    assert await holding(harness, "C") == [COUNT]
    assert {each.status for every in (await harness.wallets()).values() for each in every.live_methods} == {
        MethodStatus.CLOSED
    }


async def test_a_wallet_that_is_touched_meanwhile_is_resolved_then_and_not_again(harness: Harness) -> None:
    names = await bring(harness, hub())
    customer = names[-1].removeprefix("w-")
    await take_in(harness, replaced("A", "B", on=1))
    await take_in(harness, reported(CLOSED, "A", on=2, customer=customer))
    await resolve_the_rest(harness)
    assert live(await harness.wallet(customer)).keys() == {"B"}
    assert len(await harness.events("pharmacy", names[-1])) == 2


async def test_its_outcome_is_what_came_of_it_in_any_wallet(harness: Harness) -> None:
    """Those of the first transaction removed the card; one further on still has it."""
    wallets = list(hub(gone=COUNT))
    last = max(wallets, key=lambda each: harness.id_of(each.id))
    wallets[wallets.index(last)] = last._replace(methods=(method("A", id="m-last"),))
    await bring(harness, wallets)
    await take_in(harness, replaced("A", "B", on=1))
    assert await harness.outcomes() == [("vau-1", "IGNORED", "CUSTOMER_REMOVED")]
    await resolve_the_rest(harness)
    assert await harness.outcomes() == [("vau-1", "APPLIED", None)]


async def test_an_update_for_a_customer_beyond_the_first_thousand_reaches_its_wallet(harness: Harness) -> None:
    names = await bring(harness, hub())
    customer = names[-1].removeprefix("w-")
    await take_in(harness, replaced("A", "B", on=1, customer=customer))
    await resolve_the_rest(harness)
    assert await harness.outcomes() == [("vau-1", "APPLIED", None)]
    assert await holding(harness, "B") == [1]
    assert await harness.rows("SELECT * FROM parked_updates") == []


async def test_updates_of_one_batch_go_on_together(harness: Harness) -> None:
    await bring(harness, hub())
    await take_in(
        harness, *(reported(kind, "A", on=n + 1) for n, kind in enumerate((CLOSED, UpdateType.RESUMED, CLOSED)))
    )
    assert len(await harness.rows("SELECT * FROM unfinished_updates")) == 3
    assert await resolve_the_rest(harness) == 2


async def test_an_update_that_came_less_far_than_another_of_its_credential_skips_no_wallet(harness: Harness) -> None:
    await bring(harness, hub())
    await take_in(harness, replaced("A", "B", on=1))
    await unfinished.run_once(harness.engine, RETENTION)
    await take_in(harness, replaced("A", "C", on=2))
    await resolve_the_rest(harness)
    assert await holding(harness, "C") == [COUNT]


async def test_the_worker_s_part_resolves_what_is_left_and_stops_when_told(harness: Harness) -> None:
    await bring(harness, hub())
    await take_in(harness, replaced("A", "B", on=1))
    stopping, kicked = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        unfinished.run(harness.engine, RETENTION, stopping=stopping, on_due=lambda _: kicked.set())
    )

    async def all_done() -> bool:
        return await holding(harness, "B") == [COUNT]

    await until(all_done)
    assert kicked.is_set()
    stopping.set()
    async with asyncio.timeout(20):
        await running


async def test_a_batch_with_such_a_card_in_it_takes_in_the_others_too(harness: Harness) -> None:
    await bring(harness, hub(first=COUNT - 1100))
    await harness.import_wallets(*(wallet(method(f"X{n}"), customer=f"x{n}") for n in range(8)))
    await take_in(
        harness,
        *(reported(CLOSED, f"X{n}", on=1, id=f"x{n}") for n in range(4)),
        replaced("A", "B", on=1),
        *(reported(CLOSED, f"X{n}", on=1, id=f"x{n}") for n in range(4, 8)),
    )
    await resolve_the_rest(harness)
    assert await holding(harness, "B") == [1100]
    assert {outcome for _, outcome, _ in await harness.outcomes()} == {"APPLIED"}


async def test_a_wallet_that_is_too_much_on_its_own_is_passed_over(harness: Harness) -> None:
    """Facts lead from its other card to more credentials than an account may have."""
    names = await bring(harness, hub(first=COUNT - 1003))
    too_much, last = names[1001:]
    await harness.rows(
        "INSERT INTO payment_method_credentials (payment_method_id, key, wallet_id, type, live)"
        " SELECT id, 'vau:Z', wallet_id, type, true FROM payment_methods WHERE wallet_id = CAST(:wallet AS uuid)",
        wallet=harness.id_of(too_much),
    )
    await harness.rows(
        "INSERT INTO replacement_facts (old_key, new_key, vendor, update_id, occurred_at, reason, kept_until)"
        " SELECT 'vau:Z', 'vau:Z-' || n, 'vau', 'u-' || n, now(), 'REISSUED', now() + interval '1 day'"
        " FROM generate_series(1, CAST(:count AS int)) AS n",
        count=MOST_CREDENTIALS,
    )
    await take_in(harness, replaced("A", "B", on=1))
    await resolve_all(harness)
    assert live(await harness.wallet(last.removeprefix("w-"))).keys() == {"B"}
    assert live(await harness.wallet(too_much.removeprefix("w-"))).keys() == {"A Z"}


async def test_a_wallet_that_the_database_refuses_is_passed_over(harness: Harness) -> None:
    names = await bring(harness, hub(first=COUNT - 1003))
    refused, last = names[1001:]
    await harness.rows(
        "ALTER TABLE lineage ADD CONSTRAINT not_today"
        f" CHECK (wallet_id <> '{harness.id_of(refused)}' OR old_id IS NULL) NOT VALID"
    )
    try:
        await take_in(harness, replaced("A", "B", on=1))
        await resolve_all(harness)
    finally:
        await harness.rows("ALTER TABLE lineage DROP CONSTRAINT not_today")
    assert live(await harness.wallet(last.removeprefix("w-"))).keys() == {"B"}
    assert live(await harness.wallet(refused.removeprefix("w-"))).keys() == {"A"}


async def resolve_all(harness: Harness) -> None:
    """As the worker does, which goes on without a wallet that cannot be resolved."""
    stopping = asyncio.Event()
    running = asyncio.create_task(unfinished.run(harness.engine, RETENTION, stopping=stopping))

    async def all_done() -> bool:
        assert not running.done()
        return not await harness.rows("SELECT inbox_id FROM unfinished_updates")

    await until(all_done, within=60)
    stopping.set()
    await running


async def test_statements_that_an_administrator_cancels_pass_over_no_wallet(harness: Harness) -> None:
    await bring(harness, hub(first=COUNT - 1003))
    await take_in(harness, replaced("A", "B", on=1))
    stopping = asyncio.Event()
    async with harness.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE replacement_facts IN ACCESS EXCLUSIVE MODE"))
        running = asyncio.create_task(unfinished.run(harness.engine, RETENTION, stopping=stopping))
        cancelled = 0
        async with asyncio.timeout(60):
            while cancelled < 8:  # four made it try a single wallet, and the fifth pass over it
                assert not running.done()
                rows = await harness.rows(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                cancelled += len(rows)
                await asyncio.sleep(0.02)

    async def all_done() -> bool:
        assert not running.done()
        return await holding(harness, "B") == [1003]

    await until(all_done, within=60)
    stopping.set()
    await running


async def test_only_a_wallet_that_failed_is_passed_over(harness: Harness) -> None:
    """Another process may have claimed the update meanwhile; the next one in line was not tried."""
    await bring(harness, hub(first=COUNT - 1003))
    await take_in(harness, replaced("A", "B", on=1))
    async with harness.engine.begin() as connection:
        left = await claim(connection)
    other = [update._replace(after=harness.id_of("w-e0")) for update in left]
    await unfinished._pass_over(harness.engine, other, "of another update")
    async with harness.engine.begin() as connection:
        assert await claim(connection) == left
    await unfinished._pass_over(harness.engine, left, "of this one")
    async with harness.engine.begin() as connection:
        assert [update.after for update in await claim(connection)] != [update.after for update in left]
