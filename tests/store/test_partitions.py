"""Days of history are dropped one at a time, the oldest first, and nothing that is no day."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store import partitions

NOW = datetime(2031, 5, 17, 12, tzinfo=UTC)
KEEP = timedelta(days=10)


async def add(connection: AsyncConnection, name: str, first: str, end: str) -> None:
    await connection.exec_driver_sql(
        f"CREATE TABLE {name} PARTITION OF attempts FOR VALUES FROM ('{first} UTC') TO ('{end} UTC')"
    )


async def dropped(connection: AsyncConnection, times: int) -> Sequence[str | None]:
    return [await partitions.drop_oldest(connection, "attempts", keep=KEEP, now=NOW) for _ in range(times)]


async def test_the_oldest_day_is_dropped_first_and_each_alone(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        while await partitions.drop_oldest(connection, "attempts", keep=KEEP, now=NOW):
            pass
        for day in (3, 1, 6, 2, 7):  # the 7th ended ten days before this noon, but is kept whole
            await add(connection, f"attempts_2031050{day}", f"2031-05-0{day}", f"2031-05-0{day + 1}")
        assert await dropped(connection, 5) == [*(f"attempts_2031050{day}" for day in (1, 2, 3, 6)), None]
        await connection.rollback()


async def test_a_partition_that_is_no_day_is_left_alone(engine: AsyncEngine) -> None:
    """An operator may keep old rows in a partition of another name."""
    async with engine.connect() as connection:
        while await partitions.drop_oldest(connection, "attempts", keep=KEEP, now=NOW):
            pass
        await add(connection, "attempts_1999_old", "1999-01-01", "2000-01-01")
        await add(connection, "attempts_19980101_19990101", "1998-01-01", "1998-01-02")
        assert await dropped(connection, 2) == ["attempts_19980101_19990101", None]
        await connection.rollback()


async def test_rows_of_a_default_partition_are_deleted_ten_thousand_at_a_time(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(
            text(
                "INSERT INTO attempts_default"
                " SELECT n, 1, 'gone', 410, 5, CAST(:old AS timestamptz) + n * interval '1 s'"
                " FROM generate_series(1, 10001) AS n"
            ),
            {"old": NOW - KEEP - timedelta(days=1)},
        )
        await connection.execute(
            text("INSERT INTO attempts_default VALUES (1, 2, 'gone', 410, 5, CAST(:new AS timestamptz))"),
            {"new": NOW - KEEP + timedelta(minutes=1)},
        )
        deleted = [await partitions.delete_old_defaults(connection, "attempts", keep=KEEP, now=NOW) for _ in range(3)]
        assert deleted == [10_000, 1, 0]
        assert await connection.scalar(text("SELECT count(*) FROM attempts_default")) == 1
        await connection.rollback()


async def test_removed_days_and_rows_move_the_horizon_on_and_never_back(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        horizon = text("SELECT removed_before FROM retention_horizons WHERE table_name = 'attempts'")
        while await partitions.drop_oldest(connection, "attempts", keep=KEEP, now=NOW):
            pass
        await connection.execute(text("DELETE FROM retention_horizons"))
        assert await partitions.delete_old_defaults(connection, "attempts", keep=KEEP, now=NOW) == 0
        assert await connection.scalar(horizon) is None
        await add(connection, "attempts_20310501", "2031-05-01", "2031-05-02")
        assert await partitions.drop_oldest(connection, "attempts", keep=KEEP, now=NOW) == "attempts_20310501"
        assert await connection.scalar(horizon) == NOW - KEEP
        old = text("INSERT INTO attempts_default VALUES (1, 1, 'gone', 410, 5, CAST(:old AS timestamptz))")
        for now, expected in ((NOW + timedelta(days=1), timedelta(days=1)), (NOW, timedelta(days=1))):
            await connection.execute(old, {"old": NOW - KEEP - timedelta(days=1)})
            assert await partitions.delete_old_defaults(connection, "attempts", keep=KEEP, now=now) == 1
            assert await connection.scalar(horizon) == NOW - KEEP + expected
        await connection.rollback()
