"""Nobody breaks a rule by a script: each constraint refuses what it is there for, and migrating makes all of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import null, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.sealing import BUILT_IN_KEYS
from schemas.signature import secret
from store import migrate, rows
from store.engine import connect
from store.failures import constraint, sqlstate
from store.rows import DOMAINS, RowType
from store.schema import metadata
from testbed.postgres import Databases
from tests.parts.until import until

# One row of everything at least, each as it may be. Ids end in a digit: 1 and 2 are wallets, a to d and f are methods.
ROWS = """
    INSERT INTO merchants (id, name) VALUES ('m', 'M'), ('n', 'N');
    INSERT INTO endpoints (id, merchant_id, url, sealed_secrets, event_types)
    VALUES ('e', 'm', 'u', '{sealed:0:}', '{}');
    INSERT INTO wallets (id, hsid) VALUES (pg_temp.id('1'), 'h'), (pg_temp.id('2'), 'h');
    INSERT INTO customer_identities (name, value, wallet_id) VALUES ('hsid', 'h', pg_temp.id('1'));
    INSERT INTO wallet_merchants (wallet_id, merchant_id) VALUES (pg_temp.id('1'), 'm'), (pg_temp.id('2'), 'n');
    INSERT INTO payment_methods (id, wallet_id, type, status, is_default, is_subscription_default, replaced_by)
    VALUES (pg_temp.id('a'), pg_temp.id('1'), 'CARD', 'ACTIVE', true, true, NULL),
           (pg_temp.id('b'), pg_temp.id('1'), 'CARD', 'CLOSED', false, false, NULL),
           (pg_temp.id('c'), pg_temp.id('1'), 'GIFT_CARD', 'ACTIVE', false, false, NULL),
           (pg_temp.id('d'), pg_temp.id('1'), 'CARD', 'DELETED', false, false, pg_temp.id('a')),
           (pg_temp.id('f'), pg_temp.id('2'), 'CARD', 'ACTIVE', false, false, NULL);
    INSERT INTO payment_method_credentials (payment_method_id, key, wallet_id, type, live)
    VALUES (pg_temp.id('a'), 'v:A', pg_temp.id('1'), 'CARD', true),
           (pg_temp.id('d'), 'v:A', pg_temp.id('1'), 'CARD', false),
           (pg_temp.id('c'), 'v:A', pg_temp.id('1'), 'GIFT_CARD', true),
           (pg_temp.id('b'), 'v:B', pg_temp.id('1'), 'CARD', true);
    INSERT INTO wallet_leads (wallet_id, key) VALUES (pg_temp.id('1'), 'v:C');
    INSERT INTO payment_links (id, wallet_id, merchant_id, payment_method_id, kind, reference, status)
    VALUES (pg_temp.id('1'), pg_temp.id('1'), 'm', pg_temp.id('b'), 'SUBSCRIPTION', 'r', 'ACTIVE'),
           (pg_temp.id('2'), pg_temp.id('1'), 'm', pg_temp.id('d'), 'SUBSCRIPTION', 'r', 'CANCELLED');
    INSERT INTO lineage (old_id, new_id, wallet_id, reason)
    VALUES (pg_temp.id('d'), pg_temp.id('a'), pg_temp.id('1'), 'REISSUED');
    INSERT INTO credentials (key, kept_until) VALUES ('v:A', now());
    INSERT INTO replacement_facts (old_key, new_key, vendor, update_id, occurred_at, reason, kept_until)
    VALUES ('v:A', 'v:B', 'v', 'u', now(), 'REISSUED', now());
    INSERT INTO inbox (topic, partition, kafka_offset, digest, vendor, update_id, original, type, occurred_at, outcome)
    VALUES ('t', 0, 0, 'x', 'v', 'u', true, 'CLOSED', now(), 'PARKED');
    INSERT INTO parked_updates (key, inbox_id) SELECT 'v:A', id FROM inbox;
    INSERT INTO unfinished_updates (inbox_id, old_key, after_wallet) SELECT id, 'v:A', pg_temp.id('1') FROM inbox;
    INSERT INTO dead_letters (topic, partition, kafka_offset, digest, reason, body) VALUES ('t', 0, 0, 'x', 'r', 'b');
    INSERT INTO fetches (feed, digest, event, topic, partition, kafka_offset) VALUES ('f', 'x', 'e', 't', 0, 0);
    INSERT INTO topics (topic, incarnation, topic_id) VALUES ('t', 0, pg_temp.id('1'));
    INSERT INTO topic_partitions (topic, incarnation, partition) VALUES ('t', 0, 0);
    INSERT INTO losses (topic, incarnation, partition, from_offset, to_offset, reason)
    VALUES ('t', 0, 0, 0, 5, 'RETENTION');
    INSERT INTO skips (topic, incarnation, partition, kafka_offset, reason) VALUES ('t', 0, 0, 0, 'r');
    INSERT INTO events (id, wallet_id, merchant_id, sequence, name, payment_method_id, body, created_at)
    VALUES (pg_temp.id('1'), pg_temp.id('1'), 'm', 1, 'PAYMENT_METHOD_DELETED', pg_temp.id('d'), 'b', now());
    INSERT INTO deliveries (event_id, endpoint_id, wallet_id, sequence, status)
    VALUES (pg_temp.id('1'), 'e', pg_temp.id('1'), 1, 'PENDING');
    INSERT INTO delivery_history
        (id, event_id, endpoint_id, wallet_id, sequence, status, attempt, created_at, finished_at)
    VALUES (1, pg_temp.id('1'), 'e', pg_temp.id('1'), 1, 'DELIVERED', 1, now(), 'today');
    INSERT INTO attempts (delivery_id, number, outcome, took_ms, attempted_at) VALUES (1, 1, 'ACCEPTED', 5, 'today');
"""
ROWS_SINCE_0009 = """
    INSERT INTO attempt_evidence (delivery_id, number, attempted_at, header_names, body)
    VALUES (1, 1, 'today', '{date}', 'b');
    INSERT INTO audit (actor, action, subject) VALUES ('a', 'endpoint disabled', 'e');
    INSERT INTO upkeep_leases (name, holder, held_until) VALUES ('n', pg_temp.id('1'), now());
    INSERT INTO replay_jobs (scope, selection, per_second) VALUES ('ALL', '{}', 1);
    INSERT INTO replay_job_events (job_id, place, event_id, endpoint_id)
    SELECT id, 1, pg_temp.id('1'), 'e' FROM replay_jobs;
    INSERT INTO reconciliation_runs (job, repairs, held_until) VALUES ('links', true, now());
    INSERT INTO reconciliation_findings (run_id, kind, subject, repaired)
    SELECT id, 'OVERDUE', '1', false FROM reconciliation_runs;
    INSERT INTO fact_reports (digest, old_key, new_key, scope, vendor, update_id, occurred_at, reason)
    VALUES ('x', 'v:A', 'v:B', '', 'v', 'u', now(), 'REISSUED');
    INSERT INTO state_reports (digest, key, scope, vendor, update_id, occurred_at)
    VALUES ('x', 'v:A', '', 'v', 'u', now());
    INSERT INTO quarantined_merges (inbox_id, about) SELECT id, '{}' FROM inbox;
    INSERT INTO held_updates (inbox_id, vendor, topic, incarnation, partition, kafka_offset, value, headers)
    SELECT id, 'v', 't', 0, 0, 0, 'x', '[]' FROM inbox;
    INSERT INTO vendors (name, status, reason, actor) VALUES ('v', 'PAUSED', 'r', 'a');
    INSERT INTO vendor_replacements (vendor, minute, wallets) VALUES ('v', now(), 1);
    INSERT INTO reconciliation_subjects (run_id, wallet_id) SELECT id, pg_temp.id('1') FROM reconciliation_runs;
    INSERT INTO sequence_gaps (wallet_id, merchant_id, first, last) VALUES (pg_temp.id('1'), 'm', 2, 3);
    INSERT INTO retention_horizons (table_name, removed_before) VALUES ('delivery_history', now());
    INSERT INTO removed_messages (topic, outcome, count) VALUES ('t', 'APPLIED', 1);
"""
ID = """
    CREATE FUNCTION pg_temp.id(name text) RETURNS uuid IMMUTABLE LANGUAGE SQL
    AS $$ SELECT CAST('00000000-0000-0000-0000-00000000000' || name AS uuid) $$;
"""

# By the name of the rule, what breaks it and no other. A method's or wallet's id is written as <a> or <1>.
BROKEN = {
    # who is told
    "pk_merchants": "INSERT INTO merchants VALUES ('m', 'again')",
    "pk_endpoints": "INSERT INTO endpoints (id, merchant_id, url, sealed_secrets, event_types)"
    " VALUES ('e', 'm', 'u', '{sealed:0:}', '{}')",
    "fk_endpoints_merchant_id": "UPDATE endpoints SET merchant_id = 'nobody'",
    "ck_endpoints_status": "UPDATE endpoints SET status = 'BROKEN'",
    "ck_endpoints_secrets": [
        "UPDATE endpoints SET sealed_secrets = '{sealed:0:a, sealed:0:b, sealed:0:c}'",
        "UPDATE endpoints SET removed_at = now(), status = 'DISABLED'",
    ],
    "ck_endpoints_removed": "UPDATE endpoints SET removed_at = now(), sealed_secrets = '{}'",
    "ck_endpoints_headers": [
        "UPDATE endpoints SET sealed_headers = '{}', header_names = '{X-Tenant}'",
        "UPDATE endpoints SET sealed_headers = 'sealed:0:a'",
        "UPDATE endpoints SET header_names = '{X-Tenant}'",
        (
            "UPDATE endpoints SET sealed_headers = 'sealed:0:a', header_names = '{X-Tenant}', removed_at = now(),"
            " status = 'DISABLED', sealed_secrets = '{}'"
        ),
    ],
    "ck_endpoints_sealed": [
        "UPDATE endpoints SET sealed_secrets = '{whsec_c2VjcmV0}'",
        "UPDATE endpoints SET sealed_secrets = '{sealed:0:a, whsec_c2VjcmV0}'",
    ],
    "ck_endpoints_former_secret_until": "UPDATE endpoints SET former_secret_until = now()",
    "ck_endpoints_circuit": "UPDATE endpoints SET circuit = 'HALF'",
    "ck_endpoints_max_per_second": "UPDATE endpoints SET max_per_second = 0",
    "ck_endpoints_disabled_reason": "UPDATE endpoints SET disabled_reason = 'GONE'",
    # wallets
    "pk_wallets": "INSERT INTO wallets (id, hsid) VALUES (<1>, 'h')",
    "ck_wallets_customer_identifier": [
        "UPDATE wallets SET hsid = NULL",
        "UPDATE wallets SET erased_at = now()",
    ],
    "ck_wallets_merged_into": "UPDATE wallets SET merged_into = id",
    "fk_wallets_merged_into": "UPDATE wallets SET merged_into = <9>",
    "pk_customer_identities": "INSERT INTO customer_identities SELECT * FROM customer_identities",
    "fk_customer_identities_wallet_id": "UPDATE customer_identities SET wallet_id = <9>",
    "pk_wallet_merchants": "INSERT INTO wallet_merchants SELECT * FROM wallet_merchants",
    "fk_wallet_merchants_wallet_id": "INSERT INTO wallet_merchants VALUES (<9>, 'm')",
    "fk_wallet_merchants_merchant_id": "INSERT INTO wallet_merchants VALUES (<1>, 'nobody')",
    "pk_wallet_leads": "INSERT INTO wallet_leads SELECT * FROM wallet_leads",
    "fk_wallet_leads_wallet_id": "UPDATE wallet_leads SET wallet_id = <9>",
    # methods
    "pk_payment_methods": "INSERT INTO payment_methods (id, wallet_id, type, status)"
    " VALUES (<a>, <1>, 'CARD', 'ACTIVE')",
    "fk_payment_methods_wallet_id": "INSERT INTO payment_methods (id, wallet_id, type, status)"
    " VALUES (<9>, <9>, 'CARD', 'ACTIVE')",
    "ck_payment_methods_type": "UPDATE payment_methods SET type = 'CHEQUE' WHERE id = <b>",
    "ck_payment_methods_status": "UPDATE payment_methods SET status = 'LOST' WHERE id = <b>",
    "ck_payment_methods_last4": "UPDATE payment_methods SET last4 = '12345'",
    "ck_payment_methods_expiry": "UPDATE payment_methods SET expiry_month = 12",
    "ck_payment_methods_expiry_month": "UPDATE payment_methods SET expiry_month = 13, expiry_year = 2030",
    "ck_payment_methods_flags_need_a_live_eligible_method": [
        "UPDATE payment_methods SET status = 'DELETED' WHERE id = <a>",
        "UPDATE payment_methods SET is_default = true WHERE id = <d>",
        "UPDATE payment_methods SET is_default = id = <c>, is_subscription_default = false WHERE id IN (<a>, <c>)",
        "UPDATE payment_methods SET is_subscription_default = id = <c>, is_default = false WHERE id IN (<a>, <c>)",
    ],
    "ck_payment_methods_replaced_is_deleted": "UPDATE payment_methods SET replaced_by = <a> WHERE id = <b>",
    "ck_payment_methods_replaced_by_another": "UPDATE payment_methods SET replaced_by = id WHERE id = <d>",
    "fk_payment_methods_replaced_by_wallet_id": [
        "UPDATE payment_methods SET replaced_by = <f> WHERE id = <d>",  # a method of another wallet
        "UPDATE payment_methods SET replaced_by = <9> WHERE id = <d>",
    ],
    "uq_payment_methods_default": "UPDATE payment_methods SET is_default = true WHERE id = <b>",
    "uq_payment_methods_subscription_default": "UPDATE payment_methods SET is_subscription_default = true"
    " WHERE id = <b>",
    "pk_payment_method_credentials": "INSERT INTO payment_method_credentials VALUES (<a>, 'v:A', <1>, 'CARD', true)",
    "fk_payment_method_credentials_payment_method_id_wallet_id_live": [
        "INSERT INTO payment_method_credentials VALUES (<9>, 'v:X', <1>, 'CARD', true)",
        "INSERT INTO payment_method_credentials VALUES (<a>, 'v:X', <2>, 'CARD', true)",
        "INSERT INTO payment_method_credentials VALUES (<a>, 'v:X', <1>, 'CARD', false)",
    ],
    "uq_live_identity": [
        "INSERT INTO payment_method_credentials VALUES (<b>, 'v:A', <1>, 'CARD', true)",
        "UPDATE payment_methods SET status = 'ACTIVE', replaced_by = NULL WHERE id = <d>",  # revived
    ],
    # links
    "pk_payment_links": "INSERT INTO payment_links"
    " (id, wallet_id, merchant_id, payment_method_id, kind, reference, status)"
    " VALUES (<1>, <1>, 'm', <a>, 'SUBSCRIPTION', 'r', 'ACTIVE')",
    "ck_payment_links_kind": "UPDATE payment_links SET kind = 'GIFT'",
    "ck_payment_links_status": "UPDATE payment_links SET status = 'LOST' WHERE id = <2>",
    "fk_payment_links_payment_method_id_wallet_id": [
        "UPDATE payment_links SET payment_method_id = <f> WHERE id = <2>",  # of another wallet
        "UPDATE payment_links SET payment_method_id = <9> WHERE id = <2>",
    ],
    "fk_payment_links_live_method": [
        "UPDATE payment_links SET payment_method_id = <d> WHERE id = <1>",
        "UPDATE payment_links SET status = 'PAUSED' WHERE id = <2>",
        "UPDATE payment_methods SET status = 'DELETED' WHERE id = <b>",
    ],
    "fk_payment_links_wallet_id_merchant_id": "UPDATE payment_links SET merchant_id = 'n'",
    # lineage
    "pk_lineage": "INSERT INTO lineage (old_id, new_id, wallet_id, reason) VALUES (<d>, <b>, <1>, 'EXPIRED')",
    "ck_lineage_two_ends": "UPDATE lineage SET new_id = old_id",
    "fk_lineage_old_id_wallet_id": "UPDATE lineage SET wallet_id = <2>",
    "fk_lineage_new_id": "UPDATE lineage SET new_id = <9>",
    # what vendors told
    "pk_credentials": "INSERT INTO credentials (key, kept_until) VALUES ('v:A', now())",
    "ck_credentials_status": "UPDATE credentials SET status = 'DELETED', status_at = now(), status_vendor = 'v',"
    " status_update_id = 'u'",
    "ck_credentials_status_stamp": [
        "UPDATE credentials SET status = 'CLOSED'",
        "UPDATE credentials SET status_at = now()",
        "UPDATE credentials SET status = 'CLOSED', status_at = now(), status_vendor = 'v'",
        "UPDATE credentials SET status = 'CLOSED', status_at = now(), status_update_id = 'u'",
    ],
    "ck_credentials_expiry": "UPDATE credentials SET expiry_year = 2030",
    "pk_replacement_facts": "INSERT INTO replacement_facts SELECT * FROM replacement_facts",
    "ck_replacement_facts_two_ends": "UPDATE replacement_facts SET new_key = old_key",
    "ck_replacement_facts_expiry": "UPDATE replacement_facts SET expiry_month = 1",
    "ck_replacement_facts_reason": "UPDATE replacement_facts SET reason = 'WHIM'",
    "ck_replacement_facts_method_type": "UPDATE replacement_facts SET method_type = 'CHEQUE'",
    "pk_fact_reports": "INSERT INTO fact_reports SELECT * FROM fact_reports",
    "fk_fact_reports_old_key_new_key_scope": "UPDATE fact_reports SET new_key = 'v:C'",
    "pk_state_reports": "INSERT INTO state_reports SELECT * FROM state_reports",
    "fk_state_reports_key_scope": "UPDATE state_reports SET key = 'v:Z'",
    # what came in
    "pk_inbox": "INSERT INTO inbox (id, topic, partition, kafka_offset, digest, vendor, update_id, original, type,"
    " occurred_at, outcome) OVERRIDING SYSTEM VALUE SELECT id, 'new', 0, 0, 'x', 'v', 'new', true, 'CLOSED', now(),"
    " 'PARKED' FROM inbox",
    "ck_inbox_outcome": "UPDATE inbox SET outcome = 'LOST'",
    "uq_inbox_topic_partition_kafka_offset_digest": "INSERT INTO inbox (topic, partition, kafka_offset, digest, vendor,"
    " update_id, original, type, occurred_at, outcome) VALUES ('t', 0, 0, 'x', 'v', 'u', false, '', now(), 'IGNORED')",
    "uq_inbox_original": "INSERT INTO inbox (topic, partition, kafka_offset, digest, vendor,"
    " update_id, original, type, occurred_at, outcome) VALUES ('t', 0, 1, 'x', 'v', 'u', true, '', now(), 'IGNORED')",
    "pk_parked_updates": "INSERT INTO parked_updates SELECT * FROM parked_updates",
    "fk_parked_updates_inbox_id": "UPDATE parked_updates SET inbox_id = -1",
    "pk_quarantined_merges": "INSERT INTO quarantined_merges SELECT * FROM quarantined_merges",
    "fk_quarantined_merges_inbox_id": "UPDATE quarantined_merges SET inbox_id = -1",
    "pk_held_updates": "INSERT INTO held_updates SELECT * FROM held_updates",
    "fk_held_updates_inbox_id": "UPDATE held_updates SET inbox_id = -1",
    "pk_vendors": "INSERT INTO vendors SELECT * FROM vendors",
    "ck_vendors_status": "UPDATE vendors SET status = 'LOST'",
    "pk_vendor_replacements": "INSERT INTO vendor_replacements SELECT * FROM vendor_replacements",
    "pk_unfinished_updates": "INSERT INTO unfinished_updates SELECT * FROM unfinished_updates",
    "fk_unfinished_updates_inbox_id": "UPDATE unfinished_updates SET inbox_id = -1",
    "pk_dead_letters": "INSERT INTO dead_letters (id, topic, partition, kafka_offset, digest, reason, body)"
    " OVERRIDING SYSTEM VALUE SELECT id, 'new', 0, 0, 'x', 'r', 'b' FROM dead_letters",
    "ck_dead_letters_status": "UPDATE dead_letters SET status = 'LOST', closed_at = now()",
    "ck_dead_letters_closed_at": [
        "UPDATE dead_letters SET status = 'DISCARDED'",
        "UPDATE dead_letters SET closed_at = now()",
    ],
    "uq_dead_letters_topic_partition_kafka_offset_digest": "INSERT INTO dead_letters"
    " (topic, partition, kafka_offset, digest, reason, body) VALUES ('t', 0, 0, 'x', 'r', 'b')",
    "pk_topics": "INSERT INTO topics (topic, incarnation) VALUES ('t', 0)",
    "uq_topics_topic_topic_id": "INSERT INTO topics (topic, incarnation, topic_id) VALUES ('t', 1, <1>)",
    "pk_topic_partitions": "INSERT INTO topic_partitions (topic, incarnation, partition) VALUES ('t', 0, 0)",
    "pk_losses": "INSERT INTO losses (topic, incarnation, partition, from_offset, to_offset, reason)"
    " VALUES ('t', 0, 0, 0, 9, 'RETENTION')",
    "ck_losses_range": "UPDATE losses SET to_offset = 0",
    "ck_losses_reason": "UPDATE losses SET reason = 'CARELESSNESS'",
    "pk_skips": "INSERT INTO skips (id, topic, incarnation, partition, kafka_offset, reason)"
    " OVERRIDING SYSTEM VALUE SELECT id, 'new', 0, 0, 0, 'r' FROM skips",
    "ck_skips_range": "UPDATE skips SET obeyed_at = now(), from_offset = 5, to_offset = 5",
    "ck_skips_obeyed": ["UPDATE skips SET obeyed_at = now()", "UPDATE skips SET from_offset = 1, to_offset = 2"],
    "pk_fetches": "INSERT INTO fetches (id, feed, digest, event, topic, partition, kafka_offset)"
    " OVERRIDING SYSTEM VALUE SELECT id, 'new', 'x', 'e', 't', 0, 0 FROM fetches",
    "ck_fetches_failure": ["UPDATE fetches SET failures = 1", "UPDATE fetches SET failure = 'the answer'"],
    "uq_fetches_feed_digest": "INSERT INTO fetches (feed, digest, event, topic, partition, kafka_offset)"
    " VALUES ('f', 'x', 'e', 't', 0, 1)",
    # what is told
    "pk_events": "INSERT INTO events SELECT id, wallet_id, merchant_id, 2, name, payment_method_id, body, created_at"
    " FROM events",
    "uq_events_wallet_id_merchant_id_sequence": "INSERT INTO events SELECT <9>, wallet_id, merchant_id, sequence, name,"
    " payment_method_id, body, created_at FROM events",
    "ck_events_name": "UPDATE events SET name = 'PAYMENT_METHOD_LOST'",
    "ck_events_wallet": [
        "UPDATE events SET wallet_id = NULL",
        "UPDATE events SET sequence = NULL",
        "UPDATE events SET payment_method_id = NULL",
        "UPDATE events SET wallet_id = NULL, sequence = NULL, payment_method_id = NULL",
        "UPDATE events SET name = 'ENDPOINT_TEST'",
        "UPDATE events SET name = 'ENDPOINT_DISABLED', wallet_id = NULL, sequence = NULL",
    ],
    "fk_events_wallet_id": "UPDATE events SET wallet_id = <9>",
    "fk_events_merchant_id": "UPDATE events SET merchant_id = 'nobody'",
    "pk_deliveries": "INSERT INTO deliveries (id, event_id, endpoint_id, wallet_id, sequence, status)"
    " OVERRIDING SYSTEM VALUE SELECT id, event_id, endpoint_id, wallet_id, 2, status FROM deliveries",
    "uq_deliveries_endpoint_id_wallet_id_sequence": "INSERT INTO deliveries"
    " (event_id, endpoint_id, wallet_id, sequence, status)"
    " SELECT event_id, endpoint_id, wallet_id, sequence, status FROM deliveries",
    "ck_deliveries_status": "UPDATE deliveries SET status = 'DEAD'",
    "ck_deliveries_leased_is_due": "UPDATE deliveries SET due_at = NULL, leased_until = now()",
    "fk_deliveries_event_id": "UPDATE deliveries SET event_id = <9>",
    "fk_deliveries_endpoint_id": "UPDATE deliveries SET endpoint_id = 'nobody'",
    "pk_delivery_history": "INSERT INTO delivery_history SELECT * FROM delivery_history",
    "ck_delivery_history_status": "UPDATE delivery_history SET status = 'PENDING'",
    "pk_attempts": "INSERT INTO attempts SELECT * FROM attempts",
    "pk_audit": "INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM audit",
    "pk_attempt_evidence": "INSERT INTO attempt_evidence SELECT * FROM attempt_evidence",
    "ck_attempt_outcome": "SELECT CAST('ACCEPT' AS attempt_outcome_v3)",
    "pk_replay_jobs": "INSERT INTO replay_jobs (id, scope, selection, per_second) OVERRIDING SYSTEM VALUE"
    " SELECT id, 'ALL', '{}', 1 FROM replay_jobs",
    "ck_replay_jobs_scope": "UPDATE replay_jobs SET scope = 'SOME'",
    "ck_replay_jobs_status": "UPDATE replay_jobs SET status = 'LOST', finished_at = NULL",
    "ck_replay_jobs_per_second": "UPDATE replay_jobs SET per_second = 0",
    "ck_replay_jobs_finished_at": [
        "UPDATE replay_jobs SET finished_at = now()",
        "UPDATE replay_jobs SET status = 'DONE'",
        "UPDATE replay_jobs SET status = 'CANCELLED'",
    ],
    "pk_replay_job_events": "INSERT INTO replay_job_events SELECT * FROM replay_job_events",
    "fk_replay_job_events_job_id": "UPDATE replay_job_events SET job_id = -1",
    "pk_reconciliation_runs": "INSERT INTO reconciliation_runs (id, job, repairs, held_until)"
    " OVERRIDING SYSTEM VALUE SELECT id, 'lineage', true, now() FROM reconciliation_runs",
    "uq_reconciliation_runs_running": "INSERT INTO reconciliation_runs (job, repairs, held_until)"
    " VALUES ('links', false, now())",
    "ck_reconciliation_runs_status": "UPDATE reconciliation_runs SET status = 'LOST', finished_at = NULL",
    "ck_reconciliation_runs_finished_at": [
        "UPDATE reconciliation_runs SET status = 'DONE'",
        "UPDATE reconciliation_runs SET finished_at = now()",
    ],
    "pk_reconciliation_findings": "INSERT INTO reconciliation_findings OVERRIDING SYSTEM VALUE"
    " SELECT * FROM reconciliation_findings",
    "fk_reconciliation_findings_run_id": "UPDATE reconciliation_findings SET run_id = -1",
    "pk_reconciliation_subjects": "INSERT INTO reconciliation_subjects SELECT * FROM reconciliation_subjects",
    "fk_reconciliation_subjects_run_id": "UPDATE reconciliation_subjects SET run_id = -1",
    "pk_sequence_gaps": "INSERT INTO sequence_gaps SELECT * FROM sequence_gaps",
    "fk_sequence_gaps_wallet_id_merchant_id": "UPDATE sequence_gaps SET merchant_id = 'n'",
    "ck_sequence_gaps_range": "UPDATE sequence_gaps SET last = 1",
    "pk_retention_horizons": "INSERT INTO retention_horizons SELECT * FROM retention_horizons",
    "pk_removed_messages": "INSERT INTO removed_messages SELECT * FROM removed_messages",
    "ck_removed_messages_count": "UPDATE removed_messages SET count = 0",
    "pk_schema_revisions": "INSERT INTO schema_revisions SELECT * FROM schema_revisions",
    "pk_upkeep_leases": "INSERT INTO upkeep_leases SELECT * FROM upkeep_leases",
    "ck_attempt_status": "SELECT CAST('CANCELLED' AS attempt_status_v1)",
    "ck_attempt_delay": "SELECT CAST('-1 second' AS attempt_delay_v1)",
    "ck_attempt_tries": "SELECT CAST(2 AS attempt_tries_v1)",
}
# They only carry foreign keys, and the id in them is unique by itself.
NEVER_ALONE = {"uq_payment_methods_id_wallet_id", "uq_payment_methods_id_wallet_id_live"}

CASES = [
    pytest.param(name, statement, id=f"{name} {number}")
    for name, statements in BROKEN.items()
    for number, statement in enumerate([statements] if isinstance(statements, str) else statements)
]


async def fill(url: str, statements: str) -> None:
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    await connection.execute(statements)
    await connection.close()


@pytest.fixture(scope="module")
def filled_url(databases: Databases) -> Iterator[str]:
    """A database with a row of everything."""
    url = asyncio.run(databases.create())
    asyncio.run(fill(url, ID + ROWS + ROWS_SINCE_0009))
    yield url
    asyncio.run(databases.drop(url))


@pytest.fixture
async def filled(filled_url: str) -> AsyncIterator[AsyncConnection]:
    """A transaction that comes to nothing."""
    engine = connect(filled_url, pool_size=1)
    async with engine.connect() as connection:
        await connection.execute(text(ID.replace(":", r"\:")))
        yield connection
        await connection.rollback()
    await engine.dispose()


@pytest.mark.parametrize(("rule", "statement"), CASES)
async def test_each_rule_refuses_what_breaks_it(filled: AsyncConnection, rule: str, statement: str) -> None:
    for name in "12abcdf9":
        statement = statement.replace(f"<{name}>", f"pg_temp.id('{name}')")
    with pytest.raises(IntegrityError) as refused:
        await run_to_its_end(filled, statement)
    # a partition has the rules of its table under names of its own
    assert constraint(refused.value) in {rule, f"{rule.removeprefix('pk_')}_default_pkey"}


async def run_to_its_end(connection: AsyncConnection, statement: str) -> None:
    await connection.exec_driver_sql(statement)
    await connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")


async def test_every_rule_of_the_database_is_tried(filled: AsyncConnection) -> None:
    rules = await filled.scalars(
        text("""
            SELECT conname FROM pg_constraint
            WHERE connamespace = CAST('public' AS regnamespace) AND contype <> 'n'
              AND conrelid NOT IN (SELECT inhrelid FROM pg_inherits)
            UNION
            SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid
            WHERE indisunique AND relnamespace = CAST('public' AS regnamespace)
              AND indexrelid NOT IN (SELECT inhrelid FROM pg_inherits)
            EXCEPT SELECT 'alembic_version_pkc'
        """)
    )
    assert set(rules) == BROKEN.keys() | NEVER_ALONE


NULL, GENERATED = "23502", "428C9"


async def test_no_column_that_must_be_told_is_left_out(filled: AsyncConnection) -> None:
    """Every one that may not be NULL, and is not made by the database, refuses to be."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            if column.nullable or column.computed is not None:
                continue
            async with filled.begin_nested() as attempt:
                with pytest.raises(DBAPIError) as refused:
                    await filled.execute(table.update().values({column: null()}))
                assert sqlstate(refused.value) in {NULL, GENERATED}, f"{table.name}.{column.name}"
                await attempt.rollback()


async def test_a_cancelled_link_may_stay_and_a_moved_method_takes_all_along(filled: AsyncConnection) -> None:
    """What the constraints allow: a merge moves methods with their credentials, links and lineage by one UPDATE."""
    await filled.exec_driver_sql("INSERT INTO wallet_merchants VALUES (pg_temp.id('2'), 'm')")
    await filled.exec_driver_sql("UPDATE payment_methods SET wallet_id = pg_temp.id('2')")
    await filled.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    for table in ("payment_method_credentials", "payment_links", "lineage"):
        assert await filled.scalar(text(f"SELECT count(DISTINCT wallet_id) FROM {table}")) == 1  # noqa: S608
        assert await filled.scalar(text(f"SELECT count(*) FROM {table} WHERE wallet_id = pg_temp.id('1')")) == 0  # noqa: S608


# --- migrating ----------------------------------------------------------------------------------------------------

# Everything that pg_dump would write of them, by name.
CATALOG = """
    SELECT 'column', table_name || '.' || column_name, concat_ws(' ', data_type, udt_name, is_nullable, column_default,
           is_identity, identity_generation, is_generated, generation_expression, ordinal_position,
           col_description(CAST(table_name AS regclass), ordinal_position))
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT 'constraint', conrelid || '.' || conname, pg_get_constraintdef(oid)
    FROM (SELECT CAST(CAST(conrelid AS regclass) AS text) AS conrelid, conname, oid FROM pg_constraint
          WHERE connamespace = CAST('public' AS regnamespace)) AS named
    UNION ALL
    SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'table', relname, concat_ws(' ', relkind, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid))
    FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = CAST('public' AS regnamespace)
    UNION ALL
    SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'domain', typname, concat_ws(' ', format_type(typbasetype, typtypmod), typnotnull, (
        SELECT string_agg(pg_get_constraintdef(oid), ' ' ORDER BY contype, oid) FROM pg_constraint
        WHERE contypid = pg_type.oid))
    FROM pg_type WHERE typnamespace = CAST('public' AS regnamespace) AND typtype = 'd'
    UNION ALL
    SELECT 'type', typname, string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
    FROM pg_type JOIN pg_class ON pg_class.oid = typrelid AND relkind = 'c' JOIN pg_attribute ON attrelid = typrelid
    WHERE typnamespace = CAST('public' AS regnamespace) GROUP BY typname
"""
# Alembic's own table, and the partitions, which upkeep makes and no table describes.
NOT_DESCRIBED = ("alembic_version", "delivery_history_default", "attempts_default", "attempt_evidence_default")

ROW_TYPES = [value for value in vars(rows).values() if isinstance(value, RowType)]
# Programs of the release before may be running still.
FORMER_ROW_TYPES = {
    *("arrival_row", "judged_row", "told_row", "fact_row", "method_row", "method_credential_row", "link_row"),
    *(
        "lineage_row",
        "count_row",
        "event_row",
        "delivery_row",
        "line_row",
        "attempt_result_row_v1",
        "attempt_result_row_v2",
        "attempt_result_row_v3",
        "replacement_fact_row_v1",
        "payment_method_credential_row_v1",
        "lineage_row_v1",
        "endpoint_row_v1",
        "endpoint_row_v2",
        "endpoint_row_v3",
        "endpoint_secrets_row_v1",
    ),
}
FORMER_DOMAINS = {"attempt_outcome_v1", "attempt_outcome_v2", "attempt_outcome_v3"}


async def catalog(connection: AsyncConnection) -> dict[tuple[str, str], str]:
    objects: Sequence[Any] = (await connection.exec_driver_sql(CATALOG)).all()
    return {(kind, name): what for kind, name, what in objects if not any(part in name for part in NOT_DESCRIBED)}


async def test_migrating_makes_what_the_tables_describe(databases: Databases) -> None:
    urls = [await databases.create(), await databases.create_empty()]
    engines = [connect(url, pool_size=1) for url in urls]
    async with engines[1].begin() as connection:
        await connection.run_sync(metadata.create_all)
        for name, definition in DOMAINS.items():
            await connection.exec_driver_sql(f"CREATE DOMAIN {name} AS {definition}")
        for row_type in ROW_TYPES:
            await connection.exec_driver_sql(row_type.definition)
    found: list[dict[tuple[str, str], Any]] = []
    for engine in engines:
        async with engine.connect() as connection:
            found.append(await catalog(connection))
            differences = await connection.run_sync(
                lambda sync: compare_metadata(
                    MigrationContext.configure(
                        sync,
                        opts={
                            "compare_type": True,
                            "include_name": lambda name, kind, _: kind != "table" or name not in NOT_DESCRIBED,
                        },
                    ),
                    metadata,
                )
            )
            assert differences == []
        await engine.dispose()
    former = {("type", name) for name in FORMER_ROW_TYPES}
    former |= {key for key in found[0] if any(domain in key[1] for domain in FORMER_DOMAINS)}
    assert {key: what for key, what in found[0].items() if key not in former} == found[1]
    assert former <= found[0].keys()
    assert len(found[0]) > 200
    for url in urls:
        await databases.drop(url)


# What 0009 is to keep, and at the places of its slices the reasons that it renames.
REASONS_OF_0008 = """
    INSERT INTO inbox (id, topic, partition, kafka_offset, digest, vendor, update_id, original, type, occurred_at,
                       outcome, reason)
    OVERRIDING SYSTEM VALUE
    SELECT id, 't', 1, id, 'x', 'v', 'u' || id, true, 'CLOSED', now(), outcome, reason
    FROM (VALUES (10, 'DUPLICATE', 'ALREADY_TOLD'), (20000, 'SUPERSEDED', 'NEWER_TOLD'), (20001, 'APPLIED', NULL),
                 (20002, 'SUPERSEDED', 'NEWER_FACT'), (40001, 'DUPLICATE', 'ALREADY_TOLD'),
                 (50000, 'SUPERSEDED', 'NEWER_TOLD')) AS former(id, outcome, reason)
"""
REASONS_OF_0009 = {
    10: "ALREADY_KNOWN",
    20000: "NEWER_KNOWN",
    20001: None,
    20002: "NEWER_FACT",
    40001: "ALREADY_KNOWN",
    50000: "NEWER_KNOWN",
}


SECRET, FORMER_SECRET = secret(b"n" * 32), secret(b"f" * 32)


def sealed_by(endpoint_id: str, clear: str) -> str:
    return BUILT_IN_KEYS.seal(clear, "secret", endpoint_id)


@pytest.fixture
async def url_of_0008(databases: Databases) -> AsyncIterator[str]:
    """A database as the version before left it, with a row of everything."""
    url = await databases.create_empty()
    engine = connect(url, pool_size=1)
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: command.upgrade(migrate.config(sync), "0008"))
    await engine.dispose()
    clear = ROWS.replace("sealed_secrets", "secrets").replace("{sealed:0:}", f"{{{SECRET},{FORMER_SECRET}}}")
    await fill(url, ID + clear + REASONS_OF_0008)
    yield url
    await databases.drop(url)


async def contents(connection: AsyncConnection) -> dict[str, dict[str, list[str]]]:
    """The values of every column of every table, without the reasons of the inbox and the secrets."""
    columns: Sequence[Any] = (
        await connection.execute(
            text("""
                SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                WHERE relname = ANY(CAST(:tables AS text[])) AND attnum > 0 AND NOT attisdropped
            """),
            {"tables": list(metadata.tables)},
        )
    ).all()
    values: dict[str, dict[str, list[str]]] = {}
    for table, column in columns:
        if (table, column) not in {("inbox", "reason"), ("endpoints", "secrets")}:
            query = text(f"SELECT CAST({column} AS text) FROM {table} ORDER BY 1")  # noqa: S608 - ours
            values.setdefault(table, {})[column] = list(await connection.scalars(query))
    return values


async def reasons(connection: AsyncConnection) -> dict[int, str | None]:
    rows = await connection.execute(text("SELECT id, reason FROM inbox WHERE partition = 1 ORDER BY id"))
    return {row.id: row.reason for row in rows}


async def test_reasons_are_renamed_and_nothing_else_changes(url_of_0008: str) -> None:
    engine = connect(url_of_0008, pool_size=1)
    async with engine.connect() as connection:
        before = await contents(connection)
        await connection.rollback()
        await migrate.upgrade(url_of_0008, seal=sealed_by)
        assert await reasons(connection) == REASONS_OF_0009
        after = await contents(connection)
    await engine.dispose()
    assert {table: {name: after[table][name] for name in columns} for table, columns in before.items()} == before
    assert len(before) > 20
    assert all(values for columns in before.values() for values in columns.values())


async def test_a_reason_is_renamed_while_another_is_waited_for_and_what_was_left_is_renamed_later(
    url_of_0008: str,
) -> None:
    """The row of the third slice is locked for longer than the first migration lives."""
    engine = connect(url_of_0008, pool_size=2)
    async with engine.connect() as worker, engine.connect() as reader:
        await worker.execute(text("SELECT FROM inbox WHERE id = 40001 FOR UPDATE"))

        async def first_slices_are_done() -> bool:
            stored = await reasons(reader)
            await reader.rollback()
            return stored[10] == "ALREADY_KNOWN" and stored[20000] == "NEWER_KNOWN"

        migration = asyncio.create_task(migrate.upgrade(url_of_0008, seal=sealed_by))
        await until(first_slices_are_done)
        migration.cancel()
        await asyncio.wait([migration])
        assert (await reasons(reader))[50000] == "NEWER_TOLD"
        await reader.rollback()
        await worker.rollback()
        assert (await migrate.revisions(url_of_0008)).database == "0008"
        await asyncio.gather(*(migrate.upgrade(url_of_0008, seal=sealed_by) for _ in range(2)))
        assert await reasons(reader) == REASONS_OF_0009
    await engine.dispose()
    assert (await migrate.revisions(url_of_0008)).refusal is None


async def test_secrets_that_are_stored_in_the_clear_are_sealed_by_the_migration(url_of_0008: str) -> None:
    with pytest.raises(ValueError, match="expected `seal`"):
        await migrate.upgrade(url_of_0008)
    assert (await migrate.revisions(url_of_0008)).database == "0008"
    await migrate.upgrade(url_of_0008, seal=sealed_by)
    engine = connect(url_of_0008, pool_size=1)
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT id, sealed_secrets FROM endpoints"))).all()
        dump = await contents(connection)
    await engine.dispose()
    [(id_, stored)] = rows
    assert [BUILT_IN_KEYS.open(one, "secret", id_) for one in stored] == [SECRET, FORMER_SECRET]
    assert "whsec_" not in f"{rows} {dump}"


def test_no_migration_changes_what_rows_are_handed_over_as() -> None:
    """The version of the program before may be running still, and its rows would be of another width."""
    migrations = list((Path(migrate.__file__).parent / "migrations" / "versions").glob("*.py"))
    assert len(migrations) > 1
    assert [each.name for each in migrations if re.search("ALTER TYPE", each.read_text(), re.IGNORECASE)] == []


async def test_a_migrated_database_says_so_and_migrating_it_again_changes_nothing(database_url: str) -> None:
    state = await migrate.revisions(database_url)
    assert state.database == state.program
    engine = connect(database_url, pool_size=1)
    async with engine.connect() as connection:
        before = await catalog(connection)
        await connection.rollback()
        await migrate.upgrade(database_url)
        assert await catalog(connection) == before
    await engine.dispose()


async def test_an_empty_database_was_never_migrated_and_two_may_migrate_it_at_once(empty_database_url: str) -> None:
    state = await migrate.revisions(empty_database_url)
    assert state.database is None
    await asyncio.gather(*(migrate.upgrade(empty_database_url) for _ in range(3)))
    assert (await migrate.revisions(empty_database_url)).database == state.program
