"""Wallets: customers, payment methods with their credentials, links, and what replaced what."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.metadata import NOW, Instant, metadata, one_of

wallets = Table(
    "wallets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("enterprise_id", Text),
    Column("hsid", Text),
    Column("date_of_birth", Date),
    Column(
        "metadata",
        JSONB,
        nullable=False,
        server_default="{}",
        comment="what describes the customer; some of it names them",
    ),
    # deferred, for an import brings a merged wallet before the one that its methods went to
    Column(
        "merged_into",
        Uuid,
        ForeignKey("wallets.id", deferrable=True, initially="DEFERRED"),
        comment="its methods live there now",
    ),
    Column("erased_at", Instant, comment="since then nothing says whose it was"),
    CheckConstraint(
        "CASE WHEN erased_at IS NULL THEN enterprise_id IS NOT NULL OR hsid IS NOT NULL OR metadata <> '{}'"
        " ELSE num_nonnulls(enterprise_id, hsid, date_of_birth) = 0 AND metadata = '{}' END",
        name="customer_identifier",
    ),
    CheckConstraint("merged_into <> id", name="merged_into"),
)

Index(None, wallets.c.merged_into, postgresql_where=wallets.c.merged_into.is_not(None))

customer_identities = Table(
    "customer_identities",
    metadata,
    Column(
        "name",
        Text,
        nullable=False,
        comment="enterpriseId, hsid, or metadata.<key> where REPOINT_CUSTOMER_IDENTIFIERS has it",
    ),
    Column("value", Text, nullable=False),
    Column("wallet_id", Uuid, ForeignKey("wallets.id"), nullable=False),
    PrimaryKeyConstraint("name", "value", "wallet_id"),
)
Index(None, customer_identities.c.wallet_id)

wallet_merchants = Table(
    "wallet_merchants",
    metadata,
    Column("wallet_id", Uuid, ForeignKey("wallets.id"), nullable=False),
    Column("merchant_id", Text, ForeignKey("merchants.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False, server_default="0", comment="of the latest event"),
    Column("shared_at", Instant, nullable=False, server_default=NOW, comment="since when changes are announced to it"),
    PrimaryKeyConstraint("wallet_id", "merchant_id"),
)

payment_methods = Table(
    "payment_methods",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("wallet_id", Uuid, ForeignKey("wallets.id"), nullable=False),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("live", Boolean, Computed("status <> 'DELETED'", persisted=True), nullable=False),
    Column("last4", Text),
    Column("brand", Text),
    Column("expiry_month", SmallInteger),
    Column("expiry_year", SmallInteger),
    Column("holder_name", Text),
    Column("zip_code", Text),
    Column("manufacturer_card", Boolean),
    Column("account_type", Text),
    Column("bank_name", Text),
    Column("extra_details", JSONB, nullable=False, server_default="{}"),
    Column("nickname", Text),
    Column("par", Text, comment="payment account reference: one account over its cards and tokens"),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    Column("is_subscription_default", Boolean, nullable=False, server_default=text("false")),
    Column("replaced_by", Uuid),
    Column("deleted_reason", Text),
    one_of("type", "CARD", "BANK_ACCOUNT", "DIGITAL_WALLET", "GIFT_CARD"),
    one_of("status", "ACTIVE", "ACTION_REQUIRED", "SUSPENDED", "CLOSED", "DELETED"),
    CheckConstraint("length(last4) <= 4", name="last4"),
    CheckConstraint("expiry_month BETWEEN 1 AND 12", name="expiry_month"),
    CheckConstraint("(expiry_month IS NULL) = (expiry_year IS NULL)", name="expiry"),
    CheckConstraint(
        "NOT (is_default OR is_subscription_default) OR (status <> 'DELETED' AND type <> 'GIFT_CARD')",
        name="flags_need_a_live_eligible_method",
    ),
    CheckConstraint("replaced_by IS NULL OR status = 'DELETED'", name="replaced_is_deleted"),
    CheckConstraint("replaced_by <> id", name="replaced_by_another"),
    UniqueConstraint("id", "wallet_id"),
    # what credentials and links copy of their method; ON UPDATE CASCADE keeps the copies true
    UniqueConstraint("id", "wallet_id", "live"),
    # both ends of a replacement in one wallet; deferred, for the old method goes before the new one comes
    ForeignKeyConstraint(
        ["replaced_by", "wallet_id"],
        ["payment_methods.id", "payment_methods.wallet_id"],
        deferrable=True,
        initially="DEFERRED",
    ),
)
Index(None, payment_methods.c.wallet_id)
Index(
    "uq_payment_methods_default",
    payment_methods.c.wallet_id,
    unique=True,
    postgresql_where=payment_methods.c.is_default,
)
Index(
    "uq_payment_methods_subscription_default",
    payment_methods.c.wallet_id,
    unique=True,
    postgresql_where=payment_methods.c.is_subscription_default,
)
Index(
    None,
    payment_methods.c.replaced_by,
    postgresql_where=payment_methods.c.replaced_by.is_not(None),
)

payment_method_credentials = Table(
    "payment_method_credentials",
    metadata,
    Column("payment_method_id", Uuid, nullable=False),
    Column("key", Text, nullable=False, comment="vendor:token, or :fingerprint"),
    Column("wallet_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("learnt", Boolean, comment="a fact led to it, and the customer never brought it; NULL is not known"),
    PrimaryKeyConstraint("payment_method_id", "key"),
    ForeignKeyConstraint(
        ["payment_method_id", "wallet_id", "live"],
        ["payment_methods.id", "payment_methods.wallet_id", "payment_methods.live"],
        onupdate="CASCADE",
    ),
)
Index(None, payment_method_credentials.c.key)
Index(
    "uq_live_identity",
    payment_method_credentials.c.wallet_id,
    payment_method_credentials.c.key,
    payment_method_credentials.c.type,
    unique=True,
    postgresql_where=payment_method_credentials.c.live,
)

wallet_leads = Table(
    "wallet_leads",
    metadata,
    Column("wallet_id", Uuid, ForeignKey("wallets.id"), nullable=False),
    Column("key", Text, nullable=False, comment="a credential that facts lead to, on no method of the wallet"),
    PrimaryKeyConstraint("wallet_id", "key"),
)
Index(None, wallet_leads.c.key)

payment_links = Table(
    "payment_links",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("wallet_id", Uuid, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("payment_method_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column(
        "needs_live",
        Boolean,
        Computed("CASE WHEN status <> 'CANCELLED' THEN true END", persisted=True),
        comment="NULL frees a cancelled link from the foreign key on live methods",
    ),
    one_of("kind", "SUBSCRIPTION", "RECURRING", "SAVED_INSTRUCTION", "PAYMENT_PLAN"),
    one_of("status", "ACTIVE", "PAUSED", "CANCELLED"),
    ForeignKeyConstraint(
        ["payment_method_id", "wallet_id"],
        ["payment_methods.id", "payment_methods.wallet_id"],
        onupdate="CASCADE",
    ),
    # deferred, for a method is deleted before its links have moved
    ForeignKeyConstraint(
        ["payment_method_id", "wallet_id", "needs_live"],
        ["payment_methods.id", "payment_methods.wallet_id", "payment_methods.live"],
        name="fk_payment_links_live_method",
        deferrable=True,
        initially="DEFERRED",
    ),
    ForeignKeyConstraint(["wallet_id", "merchant_id"], ["wallet_merchants.wallet_id", "wallet_merchants.merchant_id"]),
)
Index(None, payment_links.c.payment_method_id)
Index(None, payment_links.c.wallet_id)
Index(None, payment_links.c.reference)

lineage = Table(
    "lineage",
    metadata,
    Column("old_id", Uuid, primary_key=True, comment="at most one successor"),
    Column("new_id", Uuid, nullable=False),
    Column("wallet_id", Uuid, nullable=False),
    Column("reason", Text, nullable=False),
    Column("vendor", Text, comment="of the replacement fact; NULL where a wallet merge or an import made it"),
    Column("update_id", Text),
    Column("replaced_at", Instant, nullable=False, server_default=NOW),
    Column("links", ARRAY(Uuid), comment="the payment links that moved; NULL is not known"),
    Column("was_default", Boolean, comment="the old method was; NULL is not known"),
    Column("was_subscription_default", Boolean),
    CheckConstraint("old_id <> new_id", name="two_ends"),
    ForeignKeyConstraint(
        ["old_id", "wallet_id"], ["payment_methods.id", "payment_methods.wallet_id"], onupdate="CASCADE"
    ),
    ForeignKeyConstraint(["new_id"], ["payment_methods.id"]),
)
Index(None, lineage.c.new_id)
