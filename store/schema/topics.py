"""Topics: their incarnations and partitions, and the offsets that nobody read."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from store.schema.metadata import NOW, Instant, metadata, one_of

topics = Table(
    "topics",
    metadata,
    Column("topic", Text, nullable=False),
    Column("incarnation", Integer, nullable=False, comment="0 for the first that was read, then counted"),
    Column("topic_id", Uuid, comment="Kafka's; none from a broker without them"),
    Column("met_at", Instant, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("topic", "incarnation"),
    UniqueConstraint("topic", "topic_id"),
)

topic_partitions = Table(
    "topic_partitions",
    metadata,
    Column("topic", Text, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("begun_at", Instant, nullable=False, server_default=NOW, comment="when it was first read"),
    Column("empty", BigInteger, nullable=False, server_default="0", comment="messages without a value (tombstones)"),
    Column("empty_to", BigInteger, nullable=False, server_default="0", comment="the offset up to which they count"),
    PrimaryKeyConstraint("topic", "incarnation", "partition"),
)

losses = Table(
    "losses",
    metadata,
    Column("topic", Text, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("from_offset", BigInteger, nullable=False),
    Column("to_offset", BigInteger, nullable=False, comment="the first that is not lost"),
    Column("reason", Text, nullable=False),
    Column("noted_at", Instant, nullable=False, server_default=NOW),
    one_of("reason", "RETENTION", "TOPIC_MADE_ANEW"),
    CheckConstraint("from_offset < to_offset", name="range"),
    PrimaryKeyConstraint("topic", "incarnation", "partition", "from_offset"),
)

skips = Table(
    "skips",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False, comment="in a corrupt record batch"),
    Column("reason", Text, nullable=False, comment="the operator's"),
    Column("ordered_at", Instant, nullable=False, server_default=NOW),
    Column("obeyed_at", Instant, comment="with the two below: when a worker passed the batch, and what was lost by it"),
    Column("from_offset", BigInteger),
    Column("to_offset", BigInteger, comment="the first that is not lost"),
    CheckConstraint("from_offset < to_offset", name="range"),
    CheckConstraint("num_nulls(obeyed_at, from_offset, to_offset) IN (0, 3)", name="obeyed"),
)
Index(None, skips.c.topic, skips.c.partition)
