"""`repoint doctor` on real parts: each planted fault is named, with exit 1, and a healthy installation has none."""

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers import upkeep
from consumers.upkeep import Keep
from domain.checkup import server as judged
from domain.checkup.diagnosis import Bounds, Level
from ops import embedded
from store.checkup import server_state
from store.engine import connect
from testbed import kafka as kafka_part
from testbed.kafka import Opened, apache_opened
from testbed.postgres import Databases
from tests.acceptance.program import Ended, Program
from tests.consumers.test_worker import Post
from tests.parts import records
from tests.parts.until import until
from tests.store.outbox import Outbox

NOWHERE = "postgresql://reader:hidden@127.0.0.1:1/wallets"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL as production has it: with fsync, and with room for prepared transactions."""
    # not in pytest's folders: started as root, the server is another user, to whom these are closed
    with tempfile.TemporaryDirectory(prefix="repoint-", ignore_cleanup_errors=True) as name:
        directory = Path(name) / "postgres"
        with embedded.postgres(directory) as url:
            asyncio.run(prepare(url))
        with embedded.postgres(directory) as url:
            yield url


async def prepare(url: str) -> None:
    engine = connect(url)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for setting in ("max_prepared_transactions = 2", "max_slot_wal_keep_size = '1MB'"):
            await connection.execute(text(f"ALTER SYSTEM SET {setting}"))
    await engine.dispose()


@pytest.fixture(scope="module")
def databases(server: str) -> Databases:
    return Databases(server)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    if lacking := kafka_part.missing():
        pytest.skip(f"needs an Apache Kafka of its own, but {lacking}")
    with apache_opened(tmp_path_factory.mktemp("kafka")) as opened:
        yield opened


@pytest.fixture
def names() -> tuple[str, str]:
    end = secrets.token_hex(4)
    return f"updates-{end}", f"thin-{end}"


@pytest.fixture
async def program(
    tmp_path: Path, database_url: str, engine: AsyncEngine, opened: Opened, names: tuple[str, str]
) -> Program:
    """A healthy installation: topics, partitions of the next days, and a delivery that is due."""
    program = Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=opened.servers,
        KAFKA_TOPIC=names[0],
        KAFKA_THIN_TOPIC=names[1],
        KAFKA_GROUP=f"group-{names[0]}",
    )
    (await program("topics", "create", "--partitions", "2")).well()
    await upkeep.run_once(engine, Keep(timedelta(days=3)))
    outbox = Outbox(engine)
    await outbox.tell(await outbox.add_endpoint("ep"), await outbox.add_wallet())
    return program


def of(ended: Ended, level: str) -> list[dict[str, Any]]:
    return [diagnosis for diagnosis in json.loads(ended.out) if diagnosis["level"] == level]


async def test_a_healthy_installation_has_no_fault(program: Program) -> None:
    async with program.going("run", "--role", "consume", HTTP_PORT="0") as worker:
        await worker.says("running")
        ended = Ended(1, "[]", "")

        async def is_read() -> bool:
            nonlocal ended
            ended = await program("doctor", "--json")
            return not [row for row in of(ended, "warning") if row["check"] == "groups"]

        await until(is_read)
    assert of(ended, "fault") == []
    assert (ended.code, ended.err) == (0, "")
    assert {row["check"] for row in of(ended, "warning")} <= {"settings", "database-version"}
    shown = await program("doctor")
    assert shown.code == 0
    assert shown.out.splitlines()[-1].endswith(", 0 faults")


@dataclass(frozen=True)
class Fault:
    """What is planted by SQL (`{db}` is the database), the settings of the command, and what the command says."""

    check: str
    subject: str
    found: str
    sql: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


UPDATE = (
    "INSERT INTO inbox (topic, partition, kafka_offset, digest, vendor, update_id, original, type, occurred_at,"
    " received_at, outcome) VALUES ('t', 0, 0, 'x', 'v', 'u', true, 'CLOSED', now(), {ago}, "
)
UNFINISHED = (
    "INSERT INTO unfinished_updates (inbox_id, old_key, after_wallet) SELECT id, 'v:A', gen_random_uuid() FROM inbox"
)
FETCH = (
    "INSERT INTO fetches (feed, digest, event, topic, partition, kafka_offset, due_at)"
    " VALUES ('adyen', 'x', 'e', 't', 0, 0, {ago})"
)
OLD_PARTITION = "CREATE TABLE attempts_20200101 PARTITION OF attempts FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
DROP_PARTITIONS = (
    "DO $$ DECLARE name text; BEGIN FOR name IN SELECT CAST(inhrelid AS regclass) FROM pg_inherits"
    " WHERE inhparent = CAST('attempts' AS regclass) AND CAST(CAST(inhrelid AS regclass) AS text) ~ '[0-9]$'"
    " LOOP EXECUTE 'DROP TABLE ' || name; END LOOP; END $$"
)
DEFECTS = (
    "INSERT INTO dead_letters (topic, partition, kafka_offset, digest, reason, body)"
    " SELECT 't', 0, n, 'x', 'DEFECT 23514', 'b' FROM generate_series(1, 5) AS n"
)
CLOCK = (
    "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
    " AS $$ SELECT pg_catalog.clock_timestamp() - interval '150 seconds' $$"
)
FAULTS = {
    "no database": Fault("database", "wallets at 127.0.0.1:1", "cannot be reached", settings={"DATABASE_URL": NOWHERE}),
    "no broker": Fault("broker", "127.0.0.1:1", "the broker cannot be reached",
                       settings={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}),
    "a COMMIT that may be lost": Fault("database-settings", "synchronous_commit", "off: a crash loses updates",
                                       ("ALTER DATABASE {db} SET synchronous_commit = off",)),
    "a database that takes no writes": Fault("database-writable", "server", "read-only sessions",
                                             ("ALTER DATABASE {db} SET default_transaction_read_only = on",)),
    "a clock that is behind": Fault("clock", "this machine", "2 min ahead of the database's",
                                    (CLOCK, "ALTER DATABASE {db} SET search_path = public, pg_catalog")),
    "dead rows": Fault("dead-tuples", "delivery_ledger", "dead rows beside", (
        "ALTER TABLE delivery_ledger SET (autovacuum_enabled = off)",
        "INSERT INTO delivery_ledger (accepted) SELECT 0 FROM generate_series(1, 1100000)",
        "DELETE FROM delivery_ledger WHERE accepted = 0",
        "SELECT pg_stat_force_next_flush()",
    )),
    "another revision": Fault("migration", "database", "revision 0005",
                              ("UPDATE alembic_version SET version_num = '0005'",)),
    "never migrated": Fault("migration", "database", "never migrated", ("DROP TABLE alembic_version",)),
    "a table that is gone": Fault("rights", "skips", "lacks the table itself", ("DROP TABLE skips",)),
    "no partition for tomorrow": Fault("partitions", "attempts", "of 0", (DROP_PARTITIONS,)),
    "history of years ago": Fault("retention", "attempts", "overdue", (OLD_PARTITION,)),
    "knowledge of years ago": Fault("retention", "knowledge", "overdue", (
        "INSERT INTO credentials (key, kept_until) VALUES ('v:A', '2020-01-01')",
    )),
    "other customer identifiers": Fault("identifiers", "customers", "known by metadata.patientId", (
        "INSERT INTO customer_identities (name, value, wallet_id) SELECT 'metadata.patientId', 'p', id FROM wallets",
    ), {"CUSTOMER_IDENTIFIERS": "metadata.loyaltyId"}),
    "a key that is lost": Fault("secrets", "key v9", "that no key of the setting opens", (
        "UPDATE endpoints SET sealed_secrets = '{{sealed:v9:AAAA}}'",
    )),
    "a key that is another's": Fault("secrets", "key 0", "that no key of the setting opens", (
        "UPDATE endpoints SET sealed_secrets = '{{sealed:0:AAAA}}'",
    )),
    "a lease of days": Fault("leases", "deliveries", "the longest ends in 2 d", (
        "UPDATE deliveries SET leased_until = now() + interval '3 days'",
    )),
    "a lease that nobody takes over": Fault("leases", "deliveries", "1 ended, the oldest 2 h", (
        "UPDATE deliveries SET leased_until = {ago}",
    )),
    "upkeep that nobody does": Fault("leases", "upkeep", "1 ended, the oldest 2 h", (
        "INSERT INTO upkeep_leases VALUES ('delivery gauges', gen_random_uuid(), {ago})",
    )),
    "a delivery that nobody makes": Fault("deliveries", "due", "the oldest has been due for 2 h", (
        "UPDATE deliveries SET due_at = {ago}",
    )),
    "a delivery that vanished": Fault("accounts", "deliveries", "+1 beside them", ("DELETE FROM deliveries",)),
    "an update that nobody gives up": Fault("updates", "parked", "the oldest is", (
        UPDATE + "'PARKED')", "UPDATE inbox SET received_at = received_at - interval '3 days'",
    )),
    "an update that is never finished": Fault("updates", "unfinished", "the oldest is 2 h late",
                                              (UPDATE + "'APPLIED')", UNFINISHED)),
    "a defect that stops the intake": Fault("dead-letters", "defects", "5 that name a defect", (DEFECTS,)),
    "a vendor that nobody asks": Fault("fetches", "due", "the oldest is 2 h late", (FETCH,)),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_database_is_named(program: Program, engine: AsyncEngine, name: str) -> None:
    fault = FAULTS[name]
    database = engine.url.database
    async with engine.begin() as connection:
        for statement in fault.sql:
            await connection.exec_driver_sql(statement.format(db=database, ago="now() - interval '2 hours'"))
    assert_named(await program("doctor", "--json", **fault.settings), fault)


def assert_named(ended: Ended, fault: Fault) -> None:
    assert ended.code == 1, ended
    named = [row for row in of(ended, "fault") if (row["check"], row["subject"]) == (fault.check, fault.subject)]
    assert [fault.found in row["found"] for row in named] == [True], (fault, of(ended, "fault"))
    assert named[0]["command"]
    assert "fault" in ended.err


async def test_a_user_without_rights_is_named(program: Program, engine: AsyncEngine, database_url: str) -> None:
    role = f"reader_{secrets.token_hex(4)}"
    async with engine.begin() as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
            f"REVOKE DELETE, UPDATE ON events FROM {role}",
        ):
            await connection.exec_driver_sql(statement)
    url = make_url(database_url).set(username=role, password=None).render_as_string(hide_password=False)
    ended = await program("doctor", "--json", DATABASE_URL=url)
    assert_named(ended, Fault("rights", "events", "lacks UPDATE, DELETE"))
    assert [row["subject"] for row in of(ended, "warning") if row["check"] == "transactions"] == ["rights"]
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"DROP OWNED BY {role}")
        await connection.exec_driver_sql(f"DROP ROLE {role}")


async def test_a_slot_that_lost_what_it_needs_is_named(program: Program, engine: AsyncEngine) -> None:
    name = f"slot_{secrets.token_hex(4)}"
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SELECT pg_create_physical_replication_slot(:name, true)"), {"name": name})
        waiting = [row["subject"] for row in of(await program("doctor", "--json"), "warning")]
        assert name in waiting
        for _ in range(3):
            await connection.execute(text("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))"))
            await connection.execute(text("SELECT pg_switch_wal()"))
        await connection.exec_driver_sql("CHECKPOINT")
        ended = await program("doctor", "--json")
        await connection.execute(text("SELECT pg_drop_replication_slot(:name)"), {"name": name})
    assert_named(ended, Fault("replication-slots", name, "has lost what it needs"))


async def test_what_holds_dead_rows_back_is_named(program: Program, engine: AsyncEngine) -> None:
    """A transaction and a prepared one are as old as a test can wait for, so the bounds are lower here."""
    low = Bounds(0, 0)
    async with engine.connect() as open_, engine.connect() as connection, engine.connect() as burning:
        await burning.execution_options(isolation_level="AUTOCOMMIT")
        pid = await open_.scalar(text("SELECT pg_backend_pid() FROM pg_current_xact_id()"))
        for _ in range(5):
            await burning.execute(text("SELECT pg_current_xact_id()"))
        [oldest] = judged.transactions(await server_state.sessions(connection), bounds=low)
        assert (oldest.level, f"pid {pid}" in oldest.found) == (Level.FAULT, True)
        [held] = judged.horizon(await server_state.holders(connection), Bounds(1, 5))
        assert (held.level, held.found) == (Level.FAULT, f"6 behind, held by the session {pid}")
        await open_.exec_driver_sql("PREPARE TRANSACTION 'forgotten'")
        await connection.rollback()
        [prepared] = judged.prepared(await server_state.prepared(connection), low)
        assert (prepared.level, prepared.subject) == (Level.FAULT, "forgotten")
        [held] = judged.horizon(await server_state.holders(connection), Bounds(1, 5))
        assert held.found == "6 behind, held by the prepared transaction forgotten"
        named = of(await program("doctor", "--json"), "warning")
        assert [row["command"] for row in named if row["check"] == "prepared"] == [
            'psql "$REPOINT_DATABASE_URL" -c "ROLLBACK PREPARED \'forgotten\'"'
        ]
        await burning.exec_driver_sql("ROLLBACK PREPARED 'forgotten'")


# --- Kafka ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def admin(opened: Opened) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=opened.servers)
    await client.start()
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("configs", "found"),
    [
        ({"min.insync.replicas": "2"}, "nothing can be written"),
        ({"cleanup.policy": "compact"}, "all updates of a credential but its latest are removed"),
        ({"retention.ms": "3600000"}, "messages are kept for 1 h"),
        (None, "is not there"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value).replace(" ", "-"),
)
async def test_a_fault_of_the_topic_is_named(
    program: Program, admin: AIOKafkaAdminClient, configs: dict[str, str] | None, found: str
) -> None:
    name = f"wrong-{secrets.token_hex(4)}"
    if configs is not None:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1, topic_configs=configs)])
        await until(lambda: is_there(admin, name))
    assert_named(await program("doctor", "--json", KAFKA_TOPIC=name), Fault("topics", name, found))


async def is_there(admin: AIOKafkaAdminClient, name: str) -> bool:
    return name in await admin.list_topics()


async def test_a_topic_of_thin_events_is_needed_where_a_feed_has_some(program: Program) -> None:
    missing = {"KAFKA_THIN_TOPIC": f"none-{secrets.token_hex(4)}"}
    ended = (await program("doctor", "--json", **missing)).well()
    assert [row["subject"] for row in of(ended, "warning") if row["check"] == "topics"] == [missing["KAFKA_THIN_TOPIC"]]
    asked = {"FEED_FETCH": '{"adyen": {"url": "https://127.0.0.1:1/"}}'}
    ended = await program("doctor", "--json", **missing, **asked)
    assert_named(ended, Fault("topics", missing["KAFKA_THIN_TOPIC"], "is not there"))


async def test_a_topic_that_nobody_reads_is_named(program: Program, opened: Opened, names: tuple[str, str]) -> None:
    await Post(opened.servers, names[0], "").send(b"{", b"{", partition=0)
    fault = Fault("groups", f"group-{names[0]} on {names[0]}", "no member, 2 unread")
    assert_named(await program("doctor", "--json"), fault)


async def test_messages_that_wait_although_there_is_a_reader_are_named(
    program: Program, opened: Opened, names: tuple[str, str]
) -> None:
    old = int((datetime.now(UTC) - timedelta(hours=2)).timestamp() * 1000)
    post = Post(opened.servers, names[0], f"group-{names[0]}")
    await post.send(b"{", b"{", partition=0, timestamp_ms=old)
    await post.send(b"{", partition=0)
    async with reader(opened, names[0]):
        fault = Fault("groups", f"group-{names[0]} on {names[0]}", "1 member, 3 unread, 2 of them for 1 h or longer")
        assert_named(await program("doctor", "--json"), fault)


async def test_messages_that_were_removed_before_they_were_read_are_named(
    program: Program, opened: Opened, admin: AIOKafkaAdminClient, names: tuple[str, str]
) -> None:
    place = TopicPartition(names[0], 1)
    await Post(opened.servers, names[0], "").send(*[b"{"] * 5, partition=1)
    async with reader(opened, names[0]) as consumer:
        await consumer.commit({place: 1})
        await admin.delete_records({place: RecordsToDelete(before_offset=4)})
        fault = Fault("groups", f"group-{names[0]} on {names[0]}", "3 were removed before")
        assert_named(await program("doctor", "--json"), fault)


async def test_a_corrupt_batch_is_named_with_the_command_that_skips_it(
    program: Program, opened: Opened, names: tuple[str, str]
) -> None:
    batch = records.batch([(b"flip this", ())])
    await records.put(opened.servers, names[0], 0, batch)
    records.flip(opened.log, names[0], 0, b"flip this")
    async with reader(opened, names[0]):
        ended = await program("doctor", "--json")
    assert_named(ended, Fault("groups", f"group-{names[0]} on {names[0]}", "the batch at offset 0 of partition 0"))
    [named] = [row for row in of(ended, "fault") if row["check"] == "groups" and "corrupt" in row["found"]]
    assert named["command"] == f"repoint topics skip {names[0]} 0 0 --reason TEXT"


@asynccontextmanager
async def reader(opened: Opened, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A member of the group that reads nothing."""
    group = f"group-{topic}"
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=opened.servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


# --- the rest -------------------------------------------------------------------------------------------------------


async def test_a_vendor_that_cannot_be_reached_is_named_if_it_is_asked_for(program: Program) -> None:
    asked = {"FEED_FETCH": '{"adyen": {"url": "https://127.0.0.1:1/", "allow": ["127.0.0.0/8"]}}'}
    (await program("doctor", "--json", **asked)).well()
    ended = await program("doctor", "--vendors", "--json", **asked)
    assert_named(ended, Fault("vendors", "adyen", "the connection to the vendor failed"))
