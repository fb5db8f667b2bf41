"""Random streams: in the database they end where the rules say, however they are cut into batches and shared out."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.letters import Message
from domain.update import Credential, Scope, Update, UpdateType
from domain.wallet import Customer, Key, Link, Wallet
from schemas.canonical import parse
from schemas.wallet import read_wallet
from store.engine import connect
from tests.consumers.harness import RETENTION, Harness, can_be_written, in_batches, merging, written
from tests.consumers.paused_worker import intake
from tests.domain.build import link, method, replaced, reported, wallet
from tests.domain.reference import view
from tests.domain.test_resolve_properties import as_reference_says
from tests.domain.worlds import WalletsMerged, World, worlds
from wallets.importing import import_wallets

NUMBERS = count()


def apart(world: World) -> World:
    """The world under names that no other world of the database has, and of it what vendors can say."""
    number = next(NUMBERS)

    def key(name: Key) -> Key:
        vendor, token = name.split(":", 1)
        return f"{vendor}:{number}-{token}"

    def credential(named: Credential | None) -> Credential | None:
        return named and Credential(key(named.key), named.alias and key(named.alias))

    def scope(named: Scope) -> Scope:
        return tuple((name, f"{number}-{value}") for name, value in named)

    def moved(each: Wallet) -> Wallet:
        return each._replace(
            id=f"{number}-{each.id}",
            customer=Customer(frozenset(scope(tuple(each.customer.identities)))),
            methods=tuple(
                method._replace(id=f"{number}-{method.id}", keys=frozenset(map(key, method.keys)))
                for method in each.methods
            ),
            links=tuple(
                link._replace(id=f"{number}-{link.id}", method_id=f"{number}-{link.method_id}") for link in each.links
            ),
        )

    events: list[Update | WalletsMerged] = []
    for event in world.events:
        if isinstance(event, WalletsMerged):
            events.append(WalletsMerged(f"{number}-{event.source}", f"{number}-{event.target}"))
        elif isinstance(event, Update) and can_be_written(event):
            old = credential(event.old)
            new = event.new._replace(credential=credential(event.new.credential))
            stamp = event.stamp._replace(update_id=f"{number}-{event.stamp.update_id}")
            told = event._replace(stamp=stamp, old=old, new=new, scope=scope(event.scope))
            # as it is read: a fingerprint may name the card behind a token that stays
            events.append(parse(json.dumps(written(told)).encode()).update)
    return World(tuple(moved(each) for each in world.wallets), tuple(events))


def messages_of(harness: Harness, world: World) -> list[Message]:
    customers = {each.id: tuple(sorted(each.customer.identities)) for each in world.wallets}
    return [
        harness.message(
            event
            if isinstance(event, Update)
            else merging(customers[event.source], customers[event.target], id=f"{event.source} into {event.target}")
        )
        for event in world.events
        if isinstance(event, Update | WalletsMerged)
    ]


def cut(messages: Sequence[Message], draw: Callable[[], bool]) -> list[list[Message]]:
    batches: list[list[Message]] = [[]]
    for message in messages:
        if batches[-1] and draw():
            batches.append([])
        batches[-1].append(message)
    return batches


async def check(harness: Harness, world: World, handed_in: Sequence[Message]) -> None:
    """All that must be true at the end, of this world alone."""
    every = await harness.wallets(*(each.id for each in world.wallets))
    assert {name: view(each) for name, each in every.items() if each.merged_into is None} == as_reference_says(world)
    for each in every.values():
        check_invariants(each)
    assert {link.id for link in links_of(every.values())} == {link.id for link in links_of(world.wallets)}
    await check_accounts(harness, handed_in)
    await check_sequences(harness)
    for merchant in ("m1", "m2", "m3"):
        await check_what_is_known_to(merchant, harness, world, every)


def check_invariants(each: Wallet) -> None:
    methods = {one.id: one for one in each.methods}
    for one in each.methods:
        assert one.replaced_by is None or (not one.live and one.replaced_by in methods)
    for paid in each.links:
        assert not paid.moves or methods[paid.method_id].live


async def check_accounts(harness: Harness, handed_in: Sequence[Message]) -> None:
    """Each message has one row; what is PARKED waits for what no wallet knows; else only QUARANTINED ones wait."""
    rows = await harness.rows(
        "SELECT partition, kafka_offset, outcome, count(parked.key) AS keys, count(known.key) AS known"
        " FROM inbox LEFT JOIN parked_updates AS parked ON inbox_id = inbox.id"
        " LEFT JOIN (SELECT key FROM payment_method_credentials UNION SELECT key FROM wallet_leads) AS known"
        " ON known.key = parked.key"
        " GROUP BY inbox.id"
    )
    places = Counter((row.partition, row.kafka_offset) for row in rows)
    assert set(places.values()) <= {1}
    assert {(each.partition, each.offset) for each in handed_in} <= places.keys()
    for row in rows:
        assert row.keys > 0 or row.outcome != "PARKED"
        assert row.keys == 0 or row.outcome in ("PARKED", "QUARANTINED")
        assert row.known == 0 or row.outcome == "QUARANTINED"


async def check_sequences(harness: Harness) -> None:
    rows = await harness.rows(
        "SELECT array_agg(events.sequence ORDER BY events.sequence) AS sequences, told.sequence AS latest"
        " FROM events JOIN wallet_merchants AS told USING (wallet_id, merchant_id)"
        " GROUP BY wallet_id, merchant_id, told.sequence"
    )
    for row in rows:
        assert row.sequences == list(range(1, row.latest + 1))


async def check_what_is_known_to(merchant: str, harness: Harness, world: World, now: dict[str, Wallet]) -> None:
    """Who saw the wallets at first, and only folds what it is told since, sees what is."""
    mine = [each for each in world.wallets if merchant in each.merchants]
    methods = {method.id: method.status.value for each in mine for method in each.live_methods}
    links = {link.id: link.method_id for link in links_of(mine) if link.merchant_id == merchant}
    # what was merged was told of first: by its number a wallet goes into an earlier one
    for each in reversed(world.wallets):
        for body in await harness.events(merchant, each.id):
            about = body["payload"]["paymentMethod"]
            method_id = harness.name_of(about["id"])
            methods[method_id] = about["paymentMethodDetails"]["status"]
            links |= {harness.name_of(moved["id"]): method_id for moved in body["payload"].get("paymentLinks", ())}
    mine = [each for each in now.values() if merchant in each.merchants and each.merged_into is None]
    assert {name: status for name, status in methods.items() if status != "DELETED"} == {
        method.id: method.status.value for each in mine for method in each.live_methods
    }
    assert links == {link.id: link.method_id for link in links_of(mine) if link.merchant_id == merchant}


def links_of(wallets: Iterable[Wallet]) -> list[Link]:
    return [link for each in wallets for link in each.links]


def tossed(data: st.DataObject) -> bool:
    return data.draw(st.booleans())


# A database costs what a hundred examples in memory do.
FEW = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(worlds(), st.data())
async def test_any_order_any_batches_and_wallets_that_come_late_end_where_the_rules_say(
    harness: Harness, world: World, data: st.DataObject
) -> None:
    world = apart(world)
    told_again = data.draw(st.lists(st.sampled_from(range(len(world.events))), max_size=4)) if world.events else []
    order = data.draw(st.permutations([*range(len(world.events)), *told_again]))
    messages = messages_of(harness, replace(world, events=tuple(world.events[n] for n in order)))
    late = [each for each in world.wallets if tossed(data)]
    await harness.import_wallets(*(each for each in world.wallets if each not in late))

    for batch in cut(messages, lambda: tossed(data)):
        if late and tossed(data):
            await harness.import_wallets(late.pop())
        await harness.take_in(batch)
    if late:
        await harness.import_wallets(*late)

    await check(harness, world, messages)


@FEW
@given(worlds(), st.randoms(use_true_random=False))
async def test_four_workers_at_once_end_where_the_rules_say(
    harness: Harness, database_url: str, world: World, random: Random
) -> None:
    world = apart(world)
    await harness.import_wallets(*world.wallets)
    twice = replace(world, events=tuple(random.sample([*world.events, *world.events], 2 * len(world.events))))
    messages = messages_of(harness, twice)

    await at_once(database_url, [cut(messages[lane::4], lambda: random.random() < 0.5) for lane in range(4)])

    await check(harness, world, messages)


async def at_once(url: str, lanes: Sequence[Sequence[Sequence[Message]]]) -> None:
    """Each lane's batches one after another, by a worker with connections of its own."""

    async def work(engine: AsyncEngine, batches: Sequence[Sequence[Message]]) -> None:
        it = intake(engine)
        for batch in batches:
            if batch:
                await it.take_in(batch)

    async with AsyncExitStack() as engines, asyncio.timeout(120), asyncio.TaskGroup() as group:
        for batches in lanes:
            engine = connect(url, pool_size=1)
            engines.push_async_callback(engine.dispose)
            group.create_task(work(engine, batches))


@pytest.mark.parametrize("seed", range(3))
async def test_workers_that_share_every_card_neither_deadlock_nor_miss_anything(
    harness: Harness, database_url: str, seed: int
) -> None:
    """Forty wallets with a few of sixty cards each, so that nearly every batch meets every other."""
    random = Random(seed)
    cards = [f"{number:02}" for number in range(60)]
    brought = []
    for number in range(40):
        mine = random.sample(cards, 3)
        methods = [method(card, id=f"m{number}-{card}") for card in mine]
        links = [link(f"m{number}-{mine[0]}", id=f"l{number}", merchant="m1")]
        brought.append(wallet(*methods, links=links, customer=f"e{number}", merchants=("m1",)))
    await harness.import_wallets(*brought)
    updates = [
        replaced(*random.sample(cards, 2), on=random.randrange(1, 300), id=f"u{number}")
        if random.random() < 0.3
        else reported(random.choice(STATUSES), random.choice(cards), on=random.randrange(1, 300), id=f"u{number}")
        for number in range(200)
    ]
    before = await deadlocks(harness)
    messages = [harness.message(each, partition=number % 4) for number, each in enumerate(updates)]
    random.shuffle(messages)

    await at_once(database_url, [cut(messages[lane::4], lambda: random.random() < 0.1) for lane in range(4)])

    assert await deadlocks(harness) == before
    await check(harness, World(tuple(brought), tuple(updates)), messages)


STATUSES = (UpdateType.CLOSED, UpdateType.SUSPENDED, UpdateType.RESUMED, UpdateType.CONTACT_CARDHOLDER)


async def deadlocks(harness: Harness) -> int:
    """Of the database, as far as connections that have ended know; the workers' have."""
    (row,) = await harness.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(row.deadlocks)


async def test_what_streams_made_is_exported_and_brought_back_to_the_byte(harness: Harness) -> None:
    random = Random(7)
    cards = [f"{number:02}" for number in range(20)]
    await harness.import_wallets(
        *(
            wallet(*(method(card, id=f"m{number}-{card}") for card in random.sample(cards, 3)), customer=f"e{number}")
            for number in range(10)
        )
    )
    await harness.report(*(replaced(*random.sample(cards, 2), on=n, id=f"u{n}", last4="1234") for n in range(1, 60)))
    await harness.report(*(merging((("enterpriseId", f"e{n}"),), (("enterpriseId", f"e{n % 3}"),), id=f"{n}")
                      for n in range(3, 10)))  # fmt: skip
    first = await harness.exported()
    await harness.rows("TRUNCATE wallets, credentials, replacement_facts, inbox CASCADE")
    async with harness.engine.begin() as connection:
        await import_wallets(connection, in_batches([read_wallet(line) for line in first.splitlines()], 3), RETENTION)
    assert await harness.exported() == first
    assert '"mergedInto"' in first
    assert '"replacedBy": "' in first
