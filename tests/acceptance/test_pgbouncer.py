"""The whole program through a real PgBouncer in transaction mode, where every transaction may be another session's."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.acceptance.lines import merchant, method_id, replaced, wallet
from tests.acceptance.program import Program
from tests.parts.pgbouncer import pooler
from tests.parts.receiver import Receiver

COUNT = 60

# PgBouncer itself sets these for each client that it gives a session to.
_PGBOUNCERS = ("application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings")
_LEFT_BEHIND = """
    SELECT pg_backend_pid(),
           ARRAY(SELECT name FROM pg_settings WHERE source = 'session' AND name <> ALL($1::text[])),
           (SELECT count(*) FROM pg_prepared_statements WHERE name <> ''),
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""


@pytest.fixture
def pooled(empty_database_url: str, tmp_path: Path) -> Iterator[str]:
    """A database with nothing in it, as PgBouncer's clients see it."""
    with pooler(empty_database_url, tmp_path) as url:
        yield url


async def left_behind(url: str) -> dict[int, tuple[list[str], int, int]]:
    """What each session of the pooler still holds: settings, prepared statements, advisory locks."""
    connections = [await asyncpg.connect(url.replace("+asyncpg", ""), statement_cache_size=0) for _ in range(10)]
    found = {}

    async def look(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            row = await connection.fetchrow(_LEFT_BEHIND, _PGBOUNCERS)
            assert row is not None
            pid, settings, statements, locks = row
            found[pid] = (settings, statements, locks)
            # held for a moment, so that the next one is given another session
            await connection.execute("SELECT pg_sleep(0.05)")

    await asyncio.gather(*map(look, connections))
    for connection in connections:
        await connection.close()
    return found


async def test_migrate_import_run_and_deliver_through_a_pooler(
    pooled: str, tmp_path: Path, kafka: str, topic: str, receiver: Receiver
) -> None:
    program = Program(
        tmp_path,
        DATABASE_URL=pooled + "?pgbouncer=true&options=-c%20work_mem%3D8MB",
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        KAFKA_GROUP=f"group-of-{topic}",
        EGRESS_ALLOW="127.0.0.0/8",
        HTTP_PORT="0",
        LOG_FORMAT="json",
        BATCH_SIZE="10",
        CONSUMER_LANES="3",
    )
    (await program("migrate")).well()
    program.write("merchants.jsonl", merchant("m-1", url=receiver.url("/m-1")))
    (await program("merchants", "import", "merchants.jsonl")).well()
    program.write("wallets.jsonl", *(wallet(number) for number in range(1, COUNT + 1)))
    (await program("wallets", "import", "wallets.jsonl")).well()
    feed = program.write("feed.jsonl", *(replaced(number) for number in range(1, COUNT + 1)))
    (await program("ingest", "--format", "canonical", feed)).well()
    async with program.going("run") as going:
        await receiver.arrived(2 * COUNT, within=90)
        assert await going.stop() == 0
    outcomes = Counter(one["outcome"] for one in (await program("inbox", "list", "--json")).json())
    assert outcomes == {"APPLIED": COUNT}
    delivered = (await program("deliveries", "list", "--status", "DELIVERED", "--limit", "1000", "--json")).json()
    assert len(delivered) == 2 * COUNT
    assert (await program("status", method_id(1), "--json")).code == 0
    assert len((await program("wallets", "export")).well().out.splitlines()) == COUNT
    left = await left_behind(pooled)
    assert len(left) > 1, "one session only: nothing was shared"
    assert set(map(repr, left.values())) == {repr(([], 0, 0))}


async def test_a_pooler_without_the_parameter_is_named_in_one_line(pooled: str, tmp_path: Path) -> None:
    ended = await Program(tmp_path, DATABASE_URL=pooled)("merchants", "list")
    assert (ended.code, ended.out) == (1, "")
    assert "add pgbouncer=true to the URL (REPOINT_DATABASE_URL)" in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_so_is_one_that_was_told_to_ignore_what_it_does_not_keep(empty_database_url: str, tmp_path: Path) -> None:
    ignored = "jit,random_page_cost,enable_seqscan,idle_in_transaction_session_timeout,statement_timeout,lock_timeout"
    ignored += ",tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count"
    with pooler(empty_database_url, tmp_path, settings=f"ignore_startup_parameters = {ignored}") as url:
        program = Program(tmp_path, DATABASE_URL=url)
        ends = [await program("migrate", "--dry-run") for _ in range(3)]
    assert {one.code for one in ends[1:]} == {1}
    assert all("add pgbouncer=true to the URL" in one.err for one in ends[1:])
