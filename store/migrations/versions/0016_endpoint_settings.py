"""A merchants file sets the rate and the retry schedule of an endpoint"""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute(
        "CREATE TYPE endpoint_row_v3 AS (id text, merchant_id text, url text, sealed_secrets text[], event_types text[],"
        " max_per_second real, retry_schedule interval[])"
    )
