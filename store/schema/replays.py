"""Replay jobs: events that a person had sent again, and those of them that are still to be enqueued."""

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.metadata import NOW, Instant, metadata, one_of

replay_jobs = Table(
    "replay_jobs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column("scope", Text, nullable=False, comment="which of the selected events are sent again"),
    Column("selection", JSONB, nullable=False, comment="what the person asked for"),
    Column("per_second", REAL, nullable=False, comment="deliveries that are enqueued a second, at most"),
    Column("status", Text, nullable=False, server_default="RUNNING"),
    Column("selected", BigInteger, nullable=False, server_default="0", comment="deliveries, when the job started"),
    Column("enqueued", BigInteger, nullable=False, server_default="0"),
    Column(
        "left_alone",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="on their way or delivered meanwhile, or of an endpoint or event that is gone",
    ),
    Column("next_at", Instant, nullable=False, server_default=NOW, comment="when per_second allows the next ones"),
    Column("finished_at", Instant),
    one_of("scope", "DEAD", "MISSING", "DELIVERED", "ALL"),
    one_of("status", "RUNNING", "PAUSED", "DONE", "CANCELLED"),
    CheckConstraint("per_second > 0", name="per_second"),
    CheckConstraint("(finished_at IS NOT NULL) = (status IN ('DONE', 'CANCELLED'))", name="finished_at"),
)

# No foreign key on the event and the endpoint: retention and `endpoints remove` need not ask for jobs.
replay_job_events = Table(
    "replay_job_events",
    metadata,
    Column("job_id", BigInteger, ForeignKey("replay_jobs.id", ondelete="CASCADE"), nullable=False),
    Column("place", BigInteger, nullable=False, comment="oldest first, each line in the order of its sequence"),
    Column("event_id", Uuid, nullable=False),
    Column("endpoint_id", Text, nullable=False),
    PrimaryKeyConstraint("job_id", "place"),
)
