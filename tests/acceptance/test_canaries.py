"""Card numbers in every field of every vendor's file: none is left on the topic, in a table, a file or a log."""

import asyncio
from pathlib import Path

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
