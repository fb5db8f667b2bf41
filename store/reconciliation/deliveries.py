"""Deliveries that nothing moves on, or that move out of order."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import Finding, FindingKind
from store import deliveries, endpoints
from store.reconciliation.page import Page, page_of
from store.replays import lock_lines
from store.rows import LINE

# A lease is a minute by default; a delivery of an endpoint that answers is due for seconds.
# A delivery whose endpoint or event was deleted by a script is left alone. It is counted: a page that lacks a row would
# be taken for the last one.
_PAGE = text("""
    SELECT live.id,
           CASE WHEN endpoint.id IS NULL OR event.id IS NULL THEN NULL
                WHEN (live.wallet_id, live.sequence)
                     <> (coalesce(event.wallet_id, event.id), coalesce(event.sequence, 0)) THEN 'OTHER_LINE'
                WHEN endpoint.status = 'ENABLED' AND live.status = 'PARKED' THEN 'PARKED_AT_ENABLED_ENDPOINT'
                WHEN endpoint.status = 'DISABLED' AND live.status = 'PENDING' THEN 'PENDING_AT_DISABLED_ENDPOINT'
                WHEN live.leased_until > now() + interval '1 day' THEN 'LEASE_TOO_LONG'
                WHEN line.first = live.sequence AND line.heads = 0 THEN 'LINE_WITHOUT_HEAD'
                WHEN line.first = live.sequence AND live.due_at IS NULL AND NOT line.leased THEN 'HEAD_NOT_FIRST'
                WHEN line.first < live.sequence AND live.due_at IS NOT NULL AND live.leased_until IS NULL
                     AND line.heads > 1 THEN 'SECOND_HEAD'
                WHEN live.due_at < now() - interval '1 hour' AND live.status = 'PENDING'
                     AND (live.leased_until IS NULL OR live.leased_until < now())
                     AND endpoint.circuit = 'CLOSED' AND endpoint.max_per_second IS NULL
                     AND (endpoint.held_until IS NULL OR endpoint.held_until < now()) THEN 'OVERDUE' END AS kind,
           CASE WHEN (live.wallet_id, live.sequence)
                     <> (coalesce(event.wallet_id, event.id), coalesce(event.sequence, 0))
                THEN coalesce(event.wallet_id, event.id) || ' ' || coalesce(event.sequence, 0) END AS expected,
           live.wallet_id || ' ' || live.sequence || ' ' || live.status AS found
    FROM (SELECT * FROM deliveries
          WHERE id > CAST(:after AS bigint) AND created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
          ORDER BY id LIMIT :limit) AS live
    LEFT JOIN endpoints AS endpoint ON endpoint.id = live.endpoint_id
    LEFT JOIN events AS event ON event.id = live.event_id
    CROSS JOIN LATERAL (
        SELECT min(sequence) AS first, count(due_at) AS heads, bool_or(leased_until IS NOT NULL) AS leased
        FROM deliveries
        WHERE endpoint_id = live.endpoint_id AND wallet_id = live.wallet_id) AS line
    ORDER BY live.id
""")


async def examine(connection: AsyncConnection, after: str, limit: int, *, since: datetime | None = None) -> Page:
    """The next live deliveries after the id `after`, an empty text is the beginning: those made at `since` or later."""
    values = {"after": int(after or 0), "limit": limit, "since": since}
    return page_of(await connection.execute(_PAGE, values), limit)


_LINES = text("SELECT DISTINCT endpoint_id, wallet_id FROM deliveries WHERE id = ANY(CAST(:ids AS bigint[]))")
_LINES_OF_EVENTS = text("""
    SELECT DISTINCT live.endpoint_id, coalesce(event.wallet_id, event.id) AS wallet_id
    FROM deliveries AS live JOIN events AS event ON event.id = live.event_id
    WHERE live.id = ANY(CAST(:ids AS bigint[]))
""")
# A place has one delivery. The second of one event stays where it is, and so does what is being attempted.
_PUT_IN_LINE = text("""
    UPDATE deliveries
    SET wallet_id = place.wallet_id, sequence = place.sequence, due_at = NULL, leased_until = NULL
    FROM (SELECT DISTINCT ON (live.event_id, live.endpoint_id)
                 live.id, live.endpoint_id, coalesce(event.wallet_id, event.id) AS wallet_id,
                 coalesce(event.sequence, 0) AS sequence
          FROM deliveries AS live JOIN events AS event ON event.id = live.event_id
          WHERE live.id = ANY(CAST(:ids AS bigint[])) AND (live.leased_until IS NULL OR live.leased_until <= now())
          ORDER BY live.event_id, live.endpoint_id, live.id) AS place
    WHERE deliveries.id = place.id AND NOT EXISTS (
        SELECT FROM deliveries AS there
        WHERE there.endpoint_id = place.endpoint_id AND there.wallet_id = place.wallet_id
          AND there.sequence = place.sequence)
    RETURNING deliveries.id
""")
_END_LEASES = text("""
    UPDATE deliveries SET leased_until = now()
    WHERE id = ANY(CAST(:ids AS bigint[])) AND leased_until > now() + interval '1 day'
""")
_LOCK = text(f"""
    SELECT id FROM deliveries
    WHERE id = ANY(ARRAY(
        SELECT live.id
        FROM {LINE.array("lines")} AS line
        JOIN deliveries AS live ON live.endpoint_id = line.endpoint_id AND live.wallet_id = line.wallet_id
        WHERE live.due_at IS NOT NULL))
    ORDER BY id
    FOR NO KEY UPDATE
""")
_STEP_BACK = text(f"""
    UPDATE deliveries SET due_at = NULL
    WHERE id = ANY(ARRAY(
        SELECT live.id
        FROM {LINE.array("lines")} AS line
        JOIN deliveries AS live ON live.endpoint_id = line.endpoint_id AND live.wallet_id = line.wallet_id
        WHERE live.due_at IS NOT NULL AND live.leased_until IS NULL
          AND live.sequence > (SELECT min(sequence) FROM deliveries
                               WHERE endpoint_id = line.endpoint_id AND wallet_id = line.wallet_id)))
""")

_OF_HEADS = {
    FindingKind.OTHER_LINE,
    FindingKind.LINE_WITHOUT_HEAD,
    FindingKind.HEAD_NOT_FIRST,
    FindingKind.SECOND_HEAD,
}
_OF_ENDPOINTS = {FindingKind.PARKED_AT_ENABLED_ENDPOINT, FindingKind.PENDING_AT_DISABLED_ENDPOINT}


async def repair(connection: AsyncConnection, findings: Collection[Finding]) -> set[Finding]:
    """Put deliveries in their lines, give each line one head, the first, and end leases. Return the repaired.

    What is overdue stays: nothing is wrong with its row. So does a delivery whose place another one has.
    """
    if not findings:
        return set()
    lines = await _locked_lines(connection, findings)
    out_of_line = await _put_lines_in_order(
        connection, lines, [finding for finding in findings if finding.kind in _OF_HEADS]
    )
    leased = [int(finding.subject) for finding in findings if finding.kind is FindingKind.LEASE_TOO_LONG]
    if leased:
        await connection.execute(_END_LEASES, {"ids": leased})
    if any(finding.kind in _OF_ENDPOINTS for finding in findings):
        while await endpoints.sort(connection):
            pass
    return {finding for finding in findings if finding.kind is not FindingKind.OVERDUE and finding not in out_of_line}


async def _locked_lines(connection: AsyncConnection, findings: Collection[Finding]) -> list[deliveries.Line]:
    """The lines in which the deliveries of these findings are, and those of their events, with their wallets locked.

    Before all that is written: batches lock wallets, and then deliveries.
    """
    ids = [int(finding.subject) for finding in findings]
    present = (await connection.execute(_LINES, {"ids": ids})).all()
    rightful = (await connection.execute(_LINES_OF_EVENTS, {"ids": ids})).all()
    lines = [LINE.row(*line) for line in {*present, *rightful}]
    await lock_lines(connection, [str(wallet_id) for _, wallet_id in lines])
    return lines


async def _put_lines_in_order(
    connection: AsyncConnection, lines: Collection[deliveries.Line], findings: Collection[Finding]
) -> set[Finding]:
    """Return the findings whose deliveries could not be put in their line."""
    if not findings:
        return set()
    astray = {int(finding.subject): finding for finding in findings if finding.kind is FindingKind.OTHER_LINE}
    await connection.execute(_LOCK, {"lines": lines})
    put = set(await connection.scalars(_PUT_IN_LINE, {"ids": list(astray)}))
    await connection.execute(_STEP_BACK, {"lines": lines})
    await deliveries.promote(connection, await deliveries.headless(connection, lines))
    return {finding for id_, finding in astray.items() if id_ not in put}
