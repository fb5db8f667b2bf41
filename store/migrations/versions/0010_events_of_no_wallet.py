"""Events that speak of no wallet's change: a test of an endpoint, and that one was disabled"""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for column in ("wallet_id", "sequence", "payment_method_id"):
        op.alter_column("events", column, nullable=True)
    op.drop_constraint(op.f("ck_events_name"), "events")
    op.create_check_constraint(
        op.f("ck_events_name"),
        "events",
        "name IN ('PAYMENT_METHOD_REPLACED', 'PAYMENT_METHOD_DELETED', 'PAYMENT_METHOD_UPDATED', 'ENDPOINT_DISABLED',"
        " 'ENDPOINT_TEST')",
    )
    op.create_check_constraint(
        op.f("ck_events_wallet"),
        "events",
        "num_nonnulls(wallet_id, sequence, payment_method_id)"
        " = CASE WHEN starts_with(name, 'PAYMENT_METHOD_') THEN 3 ELSE 0 END",
    )
    for column, comment in _COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN {column} IS '{comment}'")


_COMMENTS = {
    "events.wallet_id": "NULL if the event speaks of no wallet''s change",
    "deliveries.wallet_id": "the event''s; the event''s own id if it has none",
    "deliveries.sequence": "the event''s; 0 if it has none",
}
