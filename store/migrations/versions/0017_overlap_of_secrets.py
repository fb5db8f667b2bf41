"""How long the former secret of an endpoint signs beside the new one"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column(
        "endpoints",
        sa.Column(
            "former_secret_until",
            sa.DateTime(timezone=True),
            comment="the end of the second secret; NULL: it has no end",
        ),
    )
    op.create_check_constraint(
        op.f("ck_endpoints_former_secret_until"),
        "endpoints",
        "former_secret_until IS NULL OR cardinality(sealed_secrets) = 2",
    )
