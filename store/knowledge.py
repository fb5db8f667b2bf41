"""What vendors told: the rows of `credentials` and `replacement_facts`.

A `credentials` row is also where knowledge and wallets meet. Whoever learns something of a credential, and whoever
lets a wallet come to know one, first locks its row; so of two workers, one that learns A → B and one that learns B →
C, the second sees what the first did. All credentials are locked before any wallet, each in the order of its key.
"""

import json
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.knowledge import Dated, Fact, Knowledge, Shown, Told
from domain.update import Credential, NewCredential, Reason, Scope, Stamp
from domain.wallet import Expiry, Key, MethodStatus, MethodType


class Contended(Exception):
    """Another worker holds `keys`, or they came within reach only just now: begin again, with them from the start."""

    def __init__(self, keys: Collection[Key]) -> None:
        super().__init__(f"{len(keys)} credentials came within reach while others were locked")
        self.keys = frozenset(keys)


_ENSURE = text("""
    INSERT INTO credentials (key, kept_until)
    SELECT key, now() + CAST(:keep AS interval) FROM unnest(CAST(:keys AS text[])) AS key ORDER BY key
    ON CONFLICT DO NOTHING
""")
_LOCK = text("""
    SELECT key FROM credentials WHERE key = ANY(CAST(:keys AS text[])) AND scope = '' ORDER BY key FOR UPDATE
""")
_TRY_LOCK = text("""
    SELECT key FROM credentials WHERE key = ANY(CAST(:keys AS text[])) AND scope = '' ORDER BY key
    FOR UPDATE SKIP LOCKED
""")


async def lock(connection: AsyncConnection, keys: Collection[Key], *, keep: timedelta) -> None:
    """Lock the credentials of `keys` until the transaction ends, making the rows that are missing.

    Raises:
        Contended: one was purged at this very moment.
    """
    await connection.execute(_ENSURE, {"keys": list(keys), "keep": keep})
    locked = (await connection.execute(_LOCK, {"keys": list(keys)})).scalars()
    if missing := set(keys).difference(locked):
        raise Contended(missing)


async def try_lock(connection: AsyncConnection, keys: Collection[Key]) -> None:
    """Lock further credentials out of order, where that can be had without waiting.

    Raises:
        Contended: another worker holds one, and waiting for it might be waiting for each other.
    """
    locked = (await connection.execute(_TRY_LOCK, {"keys": list(keys)})).scalars()
    if missing := set(keys).difference(locked):
        raise Contended(missing)


_TOLD = text("""
    SELECT key, scope, status, status_at, status_vendor, status_update_id, expiry_year, expiry_month, expiry_at,
           expiry_vendor, expiry_update_id, CAST(details AS text)
    FROM credentials
    WHERE key = ANY(CAST(:keys AS text[])) AND (status IS NOT NULL OR expiry_year IS NOT NULL OR details IS NOT NULL)
""")
_FACTS = text("""
    SELECT old_key, old_alias, new_key, new_alias, scope, vendor, update_id, occurred_at, reason, method_type,
           last4, brand, expiry_year, expiry_month, par, CAST(details AS text), CAST(later_expiry AS text)
    FROM replacement_facts
    WHERE old_key = ANY(CAST(:keys AS text[])) OR old_alias = ANY(CAST(:keys AS text[]))
""")


async def load(connection: AsyncConnection, keys: Collection[Key], into: Knowledge) -> None:
    """Add to `into` what is known of the credentials `keys`, and the facts that lead from them."""
    for row in await connection.execute(_TOLD, {"keys": list(keys)}):
        key, scope, status, at, vendor, update_id, year, month, expiry_at, expiry_vendor, expiry_id, details = row
        into.add_told(
            key,
            read_scope(scope),
            Told(
                None if status is None else Dated(MethodStatus[status], Stamp(at, vendor, update_id)),
                None if year is None else Dated(Expiry(year, month), Stamp(expiry_at, expiry_vendor, expiry_id)),
                *(() if details is None else _read_details(details)),
            ),
        )
    for row in await connection.execute(_FACTS, {"keys": list(keys)}):
        old, old_alias, new, new_alias, scope, vendor, update_id, at, reason, kind, *new_told = row
        last4, brand, year, month, par, details, later = new_told
        credential = Credential(new, new_alias)
        into.add_fact(
            Fact(
                old=Credential(old, old_alias),
                new=credential,
                stamp=Stamp(at, vendor, update_id),
                reason=Reason[reason],
                scope=read_scope(scope),
                method_type=None if kind is None else MethodType[kind],
                told=NewCredential(
                    credential,
                    last4,
                    brand,
                    None if year is None else Expiry(year, month),
                    par,
                    {} if details is None else json.loads(details),
                ),
                later=None if later is None else _read_expiry(later),
            )
        )


_SAVE_TOLD = text("""
    INSERT INTO credentials (key, scope, status, status_at, status_vendor, status_update_id, expiry_year, expiry_month,
                             expiry_at, expiry_vendor, expiry_update_id, details, kept_until)
    SELECT key, scope, status, status_at, status_vendor, status_update_id, expiry_year, expiry_month, expiry_at,
           expiry_vendor, expiry_update_id, CAST(details AS jsonb), now() + keep
    FROM unnest(CAST(:told AS told_row[])) AS told
    ORDER BY key, scope
    ON CONFLICT (key, scope) DO UPDATE
    SET (status, status_at, status_vendor, status_update_id, expiry_year, expiry_month, expiry_at, expiry_vendor,
         expiry_update_id, details, kept_until)
      = (EXCLUDED.status, EXCLUDED.status_at, EXCLUDED.status_vendor, EXCLUDED.status_update_id, EXCLUDED.expiry_year,
         EXCLUDED.expiry_month, EXCLUDED.expiry_at, EXCLUDED.expiry_vendor, EXCLUDED.expiry_update_id,
         EXCLUDED.details, greatest(credentials.kept_until, EXCLUDED.kept_until))
""")
_SAVE_FACTS = text("""
    INSERT INTO replacement_facts (old_key, old_alias, new_key, new_alias, scope, vendor, update_id, occurred_at,
                                   reason, method_type, last4, brand, expiry_year, expiry_month, par, details,
                                   later_expiry, kept_until)
    SELECT old_key, old_alias, new_key, new_alias, scope, vendor, update_id, occurred_at, reason, method_type, last4,
           brand, expiry_year, expiry_month, par, CAST(details AS jsonb), CAST(later_expiry AS jsonb), now() + keep
    FROM unnest(CAST(:facts AS fact_row[])) AS fact
    ON CONFLICT (old_key, new_key, scope) DO UPDATE
    SET (old_alias, new_alias, vendor, update_id, occurred_at, reason, method_type, last4, brand, expiry_year,
         expiry_month, par, details, later_expiry, kept_until)
      = (EXCLUDED.old_alias, EXCLUDED.new_alias, EXCLUDED.vendor, EXCLUDED.update_id, EXCLUDED.occurred_at,
         EXCLUDED.reason, EXCLUDED.method_type, EXCLUDED.last4, EXCLUDED.brand, EXCLUDED.expiry_year,
         EXCLUDED.expiry_month, EXCLUDED.par, EXCLUDED.details, EXCLUDED.later_expiry,
         greatest(replacement_facts.kept_until, EXCLUDED.kept_until))
""")


async def save(
    connection: AsyncConnection,
    knowledge: Knowledge,
    known: AbstractSet[Key],
    *,
    keep: timedelta,
    keep_unknown: timedelta,
) -> None:
    """Write what was heard, known or not: hearing it prolongs how long it is kept.

    That is `keep` from now if its credential is among those that some wallet knows.
    """
    if knowledge.heard_of:
        told = [
            _told_row(key, scope, knowledge.told[key][scope], keep if key in known else keep_unknown)
            for key, scope in knowledge.heard_of
        ]
        await connection.execute(_SAVE_TOLD, {"told": told})
    if knowledge.heard_facts:
        facts = [knowledge.facts[pair] for pair in sorted(knowledge.heard_facts)]
        rows = [_fact_row(fact, keep_unknown if known.isdisjoint(fact.old.keys) else keep) for fact in facts]
        await connection.execute(_SAVE_FACTS, {"facts": rows})


def _told_row(key: Key, scope: Scope, told: Told, keep: timedelta) -> tuple[Any, ...]:
    status, expiry, details, cards = told
    return (
        key,
        write_scope(scope),
        *(_NO_STATUS if status is None else (status.value, *status.stamp)),
        *(_NO_EXPIRY if expiry is None else (*expiry.value, *expiry.stamp)),
        _write_details(told) if details or cards else None,
        keep,
    )


def _fact_row(fact: Fact, keep: timedelta) -> tuple[Any, ...]:
    old, new, (at, vendor, update_id), reason, scope, method_type, told, later = fact
    year, month = told.expiry or (None, None)
    return (
        old.key,
        old.alias,
        new.key,
        new.alias,
        write_scope(scope),
        vendor,
        update_id,
        at,
        reason,
        method_type,
        told.last4,
        told.brand,
        year,
        month,
        told.par,
        json.dumps(dict(told.details)) if told.details else None,
        None if later is None else _write_expiry(later),
        keep,
    )


_NO_STATUS = (None,) * 4
_NO_EXPIRY = (None,) * 5


_KEEP_TOLD = text("""
    UPDATE credentials SET kept_until = greatest(kept_until, now() + CAST(:keep AS interval))
    WHERE key = ANY(CAST(:keys AS text[]))
""")
_KEEP_FACTS = text("""
    UPDATE replacement_facts SET kept_until = greatest(kept_until, now() + CAST(:keep AS interval))
    WHERE old_key = ANY(CAST(:keys AS text[])) OR old_alias = ANY(CAST(:keys AS text[]))
""")


async def keep_longer(connection: AsyncConnection, keys: Iterable[Key], *, keep: timedelta) -> None:
    """A wallet has come to know `keys`: what was told of them is kept as long as what is told of any wallet's."""
    parameters = {"keys": sorted(keys), "keep": keep}
    await connection.execute(_KEEP_TOLD, parameters)
    await connection.execute(_KEEP_FACTS, parameters)


def write_scope(scope: Scope) -> str:
    return json.dumps(scope, ensure_ascii=False) if scope else ""


def read_scope(written: str) -> Scope:
    return tuple((name, value) for name, value in json.loads(written)) if written else ()


def _write_expiry(expiry: Dated[Expiry]) -> str:
    return json.dumps([expiry.value, *_written(expiry.stamp)])


def _read_expiry(written: str) -> Dated[Expiry]:
    (year, month), *stamp = json.loads(written)
    return Dated(Expiry(year, month), _read_stamp(*stamp))


def _write_details(told: Told) -> str:
    written: dict[str, object] = {name: [dated.value, *_written(dated.stamp)] for name, dated in told.details.items()}
    if told.cards:
        written[_CARDS] = [[*card, *_written(stamp)] for card, stamp in told.cards.items()]
    return json.dumps(written)


def _read_details(written: str) -> tuple[dict[str, Dated[object]], dict[Shown, Stamp]]:
    details = json.loads(written)
    cards = details.pop(_CARDS, ())
    return (
        {name: Dated(value, _read_stamp(*stamp)) for name, (value, *stamp) in details.items()},
        {
            Shown(vendor, last4, brand, Expiry(*expiry)): _read_stamp(*stamp)
            for vendor, last4, brand, expiry, *stamp in cards
        },
    )


# Beside the details, none of which is called so: [[vendor, last4, brand, [year, month], occurred at, …of the stamp]].
_CARDS = "cards"


def _written(stamp: Stamp) -> tuple[str, str, str]:
    return (stamp.occurred_at.isoformat(), stamp.vendor, stamp.update_id)


def _read_stamp(at: str, vendor: str, update_id: str) -> Stamp:
    return Stamp(datetime.fromisoformat(at), vendor, update_id)


_FORGET_FACTS = text("""
    DELETE FROM replacement_facts WHERE (old_key, new_key, scope) IN (
        SELECT old_key, new_key, scope FROM replacement_facts WHERE kept_until < now()
        LIMIT :most FOR UPDATE SKIP LOCKED)
""")
# a row that is being learnt about is locked, and left for another time
_FORGET_TOLD = text("""
    DELETE FROM credentials WHERE (key, scope) IN (
        SELECT key, scope FROM credentials WHERE kept_until < now() LIMIT :most FOR UPDATE SKIP LOCKED)
""")
# small enough to be done in a blink; what remains waits for the next round
_AT_ONCE = 10_000


async def forget(connection: AsyncConnection) -> int:
    """Delete what is past the time it is kept for; how many rows."""
    facts = await connection.execute(_FORGET_FACTS, {"most": _AT_ONCE})
    told = await connection.execute(_FORGET_TOLD, {"most": _AT_ONCE})
    return facts.rowcount + told.rowcount
