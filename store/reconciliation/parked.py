"""Updates that wait for a wallet: what they wait for, whether their time is over, and rows that are of no such update.

A parked update has rows in `parked_updates`, one for each credential that it waits for. A quarantined one waits, too.
"""

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.wallet import Key
from store.knowledge_rows import read_scope
from store.reconciliation.page import Page, page_of
from store.rows import WAITING_UPDATE


class WaitingRow(NamedTuple):
    """An update of the inbox that waits.

    `waits` is false if it has no row in `parked_updates`. `known` are the keys that it waits for of which some wallet
    knows something; for a merge, all of its keys.
    """

    id: int
    received_at: datetime
    outcome: str
    is_over: bool
    waits: bool
    known: list[Key]


# What is held for a paused vendor waits for nothing but a person.
_PARKED_FOR_A_WALLET = "outcome = 'PARKED' AND reason IS DISTINCT FROM 'VENDOR_PAUSED'"
# As upkeep gives updates up, which it does once a minute: an hour later it has not done so.
_IS_OVER = """
    received_at < now() - CAST(:parked_for AS interval) - interval '1 hour'
    AND (SELECT true FROM replacement_facts
         WHERE replacement_facts.old_key = inbox.old_key AND kept_until >= now() LIMIT 1) IS NULL
    AND (SELECT true FROM credentials
         WHERE credentials.key = inbox.old_key AND kept_until >= now() LIMIT 1) IS NULL
"""
_WAITS = """
    (SELECT true FROM parked_updates WHERE inbox_id = inbox.id LIMIT 1) IS NOT NULL AS waits,
    ARRAY(SELECT key FROM parked_updates AS waiting
          WHERE inbox_id = inbox.id AND coalesce(
              CASE WHEN starts_with(waiting.key, '@') THEN true END,
              (SELECT true FROM payment_method_credentials AS held WHERE held.key = waiting.key LIMIT 1),
              (SELECT true FROM wallet_leads AS led_to WHERE led_to.key = waiting.key LIMIT 1))
          ORDER BY key) AS known
"""
_PARKED = text(f"""
    SELECT id, received_at, outcome, {_IS_OVER} AS is_over, {_WAITS}
    FROM inbox
    WHERE {_PARKED_FOR_A_WALLET}
      AND received_at >= greatest(CAST(:received_at AS timestamptz), CAST(:since AS timestamptz))
      AND (received_at, id) > (CAST(:received_at AS timestamptz), :id)
    ORDER BY received_at, id
    LIMIT :limit
""")
_QUARANTINED = text(f"""
    SELECT id, received_at, outcome, false AS is_over, {_WAITS}
    FROM inbox
    WHERE outcome = 'QUARANTINED' AND id > :id AND received_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
    ORDER BY id
    LIMIT :limit
""")


class WaitingPage(NamedTuple):
    """Rows, and the place after which the next page begins; None after the last one."""

    rows: list[WaitingRow]
    next_after: str | None


_BEGINNING = (datetime(1970, 1, 1, tzinfo=UTC).isoformat(), 0)


async def parked(
    connection: AsyncConnection, after: str, limit: int, *, parked_for: timedelta, since: datetime | None
) -> WaitingPage:
    """The next PARKED updates after a place, oldest first; an empty text is the beginning."""
    received_at, id_ = json.loads(after) if after else _BEGINNING
    place = {"received_at": datetime.fromisoformat(received_at), "id": id_, "since": since, "limit": limit}
    rows = [WaitingRow._make(row) for row in await connection.execute(_PARKED, place | {"parked_for": parked_for})]
    last = json.dumps([rows[-1].received_at.isoformat(), rows[-1].id]) if len(rows) == limit else None
    return WaitingPage(rows, last)


async def quarantined(connection: AsyncConnection, after: str, limit: int, *, since: datetime | None) -> WaitingPage:
    """The next QUARANTINED updates after the id `after`; an empty text is the beginning."""
    place = {"id": int(after or 0), "since": since, "limit": limit}
    rows = [WaitingRow._make(row) for row in await connection.execute(_QUARANTINED, place)]
    return WaitingPage(rows, str(rows[-1].id) if len(rows) == limit else None)


_KEYS = text("SELECT DISTINCT key FROM parked_updates WHERE inbox_id = ANY(CAST(:ids AS bigint[]))")


async def keys(connection: AsyncConnection, ids: Collection[int]) -> list[Key]:
    """The keys that these updates wait for."""
    return list(await connection.scalars(_KEYS, {"ids": list(ids)}))


_GIVE_UP = text(f"""
    WITH given_up AS (
        UPDATE inbox SET outcome = 'IGNORED', reason = 'UNKNOWN_PAYMENT_METHOD'
        WHERE id = ANY(CAST(:ids AS bigint[])) AND {_PARKED_FOR_A_WALLET} AND {_IS_OVER}
        RETURNING id)
    DELETE FROM parked_updates WHERE inbox_id = ANY(ARRAY(SELECT id FROM given_up))
""")


async def give_up(connection: AsyncConnection, ids: Collection[int], *, parked_for: timedelta) -> None:
    """Give those of the updates up whose time is over, as upkeep does."""
    await connection.execute(_GIVE_UP, {"ids": list(ids), "parked_for": parked_for})


# What the update waited for is gone; what it reported has its name, and the customer that it named.
_REPORTED = text(f"""
    SELECT id, old_key, fact.old_alias, coalesce(fact.scope, state.scope, '') AS scope
    FROM inbox
    LEFT JOIN LATERAL (
        SELECT old_alias, scope FROM replacement_facts
        WHERE replacement_facts.old_key = inbox.old_key AND vendor = inbox.vendor AND update_id = inbox.update_id
        LIMIT 1) AS fact ON true
    LEFT JOIN LATERAL (
        SELECT scope FROM credentials
        WHERE key = inbox.old_key AND ((status_vendor, status_update_id) = (inbox.vendor, inbox.update_id)
                                       OR (expiry_vendor, expiry_update_id) = (inbox.vendor, inbox.update_id))
        LIMIT 1) AS state ON true
    WHERE id = ANY(CAST(:ids AS bigint[])) AND {_PARKED_FOR_A_WALLET} AND old_key IS NOT NULL
    ORDER BY id
    FOR NO KEY UPDATE OF inbox
""")
_PARK = text(f"{WAITING_UPDATE.insert('parked_updates', 'updates')} ON CONFLICT DO NOTHING")


async def park_again(connection: AsyncConnection, ids: Collection[int]) -> set[int]:
    """Have parked updates wait for the credential that they are about. Return the ids of those that have one."""
    updates = (await connection.execute(_REPORTED, {"ids": list(ids)})).all()
    rows = []
    for id_, old_key, old_alias, scope in updates:
        about = json.dumps({"customer": read_scope(scope)}) if scope else None
        rows += [
            WAITING_UPDATE.row(key=key, inbox_id=id_, about=about) for key in (old_key, old_alias) if key is not None
        ]
    await connection.execute(_PARK, {"updates": rows})
    return {row.id for row in updates}


# A quarantined merge waits for a person, and happens no more by itself.
_IS_WITHOUT_UPDATE = "(SELECT outcome FROM inbox WHERE id = waiting.inbox_id) IS NULL"
_IS_DECIDED = """
    (SELECT outcome FROM inbox WHERE id = waiting.inbox_id)
        <> ALL(CASE WHEN waiting.about -> 'from' IS NULL THEN ARRAY['PARKED', 'QUARANTINED'] ELSE ARRAY['PARKED'] END)
"""
_ROWS = text(f"""
    SELECT waiting.inbox_id || ' ' || waiting.key,
           CASE WHEN {_IS_WITHOUT_UPDATE} THEN 'WAITING_WITHOUT_UPDATE'
                WHEN {_IS_DECIDED} THEN 'WAITING_THOUGH_DECIDED' END,
           NULL, (SELECT outcome FROM inbox WHERE id = waiting.inbox_id)
    FROM (SELECT inbox_id, key, about FROM parked_updates
          WHERE inbox_id >= :inbox_id AND (inbox_id, key) > (:inbox_id, :key)
          ORDER BY inbox_id, key LIMIT :limit) AS waiting
    ORDER BY waiting.inbox_id, waiting.key
""")
_DELETE_ROWS = text(f"""
    DELETE FROM parked_updates AS waiting
    WHERE inbox_id = ANY(CAST(:ids AS bigint[])) AND ({_IS_WITHOUT_UPDATE} OR {_IS_DECIDED})
""")


async def rows(connection: AsyncConnection, after: str, limit: int) -> Page:
    """The next rows of waiting updates after the place `after`; an empty text is the beginning."""
    inbox_id, _, key = after.partition(" ") if after else ("-1", "", "")
    selected = await connection.execute(_ROWS, {"inbox_id": int(inbox_id), "key": key, "limit": limit})
    page = page_of(selected, limit)
    # a key is a vendor's token: it stays out of what is found
    return Page(
        page.examined,
        list(dict.fromkeys(finding._replace(subject=finding.subject.partition(" ")[0]) for finding in page.findings)),
        page.next_after,
    )


async def delete_rows(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Delete the rows of these updates, of those that are gone or do not wait any more."""
    await connection.execute(_DELETE_ROWS, {"ids": list(ids)})
