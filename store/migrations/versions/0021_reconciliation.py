"""Reconciliation"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "reconciliation_runs",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "repairs",
            sa.Boolean,
            nullable=False,
            comment="false: findings are written down, and nothing is changed",
        ),
        sa.Column("status", sa.Text, server_default="RUNNING", nullable=False),
        sa.Column(
            "held_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="the process that works on it has died if this has passed",
        ),
        sa.Column("after", sa.Text, server_default="", nullable=False, comment="the last subject that was examined"),
        sa.Column("examined", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("status IN ('RUNNING', 'DONE')", name=op.f("ck_reconciliation_runs_status")),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status = 'DONE')", name=op.f("ck_reconciliation_runs_finished_at")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_runs")),
    )
    op.create_index(
        "uq_reconciliation_runs_running",
        "reconciliation_runs",
        ["job"],
        unique=True,
        postgresql_where=sa.text("status = 'RUNNING'"),
    )
    op.create_table(
        "reconciliation_findings",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False, comment="the id of a link, a method, a wallet or a delivery"),
        sa.Column("expected", sa.Text),
        sa.Column("found", sa.Text),
        sa.Column("repaired", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["reconciliation_runs.id"],
            name=op.f("fk_reconciliation_findings_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_findings")),
    )
    op.create_index(op.f("ix_reconciliation_findings_run_id"), "reconciliation_findings", ["run_id"])
    op.execute(
        "CREATE TYPE reconciliation_finding_row_v1 AS"
        " (run_id bigint, kind text, subject text, expected text, found text, repaired boolean)"
    )
