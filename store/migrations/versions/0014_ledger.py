"""The ledger of deliveries, kept by the database whichever version of the program writes; leases of upkeep"""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    # No delivery is added or finished between the count and the triggers. Writers lock the two tables in this order.
    op.execute("LOCK TABLE deliveries, delivery_history IN SHARE ROW EXCLUSIVE MODE")
    op.execute("""
        CREATE TABLE delivery_ledger (
            accepted bigint DEFAULT '0' NOT NULL,
            delivered bigint DEFAULT '0' NOT NULL,
            dead bigint DEFAULT '0' NOT NULL,
            cancelled bigint DEFAULT '0' NOT NULL
        )
    """)
    op.execute("COMMENT ON TABLE delivery_ledger IS 'a row of each statement that writes deliveries; the sum counts'")
    op.execute("INSERT INTO delivery_ledger (accepted) SELECT count(*) FROM deliveries")
    for statement in (*_FUNCTIONS, *_TRIGGERS):
        op.execute(statement)
    op.execute("""
        CREATE TABLE upkeep_leases (
            name text NOT NULL,
            holder uuid NOT NULL,
            held_until timestamptz NOT NULL,
            CONSTRAINT pk_upkeep_leases PRIMARY KEY (name)
        )
    """)


# With the rights of their owner: a program of the release before, whose role has none on the ledger, may be running.
_FUNCTIONS = (
    """CREATE FUNCTION count_accepted() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO delivery_ledger (accepted) SELECT count(*) FROM added HAVING count(*) > 0;
    RETURN NULL;
END $$""",
    """CREATE FUNCTION count_finished() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO delivery_ledger (delivered, dead, cancelled)
    SELECT count(*) FILTER (WHERE status = 'DELIVERED'), count(*) FILTER (WHERE status = 'DEAD'),
           count(*) FILTER (WHERE status = 'CANCELLED')
    FROM added HAVING count(*) > 0;
    RETURN NULL;
END $$""",
)
_TRIGGERS = (
    """CREATE TRIGGER count_accepted AFTER INSERT ON deliveries REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_accepted()""",
    """CREATE TRIGGER count_finished AFTER INSERT ON delivery_history REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_finished()""",
)
