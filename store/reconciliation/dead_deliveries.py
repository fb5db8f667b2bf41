"""Deliveries that were given up, and whose event has not arrived since."""

import json
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind
from store.reconciliation.page import Page

# Endpoint after endpoint, by the index of dead deliveries: no other row of the history is looked at. An endpoint's dead
# ones are sorted for each of its pages. An event that arrived, is on its way again or was cancelled by a person is not
# dead, and of several that died one is enough.
_PAGE = text("""
    SELECT dead.endpoint_id, dead.finished_at, dead.id,
           coalesce(
               (SELECT true FROM deliveries
                WHERE endpoint_id = dead.endpoint_id AND wallet_id = dead.wallet_id AND sequence = dead.sequence
                LIMIT 1),
               (SELECT true FROM delivery_history AS other
                WHERE other.event_id = dead.event_id AND other.endpoint_id = dead.endpoint_id
                  AND (other.status <> 'DEAD' OR other.id > dead.id)
                LIMIT 1),
               (SELECT false FROM events WHERE id = dead.event_id),
               true) AS is_over,
           'evt_' || replace(CAST(dead.event_id AS text), '-', '') || ' to ' || dead.endpoint_id,
           coalesce(dead.last_outcome, 'DEAD')
    FROM (SELECT id FROM endpoints WHERE id >= :endpoint_id AND removed_at IS NULL ORDER BY id OFFSET 0) AS endpoint
    CROSS JOIN LATERAL (
        SELECT *
        FROM (SELECT id, event_id, endpoint_id, wallet_id, sequence, finished_at, last_outcome
              FROM delivery_history
              WHERE endpoint_id = endpoint.id AND status = 'DEAD'
                AND finished_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
                AND (endpoint.id > :endpoint_id OR (finished_at, id) > (CAST(:finished_at AS timestamptz), :id))
              OFFSET 0) AS died
        ORDER BY finished_at, id
        LIMIT :limit) AS dead
    ORDER BY endpoint.id, dead.finished_at, dead.id
    LIMIT :limit
""")
_BEGINNING = ("", datetime(1970, 1, 1, tzinfo=UTC), 0)


async def examine(connection: AsyncConnection, after: str, limit: int, *, since: datetime | None = None) -> Page:
    """The next dead deliveries after the place `after`, an empty text is the beginning: those that died since then."""
    endpoint_id, finished_at, id_ = _read(after) if after else _BEGINNING
    place = {"endpoint_id": endpoint_id, "finished_at": finished_at, "id": id_}
    rows = (await connection.execute(_PAGE, place | {"since": since, "limit": limit})).all()
    findings = [
        Finding(FindingKind.DEAD_DELIVERY, str(row.id), expected, found)
        for row in rows
        for *_, is_over, expected, found in [row]
        if not is_over
    ]
    return Page(len(rows), findings, _write(*rows[-1][:3]) if len(rows) == limit else None)


def _write(endpoint_id: str, finished_at: datetime, id_: int) -> str:
    return json.dumps([endpoint_id, finished_at.isoformat(), id_])


def _read(place: str) -> tuple[str, datetime, int]:
    endpoint_id, finished_at, id_ = json.loads(place)
    return endpoint_id, datetime.fromisoformat(finished_at), id_
