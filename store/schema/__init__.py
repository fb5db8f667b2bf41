"""What the rows are. Every rule of the domain that SQL can hold is a constraint: nobody breaks it by a script.

merchants ─< endpoints                    credentials        what vendors reported of a credential; locked while
                                                             an update of it is learnt (see store/knowledge.py)
wallets ─< wallet_merchants (sequence)    replacement_facts  old → new, each pair once
    ├─< payment_methods ─< payment_method_credentials
    ├─< wallet_leads                      state_reports, fact_reports: each report of what was reported again
    ├─< payment_links
    └─< lineage                           inbox              one row for each message that was read, with its outcome
                                          parked_updates     what a parked row of the inbox waits for
                                          quarantined_merges the customers that a merge named which a person decides
                                          held_updates       messages of vendors that are paused
                                          dead_letters       messages that no update could be made of
                                          removed_messages   how many of both were removed
                                          fetches            thin events that the vendor has to be asked about
                                          events ─< deliveries (live) → delivery_history (finished), attempts,
                                                               attempt_evidence (of failing answers),
                                                               delivery_ledger (how many were added and finished)
                                          audit              what people did
                                          vendors            those that were paused; vendor_replacements counts
                                          replay_jobs ─< replay_job_events
                                          reconciliation_runs ─< reconciliation_findings, reconciliation_subjects
                                          sequence_gaps       numbers of events that are lost
                                          retention_horizons  up to when rows were removed for their age
                                          schema_revisions    which programs each revision supports
"""

from store.schema.audit import audit
from store.schema.deliveries import attempt_evidence, attempts, deliveries, delivery_history, events
from store.schema.fetches import fetches
from store.schema.inbox import (
    DEFECT,
    IS_OPEN_DEFECT,
    dead_letters,
    held_updates,
    inbox,
    parked_updates,
    quarantined_merges,
    removed_messages,
    unfinished_updates,
)
from store.schema.knowledge import credentials, fact_reports, replacement_facts, state_reports
from store.schema.ledger import delivery_ledger, upkeep_leases
from store.schema.merchants import endpoints, merchants
from store.schema.metadata import metadata
from store.schema.reconciliation import (
    reconciliation_findings,
    reconciliation_runs,
    reconciliation_subjects,
    sequence_gaps,
)
from store.schema.replays import replay_job_events, replay_jobs
from store.schema.retention import retention_horizons
from store.schema.revisions import schema_revisions
from store.schema.topics import losses, skips, topic_partitions, topics
from store.schema.vendors import vendor_replacements, vendors
from store.schema.wallets import (
    customer_identities,
    lineage,
    payment_links,
    payment_method_credentials,
    payment_methods,
    wallet_leads,
    wallet_merchants,
    wallets,
)

__all__ = [
    "DEFECT",
    "IS_OPEN_DEFECT",
    "attempt_evidence",
    "attempts",
    "audit",
    "credentials",
    "customer_identities",
    "dead_letters",
    "deliveries",
    "delivery_history",
    "delivery_ledger",
    "endpoints",
    "events",
    "fact_reports",
    "fetches",
    "held_updates",
    "inbox",
    "lineage",
    "losses",
    "merchants",
    "metadata",
    "parked_updates",
    "payment_links",
    "payment_method_credentials",
    "payment_methods",
    "quarantined_merges",
    "reconciliation_findings",
    "reconciliation_runs",
    "reconciliation_subjects",
    "removed_messages",
    "replacement_facts",
    "replay_job_events",
    "replay_jobs",
    "retention_horizons",
    "schema_revisions",
    "sequence_gaps",
    "skips",
    "state_reports",
    "topic_partitions",
    "topics",
    "unfinished_updates",
    "upkeep_leases",
    "vendor_replacements",
    "vendors",
    "wallet_leads",
    "wallet_merchants",
    "wallets",
]
