"""One database for all these tests, emptied before each: that takes a tenth of making a new one."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from testbed.postgres import Databases
from tests.consumers.harness import Harness

# As a replica nobody looks at foreign keys, so the rows go in any order; who was left behind by a test holds none.
EMPTY = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET session_replication_role = replica;
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
            EXECUTE format('DELETE FROM %I', name);
        END LOOP;
    END $$;
"""


@pytest.fixture(scope="package")
def emptied_url(databases: Databases) -> Iterator[str]:
    url = asyncio.run(databases.create())
    yield url
    asyncio.run(databases.drop(url))


@pytest.fixture
async def database_url(emptied_url: str) -> str:
    connection = await asyncpg.connect(
        make_url(emptied_url).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    await connection.execute(EMPTY)
    await connection.close()
    return emptied_url


@pytest.fixture
def harness(engine: AsyncEngine) -> Harness:
    return Harness(engine)
