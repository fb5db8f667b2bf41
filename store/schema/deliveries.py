"""Events for merchants, their deliveries, and the attempts to deliver them."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from store.schema.metadata import NOW, Instant, metadata, one_of

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True, comment="sent as evt_<hex>, also the webhook-id"),
    Column("wallet_id", Uuid, ForeignKey("wallets.id"), comment="NULL if the event speaks of no wallet's change"),
    Column("merchant_id", Text, ForeignKey("merchants.id"), nullable=False),
    Column("sequence", BigInteger),
    Column("name", Text, nullable=False),
    Column("payment_method_id", Uuid),
    Column("body", LargeBinary, nullable=False, comment="rendered once, signed and sent as it stands"),
    Column("created_at", Instant, nullable=False),
    one_of(
        "name",
        "PAYMENT_METHOD_REPLACED",
        "PAYMENT_METHOD_DELETED",
        "PAYMENT_METHOD_UPDATED",
        "ENDPOINT_DISABLED",
        "ENDPOINT_TEST",
    ),
    CheckConstraint(
        "num_nonnulls(wallet_id, sequence, payment_method_id)"
        " = CASE WHEN starts_with(name, 'PAYMENT_METHOD_') THEN 3 ELSE 0 END",
        name="wallet",
    ),
    UniqueConstraint("wallet_id", "merchant_id", "sequence"),
)
Index(None, events.c.payment_method_id)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", Uuid, ForeignKey("events.id"), nullable=False),
    Column("endpoint_id", Text, ForeignKey("endpoints.id"), nullable=False),
    Column("wallet_id", Uuid, nullable=False, comment="the event's; the event's own id if it has none"),
    Column("sequence", BigInteger, nullable=False, comment="the event's; 0 if it has none"),
    Column("status", Text, nullable=False, comment="PARKED while its endpoint is disabled"),
    Column(
        "due_at",
        Instant,
        comment="when the next attempt may begin; NULL while an earlier event of the wallet is on its way",
    ),
    Column("leased_until", Instant, comment="an attempt is under way, or was when its dispatcher died"),
    Column(
        "attempt",
        Integer,
        nullable=False,
        server_default="0",
        comment="the latest begun; fences late writers",
    ),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column(
        "tries",
        Integer,
        nullable=False,
        server_default="0",
        comment="failed attempts that the schedule allowed; not those that an open circuit or a hold made",
    ),
    one_of("status", "PENDING", "PARKED"),
    CheckConstraint("leased_until IS NULL OR due_at IS NOT NULL", name="leased_is_due"),
    UniqueConstraint("endpoint_id", "wallet_id", "sequence"),
    # A claim changes no indexed column, and finds room on the row's own page: no index entry is written.
    postgresql_with={"fillfactor": 60, "autovacuum_vacuum_scale_factor": 0.02},
)
# Partial, so that neither is one by which PostgreSQL could look for the deliveries of a line.
Index(
    "ix_deliveries_due",
    deliveries.c.endpoint_id,
    deliveries.c.due_at,
    postgresql_where=deliveries.c.status == "PENDING",
)
Index(None, deliveries.c.event_id)
Index("ix_deliveries_parked", deliveries.c.endpoint_id, postgresql_where=deliveries.c.status == "PARKED")

delivery_history = Table(
    "delivery_history",
    metadata,
    Column("id", BigInteger, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("endpoint_id", Text, nullable=False),
    Column("wallet_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False, comment="how many were made"),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False),
    Column("last_outcome", Text, comment="of the attempt that finished it"),
    Column("last_status_code", SmallInteger),
    Column("last_took_ms", Integer),
    Column("last_attempted_at", Instant),
    PrimaryKeyConstraint("finished_at", "id"),
    one_of("status", "DELIVERED", "DEAD", "CANCELLED"),
    postgresql_partition_by="RANGE (finished_at)",
)
Index(None, delivery_history.c.event_id)
Index(
    "ix_delivery_history_dead",
    delivery_history.c.endpoint_id,
    postgresql_where=delivery_history.c.status == "DEAD",
)
Index(None, delivery_history.c.id)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("outcome", Text, nullable=False, comment="ACCEPTED, or the failure's name"),
    Column("status_code", SmallInteger),
    Column("took_ms", Integer, nullable=False),
    Column("attempted_at", Instant, nullable=False),
    PrimaryKeyConstraint("attempted_at", "delivery_id", "number"),
    postgresql_partition_by="RANGE (attempted_at)",
)
Index(None, attempts.c.delivery_id)

attempt_evidence = Table(
    "attempt_evidence",
    metadata,
    Column("delivery_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False, comment="the attempt's"),
    Column("attempted_at", Instant, nullable=False),
    Column("header_names", ARRAY(Text), nullable=False),
    Column("body", Text, nullable=False, comment="the first KiB of a failing answer, masked"),
    PrimaryKeyConstraint("attempted_at", "delivery_id", "number"),
    postgresql_partition_by="RANGE (attempted_at)",
)
Index(None, attempt_evidence.c.delivery_id)
