"""The columns of every row that statements take or give, each list once: statements and row types are made from them.

A statement takes many rows as one array of a composite type, and many values of one column as an array. asyncpg encodes
an array of rows in a quarter of the time of an array for each column, and the server takes it apart in half of the
time (docs/decisions.md, "Many rows are an array of rows").

The types are the statements' own and no table's: a table may gain a column while an older version of the program runs.
A type is never altered, for the same reason. A list of columns that changes gets the next version, a migration makes
the type of that name, and the migration of a later release drops the former one.
"""

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import Uuid

from domain.delivery.outcome import Outcome
from domain.wallet import Details
from store import schema

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


class RowType:
    """A composite type: some `columns` of a table under their names there, and `others` (name and type) beside them.

    JSON is handed over as text, which asyncpg encodes without calling Python.
    """

    def __init__(self, name: str, version: int, columns: Collection[Column[Any]], **others: str) -> None:
        self.name = f"{name}_v{version}"
        self._names = [column.name for column in columns]
        self.columns = ", ".join(column.name for column in columns)
        """As an INSERT lists them."""
        self.values = ", ".join(_value(column) for column in columns)
        """As a SELECT from an array of rows lists them, in the order of `columns`."""
        self.selected = selected(columns)
        """As a SELECT from the table lists them, in the order of `columns`."""
        self.attributes: Mapping[str, str] = {column.name: _type(column) for column in columns} | others
        self.row = _tuple_of(self.attributes)
        """Makes a row as statements take it, of a value for each name."""
        named = namedtuple(self.name, self._names)  # type: ignore[misc] # noqa: PYI024 - the names are computed
        self.read: Callable[[Iterable[Any]], Any] = partial(tuple.__new__, named)
        """Gives the `selected` values of a row their names.

        The attribute of a named tuple is read in an eighth of the time that SQLAlchemy's row takes for it.
        """

    def array(self, parameter: str) -> str:
        """The rows of the array that is bound to `parameter`, for a FROM."""
        return f"unnest(CAST(:{parameter} AS {self.name}[]))"

    def insert(self, table: str, parameter: str) -> str:
        """The statement that inserts the rows of the array that is bound to `parameter` into `table`."""
        return f"INSERT INTO {table} ({self.columns}) SELECT {self.values} FROM {self.array(parameter)}"

    def assignments(self, source: str, *, without: Collection[str] = ()) -> str:
        """The columns for the SET of an UPDATE, each from the column of `source` of the same name."""
        return ", ".join(f"{name} = {source}.{name}" for name in self._names if name not in without)

    @property
    def definition(self) -> str:
        """The statement that makes the type."""
        attributes = ", ".join(f"{name} {kind}" for name, kind in self.attributes.items())
        return f"CREATE TYPE {self.name} AS ({attributes})"


def selected(columns: Collection[Column[Any]]) -> str:
    """As a SELECT from their table lists them: UUIDs and JSON as text, each under its name."""
    return ", ".join(
        f"CAST({column.table.name}.{column.name} AS text) AS {column.name}"
        if isinstance(column.type, Uuid | JSONB)
        else f"{column.table.name}.{column.name}"
        for column in columns
    )


def columns_of(table: Table, *, without: Collection[str] = ()) -> list[Column[Any]]:
    """The columns of `table` in their order there."""
    unknown = set(without).difference(table.columns.keys())
    if unknown:
        raise ValueError(f"{table.name} has no {sorted(unknown)}")
    return [column for column in table.columns if column.name not in without]


def _tuple_of(names: Iterable[str]) -> Callable[..., tuple[Any, ...]]:
    """A function of a value for each name that returns them as a tuple, in a third of a named tuple's time."""
    listed = ", ".join(names)
    row: Callable[..., tuple[Any, ...]] = eval(f"lambda {listed}: ({listed},)")  # noqa: S307 - of this module's names
    return row


def _type(column: Column[Any]) -> str:
    return "TEXT" if isinstance(column.type, JSONB) else column.type.compile(dialect=_DIALECT)


def _value(column: Column[Any]) -> str:
    return f"CAST({column.name} AS jsonb)" if isinstance(column.type, JSONB) else column.name


# --- merchants ----------------------------------------------------------------------------------------------------

_endpoints = schema.endpoints.c

MERCHANT = RowType("merchant_row", 1, columns_of(schema.merchants))
ENDPOINT_STATE = (
    "status",
    "disabled_reason",
    "held_until",
    "circuit",
    "failing_since",
    "failures",
    "paced_until",
    "former_secret_until",
    "removed_at",
    "subscribed_at",
)
"""The columns of an endpoint that no merchants file sets."""
ENDPOINT = RowType("endpoint_row", 4, columns_of(schema.endpoints, without=ENDPOINT_STATE))
ENDPOINT_SEALED = RowType(
    "endpoint_sealed_row", 1, [_endpoints.id, _endpoints.sealed_secrets, _endpoints.sealed_headers]
)
ENDPOINT_HOLD = RowType("endpoint_hold_row", 1, [_endpoints.id], duration="interval")
ENDPOINT_ATTEMPTS = RowType("endpoint_attempts_row", 1, [_endpoints.id], succeeded="boolean", failures="integer")

# --- wallets ------------------------------------------------------------------------------------------------------

_identities = schema.customer_identities.c
_links = schema.payment_links.c
_merchants_of_wallets = columns_of(schema.wallet_merchants, without=["sequence", "shared_at"])

WALLET = RowType("wallet_row", 1, columns_of(schema.wallets, without=["erased_at"]))
WALLET_MERGE = RowType("wallet_merge_row", 1, [schema.wallets.c.id, schema.wallets.c.merged_into])
WALLET_MERCHANT = RowType("wallet_merchant_row", 1, _merchants_of_wallets)
WALLET_LEAD = RowType("wallet_lead_row", 1, columns_of(schema.wallet_leads))
CUSTOMER_IDENTITY = RowType("customer_identity_row", 1, columns_of(schema.customer_identities))
IDENTITY = RowType("identity_row", 1, [_identities.name, _identities.value])
METHOD_DETAILS = [name for name in Details._fields if name not in {"expiry", "extra"}]
"""The details that are a column of the same name. The expiry is two columns, `extra` is JSON."""
PAYMENT_METHOD = RowType(
    "payment_method_row",
    1,
    [
        *(schema.payment_methods.c[name] for name in METHOD_DETAILS),
        *columns_of(schema.payment_methods, without=["live", *METHOD_DETAILS]),
    ],
)
METHOD_CREDENTIAL = RowType("payment_method_credential_row", 2, columns_of(schema.payment_method_credentials))
LINK = RowType("payment_link_row", 1, columns_of(schema.payment_links, without=["needs_live"]))
LINK_MOVE = RowType("payment_link_move_row", 1, [_links.id, _links.payment_method_id])
LINEAGE = RowType("lineage_row", 2, columns_of(schema.lineage, without=["replaced_at"]))

# --- what vendors reported ----------------------------------------------------------------------------------------

CREDENTIAL_STATE = RowType(
    "credential_state_row", 1, columns_of(schema.credentials, without=["kept_until"]), keep="interval"
)
REPLACEMENT_FACT = RowType(
    "replacement_fact_row",
    2,
    columns_of(schema.replacement_facts, without=["reports_kept", "kept_until"]),
    keep="interval",
)
FACT_REPORT = RowType("fact_report_row", 1, columns_of(schema.fact_reports))
STATE_REPORT = RowType("state_report_row", 1, columns_of(schema.state_reports))
FACT_ID = RowType("fact_id_row", 1, [schema.fact_reports.c[name] for name in ("old_key", "new_key", "scope")])

# --- messages -----------------------------------------------------------------------------------------------------

_inbox = schema.inbox.c

ARRIVAL = RowType(
    "arrival_row", 1, [_inbox.topic, _inbox.partition, _inbox.kafka_offset, _inbox.vendor, _inbox.update_id]
)
REPORTED_ID = RowType("reported_id_row", 1, [_inbox.vendor, _inbox.update_id])
UPDATE = RowType("update_row", 1, columns_of(schema.inbox, without=("id", "received_at", "incarnation")))
UPDATE_OUTCOME = RowType("update_outcome_row", 1, [_inbox.id, _inbox.outcome, _inbox.reason])
WAITING_UPDATE = RowType("waiting_update_row", 1, columns_of(schema.parked_updates))
HELD_UPDATE = RowType("held_update_row", 1, columns_of(schema.held_updates))
VENDOR_COUNT = RowType(
    "vendor_count_row", 1, [schema.vendor_replacements.c.vendor, schema.vendor_replacements.c.wallets]
)
QUARANTINED_MERGE = RowType("quarantined_merge_row", 1, columns_of(schema.quarantined_merges))
UNFINISHED_UPDATE = RowType("unfinished_update_row", 1, columns_of(schema.unfinished_updates, without=["after_wallet"]))
DEAD_LETTER = RowType(
    "dead_letter_row",
    1,
    columns_of(schema.dead_letters, without=("id", "received_at", "status", "closed_at", "incarnation")),
)
EMPTY_MESSAGE = RowType("empty_message_row", 1, [_inbox.partition, _inbox.kafka_offset])
FETCH = RowType(
    "fetch_row",
    1,
    [schema.fetches.c[name] for name in ("feed", "digest", "event", "topic", "partition", "kafka_offset")],
)
FETCH_CLAIM = RowType("fetch_claim_row", 1, [schema.fetches.c.feed], most="integer")

# --- people ---------------------------------------------------------------------------------------------------------

AUDIT = RowType("audit_row", 1, columns_of(schema.audit, without=("id", "at")))

# --- events and deliveries ----------------------------------------------------------------------------------------

_deliveries = schema.deliveries.c
_attempts = schema.attempts.c

EVENT = RowType("event_row", 1, columns_of(schema.events))
EVENT_BODY = RowType("event_body_row", 1, [schema.events.c.id, schema.events.c.body])
EVENT_COUNT = RowType("event_count_row", 1, _merchants_of_wallets, events="bigint")
DELIVERY = RowType(
    "delivery_row",
    1,
    [_deliveries.event_id, _deliveries.endpoint_id, _deliveries.wallet_id, _deliveries.sequence],
)
LINE = RowType("delivery_line_row", 1, [_deliveries.endpoint_id, _deliveries.wallet_id])
WATERMARK = RowType("watermark_row", 1, [_deliveries.endpoint_id], watermark="timestamptz")
DELIVERY_CLAIM = RowType("delivery_claim_row", 1, [_deliveries.endpoint_id], most="integer", watermark="timestamptz")
CLAIMED_DELIVERY = RowType("claimed_delivery_row", 1, [_deliveries.id, _deliveries.attempt, _deliveries.leased_until])

_OUTCOMES = ", ".join(repr(outcome.value) for outcome in Outcome)
DOMAINS: Mapping[str, str] = {
    "attempt_outcome_v4": f"text NOT NULL CONSTRAINT ck_attempt_outcome CHECK (VALUE IN ({_OUTCOMES}))",
    "attempt_status_v1": "text NOT NULL CONSTRAINT ck_attempt_status"
    " CHECK (VALUE IN ('PENDING', 'PARKED', 'DELIVERED', 'DEAD'))",
    "attempt_delay_v1": "interval NOT NULL CONSTRAINT ck_attempt_delay CHECK (VALUE >= interval '0')",
    "attempt_tries_v1": "integer NOT NULL CONSTRAINT ck_attempt_tries CHECK (VALUE BETWEEN 0 AND 1)",
}
"""What an attempt's result must say: a value that is missing or unknown ends the statement that records it."""

ATTEMPT_RESULT = RowType(
    "attempt_result_row",
    4,
    [_deliveries.id, _deliveries.attempt, _attempts.status_code, _attempts.took_ms],
    outcome="attempt_outcome_v4",
    attempted_at="float8",
    becomes="attempt_status_v1",
    delay="attempt_delay_v1",
    tries="attempt_tries_v1",
)
"""`attempted_at` in Unix seconds, `becomes` the delivery's status after it, `delay` until the next attempt.

`tries` is 1 if the attempt used up a try, else 0."""
ATTEMPT_EVIDENCE = RowType("attempt_evidence_row", 1, columns_of(schema.attempt_evidence))

# --- reconciliation -----------------------------------------------------------------------------------------------

RECONCILIATION_FINDING = RowType(
    "reconciliation_finding_row", 1, columns_of(schema.reconciliation_findings, without=["id"])
)
SEQUENCE_GAP = RowType("sequence_gap_row", 1, columns_of(schema.sequence_gaps, without=["noted_at"]))
