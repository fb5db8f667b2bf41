"""The rule on erased wallets, read over all rows while others write"""

from alembic import op

revision = "0035"
down_revision = "0034"
oldest_program = "0030"


def upgrade() -> None:
    op.execute("ALTER TABLE wallets VALIDATE CONSTRAINT ck_wallets_customer_identifier")
