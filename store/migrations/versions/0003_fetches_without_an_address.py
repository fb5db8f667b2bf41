"""Thin events wait for their vendor's address, and that is no failure"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE fetches ADD COLUMN waits_for_address boolean NOT NULL DEFAULT false")
    op.execute("COMMENT ON COLUMN fetches.waits_for_address IS 'until a process that knows it starts'")
    op.execute("ALTER TABLE fetches DROP CONSTRAINT ck_fetches_failure")
    op.execute(
        "ALTER TABLE fetches ADD CONSTRAINT ck_fetches_failure"
        " CHECK ((failures > 0 OR waits_for_address) = (failure IS NOT NULL))"
    )
