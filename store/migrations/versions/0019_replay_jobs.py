"""Replay jobs"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "replay_jobs",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("scope", sa.Text, nullable=False, comment="which of the selected events are sent again"),
        sa.Column("selection", postgresql.JSONB, nullable=False, comment="what the person asked for"),
        sa.Column("per_second", sa.REAL, nullable=False, comment="deliveries that are enqueued a second, at most"),
        sa.Column("status", sa.Text, server_default="RUNNING", nullable=False),
        sa.Column(
            "selected",
            sa.BigInteger,
            server_default="0",
            nullable=False,
            comment="deliveries, when the job started",
        ),
        sa.Column("enqueued", sa.BigInteger, server_default="0", nullable=False),
        sa.Column(
            "left_alone",
            sa.BigInteger,
            server_default="0",
            nullable=False,
            comment="on their way or delivered meanwhile, or of an endpoint or event that is gone",
        ),
        sa.Column(
            "next_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when per_second allows the next ones",
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("scope IN ('DEAD', 'MISSING', 'DELIVERED', 'ALL')", name=op.f("ck_replay_jobs_scope")),
        sa.CheckConstraint("status IN ('RUNNING', 'PAUSED', 'DONE', 'CANCELLED')", name=op.f("ck_replay_jobs_status")),
        sa.CheckConstraint("per_second > 0", name=op.f("ck_replay_jobs_per_second")),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('DONE', 'CANCELLED'))", name=op.f("ck_replay_jobs_finished_at")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replay_jobs")),
    )
    op.create_table(
        "replay_job_events",
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column(
            "place",
            sa.BigInteger,
            nullable=False,
            comment="oldest first, each line in the order of its sequence",
        ),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("endpoint_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["replay_jobs.id"], name=op.f("fk_replay_job_events_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "place", name=op.f("pk_replay_job_events")),
    )
