"""Headers of an endpoint's own, encrypted as its secrets are"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("sealed_headers", sa.Text, comment="an encrypted JSON object; NULL: none"))
    op.add_column(
        "endpoints",
        sa.Column(
            "header_names", postgresql.ARRAY(sa.Text), nullable=False, server_default="{}", comment="of sealed_headers"
        ),
    )
    op.create_check_constraint(
        op.f("ck_endpoints_headers"),
        "endpoints",
        "CASE WHEN sealed_headers IS NULL THEN cardinality(header_names) = 0"
        " ELSE cardinality(header_names) > 0 AND starts_with(sealed_headers, 'sealed:') AND removed_at IS NULL END",
    )
    for name, attributes in _ROW_TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({attributes})")


_ROW_TYPES = {
    "endpoint_row_v4": "id text, merchant_id text, url text, sealed_secrets text[], event_types text[],"
    " max_per_second real, retry_schedule interval[], sealed_headers text, header_names text[]",
    "endpoint_sealed_row_v1": "id text, sealed_secrets text[], sealed_headers text",
}
