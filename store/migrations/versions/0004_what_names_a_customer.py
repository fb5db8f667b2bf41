"""Only metadata that the setting names identifies a customer"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # the rows follow in the same transaction (store.identities), after every migration
    op.execute("COMMENT ON COLUMN wallets.metadata IS 'what describes the customer; some of it names them'")
    op.execute(
        "COMMENT ON COLUMN customer_identities.name IS"
        " 'enterpriseId, hsid, or metadata.<key> where REPOINT_CUSTOMER_IDENTIFIERS has it'"
    )
