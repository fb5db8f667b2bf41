"""Runs of reconciliation that are limited to what changed since a time, or send dead deliveries again"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.add_column(
        "reconciliation_runs",
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            comment="only what changed then or later is examined; NULL: everything",
        ),
    )
    op.add_column(
        "reconciliation_runs",
        sa.Column("replays_dead", sa.Boolean, server_default=sa.text("false"), nullable=False),
    )
    op.create_table(
        "reconciliation_subjects",
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("wallet_id", sa.Uuid, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["reconciliation_runs.id"],
            name=op.f("fk_reconciliation_subjects_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "wallet_id", name=op.f("pk_reconciliation_subjects")),
        comment="the wallets of a run that is limited to what changed, while it goes on",
    )
