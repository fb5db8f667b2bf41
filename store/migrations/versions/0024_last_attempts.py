"""The last attempt of a finished delivery stands in the delivery's own row"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    # NULL in rows that were written before: their last attempts stay in `attempts`
    for column in (
        sa.Column("last_outcome", sa.Text, comment="of the attempt that finished it"),
        sa.Column("last_status_code", sa.SmallInteger),
        sa.Column("last_took_ms", sa.Integer),
        sa.Column("last_attempted_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("delivery_history", column)
