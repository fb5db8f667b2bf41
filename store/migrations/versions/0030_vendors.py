"""Paused vendors, their held messages, and how many wallets each vendor's replacements changed"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.create_table(
        "vendors",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column(
            "status",
            sa.Text,
            nullable=False,
            comment="RESUMING: what was held is taken in; later messages are held",
        ),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False, comment="a login and a machine, or repoint itself"),
        sa.Column("leased_until", sa.DateTime(timezone=True), comment="a process takes in what was held"),
        sa.Column(
            "unwatched_until",
            sa.DateTime(timezone=True),
            comment="a person resumed it: replacements are not counted against it until then",
        ),
        sa.CheckConstraint("status IN ('ACTIVE', 'PAUSED', 'RESUMING')", name=op.f("ck_vendors_status")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_vendors")),
        comment="vendors that were paused at some time",
    )
    op.create_table(
        "vendor_replacements",
        sa.Column("vendor", sa.Text, nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wallets", sa.BigInteger, nullable=False, comment="in which its facts replaced a payment method"),
        sa.PrimaryKeyConstraint("vendor", "minute", name=op.f("pk_vendor_replacements")),
    )
    op.create_table(
        "held_updates",
        sa.Column("inbox_id", sa.BigInteger, nullable=False),
        sa.Column("vendor", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("incarnation", sa.Integer, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("kafka_offset", sa.BigInteger, nullable=False),
        sa.Column("message_key", sa.LargeBinary),
        sa.Column("value", sa.LargeBinary, nullable=False, comment="as it was read; it holds no card number"),
        sa.Column("headers", postgresql.JSONB, nullable=False, comment="[[name, value in hexadecimal], …]"),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name=op.f("fk_held_updates_inbox_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_held_updates")),
        comment="messages of paused vendors, to be taken in when they are resumed",
    )
    op.create_index(
        "ix_held_updates_in_order",
        "held_updates",
        ["vendor", "topic", "incarnation", "partition", "kafka_offset"],
    )
    op.execute(
        "CREATE TYPE held_update_row_v1 AS (inbox_id bigint, vendor text, topic text, incarnation integer, partition integer, kafka_offset bigint,"
        " message_key bytea, value bytea, headers text)"
    )
    op.execute("CREATE TYPE vendor_count_row_v1 AS (vendor text, wallets bigint)")
