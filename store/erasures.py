"""Erasing a person: the statements that take their data out of the tables. What calls them is `wallets.erasing`."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Identity, Key, WalletId
from store.inbox import identity_keys
from store.rows import EVENT_BODY, IDENTITY

PAGE = 500
"""Events, dead letters or thin events of a transaction."""

FIRST_EVENT = UUID(int=0)

_FAMILY = text(f"""
    WITH named AS (
        SELECT wallet_id FROM {IDENTITY.array("identities")} AS wanted
        CROSS JOIN LATERAL (
            SELECT wallet_id FROM customer_identities WHERE name = wanted.name AND value = wanted.value
            OFFSET 0) AS customer
        UNION
        SELECT id FROM wallets WHERE id = ANY(CAST(:ids AS uuid[]))),
    heads AS (
        SELECT coalesce(merged_into, id) AS id FROM wallets WHERE id = ANY(ARRAY(SELECT wallet_id FROM named)))
    SELECT CAST(id AS text) FROM wallets
    WHERE id = ANY(ARRAY(SELECT id FROM heads)) OR merged_into = ANY(ARRAY(SELECT id FROM heads))
    ORDER BY wallets.id
""")


async def family(
    connection: AsyncConnection, identities: Collection[Identity] = (), ids: Collection[WalletId] = ()
) -> list[WalletId]:
    """The wallets of these customers, and these wallets, with all that were merged into them or with them."""
    return list(await connection.scalars(_FAMILY, {"identities": list(identities), "ids": list(ids)}))


# --- bodies and answers -----------------------------------------------------------------------------------------------

_EVENTS = text("""
    SELECT id, body FROM events WHERE wallet_id = ANY(CAST(:ids AS uuid[])) AND id > :after ORDER BY id LIMIT :most
    FOR NO KEY UPDATE
""")
_WRITE_BODIES = text(f"""
    UPDATE events SET body = new.body FROM {EVENT_BODY.array("bodies")} AS new
    WHERE events.id = new.id AND events.id = ANY(CAST(:ids AS uuid[]))
""")
_FORGET_ANSWERS = text("""
    DELETE FROM attempt_evidence
    WHERE delivery_id = ANY(ARRAY(
        SELECT id FROM deliveries WHERE event_id = ANY(CAST(:ids AS uuid[]))
        UNION ALL
        SELECT id FROM delivery_history WHERE event_id = ANY(CAST(:ids AS uuid[]))))
""")


async def events(
    connection: AsyncConnection, wallet_ids: Collection[WalletId], after: UUID
) -> Sequence[tuple[UUID, bytes]]:
    """The next events of these wallets with their bodies, after the id `after`. Locks them."""
    page = {"ids": list(wallet_ids), "after": after, "most": PAGE}
    return [(row.id, row.body) for row in await connection.execute(_EVENTS, page)]


async def write_bodies(connection: AsyncConnection, bodies: Iterable[tuple[UUID, bytes]]) -> None:
    """Give events other bodies."""
    rows = [EVENT_BODY.row(id=id_, body=body) for id_, body in bodies]
    if rows:
        await connection.execute(_WRITE_BODIES, {"bodies": rows, "ids": [row[0] for row in rows]})


async def forget_answers(connection: AsyncConnection, event_ids: Collection[UUID]) -> None:
    """Remove what is kept of the answers to these events: a merchant's answer may name the customer."""
    await connection.execute(_FORGET_ANSWERS, {"ids": list(event_ids)})


# --- messages ------------------------------------------------------------------------------------------


class Letter(NamedTuple):
    """A dead letter, or a thin event, as far as it may speak of a person."""

    id: int
    parts: Sequence[bytes]


class Letters(NamedTuple):
    """The next ones, and the last that was looked at; None at the end."""

    letters: Sequence[Letter]
    last: int | None


# The database looks for the bytes, so that most letters are not sent over. What it finds may still be half a word.
_HAS = "EXISTS (SELECT FROM unnest(CAST(:values AS bytea[])) AS wanted WHERE position(wanted IN {}) > 0)"
_LETTERS = text(f"""
    WITH page AS MATERIALIZED (
        SELECT id, body, convert_to(coalesce(message_key, '') || ' ' || CAST(headers AS text), 'UTF8') AS beside
        FROM dead_letters WHERE id > :after ORDER BY id LIMIT :most)
    SELECT id, body, beside, true FROM page WHERE {_HAS.format("body")} OR {_HAS.format("beside")}
    UNION ALL
    SELECT max(id), NULL, NULL, false FROM page HAVING count(*) = :most
""")
_BLANK_LETTERS = text("""
    UPDATE dead_letters
    SET body = '', headers = '[]', message_key = NULL,
        status = CASE WHEN status = 'OPEN' THEN 'DISCARDED' ELSE status END, closed_at = coalesce(closed_at, now())
    WHERE id = ANY(CAST(:ids AS bigint[]))
""")
_FETCHES = text(f"""
    WITH page AS MATERIALIZED (SELECT id, event FROM fetches WHERE id > :after ORDER BY id LIMIT :most)
    SELECT id, event, CAST('' AS bytea), true FROM page WHERE {_HAS.format("event")}
    UNION ALL
    SELECT max(id), NULL, NULL, false FROM page HAVING count(*) = :most
""")
_FORGET_FETCHES = text("DELETE FROM fetches WHERE id = ANY(CAST(:ids AS bigint[]))")
_HELD = text(f"""
    WITH page AS MATERIALIZED (
        SELECT inbox_id AS id, value, coalesce(message_key, '') AS key
        FROM held_updates WHERE inbox_id > :after ORDER BY inbox_id LIMIT :most)
    SELECT id, value, key, true FROM page WHERE {_HAS.format("page.value")} OR {_HAS.format("key")}
    UNION ALL
    SELECT max(id), NULL, NULL, false FROM page HAVING count(*) = :most
""")
_FORGET_HELD = text("""
    WITH forgotten AS (DELETE FROM held_updates WHERE inbox_id = ANY(CAST(:ids AS bigint[])))
    UPDATE inbox SET outcome = 'IGNORED', reason = 'CUSTOMER_REMOVED', old_key = NULL
    WHERE id = ANY(CAST(:ids AS bigint[])) AND outcome = 'PARKED'
""")


async def dead_letters(connection: AsyncConnection, values: Collection[bytes], after: int) -> Letters:
    """Those of the next dead letters that have one of `values` in body, key or headers."""
    return _letters(await connection.execute(_LETTERS, {"values": list(values), "after": after, "most": PAGE}))


async def blank_letters(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Empty dead letters, and close those that are open: what is left can be sent to nobody."""
    await connection.execute(_BLANK_LETTERS, {"ids": list(ids)})


async def thin_events(connection: AsyncConnection, values: Collection[bytes], after: int) -> Letters:
    """As `dead_letters`, of the thin events that a vendor is to be asked about."""
    return _letters(await connection.execute(_FETCHES, {"values": list(values), "after": after, "most": PAGE}))


async def held_updates(connection: AsyncConnection, values: Collection[bytes], after: int) -> Letters:
    """As `dead_letters`, of the updates of paused vendors."""
    return _letters(await connection.execute(_HELD, {"values": list(values), "after": after, "most": PAGE}))


async def forget_held(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Take these updates in no more."""
    await connection.execute(_FORGET_HELD, {"ids": list(ids)})


async def forget_thin_events(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Ask no vendor about these any more."""
    await connection.execute(_FORGET_FETCHES, {"ids": list(ids)})


def _letters(rows: Iterable[Sequence[object]]) -> Letters:
    letters: list[Letter] = []
    last = None
    for id_, body, beside, is_found in rows:
        assert isinstance(id_, int)
        if is_found:
            assert isinstance(body, bytes)
            assert isinstance(beside, bytes)
            letters.append(Letter(id_, (body, beside)))
        else:
            last = id_
    return Letters(letters, last)


# --- knowledge and updates --------------------------------------------------------------------------------------------

# A card that other people's wallets hold as well stays known.
_OWN_KEYS = text("""
    SELECT key FROM unnest(CAST(:keys AS text[])) AS key
    WHERE NOT EXISTS (
            SELECT FROM payment_method_credentials AS held
            WHERE held.key = key.key AND held.wallet_id <> ALL(CAST(:ids AS uuid[])))
      AND NOT EXISTS (
            SELECT FROM wallet_leads AS lead
            WHERE lead.key = key.key AND lead.wallet_id <> ALL(CAST(:ids AS uuid[])))
""")
# What was reported of another's card too, for this customer alone, names them in its scope.
_OF_PERSON = """
    (key = ANY(CAST(:own AS text[]))
     OR key = ANY(CAST(:keys AS text[])) AND scope <> ''
        AND CAST(scope AS jsonb) @> ANY(CAST(CAST(:scopes AS text[]) AS jsonb[])))
"""
_FORGET_FACTS = text(f"""
    DELETE FROM replacement_facts
    WHERE {_OF_PERSON.replace("key =", "old_key =")} OR old_alias = ANY(CAST(:own AS text[]))
""")
_FORGET_STATES = text(f"DELETE FROM credentials WHERE {_OF_PERSON}")
# Updates about other people's cards that name this customer: they wait for a person.
_WAITING_KEYS = text("""
    SELECT DISTINCT key FROM parked_updates WHERE about @> ANY(CAST(CAST(:abouts AS text[]) AS jsonb[]))
""")
_STOP_WAITING = text("""
    WITH ended AS (
        DELETE FROM parked_updates
        WHERE inbox_id = ANY(ARRAY(
            SELECT inbox_id FROM parked_updates
            WHERE key = ANY(CAST(:keys AS text[]))
               OR about @> ANY(CAST(CAST(:abouts AS text[]) AS jsonb[]))))
        RETURNING inbox_id),
    merges AS (
        DELETE FROM quarantined_merges WHERE about @> ANY(CAST(CAST(:abouts AS text[]) AS jsonb[]))
        RETURNING inbox_id)
    UPDATE inbox SET outcome = 'IGNORED', reason = 'CUSTOMER_REMOVED', old_key = NULL
    WHERE id = ANY(ARRAY(SELECT inbox_id FROM ended UNION SELECT inbox_id FROM merges))
      AND outcome IN ('PARKED', 'QUARANTINED')
""")


_UPDATES = text("""
    WITH page AS MATERIALIZED (SELECT id, old_key FROM inbox WHERE id > :after ORDER BY id LIMIT :most),
    forgotten AS (
        UPDATE inbox SET old_key = NULL
        WHERE id = ANY(ARRAY(SELECT id FROM page WHERE old_key = ANY(CAST(:keys AS text[])))))
    SELECT max(id), count(*) = :most FROM page
""")
# No index has the credential: the table is read in pages, 90 million rows in some minutes.
_PAGE_OF_UPDATES = 20_000


class UpdatesPage(NamedTuple):
    """The last update of the inbox that was looked at, and whether there may be more."""

    last: int
    is_full: bool


async def forget_old_keys(connection: AsyncConnection, keys: Collection[Key], after: int) -> UpdatesPage:
    """Forget which of these credentials the next updates of the inbox were about, after the id `after`."""
    page = {"after": after, "most": _PAGE_OF_UPDATES, "keys": list(keys)}
    last, is_full = (await connection.execute(_UPDATES, page)).one()
    return UpdatesPage(after if last is None else last, is_full)


async def own_keys(
    connection: AsyncConnection, wallet_ids: Collection[WalletId], keys: Collection[Key]
) -> Sequence[Key]:
    """Those of `keys` that no other wallet knows."""
    return list(await connection.scalars(_OWN_KEYS, {"keys": list(keys), "ids": list(wallet_ids)}))


async def forget_reports(
    connection: AsyncConnection, wallet_ids: Collection[WalletId], keys: Collection[Key], identities: Iterable[Identity]
) -> None:
    """Forget what vendors reported of these credentials, and let nothing of it wait any more.

    A credential that other wallets know as well stays known, but for what was reported of this customer alone.
    """
    named = list(identities)
    abouts = [json.dumps({role: [pair]}) for pair in named for role in ("customer", "from", "into")]
    own = await own_keys(connection, wallet_ids, keys)
    reported = {*keys, *await connection.scalars(_WAITING_KEYS, {"abouts": abouts})}
    known = {"own": own, "keys": list(reported), "scopes": [json.dumps([pair]) for pair in named]}
    await connection.execute(_FORGET_FACTS, known)
    await connection.execute(_FORGET_STATES, known)
    waiting = {"keys": [*own, *identity_keys(named)], "abouts": abouts}
    await connection.execute(_STOP_WAITING, waiting)


# --- wallets ----------------------------------------------------------------------------------------------------------

_BLANK = tuple(
    text(statement)
    for statement in (
        "DELETE FROM payment_method_credentials WHERE wallet_id = ANY(CAST(:ids AS uuid[]))",
        "DELETE FROM wallet_leads WHERE wallet_id = ANY(CAST(:ids AS uuid[]))",
        """
        UPDATE payment_methods
        SET status = 'DELETED', is_default = false, is_subscription_default = false, last4 = NULL, brand = NULL,
            expiry_month = NULL, expiry_year = NULL, holder_name = NULL, zip_code = NULL, manufacturer_card = NULL,
            account_type = NULL, bank_name = NULL, extra_details = '{}', nickname = NULL, par = NULL,
            deleted_reason = coalesce(deleted_reason, 'ERASED')
        WHERE wallet_id = ANY(CAST(:ids AS uuid[]))
        """,
        "UPDATE payment_links SET status = 'CANCELLED', reference = '' WHERE wallet_id = ANY(CAST(:ids AS uuid[]))",
        "DELETE FROM customer_identities WHERE wallet_id = ANY(CAST(:ids AS uuid[]))",
        """
        UPDATE wallets
        SET enterprise_id = NULL, hsid = NULL, date_of_birth = NULL, metadata = '{}', erased_at = now()
        WHERE id = ANY(CAST(:ids AS uuid[]))
        """,
    )
)


async def blank_wallets(connection: AsyncConnection, ids: Collection[WalletId]) -> None:
    """Take everything out of these wallets, which are locked, but ids, states and what replaced what."""
    for statement in _BLANK:
        await connection.execute(statement, {"ids": list(ids)})
