"""Endpoints that a person removed keep a row without secrets, so that their ids stand in the history and stay theirs"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column(
        "endpoints",
        sa.Column(
            "removed_at",
            sa.DateTime(timezone=True),
            comment="a removed endpoint has no secrets, and its id is not given out again",
        ),
    )
    for name, condition in _CHECKS.items():
        op.execute(f"ALTER TABLE endpoints DROP CONSTRAINT IF EXISTS {name}")
        op.create_check_constraint(op.f(name), "endpoints", condition)


# A program of the release before parks what it writes for a removed endpoint, because that is DISABLED.
_CHECKS = {
    "ck_endpoints_removed": "removed_at IS NULL OR status = 'DISABLED'",
    "ck_endpoints_secrets": "CASE WHEN removed_at IS NULL THEN cardinality(sealed_secrets) BETWEEN 1 AND 2"
    " ELSE cardinality(sealed_secrets) = 0 END",
    "ck_endpoints_sealed": "removed_at IS NOT NULL"
    " OR array_to_string(sealed_secrets, ',') ~ '^sealed:[^,]+(,sealed:[^,]+)*$'",
}
