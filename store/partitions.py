"""One partition a day for finished deliveries and attempts, made ahead, so that old days can be dropped whole."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_DAYS_AHEAD = 3

# A day whose rows came before its partition was made keeps them in the default partition; making it then would fail.
_CREATE = text("""
    SELECT format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                  parent || to_char(day, '_YYYYMMDD'), parent, day, day + interval '1 day')
    FROM unnest(ARRAY['delivery_history', 'attempts']) AS parent,
         generate_series(CAST(date_trunc('day', now() AT TIME ZONE 'UTC') AS timestamp) + interval '1 day',
                         date_trunc('day', now() AT TIME ZONE 'UTC') + make_interval(days => :ahead),
                         interval '1 day') AS day
    WHERE to_regclass(parent || to_char(day, '_YYYYMMDD')) IS NULL
""")
_LOCK = text("SELECT pg_advisory_xact_lock(:lock)")
_PARTITIONS = 0x70617274  # "part"


async def make_ahead(connection: AsyncConnection) -> None:
    """Create the missing partitions of the next days."""
    await connection.execute(_LOCK, {"lock": _PARTITIONS})
    for statement in list(await connection.scalars(_CREATE, {"ahead": _DAYS_AHEAD})):
        await connection.exec_driver_sql(statement)
