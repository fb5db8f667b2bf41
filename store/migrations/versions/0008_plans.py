"""Indexes that leave PostgreSQL one way to find what a statement looks for, whatever its statistics say"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_customer_identities_wallet_id", "customer_identities", ["wallet_id"])
    for name, columns, status in (
        ("ix_deliveries_due", ["endpoint_id", "due_at"], "PENDING"),
        ("ix_deliveries_parked", ["endpoint_id"], "PARKED"),
    ):
        op.create_index(name, "deliveries", columns, postgresql_where=sa.text(f"status = '{status}'"))
    defects = sa.text("status = 'OPEN' AND starts_with(reason, 'DEFECT')")
    op.create_index("ix_dead_letters_defects", "dead_letters", ["received_at"], postgresql_where=defects)
    op.drop_index("ix_deliveries_endpoint_id_status_due_at", "deliveries")
