"""What a text names: a payment method, a wallet, an event, a delivery, a link, a credential or a customer.

A person who answers a merchant has an id from somewhere, and seldom knows whose it is. Each kind is one probe of an
index.
"""

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import MethodId, WalletId

MOST_METHODS = 20
"""Rows of a kind that are looked at, and payment methods of a wallet."""

_LARGEST_NUMBER = 2**63 - 1
_EVENT = "evt_"


class Kind(StrEnum):
    """What a text may name."""

    PAYMENT_METHOD = "PAYMENT_METHOD"
    WALLET = "WALLET"
    EVENT = "EVENT"
    DELIVERY = "DELIVERY"
    PAYMENT_LINK = "PAYMENT_LINK"
    CREDENTIAL = "CREDENTIAL"
    CUSTOMER = "CUSTOMER"


class Named(NamedTuple):
    """A thing that the text names, its wallet, and the payment methods that it leads to.

    `id` is a delivery's number, a credential's key, a customer's `name=value`, else an id. An event about an endpoint
    has no wallet.
    """

    kind: Kind
    id: str
    wallet_id: WalletId | None
    method_ids: Sequence[MethodId]


_OF_ID = text("""
    SELECT 'PAYMENT_METHOD', CAST(id AS text), CAST(wallet_id AS text), ARRAY[CAST(id AS text)]
    FROM payment_methods WHERE id = :id
    UNION ALL
    SELECT 'WALLET', CAST(id AS text), CAST(coalesce(merged_into, id) AS text), NULL FROM wallets WHERE id = :id
    UNION ALL
    SELECT 'EVENT', CAST(id AS text), CAST(wallet_id AS text),
           CASE WHEN payment_method_id IS NULL THEN '{}' ELSE ARRAY[CAST(payment_method_id AS text)] END
    FROM events WHERE id = :id
    UNION ALL
    SELECT 'PAYMENT_LINK', CAST(id AS text), CAST(wallet_id AS text), ARRAY[CAST(payment_method_id AS text)]
    FROM payment_links WHERE id = :id
""")
_OF_NUMBER = text("""
    SELECT 'DELIVERY', CAST(delivery.id AS text), CAST(event.wallet_id AS text),
           CASE WHEN payment_method_id IS NULL THEN '{}' ELSE ARRAY[CAST(payment_method_id AS text)] END
    FROM (SELECT id, event_id FROM deliveries WHERE id = :number
          UNION ALL
          SELECT id, event_id FROM delivery_history WHERE id = :number) AS delivery
    JOIN events AS event ON event.id = event_id
""")
_OF_REFERENCE = text("""
    SELECT 'PAYMENT_LINK', CAST(id AS text), CAST(wallet_id AS text), ARRAY[CAST(payment_method_id AS text)]
    FROM payment_links WHERE reference = :text ORDER BY id LIMIT :most
""")
# A token without its vendor is tried with each vendor: those that have sent updates, and those of all feeds.
_VENDORS = text("""
    WITH RECURSIVE vendors(vendor) AS (
        (SELECT vendor FROM inbox WHERE original ORDER BY vendor LIMIT 1)
        UNION ALL
        SELECT (SELECT vendor FROM inbox WHERE original AND vendor > vendors.vendor ORDER BY vendor LIMIT 1)
        FROM vendors WHERE vendors.vendor IS NOT NULL)
    SELECT vendor FROM vendors WHERE vendor IS NOT NULL
""")
_OF_KEYS = text("""
    SELECT 'CREDENTIAL', key, CAST(wallet_id AS text), array_agg(CAST(payment_method_id AS text))
    FROM (SELECT key, wallet_id, payment_method_id FROM payment_method_credentials
          WHERE key = ANY(CAST(:keys AS text[]))
          ORDER BY key, live DESC, wallet_id, payment_method_id LIMIT :most) AS holding
    GROUP BY key, wallet_id ORDER BY key, wallet_id
""")
_NAMES = text("""
    WITH RECURSIVE names(name) AS (
        (SELECT name FROM customer_identities ORDER BY name LIMIT 1)
        UNION ALL
        SELECT (SELECT name FROM customer_identities WHERE name > names.name ORDER BY name LIMIT 1)
        FROM names WHERE names.name IS NOT NULL)
    SELECT name FROM names WHERE name IS NOT NULL
""")
_OF_IDENTITIES = text("""
    SELECT 'CUSTOMER', name || '=' || value, CAST(coalesce(merged_into, wallets.id) AS text), NULL
    FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])) AS wanted(wanted_name, wanted_value)
    CROSS JOIN LATERAL (
        SELECT name, value, wallet_id FROM customer_identities
        WHERE name = wanted_name AND value = wanted_value ORDER BY wallet_id LIMIT :most) AS identity
    JOIN wallets ON wallets.id = wallet_id
""")
_METHODS_OF = text("""
    SELECT CAST(id AS text) FROM payment_methods WHERE wallet_id = :wallet_id
    ORDER BY live DESC, is_default DESC, id LIMIT :most
""")


async def look_up(connection: AsyncConnection, name: str, vendors: Collection[str]) -> list[Named]:
    """Everything that `name` names. Give it a snapshot; `vendors` are the names of all feeds."""
    named: list[Named] = []
    if (uuid := _uuid(name)) is not None:
        named += await _named(connection, _OF_ID, {"id": uuid})
    if name.isdecimal() and name.isascii() and int(name) <= _LARGEST_NUMBER:
        named += await _named(connection, _OF_NUMBER, {"number": int(name)})
    named += await _named(connection, _OF_REFERENCE, {"text": name, "most": MOST_METHODS})
    known = {*vendors, *await connection.scalars(_VENDORS)}
    keys = [name, *(f"{vendor}:{name}" for vendor in ("", *sorted(known)))]
    named += await _named(connection, _OF_KEYS, {"keys": keys, "most": MOST_METHODS})
    identities = list(_identities(name, list(await connection.scalars(_NAMES))))
    names, values = [pair[0] for pair in identities], [pair[1] for pair in identities]
    named += await _named(connection, _OF_IDENTITIES, {"names": names, "values": values, "most": MOST_METHODS})
    return named


async def _named(connection: AsyncConnection, statement: TextClause, parameters: dict[str, object]) -> list[Named]:
    rows = (await connection.execute(statement, parameters)).all()
    return [
        Named(
            Kind[kind], id_, wallet_id, await _methods_of(connection, wallet_id) if method_ids is None else method_ids
        )
        for kind, id_, wallet_id, method_ids in rows
    ]


async def _methods_of(connection: AsyncConnection, wallet_id: WalletId) -> list[MethodId]:
    return list(await connection.scalars(_METHODS_OF, {"wallet_id": wallet_id, "most": MOST_METHODS}))


def _uuid(name: str) -> UUID | None:
    """An id as we write it, or an event's as merchants see it."""
    try:
        return UUID(name.removeprefix(_EVENT))
    except ValueError:
        return None


def _identities(name: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """The identities that a text may be: `name=value`, or a value of any name."""
    before, equals, value = name.partition("=")
    for identifier in names:
        yield identifier, name
        if equals and before in (identifier, identifier.removeprefix("metadata.")):
            yield identifier, value
