"""What people did"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text, nullable=False, comment="a login and a machine"),
        sa.Column("action", sa.Text, nullable=False, comment="such as 'endpoint disabled'"),
        sa.Column(
            "subject",
            sa.Text,
            nullable=False,
            comment="the id of an endpoint or a delivery, or what was chosen",
        ),
        sa.Column("reason", sa.Text, comment="in the person's own words"),
        sa.Column("before", postgresql.JSONB),
        sa.Column("after", postgresql.JSONB),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
    op.execute(
        "CREATE TYPE audit_row_v1 AS (actor text, action text, subject text, reason text, before text, after text)"
    )
