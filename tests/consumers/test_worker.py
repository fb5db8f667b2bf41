"""The loop on a real broker: what is read is taken in once, whatever goes away meanwhile and however it ends."""

import asyncio
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchResult, take_in
from consumers.letters import Message
from consumers.worker import Worker, WorkerPoint
from domain.update import Update, UpdateType
from loops.progress import Stalled
from store.engine import connect
from store.knowledge import Contended
from testbed import kafka as kafka_part
from tests.consumers.harness import RETENTION, Harness, written
from tests.consumers.test_halving import a_row_too_long_for_its_index
from tests.domain.build import link, live, method, replaced, reported, wallet
from tests.parts.proxy import Proxy
from tests.parts.until import until

CLOSED = UpdateType.CLOSED


class Post:
    """Puts messages on the topic, and looks how far the group has come."""

    def __init__(self, servers: str, topic: str, group: str) -> None:
        self.servers, self.topic, self.group = servers, topic, group
        self.sent: Counter[int] = Counter()

    async def send(self, *contents: Update | bytes | None, partition: int | None = None, **more: Any) -> None:
        """One after another over the partitions, or all to one; each has reached the broker's log."""
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, acks="all")
        await producer.start()
        try:
            for number, content in enumerate(contents):
                place = number % 3 if partition is None else partition
                value = as_bytes(content)
                await producer.send_and_wait(self.topic, value, partition=place, **more)
                self.sent[place] += 1
        finally:
            await producer.stop()

    async def committed(self) -> dict[int, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self.group)
        finally:
            await admin.close()
        return {place.partition: at.offset for place, at in found.items() if at.offset >= 0}

    async def is_joined_anew(self) -> bool:
        """Whether the group waits for its members to join again."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            (told,) = await admin.describe_consumer_groups([self.group])
        finally:
            await admin.close()
        return bool(told.groups[0][2] == "PreparingRebalance")

    async def is_read_up(self) -> bool:
        return await self.committed() == self.sent


def as_bytes(content: Update | bytes | None) -> bytes | None:
    return json.dumps(written(content)).encode() if isinstance(content, Update) else content


@pytest.fixture
def post(kafka: str, topic: str, group: str) -> Post:
    return Post(kafka, topic, group)


def member(engine: AsyncEngine, post: Post, **more: Any) -> Worker:
    return Worker(
        engine, bootstrap_servers=post.servers, topic=post.topic, group=post.group, retention=RETENTION, **more
    )


@asynccontextmanager
async def working(engine: AsyncEngine, post: Post, **more: Any) -> AsyncIterator[Worker]:
    """A worker that runs meanwhile, and is told to stop at the end as SIGTERM tells it."""
    worker = member(engine, post, **more)
    stopping = asyncio.Event()
    running = asyncio.create_task(worker.run(stopping))
    try:
        yield worker
    finally:
        stopping.set()
        async with asyncio.timeout(40):
            await running


async def taken_in(harness: Harness, count: int) -> None:
    """Wait until so many messages have an outcome or a dead letter."""

    async def so_many() -> bool:
        (row,) = await harness.rows(
            "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM dead_letters) AS count"
        )
        assert row.count <= count
        return bool(row.count == count)

    await until(so_many, within=60)


def closings(count: int) -> list[Update]:
    return [reported(CLOSED, f"X{number}", on=1, id=f"u{number}") for number in range(count)]


# --- as it should be ----------------------------------------------------------------------------------------------


async def test_it_takes_in_what_is_there_and_what_comes_and_commits_how_far_it_is(harness: Harness, post: Post) -> None:
    await harness.import_wallets(wallet(method("A"), links=[link("m-A")]))
    await post.send(replaced("A", "B", on=1), b"{", *closings(50), key=b"vau:A", headers=[("ce_id", None)])
    async with working(harness.engine, post, batch_size=7) as worker:
        await until(lambda: as_said(worker, None))
        await taken_in(harness, 52)
        await post.send(replaced("B", "C", on=2), b"", key=b"vau:B")
        await taken_in(harness, 54)
        await until(post.is_read_up)
    assert live(await harness.wallet()).keys() == {"C"}
    letters = await harness.dead_letters()
    assert [(each.topic, each.partition, each.offset, each.key) for each in letters] == [
        (post.topic, 1, 0, "vau:A"),
        (post.topic, 1, 17, "vau:B"),
    ]


async def as_said(worker: Worker, reason: str | None) -> bool:
    return worker.ready() == reason


async def test_the_next_one_goes_on_where_the_last_one_stopped(harness: Harness, post: Post) -> None:
    await post.send(*closings(20))
    async with working(harness.engine, post):
        await taken_in(harness, 20)
    assert await post.is_read_up()
    seen: list[WorkerPoint] = []
    await post.send(reported(CLOSED, "Y", on=1, id="y"))
    async with working(harness.engine, post, on_point=seen.append):
        await taken_in(harness, 21)
    assert Counter(seen)["committed"] == 1


async def test_what_was_taken_in_but_not_committed_is_read_again_and_left_alone(harness: Harness, post: Post) -> None:
    """It ends after the database's commit, and the offsets were never sent."""

    class Died(Exception):
        pass

    def die(place: WorkerPoint) -> None:
        if place == "committed":
            raise Died

    await harness.import_wallets(wallet(method("A")))
    await post.send(replaced("A", "B", on=1), *closings(5))
    with pytest.raises(ExceptionGroup) as ended:
        await member(harness.engine, post, on_point=die, lanes=1).run(asyncio.Event())
    assert ended.group_contains(Died)
    assert await post.committed() == {}
    before = await harness.events("pharmacy")
    async with working(harness.engine, post):
        await until(post.is_read_up)
    assert len(await harness.outcomes()) == 6
    assert await harness.events("pharmacy") == before


async def test_told_to_stop_it_finishes_the_batch_at_hand_and_commits_that_far(harness: Harness, post: Post) -> None:
    stopping = asyncio.Event()

    def stop(place: WorkerPoint) -> None:
        if place == "took in":
            stopping.set()

    await post.send(*closings(20), partition=1)
    await member(harness.engine, post, batch_size=5, on_point=stop).run(stopping)
    assert len(await harness.outcomes()) == 5
    assert await post.committed() == {1: 5}


async def test_a_lane_that_waits_when_told_to_stop_takes_nothing_from_the_others(harness: Harness, post: Post) -> None:
    """One's batch is contended for ever, the other's is taken in: that one is committed."""
    stopping, contended = asyncio.Event(), asyncio.Event()

    async def contend(engine: AsyncEngine, messages: Sequence[Message], *retention: Any, **more: Any) -> BatchResult:
        if messages[0].partition == 0:
            contended.set()
            raise Contended(())
        await contended.wait()
        taken = await take_in(engine, messages, *retention, **more)
        stopping.set()
        return taken

    await post.send(b"{", partition=0)
    await post.send(*closings(7), partition=1)
    await member(harness.engine, post, batch_size=5, take_in=contend).run(stopping)
    assert len(await harness.outcomes()) == 5
    assert await post.committed() == {1: 5}


# --- refused ------------------------------------------------------------------------------------------------------


async def test_what_the_database_refuses_is_set_aside_and_its_mates_are_applied(harness: Harness, post: Post) -> None:
    """A row that is too long for an index, which no message can make any more, stands for all that is refused."""
    await harness.import_wallets(*(wallet(method(f"X{n}"), customer=f"e{n}") for n in range(30)))
    some = closings(30)
    await post.send(*some[:11], reported(CLOSED, "X1", on=1, id="slow"), *some[11:], b"{", partition=0)
    async with a_row_too_long_for_its_index(harness), working(harness.engine, post):
        await taken_in(harness, 32)
        await until(post.is_read_up)
    assert Counter(outcome for _, outcome, _ in await harness.outcomes()) == {"APPLIED": 30}
    refused, unreadable = await harness.dead_letters()
    assert (refused.offset, refused.reason) == (11, "the database refuses what was written: 54000 pk_credentials")
    assert unreadable.offset == 31


async def test_of_many_that_are_refused_each_is_set_aside(harness: Harness, post: Post) -> None:
    await harness.rows("ALTER TABLE credentials ADD CONSTRAINT not_today CHECK (key NOT LIKE '%7') NOT VALID")
    try:
        await post.send(*closings(40))
        async with working(harness.engine, post):
            await taken_in(harness, 40)
            await until(post.is_read_up)
    finally:
        await harness.rows("ALTER TABLE credentials DROP CONSTRAINT not_today")
    assert {each.reason for each in await harness.dead_letters()} == {
        "DEFECT: the database refuses what was written: 23514 not_today"
    }
    assert len(await harness.dead_letters()) == 4


async def test_a_defect_ends_it_and_nothing_is_lost(harness: Harness, post: Post) -> None:
    await harness.rows("ALTER TABLE inbox RENAME COLUMN outcome TO mislaid")
    try:
        await post.send(*closings(3))
        with pytest.raises(ExceptionGroup, match="unhandled errors"):
            await member(harness.engine, post).run(asyncio.Event())
    finally:
        await harness.rows("ALTER TABLE inbox RENAME COLUMN mislaid TO outcome")
    assert await post.committed() == {}
    async with working(harness.engine, post):
        await taken_in(harness, 3)


# --- the database away --------------------------------------------------------------------------------------------


async def test_a_database_that_is_away_is_waited_for_and_nothing_is_lost(
    harness: Harness, database_url: str, post: Post
) -> None:
    await harness.import_wallets(wallet(method("A")))
    async with Proxy(database_url) as proxy:
        proxy.refuse()
        engine = connect(proxy.url)
        await post.send(replaced("A", "B", on=1), *closings(10))
        async with working(engine, post, batch_size=4) as worker:
            await until(lambda: as_said(worker, "the database cannot be reached"))
            assert worker.stalled() is None
            proxy.pass_on()
            await taken_in(harness, 11)
            await until(lambda: as_said(worker, None))
            for number in range(3):
                proxy.refuse()
                await post.send(*(reported(CLOSED, f"Y{n}", on=1, id=f"y{number}-{n}") for n in range(5)))
                await until(lambda: as_said(worker, "the database cannot be reached"))
                proxy.pass_on()
                await taken_in(harness, 11 + 5 * (number + 1))
            await until(post.is_read_up)
        await engine.dispose()
    assert live(await harness.wallet()).keys() == {"B"}
    assert await harness.dead_letters() == []


@pytest.mark.parametrize("place", ["took in", "decided", "applied", "announced"])
async def test_a_database_that_goes_away_in_a_transaction_has_not_heard_of_it(
    harness: Harness, database_url: str, post: Post, place: WorkerPoint
) -> None:
    await harness.import_wallets(wallet(method("A")))
    async with Proxy(database_url) as proxy:
        cut: list[WorkerPoint] = []

        def cut_once(at: WorkerPoint) -> None:
            if at == place and not cut:
                cut.append(at)
                proxy.cut()

        engine = connect(proxy.url)
        await post.send(replaced("A", "B", on=1), *closings(3))
        async with working(engine, post, on_point=cut_once):
            await taken_in(harness, 4)
            await until(post.is_read_up)
        await engine.dispose()
    assert cut
    assert [name for name, _ in await harness.told("pharmacy")] == ["REPLACED", "DELETED"]


async def test_a_database_restarted_under_it_is_gone_back_to(harness: Harness, post: Post) -> None:
    async with working(harness.engine, post):
        for number in range(3):
            await harness.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await post.send(*(reported(CLOSED, f"Y{n}", on=1, id=f"y{number}-{n}") for n in range(6)))
            await taken_in(harness, 6 * (number + 1))


# --- stopping -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def held_up(engine: AsyncEngine) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Nobody writes a row of the inbox meanwhile; what is given tells whether somebody tries."""

    async def somebody_waits() -> bool:
        async with engine.begin() as connection:
            return bool(
                await connection.scalar(
                    text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST('inbox' AS regclass)")
                )
            )

    async with engine.begin() as holder:
        await holder.execute(text("LOCK TABLE inbox IN EXCLUSIVE MODE"))
        yield somebody_waits


async def test_told_to_stop_it_finishes_the_batch_at_hand(harness: Harness, post: Post) -> None:
    await post.send(*closings(10))
    stopped = asyncio.Event()
    async with held_up(harness.engine) as somebody_waits:
        worker = asyncio.create_task(until_told(harness, post, stopped, drain_within=20))
        await until(somebody_waits)
        stopped.set()
    async with asyncio.timeout(20):
        await worker
    assert len(await harness.outcomes()) == 10
    assert await post.is_read_up()


async def test_told_to_stop_it_does_not_wait_for_ever(harness: Harness, post: Post) -> None:
    """The batch at hand is held up for longer than it may take; nothing of it has happened, and it is read again."""
    await post.send(*closings(10))
    stopped = asyncio.Event()
    async with held_up(harness.engine) as somebody_waits:
        worker = asyncio.create_task(until_told(harness, post, stopped, drain_within=0.5))
        await until(somebody_waits)
        stopped.set()
        # 30 s after it is told, it is killed
        async with asyncio.timeout(25):
            await worker
    assert await post.committed() == {}
    async with working(harness.engine, post):
        await taken_in(harness, 10)


A_MEMBER_THAT_DIES = """
import asyncio, os, sys
from aiokafka import AIOKafkaConsumer

async def join_and_die(servers, topic, group):
    await AIOKafkaConsumer(topic, bootstrap_servers=servers, group_id=group, session_timeout_ms=120_000).start()
    os._exit(0)

asyncio.run(join_and_die(*sys.argv[1:]))
"""


@pytest.mark.parametrize("at_work", [False, True], ids=["joining", "at work"])
async def test_told_to_stop_while_its_group_waits_for_a_member_that_died_it_stops(
    harness: Harness, post: Post, *, at_work: bool
) -> None:
    stopping = asyncio.Event()
    worker = member(harness.engine, post, drain_within=100)
    running = asyncio.create_task(worker.run(stopping)) if at_work else None
    if running is not None:
        await until(lambda: as_said(worker, None))
    died = await asyncio.create_subprocess_exec(
        sys.executable, "-c", A_MEMBER_THAT_DIES, post.servers, post.topic, post.group
    )
    assert await died.wait() == 0
    if running is None:
        running = asyncio.create_task(worker.run(stopping))
        await until(post.is_joined_anew)
    stopping.set()
    async with asyncio.timeout(30):
        await running


async def test_told_to_stop_while_the_database_is_away_it_stops(
    database_url: str, harness: Harness, post: Post
) -> None:
    await post.send(*closings(10))
    async with Proxy(database_url) as proxy:
        proxy.refuse()
        engine = connect(proxy.url)
        async with working(engine, post) as worker:
            await until(lambda: as_said(worker, "the database cannot be reached"))
        await engine.dispose()
    assert await post.committed() == {}
    async with working(harness.engine, post):
        await taken_in(harness, 10)


async def until_told(harness: Harness, post: Post, stopped: asyncio.Event, **more: Any) -> None:
    async with working(harness.engine, post, **more):
        await stopped.wait()


async def test_a_loop_that_hangs_ends_itself(harness: Harness, post: Post) -> None:
    await post.send(*closings(2))
    async with held_up(harness.engine) as somebody_waits:
        worker = member(harness.engine, post)
        running = asyncio.create_task(worker.run(asyncio.Event()))
        await until(somebody_waits)
        worker._waiting.progress._advanced_at -= 1000
        async with asyncio.timeout(60):
            with pytest.raises(Stalled, match="has made no progress for 10"):
                await running
    async with working(harness.engine, post):
        await taken_in(harness, 2)


# --- the group ----------------------------------------------------------------------------------------------------


@pytest.mark.partitions(4)
async def test_partitions_go_from_one_to_the_other_and_nothing_is_taken_twice(
    harness: Harness, database_url: str, post: Post
) -> None:
    await harness.import_wallets(*(wallet(method(f"X{n}"), customer=f"e{n}") for n in range(20)))
    engine = connect(database_url)
    seen: dict[str, list[WorkerPoint]] = {"first": [], "second": []}
    sending = asyncio.Event()
    updates = [reported(CLOSED, f"X{n % 20}", on=n % 9 + 1, id=f"u{n}") for n in range(400)]

    async def send() -> None:
        for start in range(0, 400, 20):
            for partition in range(4):
                await post.send(*updates[start + partition * 5 : start + partition * 5 + 5], partition=partition)
            if start == 100:
                sending.set()

    quick = {"batch_size": 10, "session_timeout": 6.0}
    async with asyncio.timeout(120), working(harness.engine, post, on_point=seen["first"].append, **quick):
        sender = asyncio.create_task(send())
        await sending.wait()
        async with working(engine, post, on_point=seen["second"].append, **quick):
            await until(lambda: both_work(seen), within=40)
        await sender
        await taken_in(harness, 400)
        await until(post.is_read_up, within=40)
    await engine.dispose()
    assert len(await harness.outcomes()) == 400
    assert {each for each, _, _ in await harness.outcomes()} == {f"u{n}" for n in range(400)}
    assert await harness.dead_letters() == []


async def test_a_member_that_gives_partitions_away_finishes_the_batch_at_hand_and_no_more(
    harness: Harness, database_url: str, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    async def is_asked_to() -> bool:
        return any(re.match("Revoking .*TopicPartition", each.getMessage()) for each in caplog.records)

    caplog.set_level(logging.INFO, "aiokafka.consumer.group_coordinator")
    await post.send(*closings(20), partition=1)
    engine = connect(database_url)
    passed: list[WorkerPoint] = []
    going_on = asyncio.Event()

    async def take_its_time(*batch: Any, **more: Any) -> BatchResult:
        taken = await take_in(*batch, **more)
        await going_on.wait()
        return taken

    async with working(harness.engine, post, batch_size=5, on_point=passed.append, take_in=take_its_time):
        await until(lambda: as_told(passed, "committed"))
        async with working(engine, post, batch_size=5):
            await until(is_asked_to)
            going_on.set()
            await until(post.is_read_up)
    await engine.dispose()
    first = passed[: passed.index("offsets committed")]
    assert first.count("committed") == 1
    assert len(await harness.outcomes()) == 20


async def as_told(passed: list[WorkerPoint], place: WorkerPoint) -> bool:
    return place in passed


async def both_work(seen: dict[str, list[WorkerPoint]]) -> bool:
    return all("offsets committed" in places for places in seen.values())


# --- the broker away ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def broker_on_a_leash() -> AsyncIterator[tuple[Proxy, str]]:
    """An Apache Kafka to which all ways lead through a proxy, away at first; and its address."""
    if lacking := kafka_part.missing():
        pytest.skip(f"needs an Apache Kafka of its own, but {lacking}")
    (port,) = kafka_part._free_ports(1)
    async with Proxy(f"kafka://127.0.0.1:{port}") as proxy:
        proxy.refuse()
        servers = proxy.url.removeprefix("kafka://")
        apache = kafka_part.apache_behind(servers, port)
        await asyncio.to_thread(apache.__enter__)
        try:
            yield proxy, servers
        finally:
            await asyncio.to_thread(apache.__exit__, None, None, None)


async def test_a_broker_that_is_away_is_waited_for_and_nothing_is_lost(harness: Harness) -> None:
    """At the start, in between, and when offsets are to be committed."""
    async with broker_on_a_leash() as (proxy, servers):
        post = Post(servers, "updates", "worker")
        async with working(harness.engine, post) as worker:
            await until(lambda: as_said(worker, "the broker cannot be reached"))
            proxy.pass_on()
            await make_topic(servers, "updates")
            await until(lambda: as_said(worker, None))
            await post.send(*closings(6))
            await taken_in(harness, 6)
            await until(post.is_read_up)
            proxy.refuse()
            await until(lambda: as_said(worker, "the broker cannot be reached"), within=40)
            assert worker.stalled() is None
            proxy.pass_on()
            await post.send(*(reported(CLOSED, f"Y{n}", on=1, id=f"y{n}") for n in range(6)))
            await taken_in(harness, 12)
            await until(lambda: as_said(worker, None), within=40)
            await until(post.is_read_up)
        assert await harness.dead_letters() == []

        await post.send(*(reported(CLOSED, f"Z{n}", on=1, id=f"z{n}") for n in range(6)))
        gone: list[WorkerPoint] = []

        def goes_away(place: WorkerPoint) -> None:
            if place == "committed" and not gone:
                gone.append(place)
                proxy.refuse()

        async with working(harness.engine, post, on_point=goes_away) as worker:
            await taken_in(harness, 18)
            await until(lambda: as_said(worker, "the broker cannot be reached"), within=40)
            proxy.pass_on()
            await post.send(reported(CLOSED, "last", on=1, id="last"), partition=0)
            await taken_in(harness, 19)
            await until(lambda: as_said(worker, None), within=40)
        assert len(await harness.outcomes()) == 19


async def make_topic(servers: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1)])
    await admin.close()


async def test_told_to_stop_while_the_broker_is_away_it_stops(harness: Harness) -> None:
    async with working(harness.engine, Post("127.0.0.1:1", "updates", "worker")) as worker:
        await until(lambda: as_said(worker, "the broker cannot be reached"))
