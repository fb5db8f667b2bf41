"""What retention has removed: a row that is missing from before then is not lost."""

from sqlalchemy import Column, Table, Text

from store.schema.metadata import Instant, metadata

retention_horizons = Table(
    "retention_horizons",
    metadata,
    Column("table_name", Text, primary_key=True),
    Column("removed_before", Instant, nullable=False, comment="rows from before then may have been removed"),
)
