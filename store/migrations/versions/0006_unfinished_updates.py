"""Updates that some wallets are still to be resolved by"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE unfinished_updates (
            inbox_id bigint NOT NULL,
            old_key text NOT NULL,
            old_alias text,
            scope text DEFAULT '' NOT NULL,
            after_wallet uuid NOT NULL,
            CONSTRAINT pk_unfinished_updates PRIMARY KEY (inbox_id),
            CONSTRAINT fk_unfinished_updates_inbox_id FOREIGN KEY (inbox_id)
                REFERENCES inbox (id) ON DELETE CASCADE
        )
    """)
    op.execute("COMMENT ON COLUMN unfinished_updates.after_wallet IS 'wallets up to this one are resolved by it'")
