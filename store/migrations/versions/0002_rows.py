"""What many rows are handed over as"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name, attributes in _ROW_TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({attributes})")


_ROW_TYPES = {
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
