"""Merchants, and the endpoints that their webhooks go to."""

from sqlalchemy import ARRAY, CheckConstraint, Column, ForeignKey, Index, Table, Text

from store.schema.metadata import Instant, metadata, one_of

merchants = Table(
    "merchants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("merchant_id", Text, ForeignKey("merchants.id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("secrets", ARRAY(Text), nullable=False, comment="newest first; a second one while a secret rotates"),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False, server_default="ENABLED"),
    Column("disabled_reason", Text),
    Column("held_until", Instant, comment="a Retry-After holds back the endpoint, not one delivery"),
    one_of("status", "ENABLED", "DISABLED"),
    CheckConstraint("cardinality(secrets) BETWEEN 1 AND 2", name="secrets"),
    CheckConstraint("status = 'DISABLED' OR disabled_reason IS NULL", name="disabled_reason"),
)
Index(None, endpoints.c.merchant_id)
