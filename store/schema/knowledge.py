"""What vendors have reported: credential states and replacement facts."""

from sqlalchemy import CheckConstraint, Column, Index, PrimaryKeyConstraint, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.metadata import Instant, metadata, one_of

credentials = Table(
    "credentials",
    metadata,
    Column("key", Text, nullable=False),
    Column("scope", Text, nullable=False, server_default="", comment="the customer it is about; '' is anyone"),
    Column("status", Text),
    Column("status_at", Instant),
    Column("status_vendor", Text),
    Column("status_update_id", Text),
    Column("expiry_month", SmallInteger),
    Column("expiry_year", SmallInteger),
    Column("expiry_at", Instant),
    Column("expiry_vendor", Text),
    Column("expiry_update_id", Text),
    Column(
        "details",
        JSONB,
        comment='{"<detail>": [value, occurred at, vendor, update id], "cards": […]}',
    ),
    Column("kept_until", Instant, nullable=False),
    PrimaryKeyConstraint("key", "scope"),
    one_of("status", "ACTIVE", "ACTION_REQUIRED", "SUSPENDED", "CLOSED"),
    CheckConstraint("num_nulls(status, status_at, status_vendor, status_update_id) IN (0, 4)", name="status_stamp"),
    CheckConstraint(
        "num_nulls(expiry_month, expiry_year, expiry_at, expiry_vendor, expiry_update_id) IN (0, 5)", name="expiry"
    ),
)
Index(None, credentials.c.kept_until)

replacement_facts = Table(
    "replacement_facts",
    metadata,
    Column("old_key", Text, nullable=False),
    Column("new_key", Text, nullable=False),
    Column("scope", Text, nullable=False, server_default=""),
    Column("old_alias", Text, comment="the fingerprint key beside a token key"),
    Column("new_alias", Text),
    Column("vendor", Text, nullable=False),
    Column("update_id", Text, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("method_type", Text),
    Column("last4", Text),
    Column("brand", Text),
    Column("expiry_month", SmallInteger),
    Column("expiry_year", SmallInteger),
    Column("par", Text),
    Column("details", JSONB, comment="what else was reported of the new credential: name, zip, account type, …"),
    Column("later_expiry", JSONB, comment="[[year, month], occurred at, vendor, update id] of a later report"),
    Column("kept_until", Instant, nullable=False),
    PrimaryKeyConstraint("old_key", "new_key", "scope"),
    one_of("method_type", "CARD", "BANK_ACCOUNT", "DIGITAL_WALLET", "GIFT_CARD"),
    one_of(
        "reason",
        "EXPIRED",
        "LOST_OR_STOLEN",
        "REISSUED",
        "BANK_CHANGE",
        "NETWORK_UPDATE",
        "BRAND_CHANGE",
        "WALLET_MERGE",
    ),
    CheckConstraint("old_key <> new_key", name="two_ends"),
    CheckConstraint("(expiry_month IS NULL) = (expiry_year IS NULL)", name="expiry"),
)
Index(
    None,
    replacement_facts.c.old_alias,
    postgresql_where=replacement_facts.c.old_alias.is_not(None),
)
Index(None, replacement_facts.c.kept_until)
