"""The inbox: one row for every update read from Kafka, with its outcome.

A message is known by where it stood in the topic, by which incarnation of the topic that was (`store.topics`), and by
its content. So the same one read again (a rebalance, a crash between the two commits) is recognised and left alone. An
update is known by its vendor's id: the first to come with it is the original.
"""

import json
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.decide import Verdict, WaitingUpdate
from domain.update import Scope, Stamp, Update
from domain.wallet import Key
from store.rows import ARRIVAL, QUARANTINED_MERGE, UPDATE, UPDATE_OUTCOME, WAITING_UPDATE


class Arrival(NamedTuple):
    """An update, where it was read, and the digest (16 bytes) of its content."""

    topic: str
    partition: int
    offset: int
    digest: bytes
    update: Update

    @property
    def place(self) -> tuple[str, int, int, bytes]:
        return (self.topic, self.partition, self.offset, self.digest)


@dataclass(frozen=True, slots=True)
class Met:
    """What the inbox holds of some arrivals: places taken in before, and the digests of originals by (vendor, id).

    `now` is the database's time, `paused` the vendors whose updates are held.
    """

    now: datetime
    paused: frozenset[str]
    places: frozenset[tuple[str, int, int, bytes]]
    originals: dict[tuple[str, str], bytes]


# An import lets wallets come to know credentials without locking their rows one by one; it takes this lock alone (see
# store.wallets), and every batch shares it.
_GATE = """
    SELECT now() AS now, ARRAY(SELECT name FROM vendors WHERE status <> 'ACTIVE') AS paused,
           set_config('statement_timeout', CAST(:milliseconds AS text), true), pg_advisory_xact_lock_shared(:gate)
"""
_SHARE_THE_GATE = text(_GATE)
GATE = 0x67617465  # "gate"

_MET_COLUMNS = "topic, partition, kafka_offset, digest, vendor, update_id"
# The rows are read before the gate is waited for. An import, which closes it, takes in no message; and where another
# worker takes in the same ones meanwhile, the insertion fails (see `record`).
_MET = text(f"""
    WITH gate AS MATERIALIZED ({_GATE})
    SELECT now, paused, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM gate
    UNION ALL
    SELECT NULL, NULL, met.*, false
    FROM {ARRIVAL.array("arrivals")} AS arrival
    CROSS JOIN LATERAL (
        SELECT {_MET_COLUMNS} FROM inbox
        WHERE topic = arrival.topic AND partition = arrival.partition AND kafka_offset = arrival.kafka_offset
          AND incarnation = CAST(:incarnation AS int)
        OFFSET 0) AS met
    UNION ALL
    SELECT NULL, NULL, met.*, true
    FROM {ARRIVAL.array("arrivals")} AS arrival
    CROSS JOIN LATERAL (
        SELECT {_MET_COLUMNS} FROM inbox
        WHERE original AND vendor = arrival.vendor AND update_id = arrival.update_id
        OFFSET 0) AS met
""")


async def enter(connection: AsyncConnection, *, within: float) -> None:
    """Share the gate until the transaction ends; its statements may take `within` seconds each."""
    await connection.execute(_SHARE_THE_GATE, _gate(within))


def _gate(within: float) -> dict[str, Any]:
    return {"gate": GATE, "milliseconds": str(int(within * 1000))}


async def met(connection: AsyncConnection, arrivals: Sequence[Arrival], incarnation: int = 0, *, within: float) -> Met:
    """Share the gate as `enter` does, and look up `arrivals`: which were taken in before, and which ids are taken.

    `incarnation` is of their topic.
    """
    keys = [
        ARRIVAL.row(
            topic=arrival.topic,
            partition=arrival.partition,
            kafka_offset=arrival.offset,
            vendor=arrival.update.stamp.vendor,
            update_id=arrival.update.stamp.update_id,
        )
        for arrival in arrivals
    ]
    rows = (await connection.execute(_MET, {"arrivals": keys, "incarnation": incarnation} | _gate(within))).all()
    (now, paused, *_), *known = rows
    places = set()
    originals = {}
    for _, _, topic, partition, offset, digest, vendor, update_id, original in known:
        if original:
            originals[vendor, update_id] = digest
        else:
            places.add((topic, partition, offset, digest))
    return Met(now, frozenset(paused), frozenset(places), originals)


_RECORD = text(f"""
    INSERT INTO inbox ({UPDATE.columns}, incarnation)
    SELECT {UPDATE.values}, CAST(:incarnation AS int) FROM {UPDATE.array("updates")}
    RETURNING id
""")


async def record(
    connection: AsyncConnection, decided: Sequence[tuple[Arrival, Verdict, bool]], incarnation: int = 0
) -> list[int]:
    """Insert arrivals with their outcome and whether each is the original of its id; the new rows' ids, in that order.

    Two workers that take in the same id at once collide here: the later one fails with a unique violation, and begins
    again. They must come ordered by (vendor, id), or the two might wait for each other.
    """
    rows = [_update_row(arrival, verdict, original=original) for arrival, verdict, original in decided]
    return list(await connection.scalars(_RECORD, {"updates": rows, "incarnation": incarnation}))


_PROBE = text("""
    INSERT INTO inbox (topic, partition, kafka_offset, digest, vendor, update_id, original, type, occurred_at, outcome,
                       incarnation)
    VALUES ('', 0, :offset, '', '', '', false, '', now(), 'IGNORED', 0)
""")


async def probe(connection: AsyncConnection) -> None:
    """Insert a row that no message has, for the caller to roll back: to see how long that takes."""
    await connection.execute(_PROBE, {"offset": random.getrandbits(62)})  # two probes do not wait for each other


def _update_row(arrival: Arrival, verdict: Verdict, *, original: bool) -> tuple[Any, ...]:
    update = arrival.update
    return UPDATE.row(
        topic=arrival.topic,
        partition=arrival.partition,
        kafka_offset=arrival.offset,
        digest=arrival.digest,
        vendor=update.stamp.vendor,
        update_id=update.stamp.update_id,
        original=original,
        type=update.type,
        old_key=None if update.old is None else update.old.key,
        occurred_at=update.stamp.occurred_at,
        outcome=verdict.outcome,
        reason=verdict.reason,
    )


_PARK = text(WAITING_UPDATE.insert("parked_updates", "updates"))


async def park(connection: AsyncConnection, updates: Iterable[tuple[int, Update]]) -> None:
    """Have updates wait for their credentials, or merges for their customers. Each comes with its inbox id."""
    rows = [
        WAITING_UPDATE.row(key=key, inbox_id=inbox_id, about=_write_about(update))
        for inbox_id, update in updates
        for key in waits_for(update)
    ]
    await connection.execute(_PARK, {"updates": rows})


_KEEP_MERGES = text(QUARANTINED_MERGE.insert("quarantined_merges", "merges"))


async def keep_merges(connection: AsyncConnection, merges: Iterable[tuple[int, Update]]) -> None:
    """Keep the customers that quarantined merges name, for a person. Each comes with its inbox id."""
    rows = [QUARANTINED_MERGE.row(inbox_id=inbox_id, about=_write_about(merge)) for inbox_id, merge in merges]
    await connection.execute(_KEEP_MERGES, {"merges": rows})


WAITING = """
    SELECT inbox_id, occurred_at, vendor, update_id, keys, about
    FROM (
        SELECT inbox_id, array_agg(key) AS keys, min(CAST(about AS text)) AS about
        FROM parked_updates
        WHERE inbox_id = ANY(ARRAY(SELECT inbox_id FROM parked_updates WHERE key = ANY(CAST(:keys AS text[]))))
        GROUP BY inbox_id) AS waiting
    CROSS JOIN LATERAL (SELECT occurred_at, vendor, update_id FROM inbox WHERE id = inbox_id OFFSET 0) AS arrived
"""
"""The query for the rows that `read_waiting` reads: of the updates that wait for any of `keys`."""
_WAITING = text(f"{WAITING} ORDER BY inbox_id")


async def waiting(connection: AsyncConnection, keys: Collection[Key]) -> list[WaitingUpdate]:
    """The PARKED and QUARANTINED updates that wait for any of `keys`."""
    return [read_waiting(row) for row in await connection.execute(_WAITING, {"keys": list(keys)})]


def read_waiting(row: Sequence[Any]) -> WaitingUpdate:
    """The update of a row of `WAITING`."""
    inbox_id, at, vendor, update_id, names, about = row
    return waiting_update(inbox_id, Stamp(at, vendor, update_id), names, about)


def waiting_update(inbox_id: int, stamp: Stamp, names: Iterable[Key], about: str | None) -> WaitingUpdate:
    scopes = json.loads(about) if about else {}
    return WaitingUpdate(
        inbox_id,
        stamp,
        () if "from" in scopes else tuple(sorted(names)),
        _scope(scopes.get("customer", ())),
        _scope(scopes.get("from", ())),
        _scope(scopes.get("into", ())),
    )


_UPDATE_OUTCOMES = text(f"""
    WITH decided AS (SELECT id, outcome, reason FROM {UPDATE_OUTCOME.array("decided")}),
    ended AS (
        DELETE FROM parked_updates USING decided
        WHERE inbox_id = decided.id AND inbox_id = ANY(CAST(:inbox_ids AS bigint[]))
          AND (decided.outcome <> 'QUARANTINED' OR about -> 'from' IS NOT NULL)
        RETURNING inbox_id, about, decided.outcome),
    kept AS (
        INSERT INTO quarantined_merges (inbox_id, about)
        SELECT DISTINCT ON (inbox_id) inbox_id, about FROM ended WHERE outcome = 'QUARANTINED'
        ON CONFLICT DO NOTHING)
    UPDATE inbox SET outcome = decided.outcome, reason = decided.reason
    FROM decided
    WHERE inbox.id = decided.id AND inbox.id = ANY(CAST(:inbox_ids AS bigint[])) AND inbox.outcome <> 'APPLIED'
      AND (inbox.outcome, inbox.reason) IS DISTINCT FROM (decided.outcome, decided.reason)
""")


async def update_outcomes(connection: AsyncConnection, decided: Sequence[tuple[WaitingUpdate, Verdict]]) -> None:
    """Give waiting updates their new outcome. QUARANTINED ones go on waiting; merges wait for a person alone.

    A merge that happens by surprise weeks later would do harm. Two workers may decide one update at the same time, by
    its token and by its fingerprint, each for other wallets: it is APPLIED if either worker applied it.
    """
    rows = [
        UPDATE_OUTCOME.row(id=waiting.inbox_id, outcome=verdict.outcome, reason=verdict.reason)
        for waiting, verdict in decided
    ]
    inbox_ids = [waiting.inbox_id for waiting, _ in decided]
    await connection.execute(_UPDATE_OUTCOMES, {"decided": rows, "inbox_ids": inbox_ids})


# A later report of the same prolongs how long it is kept, and the first update waits as long.
_HAS_WAITED = """
    outcome = 'PARKED' AND received_at < now() - CAST(:parked_for AS interval)
    AND reason IS DISTINCT FROM 'VENDOR_PAUSED'
    AND (SELECT true FROM replacement_facts
         WHERE replacement_facts.old_key = inbox.old_key AND kept_until >= now() LIMIT 1) IS NULL
    AND (SELECT true FROM credentials
         WHERE credentials.key = inbox.old_key AND kept_until >= now() LIMIT 1) IS NULL
"""
_GIVE_UP = text(f"""
    WITH given_up AS (
        UPDATE inbox SET outcome = 'IGNORED', reason = 'UNKNOWN_PAYMENT_METHOD'
        WHERE id = ANY(ARRAY(
            SELECT id FROM inbox WHERE {_HAS_WAITED}
            ORDER BY received_at LIMIT :most FOR UPDATE SKIP LOCKED))
        RETURNING id)
    DELETE FROM parked_updates WHERE inbox_id = ANY(ARRAY(SELECT id FROM given_up))
""")
_STOP_WAITING = text("""
    DELETE FROM parked_updates WHERE inbox_id = ANY(ARRAY(
        SELECT id FROM inbox
        WHERE outcome = 'QUARANTINED'
          AND (SELECT true FROM parked_updates WHERE inbox_id = inbox.id LIMIT 1)
          AND (SELECT true FROM replacement_facts WHERE replacement_facts.old_key = inbox.old_key LIMIT 1) IS NULL
          AND (SELECT true FROM credentials WHERE credentials.key = inbox.old_key LIMIT 1) IS NULL))
""")
# Rows of one statement: few enough for a fraction of a second. Further rows wait for the next round.
_AT_ONCE = 10_000


async def give_up_parked(connection: AsyncConnection, *, parked_for: timedelta) -> int:
    """Give updates up whose credential no wallet has come to know in time; return how many rows waited for them.

    QUARANTINED updates stop waiting when nothing that they reported is known any more.
    """
    await connection.execute(_STOP_WAITING)
    return (await connection.execute(_GIVE_UP, {"parked_for": parked_for, "most": _AT_ONCE})).rowcount


_PARKED_OVERDUE = text(f"""
    SELECT CAST(extract(epoch FROM now() - CAST(:parked_for AS interval) - received_at) AS float8)
    FROM inbox WHERE {_HAS_WAITED} ORDER BY received_at LIMIT 1
""")


async def parked_overdue(connection: AsyncConnection, *, parked_for: timedelta) -> float | None:
    """Seconds since the oldest parked update was to be given up; None if there is none to give up."""
    overdue: float | None = await connection.scalar(_PARKED_OVERDUE, {"parked_for": parked_for})
    return overdue


def waits_for(update: Update) -> list[Key]:
    """The keys that the update waits for: its credentials, or for a merge the identities of its customers."""
    if update.old is not None:
        return list(update.old.keys)
    return identity_keys(dict.fromkeys(update.merge_from + update.merge_into))


def identity_keys(scope: Iterable[tuple[str, str]]) -> list[Key]:
    """Keys for the identities of a customer. They differ from all credentials: no vendor's name begins with an @."""
    return [f"@{name}={value}" for name, value in scope]


def _write_about(update: Update) -> str | None:
    if update.old is None:
        return json.dumps({"from": update.merge_from, "into": update.merge_into})
    return json.dumps({"customer": update.scope}) if update.scope else None


def _scope(written: Iterable[Sequence[str]]) -> Scope:
    return tuple((name, value) for name, value in written)
