"""Secrets of endpoints are encrypted; `store.migrate` encrypted those that were stored before"""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    # A new name, so that a dispatcher of the release before stops: it would fail every delivery by signing with these.
    op.alter_column(
        "endpoints",
        "secrets",
        new_column_name="sealed_secrets",
        comment="encrypted (schemas/sealing.py), newest first; a second one while a secret rotates",
    )
    # from PostgreSQL 18 on, that a column is NOT NULL is a constraint with a name, which does not follow the column's
    op.execute("""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'endpoints_secrets_not_null') THEN
                ALTER TABLE endpoints RENAME CONSTRAINT endpoints_secrets_not_null TO endpoints_sealed_secrets_not_null;
            END IF;
        END $$
    """)
    op.create_check_constraint(
        op.f("ck_endpoints_sealed"),
        "endpoints",
        "array_to_string(sealed_secrets, ',') ~ '^sealed:[^,]+(,sealed:[^,]+)*$'",
    )
    for name, attributes in _ROW_TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({attributes})")


_ROW_TYPES = {
    "endpoint_row_v2": "id text, merchant_id text, url text, sealed_secrets text[], event_types text[]",
    "endpoint_secrets_row_v1": "id text, sealed_secrets text[]",
}
