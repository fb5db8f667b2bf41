"""What tells a lost event or delivery from one that never was to be: since when somebody is sent events, and gaps"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    # Of rows that are there already it is not known: what was made before the migration lacks nothing.
    op.add_column(
        "endpoints",
        sa.Column(
            "subscribed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the latest of its event_types was added: it lacks no event from before",
        ),
    )
    op.execute(
        """CREATE FUNCTION note_subscription() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.event_types <@ OLD.event_types THEN
        NEW.subscribed_at = now();
    END IF;
    RETURN NEW;
END $$"""
    )
    op.execute(
        "CREATE TRIGGER note_subscription BEFORE UPDATE OF event_types ON endpoints"
        " FOR EACH ROW EXECUTE FUNCTION note_subscription()"
    )
    op.add_column(
        "wallet_merchants",
        sa.Column(
            "shared_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="since when changes are announced to it",
        ),
    )
    op.create_table(
        "sequence_gaps",
        sa.Column("wallet_id", sa.Uuid, nullable=False),
        sa.Column("merchant_id", sa.Text, nullable=False),
        sa.Column(
            "first", sa.BigInteger, nullable=False, comment="with `last`: numbers whose events are lost for ever"
        ),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column(
            "noted_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the merchant was sent what is now",
        ),
        sa.CheckConstraint("first <= last", name=op.f("ck_sequence_gaps_range")),
        sa.ForeignKeyConstraint(
            ["wallet_id", "merchant_id"],
            ["wallet_merchants.wallet_id", "wallet_merchants.merchant_id"],
            name=op.f("fk_sequence_gaps_wallet_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("wallet_id", "merchant_id", "first", name=op.f("pk_sequence_gaps")),
    )
    op.create_table(
        "retention_horizons",
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column(
            "removed_before",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="rows from before then may have been removed",
        ),
        sa.PrimaryKeyConstraint("table_name", name=op.f("pk_retention_horizons")),
    )
    op.execute("CREATE TYPE sequence_gap_row_v1 AS (wallet_id uuid, merchant_id text, first bigint, last bigint)")
