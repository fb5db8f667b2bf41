"""Merchants, and the endpoints that their webhooks go to."""

from sqlalchemy import (
    ARRAY,
    DDL,
    REAL,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Interval,
    Table,
    Text,
    event,
)

from store.schema.metadata import NOW, Instant, metadata, one_of

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
    Column(
        "sealed_secrets",
        ARRAY(Text),
        nullable=False,
        comment="encrypted (schemas/sealing.py), newest first; a second one while a secret rotates",
    ),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False, server_default="ENABLED"),
    Column("disabled_reason", Text),
    Column("held_until", Instant, comment="a Retry-After, or an open circuit until its next probe"),
    Column("circuit", Text, nullable=False, server_default="CLOSED", comment="OPEN: one delivery at a time is a probe"),
    Column("failing_since", Instant, comment="the first failure after the latest success"),
    Column("failures", Integer, nullable=False, server_default="0", comment="attempts that failed since then"),
    Column("max_per_second", REAL, comment="deliveries; NULL is any number"),
    Column("paced_until", Instant, comment="from then on max_per_second allows the next delivery"),
    Column("retry_schedule", ARRAY(Interval), comment="in place of the program's"),
    Column("former_secret_until", Instant, comment="the end of the second secret; NULL: it has no end"),
    Column("removed_at", Instant, comment="a removed endpoint has no secrets, and its id is not given out again"),
    Column("sealed_headers", Text, comment="an encrypted JSON object; NULL: none"),
    Column("header_names", ARRAY(Text), nullable=False, server_default="{}", comment="of sealed_headers"),
    Column(
        "subscribed_at",
        Instant,
        nullable=False,
        server_default=NOW,
        comment="when the latest of its event_types was added: it lacks no event from before",
    ),
    one_of("status", "ENABLED", "DISABLED"),
    one_of("circuit", "CLOSED", "OPEN"),
    CheckConstraint("max_per_second > 0", name="max_per_second"),
    CheckConstraint("removed_at IS NULL OR status = 'DISABLED'", name="removed"),
    CheckConstraint(
        "CASE WHEN removed_at IS NULL THEN cardinality(sealed_secrets) BETWEEN 1 AND 2"
        " ELSE cardinality(sealed_secrets) = 0 END",
        name="secrets",
    ),
    CheckConstraint(
        "CASE WHEN sealed_headers IS NULL THEN cardinality(header_names) = 0"
        " ELSE cardinality(header_names) > 0 AND starts_with(sealed_headers, 'sealed:') AND removed_at IS NULL END",
        name="headers",
    ),
    CheckConstraint("former_secret_until IS NULL OR cardinality(sealed_secrets) = 2", name="former_secret_until"),
    CheckConstraint(
        "removed_at IS NOT NULL OR array_to_string(sealed_secrets, ',') ~ '^sealed:[^,]+(,sealed:[^,]+)*$'",
        name="sealed",
    ),
    CheckConstraint("status = 'DISABLED' OR disabled_reason IS NULL", name="disabled_reason"),
)
Index(None, endpoints.c.merchant_id)

# A trigger, so that each program and script that changes the event types moves it.
_NOTE_SUBSCRIPTION = """CREATE FUNCTION note_subscription() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.event_types <@ OLD.event_types THEN
        NEW.subscribed_at = now();
    END IF;
    RETURN NEW;
END $$"""
_TRIGGER = """CREATE TRIGGER note_subscription BEFORE UPDATE OF event_types ON endpoints
    FOR EACH ROW EXECUTE FUNCTION note_subscription()"""

event.listen(endpoints, "after_create", DDL(_NOTE_SUBSCRIPTION))  # type: ignore[no-untyped-call]
event.listen(endpoints, "after_create", DDL(_TRIGGER))  # type: ignore[no-untyped-call]
