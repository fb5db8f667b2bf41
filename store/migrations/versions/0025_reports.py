"""Each report of what was reported again, facts that a person accepted, and the customers of quarantined merges"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.add_column(
        "replacement_facts",
        sa.Column(
            "accepted",
            postgresql.JSONB,
            comment="the customers in whose wallets it is followed in spite of a conflict",
        ),
    )
    op.add_column(
        "replacement_facts",
        sa.Column(
            "reports_kept",
            sa.Boolean,
            server_default=sa.text("false"),
            nullable=False,
            comment="false: it may have had further reports, from before these were kept",
        ),
    )
    _create_fact_reports()
    _create_state_reports()
    op.create_table(
        "quarantined_merges",
        sa.Column("inbox_id", sa.BigInteger, nullable=False),
        sa.Column(
            "about",
            postgresql.JSONB,
            nullable=False,
            comment="the two customers that it named, as in parked_updates",
        ),
        sa.ForeignKeyConstraint(
            ["inbox_id"], ["inbox.id"], name=op.f("fk_quarantined_merges_inbox_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_quarantined_merges")),
        comment="merges that only a person releases",
    )
    for name, attributes in _ROW_TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({attributes})")


def _create_fact_reports() -> None:
    op.create_table(
        "fact_reports",
        sa.Column("digest", sa.LargeBinary, nullable=False, comment="of the fact, the vendor and the update's id"),
        sa.Column("old_key", sa.Text, nullable=False),
        sa.Column("new_key", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("vendor", sa.Text, nullable=False),
        sa.Column("update_id", sa.Text, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("old_alias", sa.Text),
        sa.Column("new_alias", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("method_type", sa.Text),
        sa.Column("last4", sa.Text),
        sa.Column("brand", sa.Text),
        sa.Column("expiry_month", sa.SmallInteger),
        sa.Column("expiry_year", sa.SmallInteger),
        sa.Column("par", sa.Text),
        sa.Column("details", postgresql.JSONB),
        sa.ForeignKeyConstraint(
            ["old_key", "new_key", "scope"],
            ["replacement_facts.old_key", "replacement_facts.new_key", "replacement_facts.scope"],
            name=op.f("fk_fact_reports_old_key_new_key_scope"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_fact_reports")),
        comment="each report of a fact that came more than once",
    )
    op.create_index(op.f("ix_fact_reports_old_key"), "fact_reports", ["old_key"])


def _create_state_reports() -> None:
    op.create_table(
        "state_reports",
        sa.Column(
            "digest",
            sa.LargeBinary,
            nullable=False,
            comment="of the credential, the customer, the vendor and the id",
        ),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("vendor", sa.Text, nullable=False),
        sa.Column("update_id", sa.Text, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text),
        sa.Column("expiry_month", sa.SmallInteger),
        sa.Column("expiry_year", sa.SmallInteger),
        sa.Column(
            "details",
            postgresql.JSONB,
            comment='{"<detail>": value, "cards": [[vendor, last4, brand, [year, month]], …]}',
        ),
        sa.ForeignKeyConstraint(
            ["key", "scope"],
            ["credentials.key", "credentials.scope"],
            name=op.f("fk_state_reports_key_scope"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_state_reports")),
        comment="each report of a credential that came after another one",
    )
    op.create_index(op.f("ix_state_reports_key"), "state_reports", ["key"])


_ROW_TYPES = {
    "replacement_fact_row_v2": "old_key text, new_key text, scope text, old_alias text, new_alias text, vendor text,"
    " update_id text, occurred_at timestamptz, reason text, method_type text, last4 text, brand text, expiry_month"
    " smallint, expiry_year smallint, par text, details text, later_expiry text, accepted text, keep interval",
    "fact_report_row_v1": "digest bytea, old_key text, new_key text, scope text, vendor text, update_id text, occurred_at"
    " timestamptz, old_alias text, new_alias text, reason text, method_type text, last4 text, brand text,"
    " expiry_month smallint, expiry_year smallint, par text, details text",
    "state_report_row_v1": "digest bytea, key text, scope text, vendor text, update_id text, occurred_at timestamptz, status text,"
    " expiry_month smallint, expiry_year smallint, details text",
    "fact_id_row_v1": "old_key text, new_key text, scope text",
    "quarantined_merge_row_v1": "inbox_id bigint, about text",
}
