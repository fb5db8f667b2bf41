"""Vendors whose updates are held, and how many wallets each vendor's replacements changed."""

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Table, Text

from store.schema.metadata import NOW, Instant, metadata, one_of

vendors = Table(
    "vendors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("status", Text, nullable=False, comment="RESUMING: what was held is taken in; later messages are held"),
    Column("changed_at", Instant, nullable=False, server_default=NOW),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False, comment="a login and a machine, or repoint itself"),
    Column("leased_until", Instant, comment="a process takes in what was held"),
    Column(
        "unwatched_until", Instant, comment="a person resumed it: replacements are not counted against it until then"
    ),
    one_of("status", "ACTIVE", "PAUSED", "RESUMING"),
    comment="vendors that were paused at some time",
)

vendor_replacements = Table(
    "vendor_replacements",
    metadata,
    Column("vendor", Text, nullable=False),
    Column("minute", Instant, nullable=False),
    Column("wallets", BigInteger, nullable=False, comment="in which its facts replaced a payment method"),
    PrimaryKeyConstraint("vendor", "minute"),
)
