"""Comments in the terms of the glossary; the reasons of the inbox were renamed before (`store.migrate`)"""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for column, comment in _COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN {column} IS '{comment}'")


_COMMENTS = {
    "wallet_merchants.sequence": "of the latest event",
    "credentials.scope": "the customer it is about; '''' is anyone",
    "replacement_facts.details": "what else was reported of the new credential: name, zip, account type, …",
    "replacement_facts.later_expiry": "[[year, month], occurred at, vendor, update id] of a later report",
    "events.id": "sent as evt_<hex>, also the webhook-id",
    "topics.incarnation": "0 for the first that was read, then counted",
    "fetches.digest": "of what the vendor is asked for",
    "fetches.topic": "with the two below: where the event was first read",
    "fetches.told": "how often the event was read; an answer to a question before the latest time may be too old",
    "fetches.leased_until": "the vendor is being asked, or was when the process died",
    "fetches.waits_for_address": "until a process that knows the vendor''s address starts",
}
