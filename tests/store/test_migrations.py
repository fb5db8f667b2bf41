"""How a database in use is migrated: it gives way, goes on where it was interrupted, and says whom it supports."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store import connectivity, migrate
from store.failures import sqlstate
from tests.parts.until import until

NEXT = """
from alembic import op

revision = "9999"
down_revision = {head!r}
oldest_program = {oldest!r}
indexes = {indexes!r}


def upgrade():
    op.execute("ALTER TABLE audit ADD COLUMN future text")
"""
HEAD = ScriptDirectory.from_config(migrate.config()).get_current_head()
LOCK_NOT_GIVEN = "55P03"
NO_INDEXES: Mapping[str, str] = {}


class Next:
    """The revision that a later version brings; `forget` makes this process the version before it again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def bring(self, indexes: Mapping[str, str] = NO_INDEXES) -> None:
        (self._folder / "9999_next.py").write_text(NEXT.format(head=HEAD, oldest=HEAD, indexes=dict(indexes)))
        migrate.VERSIONS.append(self._folder)

    def forget(self) -> None:
        migrate.VERSIONS.remove(self._folder)


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Next]:
    folders = list(migrate.VERSIONS)
    yield Next(tmp_path)
    migrate.VERSIONS[:] = folders


@asynccontextmanager
async def opening(engine: AsyncEngine, table: str) -> AsyncIterator[None]:
    """A transaction that has read `table`, as one of somebody's who has not ended it."""
    async with engine.connect() as connection:
        await connection.execute(text(f"SELECT FROM {table} LIMIT 1"))
        yield
        await connection.rollback()


async def columns(connection: AsyncConnection) -> set[str]:
    rows = await connection.scalars(text("SELECT attname FROM pg_attribute WHERE attrelid = 'audit'::regclass"))
    return set(rows)


async def test_a_migration_that_waits_for_a_lock_holds_up_others_for_a_moment_alone(
    engine: AsyncEngine, database_url: str, following: Next
) -> None:
    following.bring()
    slowest = 0.0
    async with opening(engine, "audit"):
        migration = asyncio.create_task(migrate.upgrade(database_url))
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            begun = time.monotonic()
            async with engine.begin() as connection:
                await connection.execute(text("INSERT INTO audit (actor, action, subject) VALUES ('a', 'b', 'c')"))
            slowest = max(slowest, time.monotonic() - begun)
        assert not migration.done()
    await asyncio.wait_for(migration, 30)
    assert (await migrate.revisions(database_url)).database == "9999"
    # the lock timeout of a migration is 200 ms; without one the insertions would wait for their own, 5 s
    assert slowest < 2


async def test_a_migration_that_gets_no_lock_at_all_says_so_and_changes_nothing(
    engine: AsyncEngine, database_url: str, following: Next, monkeypatch: pytest.MonkeyPatch
) -> None:
    following.bring()
    monkeypatch.setattr(migrate, "_LOCK_TRIES", 2)
    async with opening(engine, "audit"):
        with pytest.raises(connectivity.Unusable, match="did not give a lock in time"):
            await connectivity.upgrade(database_url, ())
        with pytest.raises(DBAPIError) as caught:
            await migrate.upgrade(database_url)
    assert sqlstate(caught.value) == LOCK_NOT_GIVEN
    assert (await migrate.revisions(database_url)).database == HEAD
    async with engine.connect() as connection:
        assert "future" not in await columns(connection)


async def test_an_index_that_was_left_half_built_is_built_anew(
    engine: AsyncEngine, database_url: str, following: Next
) -> None:
    """It waits for a transaction that writes; the migration is cancelled then, as by Ctrl-C."""
    following.bring({"ix_audit_actor": "ON audit (actor)"})
    state = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_audit_actor')")

    async def is_begun() -> bool:
        async with engine.connect() as connection:
            return await connection.scalar(state) is False

    async with engine.connect() as writer:
        await writer.execute(text("INSERT INTO audit (actor, action, subject) VALUES ('a', 'b', 'c')"))
        migration = asyncio.create_task(migrate.upgrade(database_url))
        await until(is_begun)
        migration.cancel()
        await asyncio.wait([migration])
        await writer.rollback()
    await migrate.upgrade(database_url)
    async with engine.connect() as connection:
        assert await connection.scalar(state) is True
        assert "future" in await columns(connection)


async def test_a_program_works_with_a_newer_database_that_supports_it_and_refuses_one_that_does_not(
    engine: AsyncEngine, database_url: str, following: Next
) -> None:
    following.bring()
    await migrate.upgrade(database_url)
    following.forget()
    async with connectivity.opened(database_url):
        pass
    await migrate.upgrade(database_url)  # an old program's: it changes nothing
    assert (await migrate.revisions(database_url)).database == "9999"
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE schema_revisions SET oldest_program = '9998' WHERE revision = '9999'"))
    with pytest.raises(connectivity.Unusable) as caught:
        async with connectivity.opened(database_url):
            pytest.fail("it was opened")
    end = f"supports programs from 9998 on: this one is of {HEAD}, so run a newer version"
    assert str(caught.value).endswith(end)


async def test_each_revision_says_whom_it_supports_and_none_supports_fewer_than_it_must(
    engine: AsyncEngine,
) -> None:
    revisions = list(ScriptDirectory.from_config(migrate.config()).walk_revisions())
    said = {script.revision: script.module.oldest_program for script in revisions if script.revision >= "0031"}
    assert all(oldest <= revision for revision, oldest in said.items())
    # a program that one revision refuses is refused by all later ones
    assert [said[revision] for revision in sorted(said)] == sorted(said.values())
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT revision, oldest_program FROM schema_revisions"))).all()
    assert {(row.revision, row.oldest_program) for row in rows} == set(said.items())


async def test_several_may_migrate_at_once_although_an_index_waits_for_all_transactions(
    engine: AsyncEngine, database_url: str, following: Next
) -> None:
    following.bring({"ix_audit_actor": "ON audit (actor)"})
    async with asyncio.timeout(60):
        await asyncio.gather(*(migrate.upgrade(database_url) for _ in range(3)))
    assert (await migrate.revisions(database_url)).database == "9999"
