"""The same writes, already decided: COPY into a staging table, and one SQL function that writes a batch of it.

What is to be written is read from a database where Repoint has just taken the same updates in, one row for each of
them. No message is parsed here and nothing is looked up, locked or decided: this is what PostgreSQL needs to write it.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

Batch = list[tuple[Any, ...]]

# Each row is all that one update makes: its own row of the inbox, what it tells, the method it is about, and events.
_STAGING = """
    CREATE TEMP TABLE decided (
        topic text, partition int, kafka_offset bigint, digest bytea, vendor text, update_id text, original bool,
        type text, old_key text, occurred_at timestamptz, outcome text, reason text,
        keys text[], kept_untils timestamptz[], told_status text, told_year smallint, told_month smallint,
        old_alias text, new_key text, new_alias text, fact_reason text, fact_kept_until timestamptz,
        wallet_id uuid, method_id uuid, replaced_id uuid, method_type text, status text, last4 text, brand text,
        expiry_year smallint, expiry_month smallint, holder_name text, zip_code text, manufacturer_card bool,
        nickname text, is_default bool, is_subscription_default bool, method_keys text[], link_ids uuid[],
        merchant_ids text[], sequences bigint[],
        event_ids uuid[], event_merchants text[], event_sequences bigint[], event_names text[], event_methods uuid[],
        bodies bytea[], created_at timestamptz, endpoint_ids text[], heads bool[]
    ) ON COMMIT DELETE ROWS;
    ALTER TABLE decided ALTER bodies SET STORAGE EXTERNAL  -- it is gone in a moment: not worth compressing
"""
_WRITE = """
    CREATE FUNCTION pg_temp.write_decided() RETURNS void LANGUAGE plpgsql
    -- nothing is known of a temporary table's rows, and a few hundred index probes are always the better plan
    SET enable_hashjoin = off SET enable_mergejoin = off
    AS $$
    BEGIN
        INSERT INTO inbox (topic, partition, kafka_offset, digest, vendor, update_id, original, type, old_key,
                           occurred_at, outcome, reason)
        SELECT topic, partition, kafka_offset, digest, vendor, update_id, original, type, old_key, occurred_at,
               outcome, reason
        FROM decided;

        INSERT INTO credentials (key, status, status_at, status_vendor, status_update_id, expiry_year, expiry_month,
                                 expiry_at, expiry_vendor, expiry_update_id, kept_until)
        SELECT told.key, told_status, CASE WHEN told_status IS NOT NULL THEN occurred_at END,
               CASE WHEN told_status IS NOT NULL THEN vendor END,
               CASE WHEN told_status IS NOT NULL THEN update_id END, told_year, told_month,
               CASE WHEN told_year IS NOT NULL THEN occurred_at END,
               CASE WHEN told_year IS NOT NULL THEN vendor END,
               CASE WHEN told_year IS NOT NULL THEN update_id END, told.kept_until
        FROM decided, unnest(keys, kept_untils) AS told(key, kept_until)
        ON CONFLICT (key, scope) DO UPDATE
        SET (status, status_at, status_vendor, status_update_id, expiry_year, expiry_month, expiry_at, expiry_vendor,
             expiry_update_id, kept_until)
          = (EXCLUDED.status, EXCLUDED.status_at, EXCLUDED.status_vendor, EXCLUDED.status_update_id,
             EXCLUDED.expiry_year, EXCLUDED.expiry_month, EXCLUDED.expiry_at, EXCLUDED.expiry_vendor,
             EXCLUDED.expiry_update_id, EXCLUDED.kept_until)
        WHERE EXCLUDED.status IS NOT NULL OR EXCLUDED.expiry_year IS NOT NULL;

        INSERT INTO replacement_facts (old_key, old_alias, new_key, new_alias, vendor, update_id, occurred_at, reason,
                                       method_type, last4, brand, expiry_year, expiry_month, kept_until)
        SELECT old_key, old_alias, new_key, new_alias, vendor, update_id, occurred_at, fact_reason, method_type,
               last4, brand, expiry_year, expiry_month, fact_kept_until
        FROM decided WHERE new_key IS NOT NULL;

        UPDATE payment_methods AS method
        SET status = 'DELETED', is_default = false, is_subscription_default = false,
            replaced_by = decided.method_id, deleted_reason = fact_reason
        FROM decided WHERE method.id = replaced_id;

        UPDATE payment_methods AS method
        SET status = decided.status, expiry_year = decided.expiry_year, expiry_month = decided.expiry_month
        FROM decided WHERE method.id = method_id AND new_key IS NULL;

        INSERT INTO payment_methods (id, wallet_id, type, status, last4, brand, expiry_year, expiry_month, holder_name,
                                     zip_code, manufacturer_card, nickname, is_default, is_subscription_default)
        SELECT method_id, wallet_id, method_type, status, last4, brand, expiry_year, expiry_month, holder_name,
               zip_code, manufacturer_card, nickname, is_default, is_subscription_default
        FROM decided WHERE new_key IS NOT NULL;

        INSERT INTO payment_method_credentials (payment_method_id, key, wallet_id, type, live)
        SELECT method_id, method_key, wallet_id, method_type, true
        FROM decided, unnest(method_keys) AS method_key WHERE new_key IS NOT NULL;

        UPDATE payment_links SET payment_method_id = method_id
        FROM decided, unnest(link_ids) AS link_id WHERE id = link_id;

        INSERT INTO lineage (old_id, new_id, wallet_id, reason, vendor, update_id)
        SELECT replaced_id, method_id, wallet_id, fact_reason, vendor, update_id
        FROM decided WHERE new_key IS NOT NULL;

        UPDATE wallet_merchants AS told SET sequence = reached.sequence
        FROM decided, unnest(merchant_ids, sequences) AS reached(merchant_id, sequence)
        WHERE told.wallet_id = decided.wallet_id AND told.merchant_id = reached.merchant_id;

        INSERT INTO events (id, wallet_id, merchant_id, sequence, name, payment_method_id, body, created_at)
        SELECT event.id, wallet_id, event.merchant_id, event.sequence, event.name, event.method_id, event.body,
               created_at
        FROM decided, unnest(event_ids, event_merchants, event_sequences, event_names, event_methods, bodies)
                      AS event(id, merchant_id, sequence, name, method_id, body);

        INSERT INTO deliveries (event_id, endpoint_id, wallet_id, sequence, status, due_at)
        SELECT delivery.event_id, endpoint_id, wallet_id, sequence, 'PENDING', CASE WHEN head THEN now() END
        FROM decided, unnest(event_ids, endpoint_ids, event_sequences, heads)
                      AS delivery(event_id, endpoint_id, sequence, head);
    END $$
"""

# In the order of the staging table's columns. A message met under the same id made a row of the inbox and no more.
_HARVEST = text("""
    SELECT CAST(inbox.xmin AS text), topic, partition, kafka_offset, digest, inbox.vendor, inbox.update_id, original,
           inbox.type, inbox.old_key, inbox.occurred_at, outcome, inbox.reason,
           told.keys, told.kept_untils, told.status, told.year, told.month,
           fact.old_alias, fact.new_key, fact.new_alias, fact.reason, fact.kept_until,
           method.wallet_id, method.id, old_id, method.type, method.status, method.last4, method.brand,
           method.expiry_year, method.expiry_month, method.holder_name, method.zip_code, method.manufacturer_card,
           method.nickname, method.is_default, method.is_subscription_default,
           ARRAY(SELECT key FROM payment_method_credentials WHERE payment_method_id = method.id),
           CASE WHEN old_id IS NOT NULL
                THEN ARRAY(SELECT id FROM payment_links WHERE payment_method_id = method.id) END,
           told_to.merchant_ids, told_to.sequences,
           event.ids, event.merchants, event.sequences, event.names, event.methods, event.bodies, event.created_at,
           event.endpoint_ids, event.heads
    FROM inbox
    LEFT JOIN replacement_facts AS fact
      ON original AND fact.old_key = inbox.old_key AND fact.update_id = inbox.update_id
    LEFT JOIN payment_method_credentials AS held ON original AND held.key = inbox.old_key
    LEFT JOIN lineage ON lineage.old_id = held.payment_method_id
    LEFT JOIN payment_methods AS method ON method.id = coalesce(lineage.new_id, held.payment_method_id)
    LEFT JOIN LATERAL (
        SELECT array_agg(key ORDER BY key) AS keys, array_agg(kept_until ORDER BY key) AS kept_untils,
               max(c.status) AS status, max(c.expiry_year) AS year, max(c.expiry_month) AS month
        FROM credentials AS c
        WHERE c.key = ANY(ARRAY[inbox.old_key, fact.old_alias, fact.new_key, fact.new_alias] || ARRAY(
            SELECT key FROM payment_method_credentials WHERE payment_method_id = method.id))) AS told ON original
    LEFT JOIN LATERAL (
        SELECT array_agg(merchant_id ORDER BY merchant_id) AS merchant_ids,
               array_agg(sequence ORDER BY merchant_id) AS sequences
        FROM wallet_merchants WHERE wallet_id = method.wallet_id) AS told_to ON original
    LEFT JOIN LATERAL (
        SELECT array_agg(e.id ORDER BY e.id) AS ids, array_agg(e.merchant_id ORDER BY e.id) AS merchants,
               array_agg(e.sequence ORDER BY e.id) AS sequences, array_agg(e.name ORDER BY e.id) AS names,
               array_agg(e.payment_method_id ORDER BY e.id) AS methods, array_agg(e.body ORDER BY e.id) AS bodies,
               max(e.created_at) AS created_at, array_agg(d.endpoint_id ORDER BY e.id) AS endpoint_ids,
               array_agg(d.due_at IS NOT NULL ORDER BY e.id) AS heads
        FROM events AS e
        JOIN endpoints ON endpoints.merchant_id = e.merchant_id
        JOIN deliveries AS d
          ON d.endpoint_id = endpoints.id AND d.wallet_id = e.wallet_id AND d.sequence = e.sequence
        WHERE e.wallet_id = method.wallet_id AND e.payment_method_id IN (method.id, lineage.old_id)
          AND e.xmin = inbox.xmin) AS event ON original
    WHERE inbox.id > :since
    ORDER BY inbox.id
""")
_LATEST = text("SELECT coalesce(max(id), 0) FROM inbox")


async def latest(engine: AsyncEngine) -> int:
    """Where the inbox of Repoint's database stands."""
    async with engine.connect() as connection:
        return int((await connection.execute(_LATEST)).scalar_one())


async def harvest(engine: AsyncEngine, since: int) -> list[Batch]:
    """What every batch wrote after the inbox stood at `since`, in Repoint's database."""
    batches: dict[str, Batch] = defaultdict(list)
    async with engine.connect() as connection:
        for transaction, *row in await connection.execute(_HARVEST, {"since": since}):
            batches[transaction].append(tuple(row))
    return list(batches.values())


@asynccontextmanager
async def connections(engine: AsyncEngine, number: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """Connections of their own, set up as Repoint's are, each with the staging table and the function."""
    url = make_url(engine.url).set(drivername="postgresql").render_as_string(hide_password=False)
    opened = [await asyncpg.connect(url, server_settings={"jit": "off"}) for _ in range(number)]
    for connection in opened:
        await connection.execute(_STAGING)
        await connection.execute(_WRITE)
    yield opened
    for connection in opened:
        await connection.close()


async def write(connections: Sequence[asyncpg.Connection], batches: Sequence[Batch]) -> None:
    """One transaction a batch, and the batches shared out over the connections."""
    remaining = iter(batches)

    async def write_batches(connection: asyncpg.Connection) -> None:
        for batch in remaining:
            async with connection.transaction():
                await connection.copy_records_to_table("decided", records=batch)
                await connection.execute("SELECT pg_temp.write_decided()")

    await asyncio.gather(*map(write_batches, connections))


# What both databases must hold alike afterwards: every column that nobody made up by chance or read off a clock.
_SAME = {
    "inbox": "topic, partition, kafka_offset, vendor, update_id, original, type, old_key, occurred_at, outcome, reason",
    "credentials": "key, scope, status, status_at, status_vendor, status_update_id, expiry_year, expiry_month,"
    " expiry_at, expiry_vendor, expiry_update_id",
    "replacement_facts": "old_key, old_alias, new_key, new_alias, vendor, update_id, occurred_at, reason, last4, brand",
    "payment_methods": "id, wallet_id, type, status, last4, brand, expiry_year, expiry_month, holder_name, zip_code,"
    " manufacturer_card, nickname, is_default, is_subscription_default, replaced_by, deleted_reason",
    "payment_method_credentials": "payment_method_id, key, wallet_id, type, live",
    "payment_links": "id, wallet_id, merchant_id, payment_method_id, status",
    "lineage": "old_id, new_id, wallet_id, reason, vendor, update_id",
    "wallet_merchants": "wallet_id, merchant_id, sequence",
    "events": "id, wallet_id, merchant_id, sequence, name, payment_method_id, body, created_at",
    "deliveries": "event_id, endpoint_id, wallet_id, sequence, status, due_at IS NULL",
}


async def contents(engine: AsyncEngine) -> dict[str, tuple[int, int]]:
    """Of each table that updates write: how many rows, and a sum of their hashes."""
    by_table = {}
    async with engine.connect() as connection:
        for table, columns in _SAME.items():
            row = f"CAST(({columns}) AS text)"
            summed = f"SELECT count(*), coalesce(sum(hashtextextended({row}, 0)), 0) FROM {table}"  # noqa: S608 - ours
            count, total = (await connection.execute(text(summed))).one()
            by_table[table] = (int(count), int(total))
    return by_table


def numbers(contents: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Of each table, how many rows."""
    return {table: number for table, (number, _) in contents.items()}
