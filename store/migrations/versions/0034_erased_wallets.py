"""A person can be erased"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
oldest_program = "0030"


def upgrade() -> None:
    op.add_column(
        "wallets",
        sa.Column("erased_at", sa.DateTime(timezone=True), comment="since then nothing says whose it was"),
    )
    # the next revision reads the rows, when the table is not locked any more
    op.drop_constraint(op.f("ck_wallets_customer_identifier"), "wallets")
    op.execute(
        "ALTER TABLE wallets ADD CONSTRAINT ck_wallets_customer_identifier CHECK ("
        "CASE WHEN erased_at IS NULL THEN enterprise_id IS NOT NULL OR hsid IS NOT NULL OR metadata <> '{}'"
        " ELSE num_nonnulls(enterprise_id, hsid, date_of_birth) = 0 AND metadata = '{}' END) NOT VALID"
    )
    op.execute("CREATE TYPE event_body_row_v1 AS (id uuid, body bytea)")
