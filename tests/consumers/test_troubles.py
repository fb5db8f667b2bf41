"""What keeps a topic or a partition from being read: the worker says so, goes on with the rest, and comes back."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from consumers import thin
from consumers.worker import Worker
from domain.update import Update
from store import skips, topics
from store.accounting import Totals, take_stock
from testbed import kafka as kafka_part
from testbed.kafka import Opened
from tests.consumers.harness import Harness, written
from tests.consumers.test_worker import Post, closings, working
from tests.domain.build import live, method, replaced, wallet
from tests.parts import records
from tests.parts.rights import Kind, Rights
from tests.parts.until import until

NOT_UTF8 = b"\xff\xfe\xfd\xfc"


@pytest.fixture
def post(kafka: str, topic: str, group: str) -> Post:
    return Post(kafka, topic, group)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    if lacking := kafka_part.missing():
        pytest.skip(f"needs an Apache Kafka of its own, but {lacking}")
    with kafka_part.apache_opened(tmp_path_factory.mktemp("kafka")) as opened:
        yield opened


@asynccontextmanager
async def administration(servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make(servers: str, topic: str, partitions: int = 3) -> None:
    """Waits for a topic of this name that is being deleted, and until the broker knows of the new one.

    The controller says that it is made before the broker has heard of it.
    """
    async with administration(servers) as admin:

        async def is_made() -> bool:
            response = await admin.create_topics([NewTopic(topic, partitions, 1)])
            return not response.topic_errors[0][1]

        async def is_known() -> bool:
            (described,) = await admin.describe_topics([topic])
            return not described["error_code"] and len(described["partitions"]) == partitions

        await until(is_made)
        await until(is_known)


async def delete(servers: str, topic: str) -> None:
    async with administration(servers) as admin:
        await admin.delete_topics([topic])


async def on(opened: Opened, partitions: int = 3) -> Post:
    """A topic of its own on the broker that tests may damage; the worker comes in as a user that rules may bind."""
    topic = f"updates-{secrets.token_hex(6)}"
    await make(opened.servers, topic, partitions)
    return Post(opened.servers, topic, f"group-of-{topic}")


async def accounts(harness: Harness) -> Totals:
    async with harness.engine.begin() as connection:
        return await take_stock(connection)


async def received(harness: Harness, count: int) -> Totals:
    async def so_many() -> Totals | None:
        found = await accounts(harness)
        assert found.received <= count, found
        return found if found.received == count else None

    found = await until(so_many, within=60)
    assert found is not None
    return found


async def says(worker: Worker, *words: str) -> bool:
    reason = worker.ready() or ""
    return all(word in reason for word in words)


async def is_well(worker: Worker) -> bool:
    return worker.ready() is None


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def body(update: Update) -> bytes:
    return json.dumps(written(update)).encode()


# --- one record ---------------------------------------------------------------------------------------------------


async def test_a_header_whose_name_is_no_utf8_is_a_dead_letter_and_its_neighbours_are_applied(
    harness: Harness, post: Post
) -> None:
    await harness.import_wallets(*(wallet(method(f"X{number}"), customer=f"e{number}") for number in range(30)))
    good = [body(update) for update in closings(30)]
    bad = body(replaced("X1", "Y1", on=2, id="bad"))
    await records.put(
        post.servers,
        post.topic,
        1,
        records.batch([(good[0], ())]),
        records.batch(
            [(good[1], ()), (bad, [(NOT_UTF8, b"v"), (b"fine", None)]), (good[2], ()), (bad, [(b"\xc3abc", None)])]
        ),
        records.batch([(good[3], ())]),
    )
    await post.send(*closings(30)[4:], partition=0)
    async with working(harness.engine, post) as worker:
        assert (await received(harness, 32)).outcomes == {"APPLIED": 30}
        await until(partial(is_well, worker))
    first, second = await harness.dead_letters()
    assert (first.partition, first.offset, first.reason, first.body) == (1, 2, "header: expected a name in UTF-8", bad)
    assert (second.partition, second.offset) == (1, 4)
    assert await post.committed() == {0: 26, 1: 6}


@pytest.mark.parametrize("compression", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
async def test_packed_batches_are_read_past_a_bad_name_too(harness: Harness, post: Post, compression: int) -> None:
    plain = records.batch([(body(closings(1)[0]), [(NOT_UTF8, None)]), (body(closings(2)[1]), ())])
    await records.put(post.servers, post.topic, 1, packed(plain, compression))
    async with working(harness.engine, post):
        found = await received(harness, 2)
    assert (found.unreadable, found.outcomes) == (1, {"PARKED": 1})


def packed(batch: bytes, compression: int) -> bytes:
    from aiokafka import codec  # noqa: PLC0415 - here alone

    pack = (codec.gzip_encode, codec.snappy_encode, codec.lz4_encode, codec.zstd_encode)[compression - 1]
    header, payload = bytearray(batch[:61]), pack(batch[61:])
    header[8:12] = (len(header) - 12 + len(payload)).to_bytes(4, "big")
    header[21:23] = compression.to_bytes(2, "big")
    return records.sealed(header + payload)


async def test_a_thin_event_with_such_a_header_is_a_dead_letter_too(harness: Harness, post: Post) -> None:
    await records.put(post.servers, post.topic, 0, records.batch([(b"{}", [(NOT_UTF8, None)]), (None, ()), (b"{", ())]))
    async with working(harness.engine, post, take_in=thin.take_in):
        found = await received(harness, 3)
    assert (found.unreadable, found.empty) == (2, 1)


async def test_tombstones_are_counted_apart_and_not_kept(harness: Harness, post: Post) -> None:
    await post.send(None, *closings(3), None, key=b"vau:A")
    async with working(harness.engine, post):
        found = await received(harness, 5)
        await until(post.is_read_up)
    assert (found.empty, found.unreadable) == (2, 0)


# --- a corrupt batch ----------------------------------------------------------------------------------------------


async def test_a_corrupt_batch_halts_its_partition_alone_until_it_is_skipped(harness: Harness, opened: Opened) -> None:
    post = await on(opened)
    good = [body(update) for update in closings(40)]
    await records.put(
        post.servers,
        post.topic,
        1,
        records.batch([(good[0], ()), (good[1], ())]),
        records.batch([(good[2], ()), (b"flip this, and not another", ()), (good[3], ())]),
        records.batch([(good[4], ())]),
    )
    records.flip(opened.log, post.topic, 1, b"flip this")
    await post.send(*closings(40)[5:20], partition=0)
    halted = {"topic": post.topic, "partition": "1"}
    with capture_logs() as logs:
        async with working(harness.engine, post) as worker:
            await received(harness, 17)
            await until(partial(says, worker, f"repoint topics skip {post.topic} 1 2 --reason"))
            assert metric("repoint_partition_halted", **halted) == 1
            assert metric("repoint_consumer_waiting", topic=post.topic) == 1
            # the others go on
            await post.send(*closings(40)[20:], partition=2)
            await received(harness, 37)
            assert [(one["partition"], one["offset"]) for one in logs if one["event"] == "partition halted"] == [(1, 2)]
            await order(harness, post.topic, 1, 3, "the disk of broker 2 is broken")
            found = await received(harness, 41)
            await until(partial(is_well, worker))
            assert metric("repoint_partition_halted", **halted) == 0
            assert metric("repoint_messages_skipped_total", **halted) == 3
            await until(partial(committed_to, post, {0: 15, 1: 6, 2: 20}))
    assert (found.skipped, found.unreadable, sum(found.outcomes.values())) == (3, 0, 38)
    (row,) = await harness.rows("SELECT reason, from_offset, to_offset, obeyed_at FROM skips")
    assert row[:3] == ("the disk of broker 2 is broken", 2, 5)


async def committed_to(post: Post, offsets: Mapping[int, int]) -> bool:
    return await post.committed() == offsets


async def order(harness: Harness, topic: str, partition: int, offset: int, reason: str) -> None:
    async with harness.engine.begin() as connection:
        of = await topics.latest(connection, topic)
        await skips.order(connection, of, partition, offset, reason)


async def test_a_batch_that_was_skipped_is_not_counted_again_by_who_meets_it_next(
    harness: Harness, opened: Opened
) -> None:
    """The worker died between the order's row and the offset: the group stands before the batch still."""
    post = await on(opened)
    corrupt, fine = records.batch([(b"flip this", ()), (b"{", ())]), records.batch([(b"[", ())])
    await records.put(post.servers, post.topic, 0, corrupt, fine)
    records.flip(opened.log, post.topic, 0, b"flip this")
    async with harness.engine.begin() as connection:
        of = await topics.meet(connection, post.topic, None)
        await skips.order(connection, of, 0, 0, "broken")
        obeyed = await skips.obey(connection, of, 0, start=0, end=2)
        assert obeyed is not None
        assert obeyed.is_new
    async with working(harness.engine, post):
        assert (await received(harness, 3)).skipped == 2


# --- rights -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def guest(harness: Harness, post: Post, opened: Opened, **more: Any) -> AsyncIterator[Worker]:
    """A worker that comes in by a password, and may be denied things."""
    coming = Post(opened.login.servers, post.topic, post.group)
    async with working(harness.engine, coming, security=opened.login.security, **more) as worker:
        yield worker


@pytest.mark.parametrize("kind", ["topic", "group"])
@pytest.mark.parametrize("is_thin", [False, True], ids=["updates", "thin"])
async def test_a_right_that_is_missing_is_waited_for(
    harness: Harness, opened: Opened, kind: Kind, *, is_thin: bool
) -> None:
    """At the start, while it runs, and when all is well again nothing was lost."""
    post = await on(opened)
    rights = Rights(opened.servers)
    asked: tuple[Kind, str] = (kind, post.topic if kind == "topic" else post.group)
    more = {"take_in": thin.take_in} if is_thin else {}
    contents: list[Update | bytes] = [b"{", b"[", b"}"] if is_thin else [*closings(3)]
    await rights.revoke(*asked)
    await post.send(contents[0])
    with capture_logs() as logs:
        async with guest(harness, post, opened, **more) as worker:
            await until(partial(says, worker, "does not let us", asked[1]))
            assert metric("repoint_consumer_waiting", topic=post.topic) == 1
            await rights.give_back(*asked)
            await received(harness, 1)
            await until(partial(is_well, worker))
            await rights.revoke(*asked)
            await until(partial(says, worker, "does not let us", asked[1]), within=60)
            await post.send(contents[1], partition=1)
            await rights.give_back(*asked)
            await received(harness, 2)
            await post.send(contents[2], partition=2)
            await received(harness, 3)
            await until(partial(is_well, worker))
    told = [one for one in logs if one["event"] == "waiting" and "does not let us" in one["reason"]]
    assert len(told) >= 2, "it says so at the start, and again while it runs"


async def test_a_topic_that_may_not_even_be_seen_is_waited_for(harness: Harness, opened: Opened) -> None:
    post = await on(opened)
    rights = Rights(opened.servers)
    await rights.revoke("topic", post.topic, "ALL")
    await post.send(*closings(3))
    async with guest(harness, post, opened) as worker:
        await until(partial(says, worker, "does not let us read the topic"))
        await rights.give_back("topic", post.topic)
        await received(harness, 3)


# --- the topic itself ---------------------------------------------------------------------------------------------


async def test_a_topic_that_is_missing_is_named_once_a_minute_with_the_command_that_makes_it(
    harness: Harness, kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    post = Post(kafka, f"missing-{secrets.token_hex(6)}", "anybody")
    with capture_logs() as logs:
        async with working(harness.engine, post) as worker:
            await until(partial(says, worker, post.topic, "`repoint topics create`"))
            tries = worker._troubles
            await until(partial(has_tried, worker, tries + 5), within=60)
            await make(kafka, post.topic)
            await until(partial(is_well, worker))
            await post.send(*closings(3))
            await received(harness, 3)
    assert [one["event"] for one in logs if post.topic in one.get("reason", "")] == ["waiting"]
    assert [one for one in caplog.records if one.name.startswith("aiokafka") and post.topic in one.getMessage()] == []
    await delete(kafka, post.topic)


async def has_tried(worker: Worker, times: int) -> bool:
    return worker._troubles >= times


async def test_a_topic_that_need_not_be_there_is_no_trouble(harness: Harness, kafka: str) -> None:
    post = Post(kafka, f"missing-{secrets.token_hex(6)}", "anybody")
    async with working(harness.engine, post, optional=True, take_in=thin.take_in) as worker:
        await until(partial(has_tried, worker, 3))
        assert worker.ready() is None
        await make(kafka, post.topic)
        await post.send(b"{")
        await received(harness, 1)
    await delete(kafka, post.topic)


async def test_a_topic_made_anew_is_read_from_its_beginning(harness: Harness, post: Post) -> None:
    """The new one holds the former messages at the same places, and more than were read before."""
    sent = closings(12)
    await post.send(*sent[:6])
    with capture_logs() as logs:
        async with working(harness.engine, post) as worker:
            await received(harness, 6)
            await until(post.is_read_up)
            await delete(post.servers, post.topic)
            await make(post.servers, post.topic)
            await post.send(*sent)
            found = await received(harness, 18)
            await until(partial(is_well, worker))
            await until(partial(committed_to, post, {0: 4, 1: 4, 2: 4}))
    assert found.outcomes == {"PARKED": 12, "DUPLICATE": 6}
    assert found.lost == 0
    assert any("made anew" in one.get("reason", "") or "not there" in one.get("reason", "") for one in logs)
    assert [row.incarnation for row in await harness.rows("SELECT incarnation FROM topics ORDER BY 1")] == [0, 1]


async def test_a_topic_made_anew_while_nobody_looked_is_read_from_its_beginning(harness: Harness, post: Post) -> None:
    """A worker that read the former one committed its offsets after the topic was made anew."""
    await post.send(*closings(6))
    async with working(harness.engine, post):
        await received(harness, 6)
        await until(post.is_read_up)
    await delete(post.servers, post.topic)
    await make(post.servers, post.topic)
    await post.send(*closings(9)[6:])
    await commit(post, {0: 2, 1: 2, 2: 2})
    async with working(harness.engine, post):
        found = await received(harness, 9)
    assert found.outcomes == {"PARKED": 9}


async def test_a_topic_made_anew_has_begun_only_when_its_first_offsets_are_committed(
    harness: Harness, opened: Opened
) -> None:
    """The group's offsets are of the former topic, and the right to commit others is missing at first."""
    post = await on(opened)
    rights = Rights(opened.servers)
    await post.send(*closings(6))
    async with guest(harness, post, opened):
        await received(harness, 6)
        await until(post.is_read_up)
    await delete(post.servers, post.topic)
    await make(post.servers, post.topic)
    await post.send(*closings(15)[6:])
    await commit(post, {0: 2, 1: 2, 2: 2})
    await rights.allow("topic", post.topic, "DESCRIBE")
    await rights.revoke("topic", post.topic)
    async with guest(harness, post, opened) as worker:
        await until(partial(says, worker, "does not let us read the topic"))
    assert [row.incarnation for row in await harness.rows("SELECT incarnation FROM topics ORDER BY 1")] == [0, 1]
    assert await harness.rows("SELECT * FROM topic_partitions WHERE incarnation = 1") == []
    await rights.give_back("topic", post.topic)
    async with guest(harness, post, opened):
        found = await received(harness, 15)
    assert found.outcomes == {"PARKED": 15}


async def commit(post: Post, offsets: Mapping[int, int]) -> None:
    """As a member of the group that has no partition any more."""
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415 - here alone

    consumer = AIOKafkaConsumer(bootstrap_servers=post.servers, group_id=post.group, enable_auto_commit=False)
    consumer.assign([TopicPartition(post.topic, partition) for partition in offsets])
    await consumer.start()
    try:
        await consumer.commit({TopicPartition(post.topic, one): offset for one, offset in offsets.items()})
    finally:
        await consumer.stop()


# --- what is gone -------------------------------------------------------------------------------------------------


async def remove_before(post: Post, partition: int, offset: int) -> None:
    async with administration(post.servers) as admin:
        await admin.delete_records({TopicPartition(post.topic, partition): RecordsToDelete(offset)})


@pytest.mark.parametrize("has_begun", [False, True], ids=["a new group", "a group that stopped"])
async def test_what_retention_took_before_it_was_read_is_counted(
    harness: Harness, post: Post, *, has_begun: bool
) -> None:
    sent = closings(20)
    await post.send(*sent[:4], partition=1)
    if has_begun:
        async with working(harness.engine, post):
            await received(harness, 4)
            await until(post.is_read_up)
    await post.send(*sent[4:], partition=1)
    await remove_before(post, 1, 15)
    start = 4 if has_begun else 0
    with capture_logs() as logs:
        async with working(harness.engine, post):
            found = await received(harness, 20)
            await until(post.is_read_up)
    assert found.lost == 15 - start
    (warned,) = [one for one in logs if one["event"] == "lost before it was read"]
    assert (warned["partition"], warned["start"], warned["end"], warned["log_level"]) == (1, start, 15, "warning")
    assert metric("repoint_messages_lost_total", topic=post.topic, partition="1") == 15 - start
    # whoever comes next does not count it again
    async with working(harness.engine, post):
        await post.send(replaced("A", "B", on=1), partition=1)
        await received(harness, 21)


async def test_what_was_taken_in_and_not_committed_is_not_counted_as_lost(harness: Harness, post: Post) -> None:
    await post.send(*closings(10), partition=1)
    async with working(harness.engine, post):
        await received(harness, 10)
        await until(post.is_read_up)
    await commit(post, {1: 3})
    await remove_before(post, 1, 8)
    async with working(harness.engine, post) as worker:
        await until(partial(is_well, worker))
        await post.send(replaced("A", "B", on=1), partition=1)
        assert (await received(harness, 11)).lost == 0


# --- an open transaction ------------------------------------------------------------------------------------------


async def test_a_partition_that_an_open_transaction_holds_is_named(harness: Harness, post: Post) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=post.servers, transactional_id=f"open-{secrets.token_hex(4)}")
    await producer.start()
    held = {"topic": post.topic, "partition": "1"}
    try:
        with capture_logs() as logs:
            async with working(harness.engine, post) as worker:
                await producer.begin_transaction()
                await producer.send_and_wait(post.topic, b"{", partition=1)
                await post.send(*closings(5), partition=1)
                await post.send(*closings(9)[5:], partition=0)
                await received(harness, 4)
                await until(partial(is_held, held, 6))
                await until(partial(is_logged, logs), within=60)
                await producer.abort_transaction()
                await received(harness, 9)
                await until(partial(is_held, held, 0))
                await until(partial(is_well, worker))
    finally:
        await producer.stop()
    (line,) = [one for one in logs if one["event"] == "partition held by an open transaction"]
    assert (line["partition"], line["last_stable_offset"], line["high_watermark"]) == (1, 0, 6)


async def is_held(labels: Mapping[str, str], messages: int) -> bool:
    return metric("repoint_partition_held_messages", **labels) == messages


async def is_logged(logs: Sequence[Mapping[str, Any]]) -> bool:
    return any(one["event"] == "partition held by an open transaction" for one in logs)


# --- all of it at once --------------------------------------------------------------------------------------------


async def test_aborted_transactions_beside_a_bad_name_stay_unread(harness: Harness, post: Post) -> None:
    """What is read past aiokafka is read as committed, too."""
    await harness.import_wallets(wallet(method("A")))
    producer = AIOKafkaProducer(bootstrap_servers=post.servers, transactional_id=f"aborts-{secrets.token_hex(4)}")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(post.topic, body(closings(1)[0]), partition=1)
        await producer.begin_transaction()
        await producer.send_and_wait(post.topic, body(replaced("A", "B", on=1)), partition=1)
        await records.put(
            post.servers, post.topic, 1, records.batch([(b"{", [(NOT_UTF8, None)]), (body(closings(2)[1]), ())])
        )
        await producer.abort_transaction()
        await post.send(closings(3)[2], partition=1)
    finally:
        await producer.stop()
    async with working(harness.engine, post):
        found = await received(harness, 4)
    assert (found.outcomes, found.unreadable) == ({"PARKED": 3}, 1)
    assert live(await harness.wallet()).keys() == {"A"}
