"""A version is rolled out, and back, while updates come in: processes of two versions run side by side.

Both versions are this program. The newer one knows a revision more, which adds a column and a type and says that it
supports the version before. So this shows that a running process survives a migration, that both work in one group and
on one database, that the version before starts again on the newer schema, and that it refuses one that does not support
it. It does not show that the program of a former commit works with the tables of this one: that is what a revision
claims by its `oldest_program`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from store import migrate
from store.engine import connect
from tests.acceptance import program as programs
from tests.acceptance.lines import merchant, replaced, wallet
from tests.acceptance.program import Going, Program
from tests.acceptance.test_run import settled
from tests.consumers.harness import Harness
from tests.parts.receiver import Receiver

WALLETS = 300
HEAD = ScriptDirectory.from_config(migrate.config()).get_current_head()
NEXT = f"""
from alembic import op

revision = "9999"
down_revision = "{HEAD}"
oldest_program = "{HEAD}"
indexes = {{"ix_inbox_future": "ON inbox (received_at)"}}


def upgrade():
    for table in ("inbox", "wallets", "payment_methods", "events", "deliveries", "endpoints", "credentials"):
        op.execute(f"ALTER TABLE {{table}} ADD COLUMN future text NOT NULL DEFAULT 'x'")
    op.execute("CREATE TYPE future_row_v1 AS (id bigint, future text)")
"""
NEWER = """
import sys
from pathlib import Path
from store import migrate
migrate.VERSIONS.append(Path({folder!r}))
from ops.console import main
main()
"""


class Newer:
    """Runs commands as the newer version does."""

    def __init__(self, program: Program, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._program = program
        self._command = (sys.executable, str(script))
        self._monkeypatch = monkeypatch

    @asynccontextmanager
    async def going(self, *arguments: str) -> AsyncIterator[Going]:
        going = self._program.going(*arguments)
        with self._monkeypatch.context() as patch:
            patch.setattr(programs, "COMMAND", self._command)
            process = await going.__aenter__()
        try:
            yield process
        finally:
            await going.__aexit__(None, None, None)


@pytest.fixture
async def program(tmp_path: Path, database_url: str, kafka: str, topic: str, receiver: Receiver) -> Program:
    program = Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        KAFKA_GROUP=f"group-of-{topic}",
        EGRESS_ALLOW="127.0.0.0/8",
        HTTP_PORT="0",
        LOG_FORMAT="json",
    )
    program.write("merchants.jsonl", merchant("m-1", url=receiver.url("/m-1")))
    (await program("merchants", "import", "merchants.jsonl")).well()
    program.write("wallets.jsonl", *(wallet(number) for number in range(1, WALLETS + 1)))
    (await program("wallets", "import", "wallets.jsonl")).well()
    return program


async def send(program: Program, numbers: range) -> None:
    name = f"feed-{numbers.start}.jsonl"
    feed = program.write(name, *(replaced(number) for number in numbers))
    (await program("ingest", "--format", "canonical", feed)).well()


async def test_two_versions_run_side_by_side_and_the_one_before_comes_back(
    program: Program, database_url: str, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "9999_next.py").write_text(NEXT)
    script = tmp_path / "newer.py"
    script.write_text(NEWER.format(folder=str(folder)))
    newer = Newer(program, script, monkeypatch)
    assigned = '"event": "partitions assigned"'

    async with program.going("run") as old:
        await old.says(assigned)
        await send(program, range(1, 101))
        async with newer.going("migrate") as migration:
            assert await migration.end() == 0
        assert (await migrate.revisions(database_url)).database == "9999"
        async with newer.going("run") as new:
            await new.says(assigned)
            await send(program, range(101, 201))
            outcomes = await settled(program, 200)
            assert outcomes == {"APPLIED": 200}
            assert old.process.returncode is None
            # rolled back: the version before takes over again, and starts on the newer schema
            assert await old.stop() == 0
            async with program.going("run") as again:
                await again.says(assigned)
                assert await new.stop() == 0
                await send(program, range(201, WALLETS + 1))
                assert await settled(program, WALLETS) == {"APPLIED": WALLETS}
    # REPLACED and DELETED of each wallet, each once or, after a rebalance, again
    received = {request.headers["webhook-id"] for request in receiver.requests}
    assert len(received) == 2 * WALLETS

    engine = connect(database_url)
    await Harness(engine).rows("UPDATE schema_revisions SET oldest_program = '9999' WHERE revision = '9999'")
    await engine.dispose()
    refused = await program("run")
    assert refused.code == 1
    assert refused.err.endswith(f"supports programs from 9999 on: this one is of {HEAD}, so run a newer version\n")
    async with asyncio.timeout(60), newer.going("run") as new:
        await new.says(assigned)
