"""The ledger of deliveries: how many were added and how many were finished, counted by triggers.

The sum of its rows is the count. Each statement that adds or finishes deliveries adds a row, so no two transactions
wait for each other; upkeep makes one row of many. A delivery that vanishes from `deliveries` without becoming history
shows as a difference between the ledger and the rows.
"""

from sqlalchemy import DDL, BigInteger, Column, Table, Text, Uuid, event

from store.schema.deliveries import deliveries, delivery_history
from store.schema.metadata import Instant, metadata

delivery_ledger = Table(
    "delivery_ledger",
    metadata,
    *(
        Column(name, BigInteger, nullable=False, server_default="0")
        for name in ("accepted", "delivered", "dead", "cancelled")
    ),
    comment="a row of each statement that writes deliveries; the sum counts",
)

upkeep_leases = Table(
    "upkeep_leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Uuid, nullable=False),
    Column("held_until", Instant, nullable=False),
)

# With the rights of their owner: who writes deliveries need not have any on the ledger.
_COUNT_ACCEPTED = """CREATE FUNCTION count_accepted() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO delivery_ledger (accepted) SELECT count(*) FROM added HAVING count(*) > 0;
    RETURN NULL;
END $$"""
_COUNT_FINISHED = """CREATE FUNCTION count_finished() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO delivery_ledger (delivered, dead, cancelled)
    SELECT count(*) FILTER (WHERE status = 'DELIVERED'), count(*) FILTER (WHERE status = 'DEAD'),
           count(*) FILTER (WHERE status = 'CANCELLED')
    FROM added HAVING count(*) > 0;
    RETURN NULL;
END $$"""
_TRIGGER = """CREATE TRIGGER {function} AFTER INSERT ON {table} REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {function}()"""

for _table, _function, _definition in (
    (deliveries, "count_accepted", _COUNT_ACCEPTED),
    (delivery_history, "count_finished", _COUNT_FINISHED),
):
    event.listen(_table, "after_create", DDL(_definition))  # type: ignore[no-untyped-call]
    event.listen(_table, "after_create", DDL(_TRIGGER.format(function=_function, table=_table.name)))  # type: ignore[no-untyped-call]
