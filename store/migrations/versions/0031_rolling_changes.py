"""Each revision says which programs it supports"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
oldest_program = "0030"


def upgrade() -> None:
    op.create_table(
        "schema_revisions",
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column(
            "oldest_program", sa.Text, nullable=False, comment="by its newest revision; older ones refuse to start"
        ),
        sa.Column("applied_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_schema_revisions")),
    )
