"""Streams of a hostile or broken feed, through the real worker, while the update of another wallet comes in.

Each stream takes less than a minute on a machine that has nothing else to do. In CI (`CI=true`) the streams have the
sizes that the bounds of docs/running.md are drawn for, elsewhere a fifth of them.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from domain.update import Update, UpdateType
from tests.consumers.harness import RETENTION, Harness, merging, written
from tests.consumers.test_worker import Post, as_bytes, post, working
from tests.domain.build import day, link, live, method, replaced, reported, wallet, who
from tests.parts.until import until
from wallets import unfinished

__all__ = ["post"]

SHARE = 1 if os.environ.get("CI") else 5
# A machine under load is not what is measured, and a test may take 300 s. Without bounds these streams took hours.
PATIENCE_SECONDS = 240


@asynccontextmanager
async def at_work(harness: Harness, post: Post) -> AsyncIterator[None]:
    """The worker and what it leaves for later, as `repoint run` has them."""
    stopping = asyncio.Event()
    async with working(harness.engine, post):
        rest = asyncio.create_task(unfinished.run(harness.engine, RETENTION, stopping=stopping))
        try:
            yield
        finally:
            stopping.set()
            await rest


async def put(post: Post, messages: Sequence[Update | bytes], partition: int = 0) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=post.servers, acks="all", linger_ms=20)
    await producer.start()
    try:
        for message in messages:
            await producer.send(post.topic, as_bytes(message), partition=partition)
            post.sent[partition] += 1
        await producer.flush()
    finally:
        await producer.stop()


async def take_in(harness: Harness, post: Post, messages: Sequence[Update | bytes], is_done: Callable[[], Any]) -> None:
    """Let the worker take in `messages`, and another wallet's update that comes on another partition meanwhile.

    `is_done` is asked often, beside the worker: it has to be a small look at the database.
    """
    await harness.import_wallets(wallet(method("other"), customer="other"))
    await put(post, messages)
    begun = time.monotonic()
    async with at_work(harness, post):
        await put(post, [reported(UpdateType.CLOSED, "other", on=1, id="other's")], partition=1)

        async def other_is_taken() -> bool:
            return bool(await harness.rows("SELECT outcome FROM inbox WHERE update_id = 'other''s'"))

        await until(other_is_taken, within=PATIENCE_SECONDS)
        meanwhile = time.monotonic() - begun
        await until(is_done, within=PATIENCE_SECONDS)
        seconds = time.monotonic() - begun
        await until(post.is_read_up, within=PATIENCE_SECONDS)
    sys.stderr.write(f"{post.sent[0]} messages in {seconds:.1f} s, another wallet's after {meanwhile:.1f} s\n")
    assert await harness.outcome("other's") == ("APPLIED", None)


async def other_came_before_the_last(harness: Harness) -> bool:
    (row,) = await harness.rows("SELECT max(id) > max(id) FILTER (WHERE update_id = 'other''s') AS before FROM inbox")
    return bool(row.before)


def fact(old: str, new: str, at: int) -> Update:
    update = replaced((old, f":{old}"), (new, f":{new}"), on=1, id=f"{old}-{new}", last4="1234", brand="VISA")
    return update._replace(stamp=update.stamp._replace(occurred_at=day(1) + timedelta(seconds=at)))


async def outcomes(harness: Harness) -> Counter[str]:
    rows = await harness.rows("SELECT outcome FROM inbox WHERE update_id <> 'other''s'")
    return Counter(row.outcome for row in rows)


def in_inbox(harness: Harness, count: int) -> Callable[[], Any]:
    async def are_taken() -> bool:
        (row,) = await harness.rows("SELECT count(*) FROM inbox")
        return bool(row.count == count)

    return are_taken


def set_aside(harness: Harness, count: int) -> Callable[[], Any]:
    async def are_letters() -> bool:
        (row,) = await harness.rows("SELECT count(*) FROM dead_letters")
        return bool(row.count == count)

    return are_letters


async def test_a_chain_told_backwards(harness: Harness, post: Post) -> None:
    count = 5000 // SHARE
    await harness.import_wallets(wallet(method("A0", ":A0"), links=[link("m-A0")]))
    links = [fact(f"A{n}", f"A{n + 1}", n) for n in reversed(range(count))]
    await take_in(harness, post, links, in_inbox(harness, count + 1))
    assert await outcomes(harness) == {"APPLIED": count}
    assert await other_came_before_the_last(harness)
    assert live(await harness.wallet()).keys() == {f":A{count} A{count}"}


async def test_forks_of_one_credential(harness: Harness, post: Post) -> None:
    count = 10_000 // SHARE
    await harness.import_wallets(wallet(method("A", ":A"), links=[link("m-A")]))
    await take_in(harness, post, [fact("A", f"B{n}", n) for n in range(count)], in_inbox(harness, count + 1))
    assert await outcomes(harness) == {"APPLIED": count}
    assert await other_came_before_the_last(harness)
    assert live(await harness.wallet()).keys() == {f":B{count - 1} B{count - 1}"}
    assert await harness.dead_letters() == []


async def test_one_credential_in_many_wallets(harness: Harness, post: Post) -> None:
    count = 30_000 // SHARE
    await harness.import_wallets(
        *(wallet(method("A", ":A", id=f"m-{n}"), customer=f"e{n}", merchants=("m",)) for n in range(count))
    )

    async def nothing_is_left() -> bool:
        (row,) = await harness.rows(
            "SELECT EXISTS (SELECT FROM inbox WHERE update_id = 'A-B') AS is_taken,"
            " EXISTS (SELECT FROM unfinished_updates) AS is_left"
        )
        return bool(row.is_taken and not row.is_left)

    await take_in(harness, post, [fact("A", "B", 1)], nothing_is_left)
    assert await outcomes(harness) == {"APPLIED": 1}
    (row,) = await harness.rows("SELECT count(*) FROM payment_method_credentials WHERE live AND key = 'vau:B'")
    assert row.count == count


async def test_a_merge_by_thousands_of_ids(harness: Harness, post: Post) -> None:
    await harness.import_wallets(wallet(method("A")), wallet(method("B"), customer="e2"))
    ids = tuple(sorted((f"metadata.{n}", "x") for n in range(5000)))
    await take_in(harness, post, [merging((*who("e8"), *ids), who("e9"))], set_aside(harness, 1))
    (letter,) = await harness.dead_letters()
    assert letter.reason == "from: expected at most 32 identifiers, metadata included"


async def test_identifiers_longer_than_an_index_row(harness: Harness, post: Post) -> None:
    """The database would refuse each in every part of its batch, down to itself; so none is tried."""
    draw = Random(1)

    def drawn(first: int, last: int, count: int) -> str:
        return "".join(chr(draw.randrange(first, last)) for _ in range(count))

    updates = []
    for n in range(200):
        update = written(fact(drawn(97, 123, 220), drawn(97, 123, 220), n)) | {"id": f"u{n}"}
        customer = {
            "enterpriseId": drawn(0x4E00, 0x9FFF, 255),
            "hsid": drawn(0x4E00, 0x9FFF, 255),
            "metadata": {"patientId": drawn(0x4E00, 0x9FFF, 255)},
        }
        updates.append(json.dumps(update | {"customer": customer}, ensure_ascii=False).encode())
    await take_in(harness, post, updates, set_aside(harness, 200))
    assert {letter.reason for letter in await harness.dead_letters()} == {
        "customer.enterpriseId: expected at most 255 bytes in UTF-8"
    }


@pytest.mark.parametrize("codec", ["lz4", "gzip"])
async def test_messages_that_unpack_to_a_hundred_megabytes(harness: Harness, post: Post, codec: str) -> None:
    """A few hundred KB on the wire; looked through for card numbers, they blocked the loop for five minutes."""
    huge = json.dumps({"x": "4111 1111 1111 1112 " * 45_000}).encode()
    await harness.import_wallets(wallet(method("A")))
    producer = AIOKafkaProducer(
        bootstrap_servers=post.servers, compression_type=codec, max_request_size=100_000_000, max_batch_size=1 << 20
    )
    await producer.start()
    for _ in range(100):
        await producer.send(post.topic, huge + b" " * (1 << 18), partition=0)
        post.sent[0] += 1
    await producer.stop()
    await take_in(harness, post, [], set_aside(harness, 100))
