"""Old events and messages are removed, and messages stay counted"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
oldest_program = "0030"
indexes = {
    "ix_deliveries_event_id": "ON deliveries (event_id)",
    "ix_dead_letters_closed_at": "ON dead_letters (closed_at) WHERE closed_at IS NOT NULL",
}


def upgrade() -> None:
    op.create_table(
        "removed_messages",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False, comment="an update's; UNREADABLE of a dead letter"),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.CheckConstraint("count > 0", name=op.f("ck_removed_messages_count")),
        sa.PrimaryKeyConstraint("topic", "outcome", name=op.f("pk_removed_messages")),
    )
