"""One update of the inbox with what a person needs to judge it: what it waits for, what it reported, and the wallets.

The wallets are those that know a credential of the update, and those of the customer that it names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Identity, Key, Wallet
from store import judgements, wallets
from store.judgements import JudgedUpdate
from store.listings import InboxRow, inbox_row
from store.rows import IDENTITY

MOST_WALLETS = 20
"""A credential may be in thousands of wallets."""


@dataclass(frozen=True, slots=True)
class ReportedCredential:
    """A new credential as the update reported it; `alias` is its fingerprint beside a token."""

    key: Key
    alias: Key | None
    reason: str
    method_type: str | None
    last4: str | None
    brand: str | None
    expiry_month: int | None
    expiry_year: int | None
    par: str | None


@dataclass(frozen=True, slots=True)
class InboxUpdate:
    """An update, and what it is about.

    `old_keys` are the credentials that it says are no longer current, `customers` the identities that it names by role:
    `customer`, or for a merge `from` and `into`. `wallets` are the first MOST_WALLETS, ordered by id. `judged` is the
    same update as a person judges it.
    """

    row: InboxRow
    old_keys: tuple[Key, ...]
    customers: Mapping[str, Sequence[tuple[str, str]]]
    reported: tuple[ReportedCredential, ...]
    wallets: tuple[Wallet, ...]
    judged: JudgedUpdate


_OLD_KEY = text("SELECT old_key FROM inbox WHERE id = :id")
# Its own report, if that is kept; else the fact, which has what it reported first.
_REPORTED = text("""
    SELECT DISTINCT ON (new_key) new_key, new_alias, reason, method_type, last4, brand, expiry_month, expiry_year, par
    FROM (SELECT 1 AS source, new_key, new_alias, reason, method_type, last4, brand, expiry_month, expiry_year, par
          FROM fact_reports
          WHERE old_key = ANY(CAST(:keys AS text[])) AND vendor = :vendor AND update_id = :update_id
          UNION ALL
          SELECT 2, new_key, new_alias, reason, method_type, last4, brand, expiry_month, expiry_year, par
          FROM replacement_facts
          WHERE old_key = ANY(CAST(:keys AS text[])) AND vendor = :vendor AND update_id = :update_id) AS reported
    ORDER BY new_key, source
""")
_WALLETS = text(f"""
    SELECT CAST(wallet_id AS text)
    FROM (SELECT wallet_id FROM payment_method_credentials WHERE key = ANY(CAST(:keys AS text[]))
          UNION
          SELECT wallet_id FROM wallet_leads WHERE key = ANY(CAST(:keys AS text[]))
          UNION
          SELECT wallet_id FROM customer_identities
          WHERE (name, value) IN (SELECT name, value FROM {IDENTITY.array("identities")})) AS known
    ORDER BY wallet_id
    LIMIT :most
""")


async def find(connection: AsyncConnection, inbox_id: int) -> InboxUpdate | None:
    """The update of that row of the inbox; None if there is none."""
    row = await inbox_row(connection, inbox_id)
    judged = await judgements.find(connection, inbox_id)
    if row is None or judged is None:
        return None
    update = judged.update
    old_key = await connection.scalar(_OLD_KEY, {"id": inbox_id})
    old_keys = update.keys or (() if old_key is None else (old_key,))
    reported: tuple[ReportedCredential, ...] = ()
    if judged.is_original:  # the facts under this id are of the first update that came with it
        facts = await connection.execute(
            _REPORTED, {"keys": list(old_keys), "vendor": row.vendor, "update_id": row.update_id}
        )
        reported = tuple(ReportedCredential(*fact) for fact in facts)
    customers = {"customer": update.scope, "from": update.merge_from, "into": update.merge_into}
    customers = {role: identities for role, identities in customers.items() if identities}
    keys = [*old_keys, *(key for credential in reported for key in (credential.key, credential.alias) if key)]
    identities = [pair for identities in customers.values() for pair in identities]
    affected = await known_wallets(connection, keys, identities)
    return InboxUpdate(row, old_keys, customers, reported, affected, judged)


async def known_wallets(
    connection: AsyncConnection, keys: Sequence[Key], identities: Sequence[Identity] = ()
) -> tuple[Wallet, ...]:
    """The first MOST_WALLETS of those that know one of `keys`, or are of a customer so identified."""
    parameters = {
        "keys": list(keys),
        "identities": [IDENTITY.row(name=name, value=value) for name, value in identities],
        "most": MOST_WALLETS,
    }
    return tuple(await wallets.load(connection, list(await connection.scalars(_WALLETS, parameters))))
