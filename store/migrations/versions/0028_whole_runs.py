"""The latest whole run of each job of reconciliation is found by an index"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_index(
        "ix_reconciliation_runs_whole",
        "reconciliation_runs",
        ["job", "finished_at"],
        postgresql_where=sa.text("status = 'DONE' AND repairs AND since IS NULL"),
    )
