"""What the database says, and what it means for who asked: each of these is brought about in earnest."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.effort import TooMuch
from store.engine import connect
from store.failures import DATABASE_ERRORS, Failure, failure, is_defect, passes, refused_by, sqlstate, was_cancelled
from store.knowledge import Contended
from tests.parts.proxy import Proxy

INBOX = """
    INSERT INTO inbox (topic, partition, kafka_offset, digest, vendor, update_id, original, type, occurred_at, outcome)
    VALUES ('t', 0, :offset, '', 'v', :id, true, 'CLOSED', now(), :outcome)
"""


async def raised(engine: AsyncEngine, *statements: str, **values: object) -> BaseException:
    with pytest.raises(DATABASE_ERRORS) as error:
        await run(engine, *statements, **values)
    return error.value


async def run(engine: AsyncEngine, *statements: str, **values: object) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement), values)


async def meaning(engine: AsyncEngine, *statements: str, **values: object) -> tuple[Failure | None, str]:
    error = await raised(engine, *statements, **values)
    return failure(error), refused_by(error)


async def test_what_breaks_a_rule_is_refused_by_the_rule_s_name(engine: AsyncEngine) -> None:
    assert await meaning(engine, "INSERT INTO merchants (id) VALUES ('m')") == (Failure.REFUSED, "23502")
    assert await meaning(engine, INBOX, offset=1, id="1", outcome="LOST") == (
        Failure.REFUSED,
        "23514 ck_inbox_outcome",
    )
    nobody = """
        INSERT INTO endpoints (id, merchant_id, url, sealed_secrets, event_types)
        VALUES ('e', 'm', '', '{sealed:0:}', '{}')
    """
    assert await meaning(engine, nobody) == (Failure.REFUSED, "23503 fk_endpoints_merchant_id")
    twice = "INSERT INTO merchants (id, name) VALUES ('m', 'm'), ('m', 'm')"
    assert await meaning(engine, twice) == (Failure.REFUSED, "23505 pk_merchants")


async def test_what_is_found_broken_at_the_commit_is_refused(engine: AsyncEngine) -> None:
    astray = "INSERT INTO wallets (id, hsid, merged_into) VALUES (gen_random_uuid(), 'h', gen_random_uuid())"
    assert await meaning(engine, astray) == (Failure.REFUSED, "23503 fk_wallets_merged_into")


@pytest.mark.parametrize(
    ("value", "kind", "code"),
    [
        ("a\0b", "text", "22021"),
        ("\ud800", "text", "22000"),
        (5, "text", "22000"),
        (1 << 40, "int", "22000"),
        ("x", "jsonb", "22P02"),
    ],
)
async def test_a_value_that_is_none_of_its_type_is_refused(
    engine: AsyncEngine, value: object, kind: str, code: str
) -> None:
    assert await meaning(engine, f"SELECT CAST(CAST(:value AS text) AS {kind})", value=value) == (
        Failure.REFUSED,
        code,
    ) or await meaning(engine, f"SELECT CAST(:value AS {kind})", value=value) == (Failure.REFUSED, code)


@pytest.mark.parametrize(("digests", "code"), [(30, "54000 pk_credentials"), (100, "54000")])
async def test_a_row_too_long_for_its_index_is_refused(engine: AsyncEngine, digests: int, code: str) -> None:
    """The server says so in two ways: from 2,704 bytes on by the index's name, from 8,192 on without."""
    no_repetition = "".join(blake2b(bytes([number])).hexdigest() for number in range(digests))
    statement = "INSERT INTO credentials (key, kept_until) VALUES (:key, now())"
    assert await meaning(engine, statement, key=no_repetition) == (Failure.REFUSED, code)


async def test_the_row_of_a_message_that_another_worker_wrote_first_is_contended(engine: AsyncEngine) -> None:
    assert (await meaning(engine, INBOX, INBOX, offset=1, id="1", outcome="PARKED"))[0] is Failure.CONTENDED
    same_place = INBOX.replace(":id, true", "gen_random_uuid(), false")
    error = await meaning(engine, same_place, same_place, offset=1, outcome="PARKED")
    assert error == (Failure.CONTENDED, "23505 uq_inbox_topic_partition_kafka_offset_digest")


async def test_a_wait_for_a_lock_that_is_too_long_is_contended(engine: AsyncEngine) -> None:
    async with engine.begin() as holder:
        await holder.execute(text("SELECT pg_advisory_xact_lock(1)"))
        wait = "SELECT pg_advisory_xact_lock(1)"
        assert (await meaning(engine, "SET LOCAL lock_timeout = '10ms'", wait))[0] is Failure.CONTENDED


async def test_a_statement_that_takes_too_long_is_too_much(engine: AsyncEngine) -> None:
    limit, work = "SET LOCAL statement_timeout = '10ms'", "SELECT pg_sleep(5)"
    assert await meaning(engine, limit, work) == (Failure.TOO_MUCH, "57014")


async def test_memory_that_is_out_is_too_much(engine: AsyncEngine) -> None:
    # one array of more than a gigabyte, which no setting of a server allows
    assert await meaning(engine, "SELECT array_fill(0, ARRAY[300000000])") == (Failure.TOO_MUCH, "54000")
    assert (await meaning(engine, "SELECT repeat('x', 1 << 30)"))[0] is Failure.TOO_MUCH


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08003", Failure.AWAY),
        ("08006", Failure.AWAY),
        ("08P01", Failure.AWAY),
        ("53100", Failure.AWAY),
        ("53200", Failure.TOO_MUCH),
        ("53300", Failure.AWAY),
        ("57P01", Failure.AWAY),
        ("57P03", Failure.AWAY),
        ("57014", Failure.TOO_MUCH),
        ("25P03", Failure.TOO_MUCH),
        ("25P04", Failure.TOO_MUCH),
        ("54000", Failure.TOO_MUCH),
        ("40001", Failure.CONTENDED),
        ("55P03", Failure.CONTENDED),
        ("22021", Failure.REFUSED),
        ("23514", Failure.REFUSED),
        ("42501", Failure.UNUSABLE),
        ("42P01", Failure.UNUSABLE),
        ("28P01", Failure.UNUSABLE),
        ("28000", Failure.UNUSABLE),
        ("3D000", Failure.UNUSABLE),
        ("42703", None),
        ("42P05", None),
        ("26000", None),
        ("57P99", None),
        ("54P99", None),
    ],
)
async def test_a_state_is_read_whole(engine: AsyncEngine, state: str, kind: Failure | None) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END $$"
    assert (await meaning(engine, raising))[0] is kind


async def test_a_transaction_that_the_server_ends_for_its_length_is_too_much(engine: AsyncEngine) -> None:
    """The server hangs up as well, so that it looks like one that is away, for which a batch would wait for ever."""
    error = await raised(engine, "SET LOCAL transaction_timeout = '50ms'", "SELECT pg_sleep(30)")
    assert isinstance(error, DBAPIError)
    assert error.connection_invalidated
    assert (failure(error), refused_by(error)) == (Failure.TOO_MUCH, "25P04")


async def test_who_waits_for_each_other_is_contended(engine: AsyncEngine) -> None:
    async def take(connection: AsyncConnection, number: int) -> None:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})

    async with asyncio.timeout(20), engine.connect() as one, engine.connect() as other:
        for connection, first in ((one, 1), (other, 2)):
            await connection.execute(text("SET deadlock_timeout = '10ms'"))
            await take(connection, first)
        ends = await asyncio.gather(take(one, 2), take(other, 1), return_exceptions=True)
    (error,) = (end for end in ends if end is not None)
    assert failure(error) is Failure.CONTENDED


async def test_what_cannot_be_serialized_is_contended(engine: AsyncEngine) -> None:
    await run(engine, "INSERT INTO merchants (id, name) VALUES ('m', 'm')")
    async with engine.connect() as late:
        await late.execution_options(isolation_level="REPEATABLE READ")
        await late.execute(text("SELECT * FROM merchants"))
        await run(engine, "UPDATE merchants SET name = 'n'")
        with pytest.raises(DATABASE_ERRORS) as error:
            await late.execute(text("UPDATE merchants SET name = 'o'"))
    assert failure(error.value) is Failure.CONTENDED


def test_what_came_within_reach_too_late_is_contended() -> None:
    assert failure(Contended(["vau:A"])) is Failure.CONTENDED


# --- away ---------------------------------------------------------------------------------------------------------


async def ended_by_an_administrator(engine: AsyncEngine, _: Proxy) -> None:
    async with engine.begin() as connection, engine.begin() as administrator:
        pid = await connection.scalar(text("SELECT pg_backend_pid()"))
        await administrator.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        await connection.execute(text("SELECT 1"))


async def ended_while_idle(engine: AsyncEngine, _: Proxy) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10ms'"))
        await run(engine, "SELECT pg_sleep(0.1)")
        await connection.execute(text("SELECT 1"))


async def cut_off(engine: AsyncEngine, proxy: Proxy) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
        proxy.refuse()
        await connection.execute(text("SELECT 1"))


async def not_there(engine: AsyncEngine, proxy: Proxy) -> None:
    proxy.refuse()
    async with engine.begin():
        pass


def changed(url: str, **parts: Any) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)


async def nobody_listens(_: AsyncEngine, proxy: Proxy) -> None:
    async with engine_of(changed(proxy.url, port=1)) as engine, engine.begin():
        pass


async def no_name(_: AsyncEngine, proxy: Proxy) -> None:
    async with engine_of(changed(proxy.url, host="nowhere.invalid")) as engine, engine.begin():
        pass


async def read_only(engine: AsyncEngine, _: Proxy) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SET TRANSACTION READ ONLY"))
        await connection.execute(text("INSERT INTO merchants (id, name) VALUES ('m', 'm')"))


@asynccontextmanager
async def engine_of(url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(url)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize(
    "happens",
    [ended_by_an_administrator, ended_while_idle, cut_off, not_there, nobody_listens, no_name, read_only],
)
async def test_a_database_that_is_gone_is_away(
    database_url: str, happens: Callable[[AsyncEngine, Proxy], Awaitable[None]]
) -> None:
    async with Proxy(database_url) as proxy, engine_of(proxy.url) as engine:
        with pytest.raises(DATABASE_ERRORS) as error:
            await happens(engine, proxy)
        assert failure(error.value) is Failure.AWAY
        proxy.pass_on()
        async with engine.begin() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1


async def test_a_defect_is_no_failure_of_the_database(engine: AsyncEngine) -> None:
    assert (await meaning(engine, "SELECT nothing FROM inbox"))[0] is None


async def test_a_value_of_another_type_is_a_defect_and_one_that_no_text_holds_is_not(engine: AsyncEngine) -> None:
    async def is_ours(value: object) -> bool:
        error = await raised(engine, "SELECT CAST(:value AS text)", value=value)
        assert failure(error) is Failure.REFUSED
        return is_defect(error)

    assert [await is_ours(value) for value in ("a\0b", "\ud800")] == [False, False]
    assert [await is_ours(value) for value in (5, b"x")] == [True, True]


# --- without a database -------------------------------------------------------------------------------------------


def caused_by(cause: BaseException) -> InvalidRequestError:
    error = InvalidRequestError("the transaction is invalid")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "does_pass", "rule"),
    [
        (Contended(["A"]), Failure.CONTENDED, True, ""),
        (TooMuch("more than 9 wallets"), Failure.TOO_MUCH, True, "more than 9 wallets"),
        (MemoryError(), Failure.TOO_MUCH, True, "memory"),
        (PoolTimeout(), Failure.AWAY, True, ""),
        (asyncpg.InterfaceError("it is closed"), Failure.AWAY, True, ""),
        (ConnectionRefusedError(), Failure.AWAY, True, ""),
        (TimeoutError(), Failure.AWAY, True, ""),
        (caused_by(ConnectionResetError()), Failure.AWAY, True, ""),
        (caused_by(caused_by(asyncpg.DeadlockDetectedError())), Failure.CONTENDED, True, ""),
        (InvalidRequestError("nobody knows"), None, False, ""),
        (asyncpg.InsufficientPrivilegeError(), Failure.UNUSABLE, True, "42501"),
        (asyncpg.UndefinedColumnError(), None, False, "42703"),
        (asyncpg.NumericValueOutOfRangeError(), Failure.REFUSED, False, "22003"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_has_a_kind_and_passes_by_itself_or_not(
    error: BaseException, kind: Failure | None, rule: str, *, does_pass: bool
) -> None:
    assert (failure(error), passes(error), refused_by(error)) == (kind, does_pass, rule)
    assert not is_defect(error)


def test_only_a_row_that_is_refused_for_no_value_is_a_defect() -> None:
    assert is_defect(asyncpg.NotNullViolationError())
    assert is_defect(asyncpg.DivisionByZeroError())
    assert not is_defect(asyncpg.CharacterNotInRepertoireError())


def test_a_statement_that_ended_before_its_limit_was_cancelled() -> None:
    ended = asyncpg.QueryCanceledError()
    assert was_cancelled(ended, after=1.9, limit=2.0)
    assert not was_cancelled(ended, after=2.0, limit=2.0)
    assert not was_cancelled(asyncpg.LockNotAvailableError(), after=1.9, limit=2.0)


def test_the_reason_for_which_a_server_hung_up_counts() -> None:
    gone = asyncpg.ConnectionDoesNotExistError("connection was closed")
    assert sqlstate(gone) == "08003"
    gone.__cause__ = asyncpg.IdleInTransactionSessionTimeoutError()
    assert (sqlstate(gone), failure(gone)) == ("25P03", Failure.TOO_MUCH)
    gone.__cause__ = ConnectionResetError()
    assert (sqlstate(gone), failure(gone)) == ("08003", Failure.AWAY)
