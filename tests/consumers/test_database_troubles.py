"""What a database does to valid updates that they are not at fault for: none becomes a dead letter, none is lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.batch import BatchResult, take_in
from consumers.halving import Allowance, BatchIntake
from domain.effort import TooMuch
from domain.update import UpdateType
from loops.waiting import Waiting
from store import connectivity
from store.engine import connect
from tests.consumers.harness import RETENTION, Harness
from tests.domain.build import method, reported, wallet
from tests.parts.until import until
from wallets.loading import Limits

SHORT = Allowance(Limits(seconds=3), Limits(seconds=2), (Limits(seconds=3), Limits(seconds=3)))


@asynccontextmanager
async def taking_in(
    harness: Harness, *, of: int = 4, engine: AsyncEngine | None = None, locked_table: str | None = None
) -> AsyncIterator[Waiting]:
    """A batch of updates that is taken in meanwhile; after the block all of them must be applied.

    `locked_table` is locked before they come, and for as long as the block lasts.
    """
    await harness.import_wallets(*(wallet(method(f"A{n}"), customer=f"e{n}") for n in range(of)))
    waiting = Waiting("the test")
    messages = [harness.message(reported(UpdateType.CLOSED, f"A{n}", on=1, id=f"u{n}")) for n in range(of)]
    intake = BatchIntake(engine or harness.engine, RETENTION, take_in, waiting, allowance=SHORT)
    async with AsyncExitStack() as block:
        if locked_table is not None:
            await block.enter_async_context(locked(harness, locked_table))
        work = asyncio.create_task(intake.take_in(messages))
        try:
            yield waiting
        except BaseException:
            work.cancel()
            raise
    try:
        async with asyncio.timeout(60):
            await work
    finally:
        work.cancel()
    assert await harness.dead_letters() == []
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["APPLIED"] * of


async def waits_for(waiting: Waiting, words: str) -> None:
    async def does() -> bool:
        return words in (waiting.missing or "")

    await until(does, within=60)


@asynccontextmanager
async def locked(harness: Harness, table: str) -> AsyncIterator[None]:
    async with harness.engine.begin() as connection:
        await connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield


async def cancel(harness: Harness) -> int:
    """Cancel what waits for a lock, as an administrator does."""
    rows = await harness.rows(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    await asyncio.sleep(0.02)
    return len(rows)


async def test_statements_that_an_administrator_cancels_are_tried_again(harness: Harness) -> None:
    cancelled = 0
    async with taking_in(harness, locked_table="inbox"), asyncio.timeout(60):
        while cancelled < 12:  # more than a batch of four is tried as a whole, in halves and singly
            cancelled += await cancel(harness)


async def test_a_single_message_that_is_tried_again_says_so(harness: Harness) -> None:
    async with taking_in(harness, of=1, locked_table="inbox") as waiting, asyncio.timeout(60):
        while waiting.missing != "another worker was in the way: 57014":
            await cancel(harness)


async def test_a_server_that_is_too_slow_for_any_row_is_waited_for(harness: Harness) -> None:
    await harness.rows(
        "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$"
    )
    await harness.rows("CREATE TRIGGER stall BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION stall()")
    async with taking_in(harness) as waiting:
        try:
            await waits_for(waiting, "the database is too slow")
        finally:
            await harness.rows("DROP FUNCTION stall CASCADE")


@pytest.mark.parametrize("slow_tries", [2, 5])
async def test_a_message_is_not_at_fault_if_the_server_was_slow_whenever_it_was_tried(
    harness: Harness, slow_tries: int
) -> None:
    """The server is fast again between the tries, and the last one succeeds."""
    await harness.import_wallets(wallet(method("A")))
    waiting = Waiting("the test")
    tries = 0

    async def slow_at_first(engine: AsyncEngine, *arguments: Any, **more: Any) -> BatchResult:
        nonlocal tries
        tries += 1
        if tries <= slow_tries:
            slow.set()
            await is_locked.wait()
            raise TooMuch("the server is slow")
        return await take_in(engine, *arguments, **more)

    slow, is_locked = asyncio.Event(), asyncio.Event()
    intake = BatchIntake(harness.engine, RETENTION, slow_at_first, waiting, allowance=SHORT)
    work = asyncio.create_task(intake.take_in([harness.message(reported(UpdateType.CLOSED, "A", on=1))]))
    for _ in range(slow_tries):
        await slow.wait()
        slow.clear()
        async with locked(harness, "inbox"):
            is_locked.set()
            await waits_for(waiting, "the database is too slow")
        is_locked.clear()
        waiting.missing = None
    async with asyncio.timeout(60):
        await work
    assert await harness.dead_letters() == []
    assert [outcome for _, outcome, _ in await harness.outcomes()] == ["APPLIED"]


@pytest.fixture
async def few_rights(harness: Harness, database_url: str) -> AsyncIterator[AsyncEngine]:
    """A worker's engine under a role that may do what it must, until a test takes some of it away."""
    role = f"few_rights_{secrets.token_hex(6)}"  # a role is the server's, which other tests use, too
    await harness.rows(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    await harness.rows(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    url = make_url(database_url).set(username=role, password=role)
    engine = connect(url.render_as_string(hide_password=False))
    yield engine
    await engine.dispose()
    await harness.rows(f"DROP OWNED BY {role}")
    await harness.rows(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("taken_away", "given_back", "reason"),
    [
        ("REVOKE INSERT ON inbox FROM {role}", "GRANT INSERT ON inbox TO {role}", "does not let this user"),
        ("REVOKE ALL ON deliveries FROM {role}", "GRANT ALL ON deliveries TO {role}", "does not let this user"),
        ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN", "does not let this user in"),
        ("ALTER TABLE inbox RENAME TO outbox", "ALTER TABLE outbox RENAME TO inbox", "lacks a table"),
        ("ALTER ROLE {role} CONNECTION LIMIT 0", "ALTER ROLE {role} CONNECTION LIMIT -1", "has no connection left"),
    ],
    ids=["a right", "all rights to a table", "the login", "a table", "connections"],
)
async def test_what_was_taken_away_is_waited_for_by_name(
    harness: Harness, few_rights: AsyncEngine, taken_away: str, given_back: str, reason: str
) -> None:
    role = few_rights.url.username
    await harness.rows(taken_away.format(role=role))
    async with taking_in(harness, engine=few_rights) as waiting:
        try:
            await waits_for(waiting, reason)
        finally:
            await harness.rows(given_back.format(role=role))


async def test_a_message_is_set_aside_once_the_dead_letters_are_free(harness: Harness) -> None:
    """It was an error that ended the process: the lock is waited for longer than a lock may be."""
    waiting = Waiting("the test")
    set_aside = BatchIntake(harness.engine, RETENTION, take_in, waiting)._set_aside
    async with locked(harness, "dead_letters"):
        work = asyncio.create_task(set_aside(harness.message({"no": "update"}), "refused"))
        await waits_for(waiting, "another worker was in the way: 55P03")  # after lock_timeout, 5 s
        assert not work.done()
    async with asyncio.timeout(30):
        await work
    assert [letter.reason for letter in await harness.dead_letters()] == ["refused"]
    assert waiting.missing is None


@pytest.mark.parametrize("ask", [connectivity.answers, connectivity.keeps_up], ids=["answers", "keeps up"])
async def test_a_database_that_is_read_only_is_named(
    harness: Harness, database_url: str, ask: Callable[[AsyncEngine], Awaitable[str | None]]
) -> None:
    assert await ask(harness.engine) is None
    name = make_url(database_url).database
    await harness.rows(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    engine = connect(database_url)
    try:
        assert "read-only" in (await ask(engine) or "")
    finally:
        await engine.dispose()
        await harness.rows(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
