"""The revisions of the schema, and the programs that each of them supports."""

from sqlalchemy import Column, Table, Text

from store.schema.metadata import NOW, Instant, metadata

schema_revisions = Table(
    "schema_revisions",
    metadata,
    Column("revision", Text, primary_key=True),
    Column("oldest_program", Text, nullable=False, comment="by its newest revision; older ones refuse to start"),
    Column("applied_at", Instant, nullable=False, server_default=NOW),
)
