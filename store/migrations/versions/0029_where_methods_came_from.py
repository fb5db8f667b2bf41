"""Which credentials facts led to, and what moved with each replacement"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.add_column(
        "payment_method_credentials",
        sa.Column(
            "learnt", sa.Boolean, comment="a fact led to it, and the customer never brought it; NULL is not known"
        ),
    )
    for column in (
        sa.Column("links", sa.ARRAY(sa.Uuid), comment="the payment links that moved; NULL is not known"),
        sa.Column("was_default", sa.Boolean, comment="the old method was; NULL is not known"),
        sa.Column("was_subscription_default", sa.Boolean),
    ):
        op.add_column("lineage", column)
    op.execute(
        "CREATE TYPE payment_method_credential_row_v2 AS"
        " (payment_method_id uuid, key text, wallet_id uuid, type text, live boolean, learnt boolean)"
    )
    op.execute(
        "CREATE TYPE lineage_row_v2 AS (old_id uuid, new_id uuid, wallet_id uuid, reason text, vendor text,"
        " update_id text, links uuid[], was_default boolean, was_subscription_default boolean)"
    )
    op.execute("CREATE TYPE reported_id_row_v1 AS (vendor text, update_id text)")
