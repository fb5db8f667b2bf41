# ruff: noqa: S608 - statements are put together of parts that stand here
"""Ten differences of each kind that is repaired, planted at once, are found and repaired beside a stream of updates."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.reconciliation import FindingKind, JobName
from domain.update import UpdateType
from domain.wallet import Expiry, Wallet
from producers.egress import parse_networks
from producers.webhooks.dispatcher import Dispatcher
from producers.webhooks.sender import Sender
from schemas.sealing import BUILT_IN_KEYS
from tests.consumers.harness import Harness
from tests.domain.build import link, method, replaced, reported, wallet
from tests.parts.receiver import Receiver
from tests.parts.until import until
from tests.producers.webhooks.test_dispatcher import running
from tests.reconciliation.drift import plant, run
from tests.store.outbox import SECRET, sealed

EACH = 10
MERCHANTS = ("pharmacy", "optician")

Plant = Callable[[Harness, str], Awaitable[None]]
"""Plants a difference in the wallet of a customer."""


def by(statement: str) -> Plant:
    """By one statement about the wallet `:wallet`, or its method `:old` that was replaced."""

    async def planted(harness: Harness, customer: str) -> None:
        ids = {"wallet": f"w-{customer}", "old": f"m-{customer}.0", "spare": f"m-{customer}.spare", "other": "w-apart"}
        values = {name: harness.id_of(id_) for name, id_ in ids.items() if f":{name}" in statement}
        await plant(harness, statement, **values)

    return planted


OF_LINE = "endpoint_id = 'pharmacy' AND wallet_id = :wallet"
LAST = f"SELECT max(sequence) FROM deliveries WHERE {OF_LINE}"
FIRST = f"SELECT min(sequence) FROM deliveries WHERE {OF_LINE}"


async def hide_an_update(harness: Harness, customer: str) -> None:
    """The inbox says that it was applied, and it did not reach the wallet."""
    hide = "UPDATE payment_method_credentials SET key = {} WHERE wallet_id = :wallet"
    await by(hide.format("'!' || key"))(harness, customer)
    await harness.report(replaced(f"{customer}.1", f"{customer}.2", on=9, id=f"{customer}-hidden"))
    await by(hide.format("substr(key, 2)"))(harness, customer)
    await plant(harness, "DELETE FROM parked_updates WHERE key = :key", key=f"vau:{customer}.1")
    await plant(harness, "UPDATE inbox SET outcome = 'APPLIED' WHERE update_id = :id", id=f"{customer}-hidden")


async def wait_for_nothing(harness: Harness, customer: str) -> None:
    await plant(harness, "UPDATE inbox SET outcome = 'PARKED' WHERE update_id = :id", id=f"{customer}-1")
    await leave_a_row(harness, customer)


async def leave_a_row(harness: Harness, customer: str) -> None:
    await plant(
        harness, "INSERT INTO parked_updates (key, inbox_id) SELECT :key, id FROM inbox WHERE update_id = :id",
        key=f"vau:{customer}.0", id=f"{customer}-1",
    )  # fmt: skip


async def leave_a_row_of_nothing(harness: Harness, customer: str) -> None:
    await plant(
        harness, "INSERT INTO parked_updates (key, inbox_id) SELECT :key, 999999 + id FROM inbox WHERE update_id = :id",
        key=f"vau:{customer}.0", id=f"{customer}-1",
    )  # fmt: skip


async def wait_too_long(harness: Harness, customer: str) -> None:
    await harness.report(reported(UpdateType.CLOSED, f"{customer}.unknown", on=1, id=f"{customer}-unknown"))
    await plant(harness, "DELETE FROM credentials WHERE key = :key", key=f"vau:{customer}.unknown")
    await plant(harness, "UPDATE inbox SET received_at = now() - interval '80 hours' WHERE update_id = :id",
                id=f"{customer}-unknown")  # fmt: skip


async def wait_without_a_row(harness: Harness, customer: str) -> None:
    await harness.report(reported(UpdateType.CLOSED, f"{customer}.unknown", on=1, id=f"{customer}-unknown"))
    await plant(harness, "DELETE FROM parked_updates WHERE key = :key", key=f"vau:{customer}.unknown")


async def lose_events(harness: Harness, customer: str) -> None:
    lost = "SELECT id FROM events WHERE wallet_id = :wallet AND merchant_id = 'pharmacy' AND sequence < 3"
    await by(f"DELETE FROM delivery_history WHERE event_id IN ({lost})")(harness, customer)
    await by(f"DELETE FROM events WHERE id IN ({lost})")(harness, customer)


KIND = FindingKind
# Rows of wallets, of which everything was delivered.
IN_WALLETS: Mapping[FindingKind, Plant] = {
    KIND.LINK_ON_DELETED_METHOD: by("UPDATE payment_links SET payment_method_id = :old WHERE wallet_id = :wallet"),
    KIND.LINK_IN_OTHER_WALLET: by("UPDATE payment_links SET wallet_id = :other WHERE wallet_id = :wallet"),
    KIND.LINK_WITHOUT_MERCHANT: by("UPDATE payment_links SET merchant_id = 'grocer' WHERE wallet_id = :wallet"),
    KIND.SUCCESSOR_WITHOUT_LINEAGE: by("DELETE FROM lineage WHERE wallet_id = :wallet"),
    KIND.LINEAGE_WITHOUT_SUCCESSOR: by("UPDATE payment_methods SET replaced_by = NULL WHERE wallet_id = :wallet"),
    KIND.OTHER_SUCCESSOR: by("UPDATE lineage SET new_id = :spare WHERE wallet_id = :wallet"),
    KIND.UNRESOLVED_WALLET: hide_an_update,
    KIND.DEAD_DELIVERY: by(f"UPDATE delivery_history SET status = 'DEAD' WHERE {OF_LINE} AND sequence = 1"),
    KIND.CHANGE_WITHOUT_EVENT: lose_events,
    KIND.EVENT_WITHOUT_DELIVERY: by(f"DELETE FROM delivery_history WHERE {OF_LINE} AND sequence = 2"),
    KIND.SEQUENCE_GAP: by(
        "UPDATE wallet_merchants SET sequence = sequence + 1 WHERE wallet_id = :wallet AND merchant_id = 'optician'"
    ),
    KIND.SEQUENCE_BEHIND: by(
        "UPDATE wallet_merchants SET sequence = 1 WHERE wallet_id = :wallet AND merchant_id = 'optician'"
    ),
    KIND.WAITING_THOUGH_KNOWN: wait_for_nothing,
    KIND.PARKED_TOO_LONG: wait_too_long,
    KIND.PARKED_WITHOUT_KEY: wait_without_a_row,
    KIND.WAITING_WITHOUT_UPDATE: leave_a_row_of_nothing,
    KIND.WAITING_THOUGH_DECIDED: leave_a_row,
}
# Live deliveries: three events of a wallet wait.
IN_LINES: Mapping[FindingKind, Plant] = {
    KIND.PARKED_AT_ENABLED_ENDPOINT: by(f"UPDATE deliveries SET status = 'PARKED' WHERE {OF_LINE} AND due_at IS NULL"),
    KIND.LINE_WITHOUT_HEAD: by(f"UPDATE deliveries SET due_at = NULL WHERE {OF_LINE}"),
    KIND.HEAD_NOT_FIRST: by(
        f"UPDATE deliveries SET due_at = CASE sequence WHEN ({LAST}) THEN now() END WHERE {OF_LINE}"
    ),
    KIND.SECOND_HEAD: by(f"UPDATE deliveries SET due_at = now() WHERE {OF_LINE} AND sequence IN (({FIRST}), ({LAST}))"),
    KIND.LEASE_TOO_LONG: by(
        f"UPDATE deliveries SET leased_until = now() + interval '9 days' WHERE {OF_LINE} AND due_at IS NOT NULL"
    ),
    KIND.OTHER_LINE: by(
        f"UPDATE deliveries SET sequence = 1000 + sequence WHERE {OF_LINE} AND sequence = ({LAST}) AND due_at IS NULL"
    ),
}
# What comes with a kind: it is of the same difference.
COMPANIONS = {KIND.SEQUENCE_GAP, KIND.SEQUENCE_BEHIND}


def customers(kind: FindingKind) -> list[str]:
    return [f"{kind.lower()}-{number}" for number in range(EACH)]


def held(customer: str) -> Wallet:
    """A wallet with a card that will be replaced, another one, and a link of the pharmacy's."""
    methods = (method(f"{customer}.0"), method(f"{customer}.spare"))
    return wallet(*methods, links=[link(f"m-{customer}.0", merchant="pharmacy")], customer=customer)


async def deliver(harness: Harness) -> None:
    """Send everything that is live to the merchants."""
    allow = parse_networks(["127.0.0.0/8"])
    async with Sender(version="1", deadline=10, allow=allow) as sender:
        dispatcher = Dispatcher(
            harness.engine, sender, schedule=(timedelta(seconds=5),), connections=50, lease=timedelta(minutes=1),
            drain_within=5, keys=BUILT_IN_KEYS,
        )  # fmt: skip

        async def is_done() -> bool:
            return await harness.rows("SELECT 1 FROM deliveries LIMIT 1") == []

        async with running(dispatcher):
            await until(is_done, within=60)


@pytest.fixture
async def harness(engine: AsyncEngine, receiver: Receiver) -> Harness:
    """Ten wallets for each kind, ten that stay as they are, and ten that a stream of updates is about."""
    harness = Harness(engine)
    await harness.add_merchants(*MERCHANTS, "grocer")
    kinds = [*IN_WALLETS, *IN_LINES]
    names = ["apart", *(f"untouched-{n}" for n in range(EACH)), *(f"stream-{n}" for n in range(EACH))]
    names += [customer for kind in kinds for customer in customers(kind)]
    await harness.import_wallets(*map(held, names))
    for merchant in (*MERCHANTS, "grocer"):
        await harness.rows(
            "UPDATE endpoints SET url = :url, sealed_secrets = :secrets, subscribed_at = now() - interval '1 day'"
            " WHERE id = :id",
            url=receiver.url(f"/{merchant}"), secrets=[sealed(SECRET, merchant)], id=merchant,
        )  # fmt: skip
    await harness.report(*(replaced(f"{name}.0", f"{name}.1", on=1, id=f"{name}-1") for name in names))
    await deliver(harness)
    return harness


async def stream(harness: Harness, stopping: asyncio.Event) -> int:
    """Replace the cards of ten wallets over and over; how often."""
    times = 1
    while not stopping.is_set():
        for n in range(EACH):
            old, new = f"stream-{n}.{times}", f"stream-{n}.{times + 1}"
            await harness.report(replaced(old, new, on=1 + times, id=f"stream-{n}-{times + 1}"))
        times += 1
    return times


async def reconciled(harness: Harness) -> tuple[Counter[FindingKind], int]:
    """The findings of all jobs by kind, and how many were not repaired. What the ledger misses nobody repairs."""
    counts: Counter[FindingKind] = Counter()
    unrepaired = 0
    for name in JobName:
        if name is not JobName.ACCOUNTING:
            findings = (await run(harness, name, replays_dead=True)).findings
            counts.update(finding.kind for finding, _ in findings)
            unrepaired += sum(not repaired for _, repaired in findings)
    return counts, unrepaired


async def untouched(harness: Harness) -> dict[str, Wallet]:
    return await harness.wallets(*(f"w-untouched-{n}" for n in range(EACH)))


async def test_all_differences_are_repaired_beside_a_stream_and_reach_the_merchants(
    harness: Harness, receiver: Receiver
) -> None:
    before = await untouched(harness)
    received_before = len(receiver.requests)
    for kind in IN_LINES:
        waiting = (
            (reported(UpdateType.EXPIRY_UPDATED, f"{customer}.1", on=2 + year, id=f"{customer}-{year}",
                      expiry=Expiry(2030 + year, 1)) for year in range(3))
            for customer in customers(kind)
        )  # fmt: skip
        for updates in waiting:
            for update in updates:
                await harness.report(update)
    planted = {**IN_WALLETS, **IN_LINES}
    for kind, plants in planted.items():
        for customer in customers(kind):
            await plants(harness, customer)
    assert len(planted) * EACH >= 200
    assert len(planted) >= 20
    stopping = asyncio.Event()
    streaming = asyncio.create_task(stream(harness, stopping))
    counts, unrepaired = await reconciled(harness)
    stopping.set()
    times = await streaming
    assert unrepaired == 0
    assert {kind: number for kind, number in counts.items() if kind not in planted} == {}
    assert {kind: counts[kind] for kind in planted if counts[kind] < EACH} == {}
    assert {kind for kind in planted if counts[kind] != EACH} <= COMPANIONS | {KIND.CHANGE_WITHOUT_EVENT}
    assert await reconciled(harness) == (Counter(), 0)
    await deliver(harness)
    assert await reconciled(harness) == (Counter(), 0)
    assert times > 1
    assert await untouched(harness) == before
    await check_what_arrived(harness, receiver, received_before)


async def check_what_arrived(harness: Harness, receiver: Receiver, received_before: int) -> None:
    """Each merchant has each of its events. Nothing of a wallet that nobody touched was sent again."""
    received = {(request.path[1:], json.loads(request.body)["id"]) for request in receiver.requests}
    rows = await harness.rows("SELECT merchant_id, 'evt_' || replace(CAST(id AS text), '-', '') FROM events")
    assert {tuple(row) for row in rows} <= received
    later = [json.loads(request.body)["walletId"] for request in receiver.requests[received_before:]]
    assert not {harness.id_of(f"w-untouched-{n}") for n in range(EACH)} & set(later)
