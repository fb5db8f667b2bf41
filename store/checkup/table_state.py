"""The state of the tables: rights, partitions, and what retention has left."""

from collections.abc import Collection, Mapping
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.checkup.tables import Overdue, PartitionedTable
from store import schema
from store.partitions import Parent

# Rights on a partition itself are not needed: rows are read and written through its table.
_RIGHTS = text("""
    SELECT wanted, ARRAY(
               SELECT privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
               WHERE NOT has_table_privilege(pg_class.oid, privilege)),
           pg_class.oid IS NOT NULL, coalesce(pg_has_role(current_user, relowner, 'USAGE'), false)
    FROM unnest(CAST(:names AS text[])) AS wanted
    LEFT JOIN pg_class ON relname = wanted AND relnamespace = CAST(current_schema() AS regnamespace)
    ORDER BY wanted
""")


async def rights(connection: AsyncConnection) -> tuple[Mapping[str, Collection[str]], bool]:
    """By table, the rights that this user lacks, and whether the user is a member of the owner of all tables."""
    rows = list(await connection.execute(_RIGHTS, {"names": list(schema.metadata.tables)}))
    lacking = {name: list(missing) if exists else ["the table itself"] for name, missing, exists, _ in rows}
    return {name: missing for name, missing in lacking.items() if missing}, all(owns for *_, owns in rows)


_DAYS_AHEAD = text("""
    SELECT parent, array_agg(to_regclass(parent || to_char(day, '_YYYYMMDD')) IS NOT NULL ORDER BY day)
    FROM unnest(CAST(:parents AS text[])) AS parent,
         generate_series(date_trunc('day', now() AT TIME ZONE 'UTC') + interval '1 day',
                         date_trunc('day', now() AT TIME ZONE 'UTC') + interval '3 days', interval '1 day') AS day
    GROUP BY parent
    ORDER BY parent
""")


async def partitions(connection: AsyncConnection, parents: Collection[Parent]) -> list[PartitionedTable]:
    """How many days from tomorrow on have a partition, without a gap."""
    rows = await connection.execute(_DAYS_AHEAD, {"parents": list(parents)})
    return [PartitionedTable(parent, [*days, False].index(False)) for parent, days in rows]


_OLDEST_DAY = text("""
    SELECT CAST(extract(epoch FROM now() - CAST(:keep AS interval)
                - min(to_date(right(CAST(CAST(inhrelid AS regclass) AS text), 8), 'YYYYMMDD') + interval '1 day')
                  AT TIME ZONE 'UTC') AS float8)
    FROM pg_inherits
    WHERE inhparent = CAST(:parent AS regclass)
      AND CAST(CAST(inhrelid AS regclass) AS text) ~ '_[0-9]{8}$'
""")


async def oldest_day(connection: AsyncConnection, parent: Parent, *, keep: timedelta) -> Overdue:
    """How long ago the oldest day of a partitioned table was to be dropped."""
    return Overdue(parent, await connection.scalar(_OLDEST_DAY, {"parent": parent, "keep": keep}))


_FORGOTTEN_LATE = text("""
    SELECT CAST(extract(epoch FROM now() - least((SELECT min(kept_until) FROM credentials),
                                                 (SELECT min(kept_until) FROM replacement_facts))) AS float8)
""")


async def knowledge(connection: AsyncConnection) -> Overdue:
    """How long ago the oldest knowledge was to be forgotten."""
    return Overdue("knowledge", await connection.scalar(_FORGOTTEN_LATE))


# Of the oldest rows: those that are still needed stay, and others come after them.
_OLDEST_EVENT = text("""
    SELECT CAST(extract(epoch FROM now() - CAST(:keep AS interval) - min(created_at)) AS float8)
    FROM (SELECT id, created_at FROM events ORDER BY id LIMIT :sample) AS oldest
    WHERE (SELECT true FROM deliveries WHERE event_id = oldest.id LIMIT 1) IS NULL
      AND (SELECT true FROM delivery_history WHERE event_id = oldest.id LIMIT 1) IS NULL
""")
_OLDEST_UPDATE = text("""
    SELECT CAST(extract(epoch FROM now() - CAST(:keep AS interval) - min(received_at)) AS float8)
    FROM (SELECT id, received_at, outcome, topic, partition, incarnation, kafka_offset
          FROM inbox ORDER BY id LIMIT :sample) AS oldest
    WHERE outcome NOT IN ('PARKED', 'QUARANTINED')
      AND (SELECT true FROM unfinished_updates WHERE inbox_id = oldest.id LIMIT 1) IS NULL
      AND kafka_offset < (
          SELECT max(kafka_offset) FROM inbox AS latest
          WHERE latest.topic = oldest.topic AND latest.partition = oldest.partition
            AND latest.incarnation = oldest.incarnation)
""")
_OLDEST_LETTER = text("""
    SELECT CAST(extract(epoch FROM now() - CAST(:keep AS interval) - min(closed_at)) AS float8)
    FROM (SELECT closed_at, topic, partition, incarnation, kafka_offset
          FROM dead_letters WHERE closed_at IS NOT NULL ORDER BY closed_at LIMIT :sample) AS oldest
    WHERE kafka_offset < (
        SELECT max(kafka_offset) FROM dead_letters AS latest
        WHERE latest.topic = oldest.topic AND latest.partition = oldest.partition
          AND latest.incarnation = oldest.incarnation)
""")
_SAMPLE = 1000


async def events(connection: AsyncConnection, *, keep: timedelta) -> Overdue:
    """How long ago the oldest event was to be removed."""
    return Overdue("events", await connection.scalar(_OLDEST_EVENT, {"keep": keep, "sample": _SAMPLE}))


async def updates(connection: AsyncConnection, *, keep: timedelta) -> Overdue:
    """How long ago the oldest update of the inbox was to be removed."""
    return Overdue("inbox", await connection.scalar(_OLDEST_UPDATE, {"keep": keep, "sample": _SAMPLE}))


async def dead_letters(connection: AsyncConnection, *, keep: timedelta) -> Overdue:
    """How long ago the oldest closed dead letter was to be removed."""
    return Overdue("dead letters", await connection.scalar(_OLDEST_LETTER, {"keep": keep, "sample": _SAMPLE}))


# A walk from name to name over the primary key: each customer has a row or three, and names are few.
_NAMES = text("""
    WITH RECURSIVE names(name) AS (
        (SELECT name FROM customer_identities ORDER BY name LIMIT 1)
        UNION ALL
        SELECT (SELECT name FROM customer_identities WHERE name > names.name ORDER BY name LIMIT 1)
        FROM names WHERE names.name IS NOT NULL)
    SELECT name FROM names WHERE name IS NOT NULL
""")
# Of some wallets: to look at all takes as long as a migration does.
_DESCRIBED = text("""
    SELECT DISTINCT 'metadata.' || key
    FROM (SELECT metadata FROM wallets WHERE merged_into IS NULL ORDER BY id LIMIT 10000) AS sample
    CROSS JOIN LATERAL jsonb_object_keys(metadata) AS key
""")


async def customer_names(connection: AsyncConnection) -> tuple[list[str], list[str]]:
    """The names that stored customers are known by, and those that the metadata of the first 10,000 wallets has."""
    return list(await connection.scalars(_NAMES)), list(await connection.scalars(_DESCRIBED))
