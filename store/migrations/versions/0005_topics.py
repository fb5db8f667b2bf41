"""Topics and their incarnations, and offsets that nobody will read"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_FORMER = ("topic", "partition", "kafka_offset", "digest")
# the incarnation before the offset, so that the last offset of a partition is one index probe
_PLACE = ("topic", "partition", "incarnation", "kafka_offset", "digest")


def upgrade() -> None:
    for table in ("inbox", "dead_letters"):
        op.add_column(
            table,
            sa.Column(
                "incarnation", sa.Integer(), server_default="0", nullable=False, comment="of the topic, see `topics`"
            ),
        )
        # under the name that it had, which the program before takes for "another worker was first"
        name = op.f(f"uq_{table}_{'_'.join(_FORMER)}")
        op.drop_constraint(name, table)
        op.create_unique_constraint(name, table, _PLACE)
    op.create_table(
        "topics",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False, comment="0 for the first that was met, then counted"),
        sa.Column("topic_id", sa.Uuid(), nullable=True, comment="Kafka's; none from a broker without them"),
        sa.Column("met_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("topic", "incarnation", name=op.f("pk_topics")),
        sa.UniqueConstraint("topic", "topic_id", name=op.f("uq_topics_topic_topic_id")),
    )
    op.create_table(
        "topic_partitions",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column(
            "begun_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was first read",
        ),
        sa.Column(
            "empty",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="messages without a value (tombstones)",
        ),
        sa.Column(
            "empty_to",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="the offset up to which they count",
        ),
        sa.PrimaryKeyConstraint("topic", "incarnation", "partition", name=op.f("pk_topic_partitions")),
    )
    op.create_table(
        "losses",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("from_offset", sa.BigInteger(), nullable=False),
        sa.Column("to_offset", sa.BigInteger(), nullable=False, comment="the first that is not lost"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("reason IN ('RETENTION', 'TOPIC_MADE_ANEW')", name=op.f("ck_losses_reason")),
        sa.CheckConstraint("from_offset < to_offset", name=op.f("ck_losses_range")),
        sa.PrimaryKeyConstraint("topic", "incarnation", "partition", "from_offset", name=op.f("pk_losses")),
    )
    op.create_table(
        "skips",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False, comment="in a corrupt record batch"),
        sa.Column("reason", sa.Text(), nullable=False, comment="the operator's"),
        sa.Column("ordered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "obeyed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="with the two below: when a worker passed the batch, and what was lost by it",
        ),
        sa.Column("from_offset", sa.BigInteger(), nullable=True),
        sa.Column("to_offset", sa.BigInteger(), nullable=True, comment="the first that is not lost"),
        sa.CheckConstraint("from_offset < to_offset", name=op.f("ck_skips_range")),
        sa.CheckConstraint("num_nulls(obeyed_at, from_offset, to_offset) IN (0, 3)", name=op.f("ck_skips_obeyed")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_skips")),
    )
    op.create_index(op.f("ix_skips_topic_partition"), "skips", ["topic", "partition"], unique=False)
