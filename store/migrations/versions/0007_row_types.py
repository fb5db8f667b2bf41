"""Row types with versions in their names, made of the columns of their tables; what an attempt's result must say"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # The types without a version stay for programs of the release before, which may be running.
    for name, definition in _DOMAINS.items():
        op.execute(f"CREATE DOMAIN {name} AS {definition}")
    for name, attributes in _ROW_TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({attributes})")


_DOMAINS = {
    "attempt_outcome_v1": "text NOT NULL CONSTRAINT ck_attempt_outcome CHECK (VALUE IN ('ACCEPTED', 'gone', 'too_many_requests', 'unavailable',"
    " 'redirect_refused', 'status_refused', 'response_timeout', 'response_unreadable',"
    " 'connection_closed', 'connection_timeout', 'connection_refused', 'connection_failed', 'tls_failed',"
    " 'dns_lookup_failed', 'egress_denied', 'url_unusable', 'unsignable'))",
    "attempt_status_v1": "text NOT NULL CONSTRAINT ck_attempt_status CHECK (VALUE IN ('PENDING', 'PARKED', 'DELIVERED', 'DEAD'))",
    "attempt_delay_v1": "interval NOT NULL CONSTRAINT ck_attempt_delay CHECK (VALUE >= interval '0')",
}

_ROW_TYPES = {
    "merchant_row_v1": "id text, name text",
    "endpoint_row_v1": "id text, merchant_id text, url text, secrets text[], event_types text[]",
    "endpoint_hold_row_v1": "id text, duration interval",
    "wallet_row_v1": "id uuid, enterprise_id text, hsid text, date_of_birth date, metadata text, merged_into uuid",
    "wallet_merge_row_v1": "id uuid, merged_into uuid",
    "wallet_merchant_row_v1": "wallet_id uuid, merchant_id text",
    "wallet_lead_row_v1": "wallet_id uuid, key text",
    "customer_identity_row_v1": "name text, value text, wallet_id uuid",
    "identity_row_v1": "name text, value text",
    "payment_method_row_v1": "last4 text, brand text, holder_name text, zip_code text, manufacturer_card boolean, account_type"
    " text, bank_name text, id uuid, wallet_id uuid, type text, status text, expiry_month smallint,"
    " expiry_year smallint, extra_details text, nickname text, par text, is_default boolean,"
    " is_subscription_default boolean, replaced_by uuid, deleted_reason text",
    "payment_method_credential_row_v1": "payment_method_id uuid, key text, wallet_id uuid, type text, live boolean",
    "payment_link_row_v1": "id uuid, wallet_id uuid, merchant_id text, payment_method_id uuid, kind text, reference text, status"
    " text",
    "payment_link_move_row_v1": "id uuid, payment_method_id uuid",
    "lineage_row_v1": "old_id uuid, new_id uuid, wallet_id uuid, reason text, vendor text, update_id text",
    "credential_state_row_v1": "key text, scope text, status text, status_at timestamptz, status_vendor text, status_update_id text,"
    " expiry_month smallint, expiry_year smallint, expiry_at timestamptz, expiry_vendor text,"
    " expiry_update_id text, details text, keep interval",
    "replacement_fact_row_v1": "old_key text, new_key text, scope text, old_alias text, new_alias text, vendor text, update_id text,"
    " occurred_at timestamptz, reason text, method_type text, last4 text, brand text, expiry_month"
    " smallint, expiry_year smallint, par text, details text, later_expiry text, keep interval",
    "arrival_row_v1": "topic text, partition integer, kafka_offset bigint, vendor text, update_id text",
    "update_row_v1": "topic text, partition integer, kafka_offset bigint, digest bytea, vendor text, update_id text,"
    " original boolean, type text, old_key text, occurred_at timestamptz, outcome text, reason text",
    "update_outcome_row_v1": "id bigint, outcome text, reason text",
    "waiting_update_row_v1": "key text, inbox_id bigint, about text",
    "unfinished_update_row_v1": "inbox_id bigint, old_key text, old_alias text, scope text",
    "dead_letter_row_v1": "topic text, partition integer, kafka_offset bigint, digest bytea, reason text, message_key text,"
    " headers text, body bytea",
    "empty_message_row_v1": "partition integer, kafka_offset bigint",
    "fetch_row_v1": "feed text, digest bytea, event bytea, topic text, partition integer, kafka_offset bigint",
    "fetch_claim_row_v1": "feed text, most integer",
    "event_row_v1": "id uuid, wallet_id uuid, merchant_id text, sequence bigint, name text, payment_method_id uuid, body"
    " bytea, created_at timestamptz",
    "event_count_row_v1": "wallet_id uuid, merchant_id text, events bigint",
    "delivery_row_v1": "event_id uuid, endpoint_id text, wallet_id uuid, sequence bigint",
    "delivery_line_row_v1": "endpoint_id text, wallet_id uuid",
    "watermark_row_v1": "endpoint_id text, watermark timestamptz",
    "delivery_claim_row_v1": "endpoint_id text, most integer, watermark timestamptz",
    "claimed_delivery_row_v1": "id bigint, attempt integer, leased_until timestamptz",
    "attempt_result_row_v1": "id bigint, attempt integer, status_code smallint, took_ms integer, outcome attempt_outcome_v1,"
    " attempted_at float8, becomes attempt_status_v1, delay attempt_delay_v1",
}
