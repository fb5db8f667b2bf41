"""One update of the inbox with what a person needs to judge it: what it waits for, what it reported, and the wallets.

The wallets are those that know a credential of the update, and those of the customer that it names.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Key, Wallet
from store import wallets
from store.listings import InboxRow, inbox_row
from store.rows import IDENTITY

MOST_WALLETS = 20
"""A credential may be in thousands of wallets."""


@dataclass(frozen=True, slots=True)
class ReportedCredential:
    """A new credential as the update reported it."""

    key: Key
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
    `customer`, or for a merge `from` and `into`. `wallets` are the first MOST_WALLETS, ordered by id.
    """

    row: InboxRow
    old_keys: tuple[Key, ...]
    customers: Mapping[str, Sequence[tuple[str, str]]]
    reported: tuple[ReportedCredential, ...]
    wallets: tuple[Wallet, ...]


_WAITS_FOR = text("SELECT key, CAST(about AS text) FROM parked_updates WHERE inbox_id = :id ORDER BY key")
_OLD_KEY = text("SELECT old_key, original FROM inbox WHERE id = :id")
_REPORTED = text("""
    SELECT new_key, reason, method_type, last4, brand, expiry_month, expiry_year, par
    FROM replacement_facts
    WHERE old_key = ANY(CAST(:keys AS text[])) AND vendor = :vendor AND update_id = :update_id
    ORDER BY new_key
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
    if row is None:
        return None
    waits_for = (await connection.execute(_WAITS_FOR, {"id": inbox_id})).all()
    customers: dict[str, list[list[str]]] = next((json.loads(about) for _, about in waits_for if about), {})
    old_keys = tuple(key for key, _ in waits_for if not key.startswith("@"))
    old_key, is_original = (await connection.execute(_OLD_KEY, {"id": inbox_id})).one()
    if not old_keys and old_key is not None:
        old_keys = (old_key,)
    reported: tuple[ReportedCredential, ...] = ()
    if is_original:  # the facts under this id are of the first update that came with it
        facts = await connection.execute(
            _REPORTED, {"keys": list(old_keys), "vendor": row.vendor, "update_id": row.update_id}
        )
        reported = tuple(ReportedCredential(*fact) for fact in facts)
    parameters = {
        "keys": [*old_keys, *(credential.key for credential in reported)],
        "identities": [
            IDENTITY.row(name=name, value=value) for identities in customers.values() for name, value in identities
        ],
        "most": MOST_WALLETS,
    }
    ids = list(await connection.scalars(_WALLETS, parameters))
    return InboxUpdate(
        row,
        old_keys,
        {role: [(name, value) for name, value in identities] for role, identities in customers.items() if identities},
        reported,
        tuple(await wallets.load(connection, ids)),
    )
