"""Endpoints: the URLs that webhooks go to, and whether they are enabled.

Enabling, disabling, holding back and removing change one row. The deliveries follow: a claim looks at the endpoint's
row, `sort` parks and releases deliveries until all agree with their endpoint, and
`store.cancelled_deliveries.cancel_removed` cancels those of removed endpoints. So no lock on an endpoint is needed
while a batch writes deliveries for it, and no delivery is left behind in between. The row of a removed endpoint stays:
its foreign keys hold, and its id is never given out again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.delivery.circuit import Failures
from store import schema
from store.rows import ENDPOINT_ATTEMPTS, ENDPOINT_HOLD, columns_of, selected


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A row of `endpoints` without its secrets and the values of its headers.

    `circuit` is CLOSED or OPEN; the `failures` since its latest success began at `failing_since`.
    """

    id: str
    merchant_id: str
    url: str
    event_types: tuple[str, ...]
    status: str
    disabled_reason: str | None
    held_until: datetime | None
    circuit: str
    failing_since: datetime | None
    failures: int
    max_per_second: float | None
    retry_schedule: tuple[timedelta, ...] | None
    former_secret_until: datetime | None
    header_names: tuple[str, ...]
    removed_at: datetime | None


_COLUMNS = selected(
    columns_of(schema.endpoints, without=["sealed_secrets", "sealed_headers", "paced_until", "subscribed_at"])
)
"""By the names of the fields of Endpoint."""
_READ = text(f"""
    SELECT {_COLUMNS}
    FROM endpoints
    WHERE (CAST(:ids AS text[]) IS NULL OR id = ANY(CAST(:ids AS text[]))) AND (:with_removed OR removed_at IS NULL)
    ORDER BY id
""")


async def read(
    connection: AsyncConnection, ids: Collection[str] | None = None, *, with_removed: bool = False
) -> list[Endpoint]:
    """The endpoints with these ids, or all of them, by id; removed ones only if asked for."""
    wanted = {"ids": None if ids is None else list(ids), "with_removed": with_removed}
    return list(_endpoints(await connection.execute(_READ, wanted)))


_OF_MERCHANTS = text(f"""
    SELECT {_COLUMNS}
    FROM endpoints
    WHERE merchant_id = ANY(CAST(:merchant_ids AS text[])) AND removed_at IS NULL
    ORDER BY id
""")


async def of_merchants(connection: AsyncConnection, merchant_ids: Collection[str]) -> dict[str, list[Endpoint]]:
    """The endpoints of these merchants, without removed ones, by merchant; a merchant without any is left out."""
    by_merchant: dict[str, list[Endpoint]] = {}
    for endpoint in _endpoints(await connection.execute(_OF_MERCHANTS, {"merchant_ids": list(merchant_ids)})):
        by_merchant.setdefault(endpoint.merchant_id, []).append(endpoint)
    return by_merchant


def _endpoints(rows: Iterable[Row[Any]]) -> Iterator[Endpoint]:
    for row in rows:
        schedule = None if row.retry_schedule is None else tuple(row.retry_schedule)
        changed = {
            "event_types": tuple(row.event_types),
            "retry_schedule": schedule,
            "header_names": tuple(row.header_names),
        }
        yield Endpoint(**{**row._mapping, **changed})  # noqa: SLF001 - SQLAlchemy's public name


_LOCK = text("""
    SELECT id
    FROM endpoints
    WHERE id = ANY(CAST(:ids AS text[])) OR merchant_id = ANY(CAST(:merchant_ids AS text[]))
    ORDER BY id
    FOR NO KEY UPDATE
""")


async def lock(connection: AsyncConnection, ids: Collection[str], merchant_ids: Collection[str] = ()) -> None:
    """Lock these endpoints and those of these merchants, for a transaction with several statements about them.

    Each statement locks in the order of the ids; two after each other do not, and two transactions would wait for each
    other in a circle.
    """
    await connection.execute(_LOCK, {"ids": list(ids), "merchant_ids": list(merchant_ids)})


_DISABLE = text("""
    UPDATE endpoints SET status = 'DISABLED', disabled_reason = :reason
    WHERE status = 'ENABLED' AND id = ANY(ARRAY(
        SELECT id FROM endpoints WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id FOR NO KEY UPDATE))
    RETURNING id
""")


async def disable(connection: AsyncConnection, ids: Collection[str], reason: str) -> list[str]:
    """Send nothing more to endpoints; waiting deliveries are parked. The ids of those that were enabled."""
    disabled = await connection.scalars(_DISABLE, {"ids": list(ids), "reason": reason})
    return list(disabled)


# As the merchants file has it; a merchant that the file does not name keeps what it has.
_LEFT_OUT = text("""
    SELECT id
    FROM endpoints
    WHERE status = 'ENABLED' AND merchant_id = ANY(CAST(:merchant_ids AS text[]))
      AND id <> ALL(CAST(:ids AS text[]))
    ORDER BY id
""")


async def left_out(connection: AsyncConnection, merchant_ids: Collection[str], ids: Collection[str]) -> list[str]:
    """The ids of these merchants' enabled endpoints, except for `ids`."""
    return list(await connection.scalars(_LEFT_OUT, {"merchant_ids": list(merchant_ids), "ids": list(ids)}))


_DISABLED_FOR = text("""
    SELECT id
    FROM endpoints
    WHERE status = 'DISABLED' AND removed_at IS NULL AND disabled_reason = :reason AND id = ANY(CAST(:ids AS text[]))
    ORDER BY id
""")


async def disabled_for(connection: AsyncConnection, ids: Collection[str], reason: str) -> list[str]:
    """The ids among `ids` whose endpoint was disabled for this reason."""
    return list(await connection.scalars(_DISABLED_FOR, {"ids": list(ids), "reason": reason}))


_ENABLE = text("""
    UPDATE endpoints
    SET status = 'ENABLED', disabled_reason = NULL, held_until = NULL, paced_until = NULL,
        circuit = 'CLOSED', failing_since = NULL, failures = 0
    WHERE removed_at IS NULL AND id = ANY(ARRAY(
        SELECT id FROM endpoints WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id FOR NO KEY UPDATE))
    RETURNING id
""")


async def enable(connection: AsyncConnection, ids: Collection[str]) -> list[str]:
    """Send to endpoints again, end their holds and the waits for their rates, and forget their failures.

    A clock that was ahead may have set them years off. The ids that exist.
    """
    enabled = await connection.scalars(_ENABLE, {"ids": list(ids)})
    return list(enabled)


_REMOVE = text("""
    UPDATE endpoints
    SET removed_at = now(), status = 'DISABLED', disabled_reason = :reason, sealed_secrets = '{}',
        former_secret_until = NULL, sealed_headers = NULL, header_names = '{}', held_until = NULL,
        circuit = 'CLOSED', failing_since = NULL, failures = 0
    WHERE id = :id AND removed_at IS NULL
    RETURNING id
""")


async def remove(connection: AsyncConnection, endpoint_id: str, reason: str) -> bool:
    """Send nothing more to an endpoint, and drop its secrets and headers; False if there is none. Its row stays."""
    return await connection.scalar(_REMOVE, {"id": endpoint_id, "reason": reason}) is not None


_HELD_BACK = text("""
    SELECT id FROM endpoints WHERE id = ANY(CAST(:ids AS text[])) AND held_until > now() ORDER BY id
""")


async def held_back(connection: AsyncConnection, ids: Collection[str]) -> list[str]:
    """Those of `ids` whose endpoint is held back at present."""
    return list(await connection.scalars(_HELD_BACK, {"ids": list(ids)}))


_HOLD = text(f"""
    UPDATE endpoints SET held_until = greatest(held_until, now() + hold.duration)
    FROM {ENDPOINT_HOLD.array("holds")} AS hold
    WHERE endpoints.id = hold.id AND endpoints.id = ANY(ARRAY(
        SELECT id FROM endpoints WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id FOR NO KEY UPDATE))
""")


async def hold(connection: AsyncConnection, durations: Mapping[str, timedelta]) -> None:
    """Claim nothing for endpoints (durations by id) for this long from now; a longer hold stays."""
    await connection.execute(_HOLD, {"ids": list(durations), "holds": list(durations.items())})


class Undelivered(NamedTuple):
    """The number of an endpoint's live deliveries, and when the oldest of their events was made."""

    number: int
    oldest_at: datetime | None


# Ids of events begin with their time (store.ids), so the lowest is the oldest: deliveries are read once, and one event
# is looked up. Texts, because PostgreSQL knows no lowest UUID. A bound, because a recorder waits for it.
_UNDELIVERED = text("""
    SELECT wanted.id, live.number, (SELECT created_at FROM events WHERE events.id = CAST(live.oldest AS uuid))
    FROM unnest(CAST(:ids AS text[])) AS wanted(id)
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(CAST(event_id AS text) COLLATE "C") AS oldest
        FROM (SELECT event_id FROM deliveries WHERE endpoint_id = wanted.id LIMIT 100000) AS some_live) AS live
""")


async def undelivered(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Undelivered]:
    """The undelivered events of each of these endpoints, by endpoint: of 100,000 live deliveries at most."""
    rows = await connection.execute(_UNDELIVERED, {"ids": list(ids)})
    return {id_: Undelivered(*row) for id_, *row in rows}


_COUNT_ATTEMPTS = text(f"""
    UPDATE endpoints
    SET circuit = CASE WHEN attempts.succeeded THEN 'CLOSED' ELSE circuit END,
        held_until = CASE WHEN attempts.succeeded AND circuit = 'OPEN' THEN NULL ELSE held_until END,
        failing_since = CASE WHEN attempts.failures > 0
                        THEN coalesce(CASE WHEN NOT attempts.succeeded THEN failing_since END, now()) END,
        failures = CASE WHEN attempts.succeeded THEN 0 ELSE endpoints.failures END + attempts.failures
    FROM {ENDPOINT_ATTEMPTS.array("attempts")} AS attempts
    WHERE endpoints.id = attempts.id AND endpoints.id = ANY(ARRAY(
        SELECT id FROM endpoints WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id FOR NO KEY UPDATE))
    RETURNING endpoints.id, coalesce(now() - failing_since, interval '0'), endpoints.failures, circuit = 'OPEN'
""")


async def count_attempts(
    connection: AsyncConnection, attempts: Mapping[str, tuple[bool, int]]
) -> dict[str, tuple[Failures, bool]]:
    """Add what attempts came to, by endpoint: whether one succeeded, and how many have failed since.

    A success closes the circuit. Return each endpoint's failures since its latest success, and whether its circuit is
    open.
    """
    rows = [ENDPOINT_ATTEMPTS.row(id_, *counts) for id_, counts in attempts.items()]
    counted = await connection.execute(_COUNT_ATTEMPTS, {"ids": list(attempts), "attempts": rows})
    return {id_: (Failures(duration, number), is_open) for id_, duration, number, is_open in counted}


# The claim of a probe holds its endpoint for the whole lease, in case the dispatcher dies.
_OPEN = text(f"""
    UPDATE endpoints
    SET circuit = 'OPEN',
        held_until = greatest(CASE WHEN endpoints.id <> ALL(CAST(:probed AS text[])) THEN held_until END,
                              now() + hold.duration)
    FROM {ENDPOINT_HOLD.array("holds")} AS hold
    WHERE endpoints.id = hold.id AND endpoints.id = ANY(CAST(:ids AS text[]))
""")


async def open_circuits(
    connection: AsyncConnection, until_probe: Mapping[str, timedelta], *, probed: Collection[str] = ()
) -> None:
    """Open the circuits of endpoints, by id for how long until the next probe; a longer hold stays.

    The probe of those that are `probed` has failed: the hold for its lease ends. For the transaction that counted the
    attempts, which has locked the rows.
    """
    await connection.execute(
        _OPEN, {"ids": list(until_probe), "holds": list(until_probe.items()), "probed": list(probed)}
    )


# A thousand of each endpoint at a time keeps the transaction short where a million wait. SKIP LOCKED: a row
# that somebody is at is sorted the next time.
_SORT = text("""
    UPDATE deliveries
    SET status = CASE status WHEN 'PARKED' THEN 'PENDING' WHEN 'PENDING' THEN 'PARKED' END,
        tries = CASE status WHEN 'PARKED' THEN 0 WHEN 'PENDING' THEN tries END,
        due_at = CASE WHEN status = 'PARKED' AND due_at > now() THEN now() ELSE due_at END
    WHERE id = ANY(ARRAY(
        SELECT parked.id
        FROM endpoints CROSS JOIN LATERAL (
            SELECT id FROM deliveries WHERE endpoint_id = endpoints.id AND status = 'PARKED'
            LIMIT 1000
            FOR UPDATE SKIP LOCKED) AS parked
        WHERE endpoints.status = 'ENABLED'
        UNION ALL
        SELECT pending.id
        FROM endpoints CROSS JOIN LATERAL (
            SELECT id FROM deliveries WHERE endpoint_id = endpoints.id AND status = 'PENDING'
            LIMIT 1000
            FOR UPDATE SKIP LOCKED) AS pending
        WHERE endpoints.status = 'DISABLED'))
""")


async def sort(connection: AsyncConnection) -> int:
    """Park live deliveries of disabled endpoints, and release those of enabled ones; how many were moved.

    A call moves a limited number: call it until it moves none.
    """
    moved = await connection.execute(_SORT)
    return int(moved.rowcount)
