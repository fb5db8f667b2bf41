"""An attempt may fail by a Kafka broker"""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    for name, definition in _DOMAINS.items():
        op.execute(f"CREATE DOMAIN {name} AS {definition}")
    for name, attributes in _ROW_TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({attributes})")


_DOMAINS = {
    "attempt_outcome_v4": "text NOT NULL CONSTRAINT ck_attempt_outcome CHECK (VALUE IN ('ACCEPTED', 'gone',"
    " 'too_many_requests', 'unavailable', 'redirect_refused', 'status_refused', 'response_timeout',"
    " 'response_unreadable', 'connection_closed', 'connection_timeout', 'connection_refused', 'connection_failed',"
    " 'tls_failed', 'dns_lookup_failed', 'egress_denied', 'url_unusable', 'unsignable', 'resolver_unavailable',"
    " 'egress_proxy_failed', 'broker_unavailable', 'topic_refused'))",
}
_ROW_TYPES = {
    "attempt_result_row_v4": "id bigint, attempt integer, status_code smallint, took_ms integer,"
    " outcome attempt_outcome_v4, attempted_at float8, becomes attempt_status_v1, delay attempt_delay_v1,"
    " tries attempt_tries_v1",
}
