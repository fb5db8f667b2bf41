"""What vendors have reported: credential states and replacement facts, and the reports of those that came again."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
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
    Column("accepted", JSONB, comment="the customers in whose wallets it is followed in spite of a conflict"),
    Column(
        "reports_kept",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="false: it may have had further reports, from before these were kept",
    ),
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

fact_reports = Table(
    "fact_reports",
    metadata,
    # the columns that it is made of are too long for an index together
    Column("digest", LargeBinary, primary_key=True, comment="of the fact, the vendor and the update's id"),
    Column("old_key", Text, nullable=False),
    Column("new_key", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("vendor", Text, nullable=False),
    Column("update_id", Text, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("old_alias", Text),
    Column("new_alias", Text),
    Column("reason", Text, nullable=False),
    Column("method_type", Text),
    Column("last4", Text),
    Column("brand", Text),
    Column("expiry_month", SmallInteger),
    Column("expiry_year", SmallInteger),
    Column("par", Text),
    Column("details", JSONB),
    ForeignKeyConstraint(
        ["old_key", "new_key", "scope"],
        ["replacement_facts.old_key", "replacement_facts.new_key", "replacement_facts.scope"],
        ondelete="CASCADE",
    ),
    comment="each report of a fact that came more than once",
)
Index(None, fact_reports.c.old_key)

state_reports = Table(
    "state_reports",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="of the credential, the customer, the vendor and the id"),
    Column("key", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("vendor", Text, nullable=False),
    Column("update_id", Text, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("status", Text),
    Column("expiry_month", SmallInteger),
    Column("expiry_year", SmallInteger),
    Column("details", JSONB, comment='{"<detail>": value, "cards": [[vendor, last4, brand, [year, month]], …]}'),
    ForeignKeyConstraint(["key", "scope"], ["credentials.key", "credentials.scope"], ondelete="CASCADE"),
    comment="each report of a credential that came after another one",
)
Index(None, state_reports.c.key)
