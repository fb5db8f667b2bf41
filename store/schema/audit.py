"""What people did: who, why, and what stood there before and after."""

from sqlalchemy import BigInteger, Column, Identity, Index, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.metadata import NOW, Instant, metadata

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Instant, nullable=False, server_default=NOW),
    Column("actor", Text, nullable=False, comment="a login and a machine"),
    Column("action", Text, nullable=False, comment="such as 'endpoint disabled'"),
    Column("subject", Text, nullable=False, comment="the id of an endpoint or a delivery, or what was chosen"),
    Column("reason", Text, comment="in the person's own words"),
    Column("before", JSONB),
    Column("after", JSONB),
)
Index(None, audit.c.subject)
