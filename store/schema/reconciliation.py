"""Reconciliation: the runs of its jobs, and what they found and repaired."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)

from store.schema.metadata import NOW, Instant, metadata, one_of

reconciliation_runs = Table(
    "reconciliation_runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("job", Text, nullable=False),
    Column("started_at", Instant, nullable=False, server_default=NOW),
    Column("repairs", Boolean, nullable=False, comment="false: findings are written down, and nothing is changed"),
    Column("status", Text, nullable=False, server_default="RUNNING"),
    Column("held_until", Instant, nullable=False, comment="the process that works on it has died if this has passed"),
    Column("after", Text, nullable=False, server_default="", comment="the last subject that was examined"),
    Column("examined", BigInteger, nullable=False, server_default="0"),
    Column("finished_at", Instant),
    Column("since", Instant, comment="only what changed then or later is examined; NULL: everything"),
    Column("replays_dead", Boolean, nullable=False, server_default=text("false")),
    one_of("status", "RUNNING", "DONE"),
    CheckConstraint("(finished_at IS NOT NULL) = (status = 'DONE')", name="finished_at"),
)
Index(
    "uq_reconciliation_runs_running",
    reconciliation_runs.c.job,
    unique=True,
    postgresql_where=reconciliation_runs.c.status == "RUNNING",
)
Index(
    "ix_reconciliation_runs_whole",
    reconciliation_runs.c.job,
    reconciliation_runs.c.finished_at,
    postgresql_where=text("status = 'DONE' AND repairs AND since IS NULL"),
)

reconciliation_findings = Table(
    "reconciliation_findings",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", BigInteger, ForeignKey("reconciliation_runs.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="the id of a link, a method, a wallet or a delivery"),
    Column("expected", Text),
    Column("found", Text),
    Column("repaired", Boolean, nullable=False),
)
Index(None, reconciliation_findings.c.run_id)

reconciliation_subjects = Table(
    "reconciliation_subjects",
    metadata,
    Column("run_id", BigInteger, ForeignKey("reconciliation_runs.id", ondelete="CASCADE"), nullable=False),
    Column("wallet_id", Uuid, nullable=False),
    PrimaryKeyConstraint("run_id", "wallet_id"),
    comment="the wallets of a run that is limited to what changed, while it goes on",
)

sequence_gaps = Table(
    "sequence_gaps",
    metadata,
    Column("wallet_id", Uuid, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("first", BigInteger, nullable=False, comment="with `last`: numbers whose events are lost for ever"),
    Column("last", BigInteger, nullable=False),
    Column("noted_at", Instant, nullable=False, server_default=NOW, comment="when the merchant was sent what is now"),
    CheckConstraint("first <= last", name="range"),
    PrimaryKeyConstraint("wallet_id", "merchant_id", "first"),
    ForeignKeyConstraint(["wallet_id", "merchant_id"], ["wallet_merchants.wallet_id", "wallet_merchants.merchant_id"]),
)
