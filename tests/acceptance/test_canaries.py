"""Card numbers in every field of every vendor's file: none is left on the topic, in a table, a file or a log."""

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.feeds import FEEDS
from tests.acceptance.program import Program
from tests.acceptance.test_feeds import KEY, everything
from tests.parts.until import until
from tests.producers import canaries

AT_ONCE = 2


async def test_no_number_is_left_anywhere(
    tmp_path: Path, engine: AsyncEngine, database_url: str, kafka: str, topic: str
) -> None:
    program = Program(
        tmp_path,
        DATABASE_URL=database_url,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        KAFKA_TOPIC=topic,
        FINGERPRINT_KEY=KEY,
        HTTP_PORT="0",
    )
    written = {feed.name: canaries.file(feed) for feed in FEEDS.values() if feed.fetched is None}
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
        assert canaries.is_in(content.decode())
    told: dict[str, str] = {}
    room = asyncio.Semaphore(AT_ONCE)

    async def ingest(name: str) -> None:
        async with room:
            ended = await program("ingest", "--format", name, name)
        told[name] = ended.out + ended.err

    async with asyncio.TaskGroup() as group:
        for name in written:
            group.create_task(ingest(name))
    messages = await everything(kafka, topic)
    assert len(messages) > 1000

    async def taken_in() -> bool:
        async with engine.connect() as connection:
            count = "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM dead_letters)"
            return bool(await connection.scalar(text(count)) == len(messages))

    async with program.going("run", "--role", "consume") as worker:
        await until(taken_in, within=120)
        assert await worker.stop() == 0
    told["run"] = "".join(worker.lines)
    told["letters"] = (await program("dead-letters", "list", "--json")).well().out
    told |= {
        f"on the topic, {at}": f"{each.key!r} {(each.value or b'').decode()} {each.headers}"
        for at, each in enumerate(messages)
    }
    told |= {str(file): file.read_text() for file in tmp_path.rglob("*") if file.is_file() and file.name not in written}
    told |= await tables(engine)
    assert [where for where, shown in told.items() if canaries.is_in(shown)] == []


# More than goes in within the second after which the first checkpoint is written.
MANY = 150_000


@pytest.mark.parametrize(
    ("name", "watched"),
    [("canonical", False), ("nacha", False), ("stripe", False), ("vau", False), ("vau", True)],
    ids=["canonical", "nacha", "stripe", "vau", "vau in a folder"],
)
async def test_no_number_is_left_on_the_disk_by_who_is_killed_half_way(
    tmp_path: Path, kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch, *, name: str, watched: bool
) -> None:
    """The vendor's own file has them, and nothing else: no checkpoint, half of one, refused line or temporary file."""
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    (folder := tmp_path / "in").mkdir()
    work = folder / ".work" if watched else folder
    content = canaries.file(FEEDS["stripe" if name == "canonical" else name])
    (folder / "feed").write_bytes(content * (MANY // content.count(b"\n")))
    program = Program(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, KAFKA_TOPIC=topic, FINGERPRINT_KEY=KEY)
    checkpoint = work / ".feed.checkpoint"

    async def half_way() -> bool:
        return checkpoint.exists() and read(checkpoint)["offset"] > 0

    async with program.going("ingest", "--format", name, *(("--watch", "in") if watched else ("in/feed",))) as ingest:
        await until(half_way, within=60)
        assert await ingest.stop(signal.SIGKILL) == -signal.SIGKILL
    begun = read(checkpoint)
    assert begun["offset"] < (work / "feed").stat().st_size
    assert begun["reasons"]
    assert begun["refused_size"] > 0
    shown = {str(file): different(file) for file in tmp_path.rglob("*") if file.is_file() and file != work / "feed"}
    assert {str(checkpoint), str(work / "feed.refused")} <= shown.keys()
    shown["stderr"] = "".join(ingest.lines)
    assert [where for where, told in shown.items() if canaries.is_in(told)] == []


def read(checkpoint: Path) -> Any:
    return json.loads(checkpoint.read_text())


def different(file: Path) -> str:
    """What is in it, the same lines of other numbers once."""
    return "\n".join({re.sub(r'^{"line": \d+', "", line) for line in file.read_text().split("\n")})


async def tables(engine: AsyncEngine) -> dict[str, str]:
    """All there is in the database, by the table."""
    async with engine.connect() as connection:
        names = await connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        found = {}
        for name in names.all():
            rows = await connection.scalars(text(f'SELECT row_to_json(one)::text FROM "{name}" one'))  # noqa: S608
            found[name] = "\n".join(rows.all())
    assert found["dead_letters"]
    assert found["inbox"]
    return found
