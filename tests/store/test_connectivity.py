"""Transactions that only read or only try, the looks at whether a database is well, and what a session is set to."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from store import address, connectivity, identities, migrate
from store import engine as engine_module
from store.engine import connect
from store.failures import sqlstate
from store.refusals import READ_ONLY
from tests.store.outbox import Outbox

_ADD_WALLET = text("INSERT INTO wallets (id, hsid, merged_into) VALUES (:id, 'h', :merged_into)")
_WALLETS = text("SELECT count(*) FROM wallets")
ONE, NOBODY = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-00000000dead"


async def wallets(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(_WALLETS)).scalar_one())


async def test_a_dry_run_leaves_nothing_and_anything_else_is_committed(engine: AsyncEngine) -> None:
    for dry_run, left in ((True, 0), (False, 1)):
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            await connection.execute(_ADD_WALLET, {"id": ONE, "merged_into": None})
        assert await wallets(engine) == left


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_dry_run_fails_at_what_a_commit_fails_at(engine: AsyncEngine, dry_run: bool) -> None:  # noqa: FBT001
    async def add() -> None:
        async with connectivity.transaction(engine, dry_run=dry_run) as connection:
            await connection.execute(_ADD_WALLET, {"id": ONE, "merged_into": NOBODY})

    with pytest.raises(IntegrityError):
        await add()
    assert await wallets(engine) == 0


async def test_a_snapshot_stays_as_it_was_and_writes_nothing(engine: AsyncEngine) -> None:
    async with connectivity.snapshot(engine) as connection:
        assert (await connection.execute(_WALLETS)).scalar_one() == 0
        async with engine.begin() as other:
            await other.execute(_ADD_WALLET, {"id": ONE, "merged_into": None})
        assert (await connection.execute(_WALLETS)).scalar_one() == 0
        with pytest.raises(DBAPIError) as refused:
            await connection.execute(_ADD_WALLET, {"id": NOBODY, "merged_into": None})
        assert sqlstate(refused.value) == "25006"
        await connection.rollback()
    assert await wallets(engine) == 1
    # the connection goes back to the pool as it was
    async with engine.begin() as connection:
        await connection.execute(_ADD_WALLET, {"id": NOBODY, "merged_into": None})


async def test_a_database_that_is_well_is_not_complained_of_and_nothing_is_left_in_it(engine: AsyncEngine) -> None:
    assert await connectivity.answers(engine) is None
    assert await connectivity.keeps_up(engine) is None
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM inbox"))).scalar_one() == 0


async def test_a_database_that_takes_no_writes_is_named(database_url: str) -> None:
    engine = connect(
        f"{database_url}{'&' if '?' in database_url else '?'}options=-c%20default_transaction_read_only=on"
    )
    assert await connectivity.answers(engine) == READ_ONLY
    assert await connectivity.keeps_up(engine) is not None
    await engine.dispose()


@pytest.mark.parametrize(("short", "longest"), [(True, "30s"), (False, "0")])
async def test_a_session_has_limits_and_only_short_transactions_have_one_for_the_whole(
    database_url: str,
    short: bool,  # noqa: FBT001
    longest: str,
) -> None:
    engine = connect(database_url, short=short)
    async with engine.connect() as connection:
        for name, value in (
            ("statement_timeout", "20s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "30s"),
            ("jit", "off"),
            ("enable_seqscan", "off"),
            ("application_name", "repoint"),
        ):
            assert await connection.scalar(text(f"SELECT current_setting('{name}')")) == value
        set_to = await connection.scalar(text("SELECT current_setting('transaction_timeout', true)"))
        assert set_to in {longest, None}  # PostgreSQL before 17 has none
    await engine.dispose()


async def test_a_connection_that_the_server_has_ended_is_replaced_unnoticed(
    engine: AsyncEngine, database_url: str
) -> None:
    async with engine.connect() as connection:
        process = await connection.scalar(text("SELECT pg_backend_pid()"))
    other = connect(database_url)
    async with other.connect() as connection:
        assert await connection.scalar(text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
    await other.dispose()
    assert await wallets(engine) == 0


async def test_no_error_of_the_database_repeats_what_was_to_be_written(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError) as refused:
            await connection.execute(text("SELECT 1 / 0 WHERE CAST(:secret AS text) <> ''"), {"secret": "whsec_hidden"})
    assert "whsec_hidden" not in str(refused.value)


def test_the_engine_waits_and_shows_what_the_url_says() -> None:
    url = "postgresql://reader:hidden@db.example/wallets?connect_timeout=3&sslpassword=concealed"
    read = address.read(url)
    assert engine_module._arguments(read)["timeout"] == 3
    assert engine_module._arguments(address.read("postgresql://db.example/wallets"))["timeout"] == 10
    shown = engine_module._shown(url, read).render_as_string(hide_password=False)
    assert "concealed" not in shown
    assert "db.example" in shown


async def test_only_what_the_setting_names_identifies_and_the_rest_of_a_name_stays(engine: AsyncEngine) -> None:
    outbox = Outbox(engine)
    ids = {
        name: f"00000000-0000-0000-0000-0000000000{n:02}" for n, name in enumerate(("both", "hsid", "alone", "gone"))
    }
    for name, enterprise, hsid, metadata, merged in (
        ("both", "e", None, '{"patientId": "p1", "tier": "gold"}', None),
        ("hsid", None, "h", '{"patientId": "p2"}', None),
        ("alone", None, None, '{"patientId": "p3", "tier": "gold"}', None),
        ("gone", None, None, '{"tier": "gold"}', ids["both"]),
    ):
        await outbox.execute(
            "INSERT INTO wallets (id, enterprise_id, hsid, metadata, merged_into)"
            " VALUES (:id, :enterprise, :hsid, CAST(:metadata AS jsonb), :merged)",
            id=ids[name],
            enterprise=enterprise,
            hsid=hsid,
            metadata=metadata,
            merged=merged,
        )
    await outbox.execute(f"INSERT INTO customer_identities VALUES ('enterpriseId', 'e', '{ids['both']}')")  # noqa: S608
    await outbox.execute(f"INSERT INTO customer_identities VALUES ('hsid', 'h', '{ids['hsid']}')")  # noqa: S608

    async def named() -> list[tuple[str, str]]:
        return sorted(tuple(row) for row in await outbox.execute("SELECT name, value FROM customer_identities"))

    always = [("enterpriseId", "e"), ("hsid", "h")]
    for identifiers, added, removed, nameless, left in (
        (
            ["metadata.patientId"],
            {"metadata.patientId": 3},
            {},
            [],
            [("metadata.patientId", f"p{n}") for n in (1, 2, 3)],
        ),
        (["metadata.patientId"], {}, {}, [], [("metadata.patientId", f"p{n}") for n in (1, 2, 3)]),
        (["metadata.other"], {}, {"metadata.patientId": 3}, [ids["alone"]], []),
    ):
        async with engine.begin() as connection:
            followed = await identities.follow(connection, identifiers)
        assert (followed.added, followed.removed, followed.nameless) == (added, removed, nameless)
        assert await named() == always + left


async def test_a_dry_migration_changes_nothing_not_even_who_is_named(
    engine: AsyncEngine, database_url: str, empty_database_url: str
) -> None:
    outbox = Outbox(engine)
    await outbox.execute('INSERT INTO wallets (id, metadata) VALUES (gen_random_uuid(), \'{"patientId": "p"}\')')
    for dry_run, count in ((True, 0), (False, 1)):
        followed = await migrate.upgrade(database_url, ["metadata.patientId"], dry_run=dry_run)
        assert followed.added == {"metadata.patientId": 1}
        assert len(await outbox.execute("SELECT * FROM customer_identities")) == count
    followed = await migrate.upgrade(empty_database_url, ["metadata.patientId"], dry_run=True)
    assert (followed.added, followed.removed, followed.nameless) == ({}, {}, [])
    assert (await migrate.revisions(empty_database_url)).database is None


async def test_a_database_that_does_not_answer_or_was_never_migrated_is_unusable(empty_database_url: str) -> None:
    away = "postgresql://us:hunter2@127.0.0.1:1/d"
    explanation = "the database d at 127.0.0.1:1 cannot be reached (REPOINT_DATABASE_URL)"
    with pytest.raises(connectivity.Unusable) as caught:
        await connectivity.revisions(away)
    assert str(caught.value) == explanation
    with pytest.raises(connectivity.Unusable) as caught:
        await connectivity.upgrade(away, frozenset())
    assert str(caught.value) == explanation
    with pytest.raises(connectivity.Unusable, match=r" was never migrated: run `repoint migrate`$"):
        async with connectivity.opened(empty_database_url):
            pytest.fail("it was opened")


async def test_an_engine_has_as_many_connections_as_asked_for_until_it_is_closed(database_url: str) -> None:
    async with connectivity.opened(database_url, pool_size=3) as engine:
        assert engine.pool.size() == 3  # type: ignore[attr-defined]  # of the pool in use
        async with engine.connect():
            assert engine.pool.checkedout() == 1  # type: ignore[attr-defined]  # as above
    assert engine.pool.checkedin() == 0  # type: ignore[attr-defined]  # as above


async def test_a_database_that_is_away_is_called_that_and_not_slow() -> None:
    engine = connect("postgresql://127.0.0.1:1/d")
    for look in (connectivity.answers, connectivity.keeps_up):
        assert await look(engine) == "the database cannot be reached"
    await engine.dispose()
