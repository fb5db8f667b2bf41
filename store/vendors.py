"""Vendors that are paused, the messages that are held for them, and how many wallets their replacements changed."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.rows import HELD_UPDATE, VENDOR_COUNT

VENDOR_PAUSED = "VENDOR_PAUSED"
"""The reason of an update that is PARKED because its vendor is paused."""


@dataclass(frozen=True, slots=True)
class VendorRow:
    """A vendor that was paused at some time, and how many of its messages are held."""

    vendor: str
    status: str
    changed_at: datetime
    reason: str
    actor: str
    held: int


_LIST = text("""
    SELECT name, status, changed_at, reason, actor,
           (SELECT count(*) FROM held_updates WHERE held_updates.vendor = vendors.name)
    FROM vendors WHERE CAST(:vendor AS text) IS NULL OR name = :vendor
    ORDER BY name
""")


async def read(connection: AsyncConnection, vendor: str | None = None) -> list[VendorRow]:
    """The vendors that were paused at some time; all, or the one of that name."""
    return [VendorRow(*row) for row in await connection.execute(_LIST, {"vendor": vendor})]


# A vendor whose messages are taken in just now is paused again by it.
_PAUSE = text("""
    INSERT INTO vendors AS known (name, status, reason, actor) VALUES (:vendor, 'PAUSED', :reason, :actor)
    ON CONFLICT (name) DO UPDATE
    SET status = 'PAUSED', changed_at = now(), reason = excluded.reason, actor = excluded.actor, leased_until = NULL
    WHERE known.status <> 'PAUSED' AND (NOT CAST(:only_watched AS boolean) OR known.unwatched_until IS NULL
                                        OR known.unwatched_until < now())
    RETURNING true
""")


async def pause(
    connection: AsyncConnection, vendor: str, *, reason: str, actor: str, only_watched: bool = False
) -> bool:
    """Hold what comes of `vendor` from now on; False if it is paused already.

    `only_watched`: not one that a person has resumed lately.
    """
    values = {"vendor": vendor, "reason": reason, "actor": actor, "only_watched": only_watched}
    return bool(await connection.scalar(_PAUSE, values))


_RESUME = text("""
    UPDATE vendors SET status = 'RESUMING', changed_at = now(), reason = :reason, actor = :actor,
                       unwatched_until = now() + CAST(:unwatched AS interval)
    WHERE name = :vendor AND status = 'PAUSED'
    RETURNING true
""")


async def resume(connection: AsyncConnection, vendor: str, *, reason: str, actor: str, unwatched: timedelta) -> bool:
    """Have what was held for `vendor` taken in, and then what comes; False if it is not paused.

    For the time `unwatched` it is not held by itself: a person has looked at it.
    """
    values = {"vendor": vendor, "reason": reason, "actor": actor, "unwatched": unwatched}
    return bool(await connection.scalar(_RESUME, values))


class HeldMessage(NamedTuple):
    """A message of a paused vendor, with its inbox row and its place."""

    inbox_id: int
    vendor: str
    topic: str
    incarnation: int
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes | None]]


_HOLD = text(HELD_UPDATE.insert("held_updates", "updates"))


async def hold(connection: AsyncConnection, messages: Iterable[HeldMessage]) -> None:
    """Keep messages until their vendor is resumed."""
    rows = [HELD_UPDATE.row(*held[:-1], headers=_write_headers(held.headers)) for held in messages]
    await connection.execute(_HOLD, {"updates": rows})


def _write_headers(headers: Sequence[tuple[str, bytes | None]]) -> str:
    return json.dumps([[name, None if value is None else value.hex()] for name, value in headers])


def _read_headers(written: str) -> list[tuple[str, bytes | None]]:
    return [(name, None if value is None else bytes.fromhex(value)) for name, value in json.loads(written)]


_CLAIM = text("""
    UPDATE vendors SET leased_until = now() + CAST(:lease AS interval)
    WHERE name = (SELECT name FROM vendors WHERE status = 'RESUMING' AND (leased_until IS NULL OR leased_until < now())
                  ORDER BY changed_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING name
""")


async def claim(connection: AsyncConnection, *, lease: timedelta) -> str | None:
    """A vendor that is resumed, and that no other process is at for the time of `lease`; None if there is none."""
    vendor: str | None = await connection.scalar(_CLAIM, {"lease": lease})
    return vendor


_EXTEND = text("""
    UPDATE vendors SET leased_until = now() + CAST(:lease AS interval)
    WHERE name = :vendor AND status = 'RESUMING'
    RETURNING true
""")


async def extend(connection: AsyncConnection, vendor: str, *, lease: timedelta) -> bool:
    """Keep a claimed vendor for the time of `lease`; False if it was paused meanwhile."""
    return bool(await connection.scalar(_EXTEND, {"vendor": vendor, "lease": lease}))


_HELD = text(f"""
    SELECT {HELD_UPDATE.selected} FROM held_updates
    WHERE vendor = :vendor ORDER BY vendor, topic, incarnation, partition, kafka_offset LIMIT :limit
""")


async def held(connection: AsyncConnection, vendor: str, *, limit: int) -> list[HeldMessage]:
    """The first held messages of `vendor`: those of each partition in their order."""
    rows = await connection.execute(_HELD, {"vendor": vendor, "limit": limit})
    return [HeldMessage(*row)._replace(headers=_read_headers(row[-1])) for row in rows]


# The conditions on the row itself are looked at again where a person has just discarded the update.
_LET_GO = text(f"""
    DELETE FROM inbox WHERE id = ANY(CAST(:ids AS bigint[])) AND outcome = 'PARKED' AND reason = '{VENDOR_PAUSED}'
      AND (SELECT true FROM held_updates WHERE inbox_id = inbox.id)
    RETURNING id
""")


async def let_go(connection: AsyncConnection, inbox_ids: Collection[int]) -> set[int]:
    """Delete the rows of held messages, which are taken in anew in this transaction; those that were still held."""
    return set(await connection.scalars(_LET_GO, {"ids": sorted(inbox_ids)}))


_RELEASE = text("UPDATE vendors SET leased_until = NULL WHERE name = :vendor")
_END = text("""
    UPDATE vendors SET status = 'ACTIVE', changed_at = now(), leased_until = NULL
    WHERE name = :vendor AND status = 'RESUMING'
      AND NOT EXISTS (SELECT FROM held_updates WHERE held_updates.vendor = :vendor)
    RETURNING true
""")


async def end(connection: AsyncConnection, vendor: str) -> bool:
    """Take in what comes of `vendor` from now on; False if something is held for it, or it was paused again.

    The caller has closed the gate: no batch is under way that saw it as paused. What such a batch held last can be
    claimed at once.
    """
    is_over = bool(await connection.scalar(_END, {"vendor": vendor}))
    if not is_over:
        await connection.execute(_RELEASE, {"vendor": vendor})
    return is_over


# --- how much a vendor replaces --------------------------------------------------------------------------------------

_ADD = text(f"""
    INSERT INTO vendor_replacements AS known (vendor, minute, wallets)
    SELECT vendor, date_trunc('minute', now()), wallets FROM {VENDOR_COUNT.array("counts")} ORDER BY vendor
    ON CONFLICT (vendor, minute) DO UPDATE SET wallets = known.wallets + excluded.wallets
""")
_FORGET = text("DELETE FROM vendor_replacements WHERE minute < now() - interval '1 hour'")
_IN_AN_HOUR = text("""
    SELECT vendor, CAST(sum(wallets) AS bigint) AS wallets FROM vendor_replacements
    WHERE minute >= now() - interval '1 hour' GROUP BY vendor
""")
# An estimate is enough for many; few are counted.
_WALLETS = text("""
    SELECT greatest(
        (SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = CAST('wallets' AS regclass)),
        (SELECT count(*) FROM (SELECT FROM wallets LIMIT 20000) AS first))
""")
_PAUSED = text("SELECT name FROM vendors WHERE status <> 'ACTIVE' ORDER BY name")


async def add_replacements(connection: AsyncConnection, counts: Mapping[str, int]) -> None:
    """Add wallets in which each vendor's facts replaced a payment method just now. What is older than an hour goes."""
    rows = [VENDOR_COUNT.row(vendor=vendor, wallets=wallets) for vendor, wallets in counts.items()]
    await connection.execute(_ADD, {"counts": rows})
    await connection.execute(_FORGET)


async def replacements_in_an_hour(connection: AsyncConnection) -> tuple[dict[str, int], int]:
    """The wallets in which each vendor replaced payment methods within an hour, and the number of all wallets."""
    counts = {row.vendor: int(row.wallets) for row in await connection.execute(_IN_AN_HOUR)}
    wallets: int = await connection.scalar(_WALLETS) if counts else 0
    return counts, wallets


async def paused(connection: AsyncConnection) -> list[str]:
    """The vendors whose messages are held."""
    return list(await connection.scalars(_PAUSED))
