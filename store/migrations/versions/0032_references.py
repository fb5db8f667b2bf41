"""Payment links are found by their reference"""

revision = "0032"
down_revision = "0031"
oldest_program = "0030"
indexes = {"ix_payment_links_reference": "ON payment_links (reference)"}


def upgrade() -> None:
    """Nothing but the index."""
