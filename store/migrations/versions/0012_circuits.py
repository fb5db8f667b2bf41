"""What all dispatchers know of an endpoint's failures, its rate and its schedule; the tries of a delivery"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for column in _ENDPOINTS:
        op.add_column("endpoints", column)
    op.create_check_constraint(op.f("ck_endpoints_circuit"), "endpoints", "circuit IN ('CLOSED', 'OPEN')")
    op.create_check_constraint(op.f("ck_endpoints_max_per_second"), "endpoints", "max_per_second > 0")
    op.alter_column("endpoints", "held_until", comment="a Retry-After, or an open circuit until its next probe")
    op.add_column("deliveries", _TRIES)
    # all attempts before used up a try; one that is under way has not ended
    op.execute(
        "UPDATE deliveries SET tries = attempt - CASE WHEN leased_until > now() THEN 1 ELSE 0 END WHERE attempt > 0"
    )
    for name, definition in _DOMAINS.items():
        op.execute(f"CREATE DOMAIN {name} AS {definition}")
    for name, attributes in _ROW_TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({attributes})")


_INSTANT = sa.DateTime(timezone=True)
_ENDPOINTS: list[sa.Column[Any]] = [
    sa.Column(
        "circuit",
        sa.Text,
        nullable=False,
        server_default="CLOSED",
        comment="OPEN: one delivery at a time is a probe",
    ),
    sa.Column("failing_since", _INSTANT, comment="the first failure after the latest success"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0", comment="attempts that failed since then"),
    sa.Column("max_per_second", sa.REAL, comment="deliveries; NULL is any number"),
    sa.Column("paced_until", _INSTANT, comment="from then on max_per_second allows the next delivery"),
    sa.Column("retry_schedule", postgresql.ARRAY(sa.Interval), comment="in place of the program's"),
]
_TRIES = sa.Column(
    "tries",
    sa.Integer,
    nullable=False,
    server_default="0",
    comment="failed attempts that the schedule allowed; not those that an open circuit or a hold made",
)

_DOMAINS = {
    "attempt_outcome_v2": "text NOT NULL CONSTRAINT ck_attempt_outcome CHECK (VALUE IN ('ACCEPTED', 'gone',"
    " 'too_many_requests', 'unavailable', 'redirect_refused', 'status_refused', 'response_timeout',"
    " 'response_unreadable', 'connection_closed', 'connection_timeout', 'connection_refused', 'connection_failed',"
    " 'tls_failed', 'dns_lookup_failed', 'egress_denied', 'url_unusable', 'unsignable', 'resolver_unavailable'))",
    "attempt_tries_v1": "integer NOT NULL CONSTRAINT ck_attempt_tries CHECK (VALUE BETWEEN 0 AND 1)",
}
_ROW_TYPES = {
    "endpoint_attempts_row_v1": "id text, succeeded boolean, failures integer",
    "attempt_result_row_v2": "id bigint, attempt integer, status_code smallint, took_ms integer,"
    " outcome attempt_outcome_v2, attempted_at float8, becomes attempt_status_v1, delay attempt_delay_v1,"
    " tries attempt_tries_v1",
}
