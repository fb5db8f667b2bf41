"""Thin events that a vendor has to be asked about."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from store.schema.metadata import NOW, Instant, metadata

fetches = Table(
    "fetches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("feed", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="of what the vendor is asked for"),
    Column("event", LargeBinary, nullable=False, comment="as it came, see schemas/thin.py"),
    Column("topic", Text, nullable=False, comment="with the two below: where the event was first read"),
    Column("partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column(
        "told",
        Integer,
        nullable=False,
        server_default="1",
        comment="how often the event was read; an answer to a question before the latest time may be too old",
    ),
    Column("due_at", Instant, nullable=False, server_default=NOW),
    Column("leased_until", Instant, comment="the vendor is being asked, or was when the process died"),
    Column("attempt", Integer, nullable=False, server_default="0", comment="the latest begun; fences late writers"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("failure", Text, comment="what failed the last time"),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column(
        "waits_for_address",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="until a process that knows the vendor's address starts",
    ),
    CheckConstraint("(failures > 0 OR waits_for_address) = (failure IS NOT NULL)", name="failure"),
    UniqueConstraint("feed", "digest"),
)
Index(None, fetches.c.feed, fetches.c.due_at)
