"""Messages that were read: updates with their outcomes, and dead letters."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.metadata import NOW, Instant, metadata, one_of

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="of the update's content"),
    Column("vendor", Text, nullable=False),
    Column("update_id", Text, nullable=False),
    Column("original", Boolean, nullable=False, comment="the first message with this vendor and id"),
    Column("type", Text, nullable=False),
    Column("old_key", Text),
    Column("occurred_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False, server_default=NOW),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    Column("incarnation", Integer, nullable=False, server_default="0", comment="of the topic, see `topics`"),
    one_of("outcome", "APPLIED", "SUPERSEDED", "DUPLICATE", "PARKED", "IGNORED", "QUARANTINED"),
    # A topic made anew counts its offsets from 0 again. The digest tells its messages from the former ones' where the
    # broker has no ids for topics. The name is older than the incarnation, and known to `store.failures`.
    # The incarnation stands before the offset, so that the last offset of a partition is one index probe.
    UniqueConstraint(
        *("topic", "partition", "incarnation", "kafka_offset", "digest"),
        name="uq_inbox_topic_partition_kafka_offset_digest",
    ),
)
Index(
    "uq_inbox_original",
    inbox.c.vendor,
    inbox.c.update_id,
    unique=True,
    postgresql_where=inbox.c.original,
)
Index("ix_inbox_quarantined", inbox.c.id, postgresql_where=inbox.c.outcome == "QUARANTINED")
Index("ix_inbox_parked", inbox.c.received_at, postgresql_where=inbox.c.outcome == "PARKED")

parked_updates = Table(
    "parked_updates",
    metadata,
    Column("key", Text, nullable=False, comment="a credential, or @name=value for a customer"),
    Column("inbox_id", BigInteger, ForeignKey("inbox.id", ondelete="CASCADE"), nullable=False),
    Column("about", JSONB, comment="the customer it named, or the two of a merge"),
    PrimaryKeyConstraint("key", "inbox_id"),
)
Index(None, parked_updates.c.inbox_id)

quarantined_merges = Table(
    "quarantined_merges",
    metadata,
    Column("inbox_id", BigInteger, ForeignKey("inbox.id", ondelete="CASCADE"), primary_key=True),
    Column("about", JSONB, nullable=False, comment="the two customers that it named, as in parked_updates"),
    comment="merges that only a person releases",
)

held_updates = Table(
    "held_updates",
    metadata,
    Column("inbox_id", BigInteger, ForeignKey("inbox.id", ondelete="CASCADE"), primary_key=True),
    Column("vendor", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column("message_key", LargeBinary),
    Column("value", LargeBinary, nullable=False, comment="as it was read; it holds no card number"),
    Column("headers", JSONB, nullable=False, comment="[[name, value in hexadecimal], …]"),
    comment="messages of paused vendors, to be taken in when they are resumed",
)
Index(
    "ix_held_updates_in_order",
    *(held_updates.c[name] for name in ("vendor", "topic", "incarnation", "partition", "kafka_offset")),
)

unfinished_updates = Table(
    "unfinished_updates",
    metadata,
    Column("inbox_id", BigInteger, ForeignKey("inbox.id", ondelete="CASCADE"), primary_key=True),
    Column("old_key", Text, nullable=False),
    Column("old_alias", Text),
    Column("scope", Text, nullable=False, server_default=""),
    Column("after_wallet", Uuid, nullable=False, comment="wallets up to this one are resolved by it"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="of the masked body"),
    Column("reason", Text, nullable=False),
    Column("message_key", Text),
    Column("headers", JSONB, nullable=False, server_default="[]", comment="[[name, value], …], masked as the body is"),
    Column("body", LargeBinary, nullable=False, comment="as received, card numbers masked"),
    Column("received_at", Instant, nullable=False, server_default=NOW),
    Column("status", Text, nullable=False, server_default="OPEN"),
    Column("closed_at", Instant),
    Column("incarnation", Integer, nullable=False, server_default="0", comment="of the topic, see `topics`"),
    one_of("status", "OPEN", "REPLAYED", "DISCARDED"),
    CheckConstraint("(status = 'OPEN') = (closed_at IS NULL)", name="closed_at"),
    UniqueConstraint(
        *("topic", "partition", "incarnation", "kafka_offset", "digest"),
        name="uq_dead_letters_topic_partition_kafka_offset_digest",
    ),
)
Index("ix_dead_letters_closed_at", dead_letters.c.closed_at, postgresql_where=dead_letters.c.closed_at.is_not(None))

removed_messages = Table(
    "removed_messages",
    metadata,
    Column("topic", Text, nullable=False),
    Column("outcome", Text, nullable=False, comment="an update's; UNREADABLE of a dead letter"),
    Column("count", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "outcome"),
    CheckConstraint("count > 0", name="count"),
)

DEFECT = "DEFECT"
"""How the reason of a dead letter begins whose message is not at fault, but this program."""
IS_OPEN_DEFECT = f"status = 'OPEN' AND starts_with(reason, '{DEFECT}')"
Index("ix_dead_letters_defects", dead_letters.c.received_at, postgresql_where=text(IS_OPEN_DEFECT))
