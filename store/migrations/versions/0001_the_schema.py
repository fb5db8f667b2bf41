"""The schema"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False, comment="ACCEPTED, or the failure's name"),
        sa.Column("status_code", sa.SmallInteger(), nullable=True),
        sa.Column("took_ms", sa.Integer(), nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("attempted_at", "delivery_id", "number", name=op.f("pk_attempts")),
        postgresql_partition_by="RANGE (attempted_at)",
    )
    op.create_index(op.f("ix_attempts_delivery_id"), "attempts", ["delivery_id"], unique=False)
    op.create_table(
        "credentials",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "scope", sa.Text(), server_default="", nullable=False, comment="the customer it was told of; '' is anyone"
        ),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("status_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_vendor", sa.Text(), nullable=True),
        sa.Column("status_update_id", sa.Text(), nullable=True),
        sa.Column("expiry_month", sa.SmallInteger(), nullable=True),
        sa.Column("expiry_year", sa.SmallInteger(), nullable=True),
        sa.Column("expiry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expiry_vendor", sa.Text(), nullable=True),
        sa.Column("expiry_update_id", sa.Text(), nullable=True),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment='{"<detail>": [value, occurred at, vendor, update id], "cards": […]}',
        ),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status IN ('ACTIVE', 'ACTION_REQUIRED', 'SUSPENDED', 'CLOSED')", name=op.f("ck_credentials_status")
        ),
        sa.CheckConstraint(
            "num_nulls(expiry_month, expiry_year, expiry_at, expiry_vendor, expiry_update_id) IN (0, 5)",
            name=op.f("ck_credentials_expiry"),
        ),
        sa.CheckConstraint(
            "num_nulls(status, status_at, status_vendor, status_update_id) IN (0, 4)",
            name=op.f("ck_credentials_status_stamp"),
        ),
        sa.PrimaryKeyConstraint("key", "scope", name=op.f("pk_credentials")),
    )
    op.create_index(op.f("ix_credentials_kept_until"), "credentials", ["kept_until"], unique=False)
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="of the masked body"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message_key", sa.Text(), nullable=True),
        sa.Column(
            "headers",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
            comment="[[name, value], …], masked as the body is",
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="as received, card numbers masked"),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.Text(), server_default="OPEN", nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'OPEN') = (closed_at IS NULL)", name=op.f("ck_dead_letters_closed_at")),
        sa.CheckConstraint("status IN ('OPEN', 'REPLAYED', 'DISCARDED')", name=op.f("ck_dead_letters_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint(
            "topic",
            "partition",
            "kafka_offset",
            "digest",
            name=op.f("uq_dead_letters_topic_partition_kafka_offset_digest"),
        ),
    )
    op.create_table(
        "delivery_history",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="how many were made"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('DELIVERED', 'DEAD', 'CANCELLED')", name=op.f("ck_delivery_history_status")),
        sa.PrimaryKeyConstraint("finished_at", "id", name=op.f("pk_delivery_history")),
        postgresql_partition_by="RANGE (finished_at)",
    )
    op.create_index(
        "ix_delivery_history_dead",
        "delivery_history",
        ["endpoint_id"],
        unique=False,
        postgresql_where=sa.text("status = 'DEAD'"),
    )
    op.create_index(
        "ix_delivery_history_dead_id",
        "delivery_history",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status = 'DEAD'"),
    )
    op.create_index(op.f("ix_delivery_history_event_id"), "delivery_history", ["event_id"], unique=False)
    op.create_table(
        "fetches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="of what is to be asked for"),
        sa.Column("event", sa.LargeBinary(), nullable=False, comment="as it came, see schemas/thin.py"),
        sa.Column("topic", sa.Text(), nullable=False, comment="with the two below, where it came first"),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.Column(
            "told",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="how often it came; an answer asked for before the latest time may be too old",
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "leased_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="it is being asked for, or was when who asked died",
        ),
        sa.Column(
            "attempt",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="the latest begun; fences late writers",
        ),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failure", sa.Text(), nullable=True, comment="what failed the last time"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(failures = 0) = (failure IS NULL)", name=op.f("ck_fetches_failure")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fetches")),
        sa.UniqueConstraint("feed", "digest", name=op.f("uq_fetches_feed_digest")),
    )
    op.create_index(op.f("ix_fetches_feed_due_at"), "fetches", ["feed", "due_at"], unique=False)
    op.create_table(
        "inbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="of the update's content"),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("update_id", sa.Text(), nullable=False),
        sa.Column("original", sa.Boolean(), nullable=False, comment="the first message with this vendor and id"),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("old_key", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('APPLIED', 'SUPERSEDED', 'DUPLICATE', 'PARKED', 'IGNORED', 'QUARANTINED')",
            name=op.f("ck_inbox_outcome"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
        sa.UniqueConstraint(
            "topic", "partition", "kafka_offset", "digest", name=op.f("uq_inbox_topic_partition_kafka_offset_digest")
        ),
    )
    op.create_index(
        "ix_inbox_parked", "inbox", ["received_at"], unique=False, postgresql_where=sa.text("outcome = 'PARKED'")
    )
    op.create_index(
        "ix_inbox_quarantined", "inbox", ["id"], unique=False, postgresql_where=sa.text("outcome = 'QUARANTINED'")
    )
    op.create_index("uq_inbox_original", "inbox", ["vendor", "update_id"], unique=True, postgresql_where="original")
    op.create_table(
        "merchants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchants")),
    )
    op.create_table(
        "replacement_facts",
        sa.Column("old_key", sa.Text(), nullable=False),
        sa.Column("new_key", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), server_default="", nullable=False),
        sa.Column("old_alias", sa.Text(), nullable=True, comment="the fingerprint key beside a token key"),
        sa.Column("new_alias", sa.Text(), nullable=True),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("update_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("method_type", sa.Text(), nullable=True),
        sa.Column("last4", sa.Text(), nullable=True),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("expiry_month", sa.SmallInteger(), nullable=True),
        sa.Column("expiry_year", sa.SmallInteger(), nullable=True),
        sa.Column("par", sa.Text(), nullable=True),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="what else was told of the new credential: name, zip, account type, …",
        ),
        sa.Column(
            "later_expiry",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="[[year, month], occurred at, vendor, update id], told when told again",
        ),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "method_type IN ('CARD', 'BANK_ACCOUNT', 'DIGITAL_WALLET', 'GIFT_CARD')",
            name=op.f("ck_replacement_facts_method_type"),
        ),
        sa.CheckConstraint(
            "reason IN ('EXPIRED', 'LOST_OR_STOLEN', 'REISSUED', 'BANK_CHANGE', 'NETWORK_UPDATE', 'BRAND_CHANGE', 'WALLET_MERGE')",
            name=op.f("ck_replacement_facts_reason"),
        ),
        sa.CheckConstraint("(expiry_month IS NULL) = (expiry_year IS NULL)", name=op.f("ck_replacement_facts_expiry")),
        sa.CheckConstraint("old_key <> new_key", name=op.f("ck_replacement_facts_two_ends")),
        sa.PrimaryKeyConstraint("old_key", "new_key", "scope", name=op.f("pk_replacement_facts")),
    )
    op.create_index(op.f("ix_replacement_facts_kept_until"), "replacement_facts", ["kept_until"], unique=False)
    op.create_index(
        op.f("ix_replacement_facts_old_alias"),
        "replacement_facts",
        ["old_alias"],
        unique=False,
        postgresql_where=sa.text("old_alias IS NOT NULL"),
    )
    op.create_table(
        "wallets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("enterprise_id", sa.Text(), nullable=True),
        sa.Column("hsid", sa.Text(), nullable=True),
        sa.Column("date_of_birth", sa.Date(), nullable=True),
        sa.Column(
            "metadata",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="further customer identifiers",
        ),
        sa.Column("merged_into", sa.Uuid(), nullable=True, comment="its methods live there now"),
        sa.CheckConstraint(
            "enterprise_id IS NOT NULL OR hsid IS NOT NULL OR metadata <> '{}'",
            name=op.f("ck_wallets_customer_identifier"),
        ),
        sa.CheckConstraint("merged_into <> id", name=op.f("ck_wallets_merged_into")),
        sa.ForeignKeyConstraint(
            ["merged_into"], ["wallets.id"], name=op.f("fk_wallets_merged_into"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallets")),
    )
    op.create_index(
        op.f("ix_wallets_merged_into"),
        "wallets",
        ["merged_into"],
        unique=False,
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.create_table(
        "customer_identities",
        sa.Column("name", sa.Text(), nullable=False, comment="enterpriseId, hsid or metadata.<key>"),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_customer_identities_wallet_id")),
        sa.PrimaryKeyConstraint("name", "value", "wallet_id", name=op.f("pk_customer_identities")),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column(
            "secrets", sa.ARRAY(sa.Text()), nullable=False, comment="newest first; a second one while a secret rotates"
        ),
        sa.Column("event_types", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="ENABLED", nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column(
            "held_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="a Retry-After holds back the endpoint, not one delivery",
        ),
        sa.CheckConstraint("status = 'DISABLED' OR disabled_reason IS NULL", name=op.f("ck_endpoints_disabled_reason")),
        sa.CheckConstraint("status IN ('ENABLED', 'DISABLED')", name=op.f("ck_endpoints_status")),
        sa.CheckConstraint("cardinality(secrets) BETWEEN 1 AND 2", name=op.f("ck_endpoints_secrets")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_endpoints_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
    )
    op.create_index(op.f("ix_endpoints_merchant_id"), "endpoints", ["merchant_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False, comment="told as evt_<hex>, also the webhook-id"),
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("payment_method_id", sa.Uuid(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="rendered once, signed and sent as it stands"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "name IN ('PAYMENT_METHOD_REPLACED', 'PAYMENT_METHOD_DELETED', 'PAYMENT_METHOD_UPDATED')",
            name=op.f("ck_events_name"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_events_merchant_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_events_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint(
            "wallet_id", "merchant_id", "sequence", name=op.f("uq_events_wallet_id_merchant_id_sequence")
        ),
    )
    op.create_index(op.f("ix_events_payment_method_id"), "events", ["payment_method_id"], unique=False)
    op.create_table(
        "parked_updates",
        sa.Column("key", sa.Text(), nullable=False, comment="a credential, or @name=value for a customer"),
        sa.Column("inbox_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "about",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="the customer it named, or the two of a merge",
        ),
        sa.ForeignKeyConstraint(
            ["inbox_id"], ["inbox.id"], name=op.f("fk_parked_updates_inbox_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key", "inbox_id", name=op.f("pk_parked_updates")),
    )
    op.create_index(op.f("ix_parked_updates_inbox_id"), "parked_updates", ["inbox_id"], unique=False)
    op.create_table(
        "payment_methods",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), sa.Computed("status <> 'DELETED'", persisted=True), nullable=False),
        sa.Column("last4", sa.Text(), nullable=True),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("expiry_month", sa.SmallInteger(), nullable=True),
        sa.Column("expiry_year", sa.SmallInteger(), nullable=True),
        sa.Column("holder_name", sa.Text(), nullable=True),
        sa.Column("zip_code", sa.Text(), nullable=True),
        sa.Column("manufacturer_card", sa.Boolean(), nullable=True),
        sa.Column("account_type", sa.Text(), nullable=True),
        sa.Column("bank_name", sa.Text(), nullable=True),
        sa.Column("extra_details", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("nickname", sa.Text(), nullable=True),
        sa.Column(
            "par", sa.Text(), nullable=True, comment="payment account reference: one account over its cards and tokens"
        ),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_subscription_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("replaced_by", sa.Uuid(), nullable=True),
        sa.Column("deleted_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "NOT (is_default OR is_subscription_default) OR (status <> 'DELETED' AND type <> 'GIFT_CARD')",
            name=op.f("ck_payment_methods_flags_need_a_live_eligible_method"),
        ),
        sa.CheckConstraint(
            "replaced_by IS NULL OR status = 'DELETED'", name=op.f("ck_payment_methods_replaced_is_deleted")
        ),
        sa.CheckConstraint(
            "status IN ('ACTIVE', 'ACTION_REQUIRED', 'SUSPENDED', 'CLOSED', 'DELETED')",
            name=op.f("ck_payment_methods_status"),
        ),
        sa.CheckConstraint(
            "type IN ('CARD', 'BANK_ACCOUNT', 'DIGITAL_WALLET', 'GIFT_CARD')", name=op.f("ck_payment_methods_type")
        ),
        sa.CheckConstraint("(expiry_month IS NULL) = (expiry_year IS NULL)", name=op.f("ck_payment_methods_expiry")),
        sa.CheckConstraint("expiry_month BETWEEN 1 AND 12", name=op.f("ck_payment_methods_expiry_month")),
        sa.CheckConstraint("length(last4) <= 4", name=op.f("ck_payment_methods_last4")),
        sa.CheckConstraint("replaced_by <> id", name=op.f("ck_payment_methods_replaced_by_another")),
        sa.ForeignKeyConstraint(
            ["replaced_by", "wallet_id"],
            ["payment_methods.id", "payment_methods.wallet_id"],
            name=op.f("fk_payment_methods_replaced_by_wallet_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_payment_methods_wallet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_methods")),
        sa.UniqueConstraint("id", "wallet_id", "live", name=op.f("uq_payment_methods_id_wallet_id_live")),
        sa.UniqueConstraint("id", "wallet_id", name=op.f("uq_payment_methods_id_wallet_id")),
    )
    op.create_index(
        op.f("ix_payment_methods_replaced_by"),
        "payment_methods",
        ["replaced_by"],
        unique=False,
        postgresql_where=sa.text("replaced_by IS NOT NULL"),
    )
    op.create_index(op.f("ix_payment_methods_wallet_id"), "payment_methods", ["wallet_id"], unique=False)
    op.create_index(
        "uq_payment_methods_default", "payment_methods", ["wallet_id"], unique=True, postgresql_where="is_default"
    )
    op.create_index(
        "uq_payment_methods_subscription_default",
        "payment_methods",
        ["wallet_id"],
        unique=True,
        postgresql_where="is_subscription_default",
    )
    op.create_table(
        "wallet_leads",
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column(
            "key", sa.Text(), nullable=False, comment="a credential that facts lead to, on no method of the wallet"
        ),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_wallet_leads_wallet_id")),
        sa.PrimaryKeyConstraint("wallet_id", "key", name=op.f("pk_wallet_leads")),
    )
    op.create_index(op.f("ix_wallet_leads_key"), "wallet_leads", ["key"], unique=False)
    op.create_table(
        "wallet_merchants",
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default="0", nullable=False, comment="of the latest event told"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_wallet_merchants_merchant_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f("fk_wallet_merchants_wallet_id")),
        sa.PrimaryKeyConstraint("wallet_id", "merchant_id", name=op.f("pk_wallet_merchants")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="the event's"),
        sa.Column("status", sa.Text(), nullable=False, comment="PARKED while its endpoint is disabled"),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the next attempt may begin; NULL while an earlier event of the wallet is on its way",
        ),
        sa.Column(
            "leased_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="an attempt is under way, or was when its dispatcher died",
        ),
        sa.Column(
            "attempt", sa.Integer(), server_default="0", nullable=False, comment="the latest begun; fences late writers"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('PENDING', 'PARKED')", name=op.f("ck_deliveries_status")),
        sa.CheckConstraint("leased_until IS NULL OR due_at IS NOT NULL", name=op.f("ck_deliveries_leased_is_due")),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name=op.f("fk_deliveries_endpoint_id")),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_deliveries_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "endpoint_id", "wallet_id", "sequence", name=op.f("uq_deliveries_endpoint_id_wallet_id_sequence")
        ),
        postgresql_with={"fillfactor": 60, "autovacuum_vacuum_scale_factor": 0.02},
    )
    op.create_index(
        op.f("ix_deliveries_endpoint_id_status_due_at"), "deliveries", ["endpoint_id", "status", "due_at"], unique=False
    )
    op.create_table(
        "lineage",
        sa.Column("old_id", sa.Uuid(), nullable=False, comment="at most one successor"),
        sa.Column("new_id", sa.Uuid(), nullable=False),
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "vendor",
            sa.Text(),
            nullable=True,
            comment="of the replacement fact; NULL where a wallet merge or an import made it",
        ),
        sa.Column("update_id", sa.Text(), nullable=True),
        sa.Column("replaced_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("old_id <> new_id", name=op.f("ck_lineage_two_ends")),
        sa.ForeignKeyConstraint(["new_id"], ["payment_methods.id"], name=op.f("fk_lineage_new_id")),
        sa.ForeignKeyConstraint(
            ["old_id", "wallet_id"],
            ["payment_methods.id", "payment_methods.wallet_id"],
            name=op.f("fk_lineage_old_id_wallet_id"),
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("old_id", name=op.f("pk_lineage")),
    )
    op.create_index(op.f("ix_lineage_new_id"), "lineage", ["new_id"], unique=False)
    op.create_table(
        "payment_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("payment_method_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "needs_live",
            sa.Boolean(),
            sa.Computed("CASE WHEN status <> 'CANCELLED' THEN true END", persisted=True),
            nullable=True,
            comment="NULL frees a cancelled link from the foreign key on live methods",
        ),
        sa.CheckConstraint(
            "kind IN ('SUBSCRIPTION', 'RECURRING', 'SAVED_INSTRUCTION', 'PAYMENT_PLAN')",
            name=op.f("ck_payment_links_kind"),
        ),
        sa.CheckConstraint("status IN ('ACTIVE', 'PAUSED', 'CANCELLED')", name=op.f("ck_payment_links_status")),
        sa.ForeignKeyConstraint(
            ["payment_method_id", "wallet_id", "needs_live"],
            ["payment_methods.id", "payment_methods.wallet_id", "payment_methods.live"],
            name="fk_payment_links_live_method",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["payment_method_id", "wallet_id"],
            ["payment_methods.id", "payment_methods.wallet_id"],
            name=op.f("fk_payment_links_payment_method_id_wallet_id"),
            onupdate="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id", "merchant_id"],
            ["wallet_merchants.wallet_id", "wallet_merchants.merchant_id"],
            name=op.f("fk_payment_links_wallet_id_merchant_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_links")),
    )
    op.create_index(op.f("ix_payment_links_payment_method_id"), "payment_links", ["payment_method_id"], unique=False)
    op.create_index(op.f("ix_payment_links_wallet_id"), "payment_links", ["wallet_id"], unique=False)
    op.create_table(
        "payment_method_credentials",
        sa.Column("payment_method_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="vendor:token, or :fingerprint"),
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_method_id", "wallet_id", "live"],
            ["payment_methods.id", "payment_methods.wallet_id", "payment_methods.live"],
            name=op.f("fk_payment_method_credentials_payment_method_id_wallet_id_live"),
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("payment_method_id", "key", name=op.f("pk_payment_method_credentials")),
    )
    op.create_index(op.f("ix_payment_method_credentials_key"), "payment_method_credentials", ["key"], unique=False)
    op.create_index(
        "uq_live_identity",
        "payment_method_credentials",
        ["wallet_id", "key", "type"],
        unique=True,
        postgresql_where="live",
    )
    for table in ("delivery_history", "attempts"):
        # upkeep makes a partition a day ahead of time; what comes for a day without one is still kept
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
