"""What is kept of failing answers; finished deliveries by their id"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE attempt_evidence (
            delivery_id bigint NOT NULL,
            number integer NOT NULL,
            attempted_at timestamptz NOT NULL,
            header_names text[] NOT NULL,
            body text NOT NULL,
            CONSTRAINT pk_attempt_evidence PRIMARY KEY (attempted_at, delivery_id, number)
        ) PARTITION BY RANGE (attempted_at)
    """)
    op.create_index("ix_attempt_evidence_delivery_id", "attempt_evidence", ["delivery_id"])
    op.execute("CREATE TABLE attempt_evidence_default PARTITION OF attempt_evidence DEFAULT")
    op.execute("COMMENT ON COLUMN attempt_evidence.number IS 'the attempt''s'")
    op.execute("COMMENT ON COLUMN attempt_evidence.body IS 'the first KiB of a failing answer, masked'")
    op.execute(
        "CREATE TYPE attempt_evidence_row_v1 AS"
        " (delivery_id bigint, number integer, attempted_at timestamptz, header_names text[], body text)"
    )
    op.create_index("ix_delivery_history_id", "delivery_history", ["id"])
    op.drop_index("ix_delivery_history_dead_id", "delivery_history")
