"""What the rows are. Every rule of the domain that SQL can hold is a constraint: nobody breaks it by a script.

merchants ─< endpoints                    credentials        what vendors told about a credential; locked while
                                                             one is learnt about (see store/knowledge.py)
wallets ─< wallet_merchants (sequence)    replacement_facts  old → new, each pair once
    ├─< payment_methods ─< payment_method_credentials
    ├─< wallet_leads                      inbox              one row per message read, with its outcome
    ├─< payment_links                     parked_updates     what a parked row of the inbox waits for
    └─< lineage                           dead_letters       messages nobody could read
                                          fetches            thin events that the vendor has to be asked about
                                          events ─< deliveries (live) → delivery_history (finished), attempts
"""

from collections.abc import Mapping

from sqlalchemy import (
    ARRAY,
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.event import listen

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Instant = DateTime(timezone=True)
NOW = text("now()")


def _one_of(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


# --- who is told ------------------------------------------------------------------------------------------------

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
    _one_of("status", "ENABLED", "DISABLED"),
    CheckConstraint("cardinality(secrets) BETWEEN 1 AND 2", name="secrets"),
    CheckConstraint("status = 'DISABLED' OR disabled_reason IS NULL", name="disabled_reason"),
)
Index(None, endpoints.c.merchant_id)

# --- wallets ----------------------------------------------------------------------------------------------------

wallets = Table(
    "wallets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("enterprise_id", Text),
    Column("hsid", Text),
    Column("date_of_birth", Date),
    Column("metadata", JSONB, nullable=False, server_default="{}", comment="further customer identifiers"),
    # deferred, for an import brings a merged wallet before the one that its methods went to
    Column(
        "merged_into",
        Uuid,
        ForeignKey("wallets.id", deferrable=True, initially="DEFERRED"),
        comment="its methods live there now",
    ),
    CheckConstraint("enterprise_id IS NOT NULL OR hsid IS NOT NULL OR metadata <> '{}'", name="customer_identifier"),
    CheckConstraint("merged_into <> id", name="merged_into"),
)

Index(None, wallets.c.merged_into, postgresql_where=wallets.c.merged_into.is_not(None))

customer_identities = Table(
    "customer_identities",
    metadata,
    Column("name", Text, nullable=False, comment="enterpriseId, hsid or metadata.<key>"),
    Column("value", Text, nullable=False),
    Column("wallet_id", Uuid, ForeignKey("wallets.id"), nullable=False),
    PrimaryKeyConstraint("name", "value", "wallet_id"),
)

wallet_merchants = Table(
    "wallet_merchants",
    metadata,
    Column("wallet_id", Uuid, ForeignKey("wallets.id"), nullable=False),
    Column("merchant_id", Text, ForeignKey("merchants.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False, server_default="0", comment="of the latest event told"),
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
    _one_of("type", "CARD", "BANK_ACCOUNT", "DIGITAL_WALLET", "GIFT_CARD"),
    _one_of("status", "ACTIVE", "ACTION_REQUIRED", "SUSPENDED", "CLOSED", "DELETED"),
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
    _one_of("kind", "SUBSCRIPTION", "RECURRING", "SAVED_INSTRUCTION", "PAYMENT_PLAN"),
    _one_of("status", "ACTIVE", "PAUSED", "CANCELLED"),
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
    CheckConstraint("old_id <> new_id", name="two_ends"),
    ForeignKeyConstraint(
        ["old_id", "wallet_id"], ["payment_methods.id", "payment_methods.wallet_id"], onupdate="CASCADE"
    ),
    ForeignKeyConstraint(["new_id"], ["payment_methods.id"]),
)
Index(None, lineage.c.new_id)

# --- what vendors told --------------------------------------------------------------------------------------------

credentials = Table(
    "credentials",
    metadata,
    Column("key", Text, nullable=False),
    Column("scope", Text, nullable=False, server_default="", comment="the customer it was told of; '' is anyone"),
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
    _one_of("status", "ACTIVE", "ACTION_REQUIRED", "SUSPENDED", "CLOSED"),
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
    Column("details", JSONB, comment="what else was told of the new credential: name, zip, account type, …"),
    Column("later_expiry", JSONB, comment="[[year, month], occurred at, vendor, update id], told when told again"),
    Column("kept_until", Instant, nullable=False),
    PrimaryKeyConstraint("old_key", "new_key", "scope"),
    _one_of("method_type", "CARD", "BANK_ACCOUNT", "DIGITAL_WALLET", "GIFT_CARD"),
    _one_of(
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

# --- what came in -------------------------------------------------------------------------------------------------

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="of the update's content"),
    Column("vendor", Text, nullable=False),
    Column("update_id", Text, nullable=False),
    Column("original", Boolean, nullable=False, comment="the first message with this vendor and id"),
    Column("type", Text, nullable=False),
    Column("old_key", Text),
    Column("occurred_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False, server_default=NOW),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    _one_of("outcome", "APPLIED", "SUPERSEDED", "DUPLICATE", "PARKED", "IGNORED", "QUARANTINED"),
    # the digest is part of it because a topic made anew counts its offsets from 0 again
    UniqueConstraint("topic", "partition", "kafka_offset", "digest"),
)
Index(
    "uq_inbox_original",
    inbox.c.vendor,
    inbox.c.update_id,
    unique=True,
    postgresql_where=inbox.c.original,
)
Index("ix_inbox_quarantined", inbox.c.id, postgresql_where=inbox.c.outcome == "QUARANTINED")
Index("ix_inbox_parked", inbox.c.received_at, postgresql_where=inbox.c.outcome == "PARKED")

parked_updates = Table(
    "parked_updates",
    metadata,
    Column("key", Text, nullable=False, comment="a credential, or @name=value for a customer"),
    Column("inbox_id", BigInteger, ForeignKey("inbox.id", ondelete="CASCADE"), nullable=False),
    Column("about", JSONB, comment="the customer it named, or the two of a merge"),
    PrimaryKeyConstraint("key", "inbox_id"),
)
Index(None, parked_updates.c.inbox_id)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="of the masked body"),
    Column("reason", Text, nullable=False),
    Column("message_key", Text),
    Column("headers", JSONB, nullable=False, server_default="[]", comment="[[name, value], …], masked as the body is"),
    Column("body", LargeBinary, nullable=False, comment="as received, card numbers masked"),
    Column("received_at", Instant, nullable=False, server_default=NOW),
    Column("status", Text, nullable=False, server_default="OPEN"),
    Column("closed_at", Instant),
    _one_of("status", "OPEN", "REPLAYED", "DISCARDED"),
    CheckConstraint("(status = 'OPEN') = (closed_at IS NULL)", name="closed_at"),
    UniqueConstraint("topic", "partition", "kafka_offset", "digest"),
)

fetches = Table(
    "fetches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("feed", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="of what is to be asked for"),
    Column("event", LargeBinary, nullable=False, comment="as it came, see schemas/thin.py"),
    Column("topic", Text, nullable=False, comment="with the two below, where it came first"),
    Column("partition", Integer, nullable=False),
    Column("kafka_offset", BigInteger, nullable=False),
    Column(
        "told",
        Integer,
        nullable=False,
        server_default="1",
        comment="how often it came; an answer asked for before the latest time may be too old",
    ),
    Column("due_at", Instant, nullable=False, server_default=NOW),
    Column("leased_until", Instant, comment="it is being asked for, or was when who asked died"),
    Column("attempt", Integer, nullable=False, server_default="0", comment="the latest begun; fences late writers"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("failure", Text, comment="what failed the last time"),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    CheckConstraint("(failures = 0) = (failure IS NULL)", name="failure"),
    UniqueConstraint("feed", "digest"),
)
Index(None, fetches.c.feed, fetches.c.due_at)

# --- what is told -------------------------------------------------------------------------------------------------

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True, comment="told as evt_<hex>, also the webhook-id"),
    Column("wallet_id", Uuid, ForeignKey("wallets.id"), nullable=False),
    Column("merchant_id", Text, ForeignKey("merchants.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("payment_method_id", Uuid, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="rendered once, signed and sent as it stands"),
    Column("created_at", Instant, nullable=False),
    _one_of("name", "PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED", "PAYMENT_METHOD_UPDATED"),
    UniqueConstraint("wallet_id", "merchant_id", "sequence"),
)
Index(None, events.c.payment_method_id)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", Uuid, ForeignKey("events.id"), nullable=False),
    Column("endpoint_id", Text, ForeignKey("endpoints.id"), nullable=False),
    Column("wallet_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False, comment="the event's"),
    Column("status", Text, nullable=False, comment="PARKED while its endpoint is disabled"),
    Column(
        "due_at",
        Instant,
        comment="when the next attempt may begin; NULL while an earlier event of the wallet is on its way",
    ),
    Column("leased_until", Instant, comment="an attempt is under way, or was when its dispatcher died"),
    Column(
        "attempt",
        Integer,
        nullable=False,
        server_default="0",
        comment="the latest begun; fences late writers",
    ),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    _one_of("status", "PENDING", "PARKED"),
    CheckConstraint("leased_until IS NULL OR due_at IS NOT NULL", name="leased_is_due"),
    UniqueConstraint("endpoint_id", "wallet_id", "sequence"),
    # A claim changes no indexed column, and finds room on the row's own page: no index entry is written.
    postgresql_with={"fillfactor": 60, "autovacuum_vacuum_scale_factor": 0.02},
)
Index(None, deliveries.c.endpoint_id, deliveries.c.status, deliveries.c.due_at)

delivery_history = Table(
    "delivery_history",
    metadata,
    Column("id", BigInteger, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("endpoint_id", Text, nullable=False),
    Column("wallet_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False, comment="how many were made"),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False),
    PrimaryKeyConstraint("finished_at", "id"),
    _one_of("status", "DELIVERED", "DEAD", "CANCELLED"),
    postgresql_partition_by="RANGE (finished_at)",
)
Index(None, delivery_history.c.event_id)
Index(
    "ix_delivery_history_dead",
    delivery_history.c.endpoint_id,
    postgresql_where=delivery_history.c.status == "DEAD",
)
Index(
    "ix_delivery_history_dead_id",
    delivery_history.c.id,
    postgresql_where=delivery_history.c.status == "DEAD",
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("outcome", Text, nullable=False, comment="ACCEPTED, or the failure's name"),
    Column("status_code", SmallInteger),
    Column("took_ms", Integer, nullable=False),
    Column("attempted_at", Instant, nullable=False),
    PrimaryKeyConstraint("attempted_at", "delivery_id", "number"),
    postgresql_partition_by="RANGE (attempted_at)",
)
Index(None, attempts.c.delivery_id)

# --- what many rows are handed over as --------------------------------------------------------------------------
#
# An array of such rows is encoded in a quarter of the time of an array for each column, and taken apart in half. The
# types are the statements' own and no table's: a table may gain a column while an older version of the program runs.
# For the same reason none is ever altered: what a statement needs beside is a new type, under a new name, and the old
# one goes a version later.

ROW_TYPES: Mapping[str, str] = {
    "arrival_row": "topic text, partition integer, kafka_offset bigint, vendor text, update_id text",
    "judged_row": "topic text, partition integer, kafka_offset bigint, digest bytea, vendor text, update_id text,"
    " original boolean, type text, old_key text, occurred_at timestamptz, outcome text, reason text",
    "told_row": "key text, scope text, status text, status_at timestamptz, status_vendor text, status_update_id text,"
    " expiry_year smallint, expiry_month smallint, expiry_at timestamptz, expiry_vendor text, expiry_update_id text,"
    " details text, keep interval",
    "fact_row": "old_key text, old_alias text, new_key text, new_alias text, scope text, vendor text, update_id text,"
    " occurred_at timestamptz, reason text, method_type text, last4 text, brand text, expiry_year smallint,"
    " expiry_month smallint, par text, details text, later_expiry text, keep interval",
    "method_row": "id uuid, wallet_id uuid, type text, status text, last4 text, brand text, expiry_year smallint,"
    " expiry_month smallint, holder_name text, zip_code text, manufacturer_card boolean, account_type text,"
    " bank_name text, extra_details text, nickname text, par text, is_default boolean,"
    " is_subscription_default boolean, replaced_by uuid, deleted_reason text",
    "method_credential_row": "payment_method_id uuid, key text, wallet_id uuid, type text, live boolean",
    "link_row": "id uuid, payment_method_id uuid",
    "lineage_row": "old_id uuid, new_id uuid, wallet_id uuid, reason text, vendor text, update_id text",
    "count_row": "wallet_id uuid, merchant_id text, events bigint",
    "event_row": "id uuid, wallet_id uuid, merchant_id text, sequence bigint, name text, payment_method_id uuid,"
    " body bytea, created_at timestamptz",
    "delivery_row": "event_id uuid, endpoint_id text, wallet_id uuid, sequence bigint",
    "line_row": "endpoint_id text, wallet_id uuid",
}
"""By the name of the type, its attributes, in the order of the tuples that are given."""

for _name, _attributes in ROW_TYPES.items():
    listen(metadata, "before_create", DDL(f"CREATE TYPE {_name} AS ({_attributes})"))  # type: ignore[no-untyped-call]
